//! One file a property. Each looks at every event of every node; the first violation ends the run.

mod applied_in_order;
mod committed_immutable;
mod election_safety;
mod minority_quarantined;
mod quarantined_is_silent;
mod same_log_same_graph;
mod searchable_on_n;
mod vote_is_kept;
mod wiped_disk_refused;

use crate::observe::Record;
use std::time::Duration;

/// What the state machine says of its own node's mark.
const MARKED: &str = "marked: it differed from most voters; no reads until it agrees";
const UNMARKED: &str = "unmarked: it agrees with most voters";

/// A property that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The property's name.
    pub invariant: &'static str,
    /// What was seen.
    pub detail: String,
    /// Virtual time.
    pub at: Duration,
}

/// A property of all nodes' events.
pub trait Invariant: Send {
    /// Its one name.
    fn name(&self) -> &'static str;
    /// Looks at an event; says what is wrong.
    fn observe(&mut self, record: &Record) -> Result<(), String>;
    /// A node starts a new life.
    fn restarted(&mut self, _node: u64) {}
    /// A node's disk is empty from now on.
    fn wiped(&mut self, _node: u64) {}
}

/// All of them.
pub struct Invariants {
    all: Vec<Box<dyn Invariant>>,
    violation: Option<Violation>,
}

impl Default for Invariants {
    fn default() -> Self {
        let all: Vec<Box<dyn Invariant>> = vec![
            Box::<election_safety::ElectionSafety>::default(),
            Box::<committed_immutable::CommittedImmutable>::default(),
            Box::<applied_in_order::AppliedInOrder>::default(),
            Box::<minority_quarantined::MinorityQuarantined>::default(),
            Box::<quarantined_is_silent::QuarantinedIsSilent>::default(),
            Box::<same_log_same_graph::SameLogSameGraph>::default(),
            Box::<searchable_on_n::SearchableOnN>::default(),
            Box::<vote_is_kept::VoteIsKept>::default(),
            Box::<wiped_disk_refused::WipedDiskRefused>::default(),
        ];
        Self { all, violation: None }
    }
}

impl Invariants {
    /// Shows an event to all.
    pub fn observe(&mut self, record: &Record) {
        for invariant in &mut self.all {
            if let Err(detail) = invariant.observe(record)
                && self.violation.is_none()
            {
                self.violation = Some(Violation { invariant: invariant.name(), detail, at: record.at });
            }
        }
    }

    /// Tells all that a node starts a new life.
    pub fn restarted(&mut self, node: u64) {
        self.all.iter_mut().for_each(|invariant| invariant.restarted(node));
    }

    /// Tells all that a node's disk is empty from now on.
    pub fn wiped(&mut self, node: u64) {
        self.all.iter_mut().for_each(|invariant| invariant.wiped(node));
    }

    /// The first violation.
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(node: u64, message: &str, fields: &[(&'static str, &str)]) -> Record {
        let fields = fields.iter().map(|(name, value)| (*name, (*value).to_string())).collect();
        Record { at: Duration::ZERO, node: Some(node), message: message.into(), fields }
    }

    fn broken(records: &[Record]) -> Option<&'static str> {
        let mut all = Invariants::default();
        records.iter().for_each(|record| all.observe(record));
        all.violation().map(|violation| violation.invariant)
    }

    #[test]
    fn each_invariant_is_broken_by_what_it_forbids() {
        let applied =
            |node, index, digest| record(node, "applied", &[("index", index), ("term", "1"), ("digest", digest)]);
        let epoch = |node, digest| {
            let place = [("space", "3"), ("epoch", "1"), ("generation", "0"), ("rows", "9"), ("digest", digest)];
            record(node, "epoch published", &place)
        };
        let leads = |node| record(node, "role", &[("role", "Leader"), ("term", "4"), ("leader", "1")]);
        assert_eq!(broken(&[applied(1, "1", "a"), applied(2, "1", "a"), applied(1, "2", "b")]), None);
        assert_eq!(broken(&[applied(1, "1", "a"), applied(2, "1", "b")]), Some("committed_immutable"));
        assert_eq!(broken(&[applied(1, "1", "a"), applied(1, "3", "c")]), Some("applied_in_order"));
        assert_eq!(broken(&[epoch(1, "a"), epoch(2, "a")]), None);
        assert_eq!(broken(&[epoch(1, "a"), epoch(2, "b")]), Some("same_log_same_graph"));
        let acked = |index| record(1, "acked as searchable", &[("index", index), ("nodes", "2")]);
        assert_eq!(broken(&[applied(1, "1", "a"), applied(2, "1", "a"), acked("1")]), None);
        assert_eq!(broken(&[applied(1, "1", "a"), acked("1")]), Some("searchable_on_n"));
        let flip = record(2, "a bit flips", &[]);
        let (damaged, quarantined) = (record(2, "memory is damaged", &[]), record(2, "quarantined", &[]));
        assert_eq!(broken(&[flip.clone(), damaged.clone(), quarantined.clone()]), None);
        assert_eq!(broken(std::slice::from_ref(&damaged)), Some("minority_quarantined"));
        assert_eq!(broken(&[quarantined]), Some("minority_quarantined"));
        let rebuilt = record(2, "the state was rebuilt from another node's", &[]);
        assert_eq!(broken(&[flip.clone(), epoch(1, "a"), epoch(2, "b")]), None);
        assert_eq!(broken(&[flip.clone(), rebuilt, epoch(1, "a"), epoch(2, "b")]), Some("same_log_same_graph"));
        let (read, installed) =
            (record(2, "state read", &[("applied_index", "1")]), record(2, "snapshot installed", &[("index", "1")]));
        assert_eq!(broken(&[flip.clone(), damaged.clone(), read.clone()]), Some("quarantined_is_silent"));
        assert_eq!(broken(&[flip.clone(), damaged.clone(), installed.clone(), read.clone()]), None);
        let (marked, unmarked) = (record(2, MARKED, &[]), record(2, UNMARKED, &[]));
        assert_eq!(broken(std::slice::from_ref(&marked)), Some("minority_quarantined"));
        let silent = [flip.clone(), installed, marked.clone(), read.clone()];
        assert_eq!(broken(&silent), Some("quarantined_is_silent"));
        assert_eq!(broken(&[flip.clone(), marked, unmarked, read]), None);
        assert_eq!(broken(&[leads(1), leads(1)]), None);
        assert_eq!(broken(&[leads(1), leads(2)]), Some("election_safety"));
    }
}
