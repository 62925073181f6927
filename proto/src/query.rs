//! The door for recalls, spaces and lists: bounds and defaults, before anything is looked up.

use crate::error::{Error, Result};
use crate::filter;
use crate::limits;
use crate::observation::check_id;
use crate::wire::v1::{self, ListRequest, Metric, Precision, RecallRequest, SpaceConfig};

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadLevel {
    /// What this node has.
    Eventual,
    /// This log index or later, in this incarnation of the cluster.
    AtLeast {
        /// Log index.
        index: u64,
        /// 0: not checked.
        incarnation: u64,
    },
    /// No write that was acked earlier than this before the read is missing.
    Bounded {
        /// How much earlier, milliseconds.
        staleness_ms: u32,
    },
    /// Every write acked before the read began.
    Linearizable,
}

macro_rules! read_level {
    ($($request:ident)*) => {$(
        impl From<Option<v1::$request::Consistency>> for ReadLevel {
            fn from(level: Option<v1::$request::Consistency>) -> Self {
                use v1::$request::Consistency;
                match level {
                    None | Some(Consistency::Eventual(_)) => Self::Eventual,
                    Some(Consistency::AtLeast(token)) => {
                        Self::AtLeast { index: token.log_index, incarnation: token.incarnation }
                    }
                    Some(Consistency::Bounded(bound)) => Self::Bounded { staleness_ms: bound.staleness_ms },
                    Some(Consistency::Linearizable(_)) => Self::Linearizable,
                }
            }
        }
    )*};
}
read_level!(recall_request list_request get_request count_request);

/// Checks the bounds of a recall that do not depend on its space.
pub fn check_recall(request: &RecallRequest) -> Result<()> {
    check_space_name(&request.space)?;
    if request.k == 0 || request.k > limits::K_MAX {
        return Err(Error::invalid(format!("k is {}; ask for 1 to {}", request.k, limits::K_MAX)));
    }
    if request.ef > limits::EF_MAX {
        return Err(Error::invalid(format!("ef is {}; at most {}", request.ef, limits::EF_MAX)));
    }
    if request.deadline_ms > limits::DEADLINE_MS_MAX {
        let max = limits::DEADLINE_MS_MAX;
        return Err(Error::invalid(format!("deadline_ms is {}; at most {max}", request.deadline_ms)));
    }
    if request.at_index.is_some() && request.consistency.is_some() {
        return Err(Error::invalid("at_index names the state itself; leave the consistency out"));
    }
    if request.at_index.is_some() && request.own_observations {
        return Err(Error::invalid("at_index is the past; own_observations asks for now"));
    }
    if request.score_min.is_some_and(f32::is_nan) {
        return Err(Error::invalid("score_min is not a number; no score reaches it"));
    }
    request.filter.as_ref().map_or(Ok(()), filter::check)
}

/// Checks the bounds of a list that do not depend on its space.
pub fn check_list(request: &ListRequest) -> Result<()> {
    check_space_name(&request.space)?;
    if request.at_index.is_some() && request.consistency.is_some() {
        return Err(Error::invalid("at_index names the state itself; leave the consistency out"));
    }
    request.filter.as_ref().map_or(Ok(()), filter::check)
}

/// Checks a level's own bound.
pub fn check_level(level: ReadLevel) -> Result<()> {
    match level {
        ReadLevel::Bounded { staleness_ms } if staleness_ms > limits::STALENESS_MS_MAX => {
            let max = limits::STALENESS_MS_MAX;
            Err(Error::invalid(format!("staleness_ms is {staleness_ms}; at most {max}")))
        }
        _ => Ok(()),
    }
}

/// Checks rows that are named: some, not too many, no number beyond what a space can hold, no name that is none.
pub fn check_named(rows: &[u64], ids: &[String]) -> Result<Vec<u32>> {
    let (count, max) = (rows.len() + ids.len(), limits::ROWS_NAMED_MAX);
    if count == 0 || count > max {
        return Err(Error::invalid(format!("{count} rows are named; name 1 to {max}")));
    }
    for id in ids {
        if id.is_empty() {
            return Err(Error::invalid("an id is empty; rows without one are named by number"));
        }
        check_id(id)?;
    }
    let number = |&row: &u64| {
        u32::try_from(row).map_err(|_| Error::invalid(format!("row {row} is beyond what a space can hold")))
    };
    rows.iter().map(number).collect()
}

/// A name: 1 to 128 bytes of letters, digits, `.`, `_`, `-`, `/`, `:`.
pub fn check_space_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid("the space has no name; name one"));
    }
    if name.len() > limits::SPACE_NAME_BYTES_MAX {
        let max = limits::SPACE_NAME_BYTES_MAX;
        return Err(Error::invalid(format!("the space's name has {} bytes; at most {max}", name.len())));
    }
    match name.chars().find(|c| !(c.is_alphanumeric() || "._-/:".contains(*c))) {
        Some(c) => Err(Error::invalid(format!("the space's name has {c:?}; use letters, digits and . _ - / :"))),
        None => Ok(()),
    }
}

/// Checks a space's configuration and fills in its defaults, so that the log holds no choice left open.
pub fn complete_space(mut config: SpaceConfig) -> Result<SpaceConfig> {
    check_space_name(&config.name)?;
    let dim = config.dim as usize;
    if !(limits::DIM_MIN..=limits::DIM_MAX).contains(&dim) {
        let (min, max) = (limits::DIM_MIN, limits::DIM_MAX);
        return Err(Error::invalid(format!("dim is {dim}; a space has {min} to {max} dimensions")));
    }
    let known = |what: &str, number: i32, known: bool| match known {
        true => Ok(()),
        false => Err(Error::invalid(format!("{what} {number} is not known to this version"))),
    };
    known("metric", config.metric, Metric::try_from(config.metric).is_ok())?;
    known("precision", config.precision, Precision::try_from(config.precision).is_ok())?;
    if config.metric() == Metric::Unspecified {
        config.set_metric(Metric::Cosine);
    }
    if config.precision() == Precision::Unspecified {
        config.set_precision(Precision::F16);
    }
    let bounded = |name: &str, value: &mut u32, default: u32, min: u32, max: u32| {
        if *value == 0 {
            *value = default;
        }
        match (min..=max).contains(value) {
            true => Ok(()),
            false => Err(Error::invalid(format!("{name} is {value}; {min} to {max}"))),
        }
    };
    bounded("m", &mut config.m, 16, 4, limits::M_MAX)?;
    // As the index measured it: where rows are found by fine codes, a narrower beam does.
    let ef_construction = if config.metric() == Metric::Cosine && config.dim < 256 { 40 } else { 64 };
    bounded("ef_construction", &mut config.ef_construction, ef_construction, 8, limits::EF_CONSTRUCTION_MAX)?;
    if config.ttl_ms != 0 && config.ttl_ms < limits::TTL_MS_MIN {
        return Err(Error::invalid(format!(
            "ttl_ms is {}; at least {}, or 0 for none",
            config.ttl_ms,
            limits::TTL_MS_MIN
        )));
    }
    if config.history_ms == 0 {
        config.history_ms = limits::HISTORY_MS_DEFAULT;
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_space_gets_its_defaults() {
        let config = SpaceConfig { name: "notes".into(), dim: 384, ..SpaceConfig::default() };
        let full = complete_space(config).expect("valid");
        assert_eq!((full.metric(), full.precision()), (Metric::Cosine, Precision::F16));
        assert_eq!((full.m, full.ef_construction), (16, 64));
    }

    #[test]
    fn bad_spaces_are_refused() {
        let good = SpaceConfig { name: "notes".into(), dim: 384, ..SpaceConfig::default() };
        for bad in [
            SpaceConfig { name: String::new(), ..good.clone() },
            SpaceConfig { name: "a b".into(), ..good.clone() },
            SpaceConfig { dim: 1, ..good.clone() },
            SpaceConfig { dim: 5000, ..good.clone() },
            SpaceConfig { metric: 9, ..good.clone() },
            SpaceConfig { m: 2, ..good.clone() },
            SpaceConfig { ttl_ms: 999, ..good.clone() },
        ] {
            assert!(complete_space(bad.clone()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn recall_bounds_hold() {
        let good = RecallRequest { space: "notes".into(), k: 10, ..RecallRequest::default() };
        assert!(check_recall(&good).is_ok());
        assert!(check_recall(&RecallRequest { k: 0, ..good.clone() }).is_err());
        assert!(check_recall(&RecallRequest { k: 1001, ..good.clone() }).is_err());
        assert!(check_recall(&RecallRequest { deadline_ms: 100_000, ..good }).is_err());
    }
}
