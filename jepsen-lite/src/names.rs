//! Numbers for values, in the order in which they turn up.
//!
//! Invariant `values_compare_exactly`: two values have one number exactly if they are equal.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::jsonl::canonical;

/// What tells values apart; integers are the usual ones and need no text.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Integer(i64),
    Text(String),
}

/// Values that were met so far.
#[derive(Debug, Default)]
pub(crate) struct Names {
    numbers: BTreeMap<Name, usize>,
}

impl Names {
    /// The value's number; the number of values before it if it is new.
    pub fn number(&mut self, value: &Value) -> usize {
        let next = self.numbers.len();
        let name = value.as_i64().map_or_else(|| Name::Text(canonical(value)), Name::Integer);
        *self.numbers.entry(name).or_insert(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn equal_values_have_one_number_and_a_text_is_no_integer() {
        let mut names = Names::default();
        let values =
            [json!(7), json!("7"), json!({"a": 1, "b": 2}), json!(7), json!({"b": 2, "a": 1}), json!(u64::MAX)];
        assert_eq!(values.map(|value| names.number(&value)), [0, 1, 2, 0, 2, 3]);
    }
}
