//! One plan in two worlds: what was committed must be the same, as far as it can be.
//!
//! Clients write until a simulated time, and each world's network has a pace of its own: one world gets further than
//! the other. Leaders, terms and log indexes differ too. So this is compared, and nothing else:
//!
//! - no run breaks a promise;
//! - where no outcome was unknown in either world: for every session, the observations up to the last sequence that
//!   both worlds have committed. In this prefix every sequence is committed in both, with the same payload. A session
//!   that only one world knows has the empty prefix.
//!
//! The digest over these observations, sorted, is printed, so that a result can be compared with another machine's.
//! Digests of the state at a log index are compared only up to the first index at which they differ, and that index is
//! told, never judged: behind it the logs have another order, and no digest there says anything.
//!
//! Invariant: a pair in which nothing was compared is not called equal.
//!
//! Leaves out: order among sessions, time, recalls.

use std::collections::BTreeMap;

use crate::summary::{Committed, Summary};

/// What the comparison of two runs says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The same was committed.
    Equal(Compared),
    /// The first difference, by session and sequence.
    Differs(String),
    /// Nothing can be said, and why.
    Incomparable(String),
}

/// How much was compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// How many observations.
    pub observations: u64,
    /// How many more the first and the second world have behind them.
    pub beyond: (u64, u64),
    /// Hash of the sorted observations (FNV-1a over their lines), 16 hex digits.
    pub digest: String,
    /// The highest log index up to which every digest that both tell of is equal.
    pub logs_equal_to: Option<u64>,
}

type Rows<'s> = BTreeMap<&'s str, BTreeMap<u64, &'s str>>;

/// Compares the two worlds' runs of one plan.
pub fn compare(one: &Summary, two: &Summary) -> Verdict {
    if one.unknown || two.unknown {
        return Verdict::Incomparable("an outcome is unknown".into());
    }
    let (rows_one, rows_two) = (by_session(one), by_session(two));
    let (mut lines, mut hash) = (0, 0xcbf2_9ce4_8422_2325_u64);
    for (session, first) in &rows_one {
        let Some(second) = rows_two.get(session) else { continue };
        let last = |rows: &BTreeMap<u64, &str>| rows.last_key_value().map_or(0, |(sequence, _)| *sequence);
        for sequence in 1..=last(first).min(last(second)) {
            let (Some(payload), Some(other)) = (first.get(&sequence), second.get(&sequence)) else {
                return Verdict::Differs(missing(session, sequence, first, second));
            };
            if payload != other {
                return Verdict::Differs(format!("{session}/{sequence} holds {payload} in one, {other} in the other"));
            }
            lines += 1;
            let line = format!("{session}/{sequence} {payload}\n");
            hash = line.bytes().fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        }
    }
    if lines == 0 {
        return Verdict::Incomparable("no session committed anything in both".into());
    }
    let beyond = |summary: &Summary| summary.observations.len() as u64 - lines;
    let logs_equal_to = logs_equal_to(one, two);
    let beyond = (beyond(one), beyond(two));
    Verdict::Equal(Compared { observations: lines, beyond, digest: format!("{hash:016x}"), logs_equal_to })
}

fn by_session(summary: &Summary) -> Rows<'_> {
    let mut rows = Rows::new();
    for Committed { session, sequence, payload } in &summary.observations {
        rows.entry(session).or_default().insert(*sequence, payload);
    }
    rows
}

fn missing(session: &str, sequence: u64, first: &BTreeMap<u64, &str>, second: &BTreeMap<u64, &str>) -> String {
    let which = match (first.contains_key(&sequence), second.contains_key(&sequence)) {
        (true, false) => "not in the second world",
        (false, true) => "not in the first world",
        _ => "in neither world",
    };
    format!("{session}/{sequence} is {which}, and a later sequence is committed in both")
}

fn logs_equal_to(one: &Summary, two: &Summary) -> Option<u64> {
    let both = one.digests.iter().filter_map(|(index, digest)| Some((index, digest, two.digests.get(index)?)));
    both.take_while(|(_, digest, other)| digest == other).last().map(|(index, _, _)| *index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(lines: &[&str], digests: &[(u64, &str)]) -> Summary {
        let lines = lines.iter().map(|line| line.parse().expect("well formed")).collect();
        Summary::new(false, lines, digests.iter().map(|(index, digest)| (*index, digest.to_string())).collect())
    }

    #[test]
    fn equal_prefixes_are_equal_however_far_each_world_got() {
        let one = summary(&["a/1 x", "a/2 y", "a/3 z", "b/1 u"], &[(1, "p"), (2, "q"), (4, "r")]);
        let two = summary(&["a/1 x", "a/2 y", "b/1 u", "b/2 v", "c/1 w"], &[(1, "p"), (2, "q"), (3, "s"), (4, "t")]);
        let Verdict::Equal(compared) = compare(&one, &two) else { panic!("equal") };
        assert_eq!((compared.observations, compared.beyond, compared.logs_equal_to), (3, (1, 2), Some(2)));
        let Verdict::Equal(turned) = compare(&two, &one) else { panic!("equal") };
        assert_eq!((turned.digest, turned.beyond), (compared.digest, (2, 1)));
    }

    #[test]
    fn another_payload_and_a_gap_in_either_world_differ() {
        let whole = summary(&["a/1 x", "a/2 y", "a/3 z"], &[]);
        let differs = |lines: &[&str]| match compare(&whole, &summary(lines, &[])) {
            Verdict::Differs(why) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(differs(&["a/1 x", "a/2 q"]), "a/2 holds y in one, q in the other");
        assert!(differs(&["a/1 x", "a/3 z"]).starts_with("a/2 is not in the second world"));
        let gap = summary(&["a/2 y"], &[]);
        let Verdict::Differs(why) = compare(&gap, &gap) else { panic!("both lost a row") };
        assert!(why.starts_with("a/1 is in neither world"), "{why}");
    }

    #[test]
    fn unknown_outcomes_and_empty_prefixes_prove_nothing() {
        let one = summary(&["a/1 x"], &[]);
        let doubt = Summary { unknown: true, ..one.clone() };
        assert_eq!(compare(&one, &doubt), Verdict::Incomparable("an outcome is unknown".into()));
        let other = summary(&["b/1 x"], &[]);
        assert!(matches!(compare(&one, &other), Verdict::Incomparable(_)));
    }
}
