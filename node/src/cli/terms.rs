//! Filters on the command line: `--where` and the times, all of which must hold.

use clap::Args;
use engram_client::{FieldRange, FieldValues, Filter, FilterList, TimeRange, Value, filter::Kind, value};

/// Which rows are meant. Several conditions must all hold.
#[derive(Clone, Debug, Default, Args)]
pub struct FilterArgs {
    /// KEY=VALUE, KEY!=VALUE, KEY<VALUE, KEY<=VALUE, KEY>VALUE, KEY>=VALUE, or KEY alone for rows that have it. A
    /// value is read as a number or true or false where it can be, else as text; quotes make it text: year>="1990".
    /// May be repeated.
    #[arg(long = "where", value_name = "CONDITION", value_parser = condition)]
    conditions: Vec<Filter>,
    /// Rows whose own time is this or later, milliseconds since 1970.
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    since: Option<i64>,
    /// Rows whose own time is before this, milliseconds since 1970.
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    until: Option<i64>,
}

impl FilterArgs {
    /// All conditions; `None` where there are none.
    pub fn filter(self) -> Option<Filter> {
        let mut filters = self.conditions;
        if self.since.is_some() || self.until.is_some() {
            let time = TimeRange { from_ms: self.since, until_ms: self.until };
            filters.push(Filter { kind: Some(Kind::Time(time)) });
        }
        match filters.len() {
            0 => None,
            1 => filters.pop(),
            _ => Some(Filter { kind: Some(Kind::All(FilterList { filters })) }),
        }
    }
}

fn condition(text: &str) -> Result<Filter, String> {
    const OPERATORS: [&str; 6] = ["!=", "<=", ">=", "=", "<", ">"];
    // The first in the text; of two at one place the longer, which stands first in the list.
    let first = OPERATORS.iter().filter_map(|operator| Some((text.find(operator)?, *operator)));
    let (key, operator, value) = match first.min_by_key(|(at, operator)| (*at, 2 - operator.len())) {
        None => (text, "", ""),
        Some((at, operator)) => (&text[..at], operator, &text[at + operator.len()..]),
    };
    let (key, value) = (key.trim().to_string(), value.trim());
    if key.is_empty() {
        return Err(format!("{text:?} names no key; write KEY=VALUE, KEY<VALUE or KEY"));
    }
    let equal = |key, value| Kind::OneOf(FieldValues { key, values: vec![read(value)] });
    let bound = Some(read(value));
    let range = FieldRange { key: key.clone(), ..FieldRange::default() };
    let kind = match operator {
        "" => Kind::Exists(key),
        "=" => equal(key, value),
        "!=" => Kind::Not(Box::new(Filter { kind: Some(equal(key, value)) })),
        "<" => Kind::Range(FieldRange { less_than: bound, ..range }),
        "<=" => Kind::Range(FieldRange { at_most: bound, ..range }),
        ">" => Kind::Range(FieldRange { greater_than: bound, ..range }),
        _ => Kind::Range(FieldRange { at_least: bound, ..range }),
    };
    Ok(Filter { kind: Some(kind) })
}

fn read(text: &str) -> Value {
    let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let kind = match (quoted, text.parse::<i64>(), text.parse::<f64>(), text.parse::<bool>()) {
        (Some(text), ..) => value::Kind::Text(text.into()),
        (_, Ok(integer), ..) => value::Kind::Integer(integer),
        (_, _, Ok(real), _) if real.is_finite() => value::Kind::Real(real),
        (_, _, _, Ok(boolean)) => value::Kind::Boolean(boolean),
        _ => value::Kind::Text(text.into()),
    };
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn holds(text: &str) -> bool {
        let row = [("topic", "fish"), ("year", "1990"), ("code", "\"7\""), ("seen", "true")];
        let row: BTreeMap<String, Value> = row.iter().map(|(key, value)| (key.to_string(), read(value))).collect();
        engram_proto::filter::matches(&condition(text).expect("a condition"), 5, &row)
    }

    #[test]
    fn conditions_mean_what_they_look_like() {
        for good in
            ["topic=fish", "topic != bird", "year>=1990", "year<=1990", "year>1989.5", "year < 1991", "seen=true"]
        {
            assert!(holds(good), "{good}");
        }
        for bad in ["topic=bird", "year>1990", "absent", "code=7", "year=\"1990\""] {
            assert!(!holds(bad), "{bad}");
        }
        assert!(holds("code=\"7\"") && holds("topic") && holds("absent!=1"));
        assert!(condition("=5").expect_err("refused").contains("no key"));
    }

    #[test]
    fn several_conditions_are_one_filter() {
        assert_eq!(FilterArgs::default().filter(), None);
        let one = FilterArgs { since: Some(3), ..FilterArgs::default() }.filter();
        assert!(matches!(one, Some(Filter { kind: Some(Kind::Time(_)) })));
        let conditions = vec![condition("a=1").expect("good")];
        let two = FilterArgs { conditions, since: None, until: Some(9) }.filter();
        assert!(matches!(two, Some(Filter { kind: Some(Kind::All(list)) }) if list.filters.len() == 2));
    }
}
