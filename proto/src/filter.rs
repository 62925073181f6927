//! The door for filters, and what they mean: which rows a recall, a list, a count or a forget is about.
//!
//! Invariant `one_meaning`: a filter is a function of a row's own time and metadata, the same on every node. A key that a
//! row does not have matches nothing but a `not`; values of different kinds are never equal, but integers and reals are
//! compared as the numbers that they are. Leaves out: indexes of metadata; every row is asked.

use crate::error::{Error, Result};
use crate::limits::{FILTER_DEPTH_MAX, FILTER_PARTS_MAX, METADATA_BYTES_MAX};
use crate::wire::v1::{FieldRange, Filter, Value, filter::Kind, value};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// A row's metadata.
pub type Metadata = BTreeMap<String, Value>;

/// Checks a filter's size and that every part says something. Errors are `Invalid` and name the part.
pub fn check(filter: &Filter) -> Result<()> {
    let mut parts = 0;
    part(filter, 1, &mut parts)
}

fn part(filter: &Filter, depth: usize, parts: &mut usize) -> Result<()> {
    if depth > FILTER_DEPTH_MAX {
        return Err(Error::invalid(format!("the filter is nested deeper than {FILTER_DEPTH_MAX}; flatten it")));
    }
    let mut count = |more: usize| {
        *parts += more;
        match *parts > FILTER_PARTS_MAX {
            true => Err(Error::invalid(format!("the filter has over {FILTER_PARTS_MAX} parts and values; split it"))),
            false => Ok(()),
        }
    };
    count(1)?;
    match &filter.kind {
        None => Err(Error::invalid("a part of the filter is empty, or of a kind not known to this version")),
        Some(Kind::All(list) | Kind::Any(list)) => {
            list.filters.iter().try_for_each(|filter| part(filter, depth + 1, parts))
        }
        Some(Kind::Not(filter)) => part(filter, depth + 1, parts),
        Some(Kind::OneOf(field)) => {
            count(field.values.len())?;
            key(&field.key)?;
            field.values.iter().try_for_each(|value| known(&field.key, value))
        }
        Some(Kind::Range(range)) => {
            key(&range.key)?;
            let bounds = bounds(range);
            if bounds.iter().all(|(bound, _)| bound.is_none()) {
                return Err(Error::invalid(format!("the range of {:?} has no bound; give one", range.key)));
            }
            bounds.iter().filter_map(|(bound, _)| *bound).try_for_each(|value| known(&range.key, value))
        }
        Some(Kind::Exists(name)) => key(name),
        Some(Kind::Time(time)) if time.from_ms.is_none() && time.until_ms.is_none() => {
            Err(Error::invalid("the time range has no bound; give from_ms or until_ms"))
        }
        Some(Kind::Time(_)) => Ok(()),
    }
}

fn key(key: &str) -> Result<()> {
    match key.is_empty() || key.len() > METADATA_BYTES_MAX {
        true => Err(Error::invalid(format!("a filter's key has {} bytes; 1 to {METADATA_BYTES_MAX}", key.len()))),
        false => Ok(()),
    }
}

fn known(key: &str, value: &Value) -> Result<()> {
    match &value.kind {
        None => Err(Error::invalid(format!("a value for {key:?} is empty, or of a kind not known to this version"))),
        Some(value::Kind::Real(real)) if real.is_nan() => {
            Err(Error::invalid(format!("a value for {key:?} is not a number; nothing compares with it")))
        }
        Some(value::Kind::Text(text)) if text.len() > METADATA_BYTES_MAX => {
            let max = METADATA_BYTES_MAX;
            Err(Error::invalid(format!("a value for {key:?} has {} bytes; at most {max}", text.len())))
        }
        Some(_) => Ok(()),
    }
}

/// The bounds that a range may have, with the orderings of a field's value to the bound that they allow.
fn bounds(range: &FieldRange) -> [(Option<&Value>, [Ordering; 2]); 4] {
    use Ordering::{Equal, Greater, Less};
    [
        (range.at_least.as_ref(), [Greater, Equal]),
        (range.greater_than.as_ref(), [Greater, Greater]),
        (range.at_most.as_ref(), [Less, Equal]),
        (range.less_than.as_ref(), [Less, Less]),
    ]
}

/// Whether a row with this time and metadata is meant. A filter that was not checked matches nothing where it says
/// nothing.
pub fn matches(filter: &Filter, time_ms: i64, metadata: &Metadata) -> bool {
    match &filter.kind {
        None => false,
        Some(Kind::All(list)) => list.filters.iter().all(|filter| matches(filter, time_ms, metadata)),
        Some(Kind::Any(list)) => list.filters.iter().any(|filter| matches(filter, time_ms, metadata)),
        Some(Kind::Not(filter)) => !matches(filter, time_ms, metadata),
        Some(Kind::OneOf(field)) => metadata
            .get(&field.key)
            .is_some_and(|have| field.values.iter().any(|wanted| compare(have, wanted) == Some(Ordering::Equal))),
        Some(Kind::Range(range)) => metadata.get(&range.key).is_some_and(|have| {
            let within = |(bound, allowed): &(Option<&Value>, [Ordering; 2])| {
                bound.is_none_or(|bound| compare(have, bound).is_some_and(|order| allowed.contains(&order)))
            };
            bounds(range).iter().all(within)
        }),
        Some(Kind::Exists(key)) => metadata.contains_key(key),
        Some(Kind::Time(time)) => {
            time.from_ms.is_none_or(|from| time_ms >= from) && time.until_ms.is_none_or(|until| time_ms < until)
        }
    }
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    use value::Kind::{Boolean, Integer, Real, Text};
    match (a.kind.as_ref()?, b.kind.as_ref()?) {
        (Text(a), Text(b)) => Some(a.cmp(b)),
        (Boolean(a), Boolean(b)) => Some(a.cmp(b)),
        (Integer(a), Integer(b)) => Some(a.cmp(b)),
        (Real(a), Real(b)) => a.partial_cmp(b),
        (Integer(a), Real(b)) => mixed(*a, *b),
        (Real(a), Integer(b)) => mixed(*b, *a).map(Ordering::reverse),
        _ => None,
    }
}

/// Exact, though no float holds every integer.
fn mixed(integer: i64, real: f64) -> Option<Ordering> {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if real.is_nan() {
        return None;
    }
    if real >= BEYOND {
        return Some(Ordering::Less);
    }
    if real < -BEYOND {
        return Some(Ordering::Greater);
    }
    let whole = real.floor();
    let order = integer.cmp(&(whole as i64));
    Some(if order == Ordering::Equal && real > whole { Ordering::Less } else { order })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::v1::{FieldValues, FilterList, TimeRange};

    fn value(kind: value::Kind) -> Value {
        Value { kind: Some(kind) }
    }

    fn text(text: &str) -> Value {
        value(value::Kind::Text(text.into()))
    }

    fn filter(kind: Kind) -> Filter {
        Filter { kind: Some(kind) }
    }

    fn one_of(key: &str, values: Vec<Value>) -> Filter {
        filter(Kind::OneOf(FieldValues { key: key.into(), values }))
    }

    fn list(filters: Vec<Filter>) -> FilterList {
        FilterList { filters }
    }

    fn row() -> Metadata {
        let fields = [
            ("topic", text("fish")),
            ("year", value(value::Kind::Integer(1990))),
            ("score", value(value::Kind::Real(2.5))),
            ("seen", value(value::Kind::Boolean(true))),
        ];
        fields.into_iter().map(|(key, value)| (key.to_string(), value)).collect()
    }

    fn holds(filter: &Filter) -> bool {
        check(filter).expect("a good filter");
        matches(filter, 1000, &row())
    }

    #[test]
    fn each_kind_means_what_it_says() {
        let fish = || one_of("topic", vec![text("bird"), text("fish")]);
        let none = || one_of("topic", vec![text("bird")]);
        assert!(holds(&fish()) && !holds(&none()) && !holds(&one_of("absent", vec![text("fish")])));
        assert!(holds(&filter(Kind::Not(Box::new(none())))));
        assert!(holds(&filter(Kind::All(list(vec![])))) && !holds(&filter(Kind::Any(list(vec![])))));
        assert!(holds(&filter(Kind::Any(list(vec![none(), fish()])))));
        assert!(!holds(&filter(Kind::All(list(vec![none(), fish()])))));
        assert!(holds(&filter(Kind::Exists("seen".into()))) && !holds(&filter(Kind::Exists("absent".into()))));
        let time = |from_ms, until_ms| holds(&filter(Kind::Time(TimeRange { from_ms, until_ms })));
        assert!(time(Some(1000), None) && time(None, Some(1001)) && !time(None, Some(1000)) && !time(Some(1001), None));
    }

    #[test]
    fn ranges_compare_numbers_of_both_kinds_and_nothing_across_kinds() {
        let range = |key: &str, at_least: Option<Value>, less_than: Option<Value>| {
            holds(&filter(Kind::Range(FieldRange { key: key.into(), at_least, less_than, ..FieldRange::default() })))
        };
        let (integer, real) = (|v| Some(value(value::Kind::Integer(v))), |v| Some(value(value::Kind::Real(v))));
        assert!(range("year", integer(1990), integer(1991)) && !range("year", integer(1991), None));
        assert!(range("year", real(1989.5), real(1990.5)) && !range("year", real(1990.5), None));
        assert!(range("score", integer(2), integer(3)) && !range("score", integer(3), None));
        assert!(!range("topic", integer(0), None) && range("topic", Some(text("f")), Some(text("g"))));
        assert!(!range("year", real(f64::INFINITY), None) && range("year", real(f64::NEG_INFINITY), None));
        assert_eq!(mixed(i64::MAX, 9_223_372_036_854_775_807.0), Some(Ordering::Less));
        assert_eq!(mixed(i64::MIN, -9_223_372_036_854_775_808.0), Some(Ordering::Equal));
        assert_eq!(mixed((1 << 53) + 1, 9_007_199_254_740_992.0), Some(Ordering::Greater));
    }

    #[test]
    fn a_filter_that_says_nothing_or_too_much_is_refused_by_name() {
        let refused = |filter: &Filter| check(filter).expect_err("refused").to_string();
        assert!(refused(&Filter::default()).contains("empty"));
        assert!(refused(&one_of("", vec![])).contains("key has 0 bytes"));
        assert!(refused(&one_of("a", vec![Value::default()])).contains("\"a\""));
        assert!(refused(&one_of("a", vec![value(value::Kind::Real(f64::NAN))])).contains("not a number"));
        let bare = FieldRange { key: "a".into(), ..FieldRange::default() };
        assert!(refused(&filter(Kind::Range(bare))).contains("no bound"));
        assert!(refused(&filter(Kind::Time(TimeRange::default()))).contains("no bound"));
        let mut deep = one_of("a", vec![text("b")]);
        for _ in 0..FILTER_DEPTH_MAX {
            deep = filter(Kind::Not(Box::new(deep)));
        }
        assert!(refused(&deep).contains("nested"));
        assert!(refused(&one_of("a", vec![text("b"); FILTER_PARTS_MAX])).contains("parts"));
    }
}
