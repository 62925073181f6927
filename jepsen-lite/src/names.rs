//! Numbers for values, in the order in which they turn up.
//!
//! Invariant `values_compare_exactly`: two values have one number exactly if they are equal. The table is only asked, never
//! walked, so the order of its places shows nowhere.

use serde_json::Value;

use crate::jsonl::canonical;

/// What tells values apart; integers and texts are the usual ones and need not be written out.
#[derive(Debug, PartialEq, Eq)]
enum Name {
    Integer(i64),
    Text(String),
    Other(String),
}

/// The same, looked at in a value; only what is neither integer nor text is written out.
enum Look<'v> {
    Integer(i64),
    Text(&'v str),
    Other(String),
}

impl<'v> Look<'v> {
    fn at(value: &'v Value) -> Self {
        match (value.as_i64(), value.as_str()) {
            (Some(number), _) => Look::Integer(number),
            (None, Some(text)) => Look::Text(text),
            (None, None) => Look::Other(canonical(value)),
        }
    }

    fn is(&self, name: &Name) -> bool {
        match (self, name) {
            (Look::Integer(this), Name::Integer(that)) => this == that,
            (Look::Text(this), Name::Text(that)) => this == that,
            (Look::Other(this), Name::Other(that)) => this == that,
            _ => false,
        }
    }

    fn hash(&self) -> u64 {
        let text = |text: &str| {
            let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            text.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, fold)
        };
        let hash = match self {
            Look::Integer(number) => *number as u64,
            Look::Text(this) => text(this),
            Look::Other(this) => !text(this),
        };
        let hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^ (hash >> 32)
    }

    fn kept(self) -> Name {
        match self {
            Look::Integer(number) => Name::Integer(number),
            Look::Text(text) => Name::Text(text.into()),
            Look::Other(text) => Name::Other(text),
        }
    }
}

const NONE: u32 = u32::MAX;

/// Values that were met so far.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// By number; the hash beside each.
    names: Vec<(Name, u64)>,
    /// Open addressing: numbers, half of the places empty at least.
    table: Vec<u32>,
}

impl Names {
    /// The value's number; the number of values before it if it is new.
    pub fn number(&mut self, value: &Value) -> usize {
        if self.names.len() * 2 >= self.table.len() {
            self.grow();
        }
        let look = Look::at(value);
        let hash = look.hash();
        let mut place = self.first(hash);
        while self.table[place] != NONE {
            let number = self.table[place] as usize;
            if self.names[number].1 == hash && look.is(&self.names[number].0) {
                return number;
            }
            place = (place + 1) & (self.table.len() - 1);
        }
        let number = self.names.len();
        self.table[place] = number as u32;
        self.names.push((look.kept(), hash));
        number
    }

    fn first(&self, hash: u64) -> usize {
        hash as usize & (self.table.len() - 1)
    }

    fn grow(&mut self) {
        self.table = vec![NONE; (self.table.len() * 2).max(16)];
        for number in 0..self.names.len() {
            let mut place = self.first(self.names[number].1);
            while self.table[place] != NONE {
                place = (place + 1) & (self.table.len() - 1);
            }
            self.table[place] = number as u32;
        }
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

    #[test]
    fn numbers_go_by_the_order_of_turning_up_and_stay() {
        let mut names = Names::default();
        let values: Vec<Value> = (0..5000)
            .map(|n: i64| match n % 3 {
                0 => json!(n << 32),
                1 => json!(format!("[{n}]")),
                _ => json!([n]),
            })
            .collect();
        for _ in 0..2 {
            let numbers: Vec<usize> = values.iter().map(|value| names.number(value)).collect();
            assert_eq!(numbers, (0..5000).collect::<Vec<_>>());
        }
        assert_eq!(names.number(&json!("[2]")), 5000, "a text is no list");
    }
}
