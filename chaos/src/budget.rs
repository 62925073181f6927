//! Which faults may overlap: a quorum must always be able to go on.
//!
//! Invariant `quorum_can_recover`: at every moment a majority of the nodes is up and pairwise connected, both ways.
//! A node outside that majority (crashed, paused, cut off, with a disk that gives no service) is one loss; so at
//! most ⌊(n − 1)/2⌋ losses overlap. A loss on one side of a partition and a crash on the other add up.
//!
//! A blackout (power loss of all nodes) is exempt: nobody can form a quorum during it, nothing synced is lost by it,
//! and afterwards all are back. The rest of the plan must be within the budget without it.
//!
//! Invariant `minority_lost_for_good`: over a whole plan, disks are lost for good at fewer nodes than half, however soon each is
//! replaced. Each is a loss until it should be replaced, so every quorum that may form has an intact copy of what was committed.

use std::collections::BTreeSet;
use std::fmt;

use crate::kind::Kind;
use crate::plan::{Fault, Plan};

/// A moment at which too much is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverBudget {
    /// When.
    pub at_ms: u64,
    /// How many nodes are lost.
    pub lost: u64,
    /// Whether their disks are lost for good, by then or at other times.
    pub for_good: bool,
    /// How many may be.
    pub allowed: u64,
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OverBudget { at_ms, lost, allowed, .. } = self;
        let how = if self.for_good { "for good" } else { "at once" };
        write!(f, "at {at_ms} ms {lost} nodes are lost {how} and {allowed} may be: a stuck run would prove nothing")
    }
}

/// How many nodes of `nodes` may be lost at a time.
pub fn allowed(nodes: u64) -> u64 {
    nodes.saturating_sub(1) / 2
}

/// Checks a whole plan.
pub fn check(plan: &Plan) -> Result<(), OverBudget> {
    let all: Vec<&Fault> = plan.faults.iter().collect();
    check_for_good(plan.nodes, &all)?;
    check_faults(plan.nodes, &all)
}

/// Checks the moments of `plan` within the window of `fault`, were it added.
pub fn check_with(plan: &Plan, fault: &Fault) -> Result<(), OverBudget> {
    let overlaps = |other: &&Fault| other.at_ms < fault.until_ms && fault.at_ms < other.until_ms;
    let near: Vec<&Fault> = plan.faults.iter().filter(overlaps).chain([fault]).collect();
    check_faults(plan.nodes, &near)?;
    match fault.kind.lost_for_good() {
        Some(_) => check_for_good(plan.nodes, &plan.faults.iter().chain([fault]).collect::<Vec<_>>()),
        None => Ok(()),
    }
}

fn check_for_good(nodes: u64, faults: &[&Fault]) -> Result<(), OverBudget> {
    let (allowed, mut lost) = (allowed(nodes), BTreeSet::new());
    for fault in faults {
        lost.extend(fault.kind.lost_for_good());
        if lost.len() as u64 > allowed {
            return Err(OverBudget { at_ms: fault.at_ms, lost: lost.len() as u64, for_good: true, allowed });
        }
    }
    Ok(())
}

fn check_faults(nodes: u64, faults: &[&Fault]) -> Result<(), OverBudget> {
    let allowed = allowed(nodes);
    // Losses only grow when a fault starts.
    for at_ms in faults.iter().map(|fault| fault.at_ms) {
        let active = faults.iter().filter(|fault| fault.at_ms <= at_ms && at_ms < fault.until_ms);
        let lost = lost(nodes, active.map(|fault| &fault.kind));
        if lost > allowed {
            return Err(OverBudget { at_ms, lost, for_good: false, allowed });
        }
    }
    Ok(())
}

/// How many nodes are outside the largest set that is up and pairwise connected.
pub fn lost<'k>(nodes: u64, active: impl Iterator<Item = &'k Kind>) -> u64 {
    let bit = |node: u64| 1_u32 << (node - 1);
    let (mut up, mut apart) = ((1_u32 << nodes) - 1, vec![0_u32; nodes as usize]);
    for kind in active {
        if matches!(kind, Kind::PowerLoss { nodes: off } if off.len() as u64 == nodes) {
            continue;
        }
        kind.down().into_iter().for_each(|node| up &= !bit(node));
        for (from, to) in kind.cuts() {
            apart[from as usize - 1] |= bit(to);
            apart[to as usize - 1] |= bit(from);
        }
    }
    let connected = |set: &u32| (1..=nodes).all(|node| set & bit(node) == 0 || set & apart[node as usize - 1] == 0);
    let sets = (0..1_u32 << nodes).filter(|set| set & !up == 0).filter(connected);
    nodes - sets.map(|set| u64::from(set.count_ones())).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost_of(nodes: u64, kinds: &[Kind]) -> u64 {
        lost(nodes, kinds.iter())
    }

    #[test]
    fn a_crash_and_a_cut_off_node_are_two_losses() {
        let crash = Kind::Crash { node: 1 };
        let cut = Kind::Partition { a: vec![2], b: vec![1, 3] };
        assert_eq!(lost_of(3, std::slice::from_ref(&crash)), 1);
        assert_eq!(lost_of(3, &[crash, cut]), 2);
    }

    #[test]
    fn the_smaller_side_of_a_partition_is_lost_and_a_crash_in_it_costs_nothing_more() {
        let split = Kind::Partition { a: vec![1, 2], b: vec![3, 4, 5] };
        assert_eq!(lost_of(5, std::slice::from_ref(&split)), 2);
        assert_eq!(lost_of(5, &[split.clone(), Kind::Crash { node: 1 }]), 2);
        assert_eq!(lost_of(5, &[split, Kind::Crash { node: 4 }]), 3);
    }

    #[test]
    fn a_bridge_costs_one_of_the_two_that_it_connects() {
        assert_eq!(lost_of(3, &[Kind::Partition { a: vec![1], b: vec![2] }]), 1);
        assert_eq!(lost_of(3, &[Kind::OneWay { from: vec![1], to: vec![2] }]), 1);
        let ring = [(1, 3), (2, 4), (3, 5), (4, 1), (5, 2)].map(|(a, b)| Kind::Partition { a: vec![a], b: vec![b] });
        assert_eq!(lost_of(5, &ring), 3, "in a ring of five only two are connected with each other");
    }

    #[test]
    fn a_second_node_of_three_is_not_lost_for_good_however_late() {
        let wipe =
            |at_ms, node, replacement| Fault { at_ms, until_ms: at_ms + 100, kind: Kind::Wipe { node, replacement } };
        let text = r#"{"version":1,"seed":7,"profile":"p","duration_ms":1000,"nodes":3,"faults":[]}"#;
        let mut plan = Plan::from_json(text).expect("a plan");
        plan.faults.push(wipe(0, 1, 4));
        assert_eq!(check_with(&plan, &wipe(500, 1, 5)), Ok(()), "its replacement");
        let over = check_with(&plan, &wipe(500, 2, 5)).expect_err("another");
        assert_eq!((over.lost, over.for_good, over.allowed), (2, true, 1));
    }

    #[test]
    fn slow_links_and_wrong_clocks_lose_nobody_and_a_blackout_is_exempt() {
        let kinds = [
            Kind::Delay { nodes: vec![1, 2, 3], min_ms: 0, max_ms: 100 },
            Kind::ClockSkew { node: 1, offset_ms: 500 },
            Kind::PowerLoss { nodes: vec![1, 2, 3] },
        ];
        assert_eq!(lost_of(3, &kinds), 0);
        assert_eq!(lost_of(3, &[Kind::PowerLoss { nodes: vec![1, 2] }]), 2);
    }
}
