//! Whether the members have the same state and the same graphs: rounds of digests, through the log.
//!
//! A round is an entry. Each member says what it has as of that entry, in a vote that is an entry too; so every node
//! counts the same votes in the same order. Whoever differs from a strict majority of the voters is quarantined, and so
//! is whoever says that its own memory is damaged; a later vote with the majority ends it.
//! Invariants: `same_log_same_state`; `minority_quarantined`: a majority of the voters is never quarantined for
//! differing.
//!
//! Leaves out: what is voted on and what a quarantined node does (`crate::integrity`).

use super::spaces::Space;
use crate::raft::types::StoredMembership;
use engram_mutants::mutant;
use engram_proto::wire::log::{DigestVote, SnapshotIntegrity, SnapshotQuarantine};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The rounds so far.
#[derive(Clone, Default)]
pub struct Integrity {
    /// The log index of the open round; 0 before the first.
    pub round: u64,
    /// When it was opened, by log time.
    pub opened_ms: u64,
    /// Its votes, by member.
    pub votes: BTreeMap<u64, DigestVote>,
    /// Members that answer no reads, with the last round that said so.
    pub quarantined: BTreeMap<u64, u64>,
    /// The last round on which a majority of the voters agreed.
    pub agreed: u64,
}

/// What this node had when it applied a round's entry: what its vote is about. Not replicated.
#[derive(Clone)]
pub struct Round {
    /// The log index of its entry.
    pub log_index: u64,
    /// The state's digest after it.
    pub state: u64,
    /// The spaces, and their rows.
    pub spaces: Arc<[(Arc<Space>, u32)]>,
}

impl Integrity {
    /// Opens a round, and with it closes the one before.
    pub fn open(&mut self, round: u64, stamp_ms: u64) {
        (self.round, self.opened_ms) = (round, stamp_ms);
        self.votes.clear();
    }

    /// Counts a vote; false: it came too late, or of no member.
    pub fn vote(&mut self, vote: DigestVote, membership: &StoredMembership) -> bool {
        let members: BTreeSet<u64> = membership.nodes().map(|(id, _)| *id).collect();
        if vote.round != self.round || !members.contains(&vote.node) {
            return false;
        }
        self.votes.insert(vote.node, vote);
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let majority = self.majority(&voters);
        for (node, vote) in &self.votes {
            let sound = vote.damage.is_empty();
            match majority {
                Some(majority) if sound && (found(vote) == majority) != mutant!("majority_quarantined") => {
                    self.quarantined.remove(node);
                }
                None if sound => {}
                _ => {
                    self.quarantined.insert(*node, self.round);
                }
            }
        }
        if majority.is_some() {
            self.agreed = self.round;
        }
        self.quarantined.retain(|node, _| members.contains(node));
        true
    }

    /// What more than half of the voters found.
    fn majority(&self, voters: &BTreeSet<u64>) -> Option<(u64, u64)> {
        let mut counts: BTreeMap<(u64, u64), usize> = BTreeMap::new();
        for vote in self.votes.values().filter(|vote| vote.damage.is_empty() && voters.contains(&vote.node)) {
            *counts.entry(found(vote)).or_default() += 1;
        }
        counts.into_iter().find(|(_, count)| *count > voters.len() / 2).map(|(found, _)| found)
    }

    /// Members that voted with the majority of the open round, if there is one: their state can be trusted.
    pub fn majority_members(&self, membership: &StoredMembership) -> Vec<u64> {
        let voters = membership.voter_ids().collect();
        let Some(majority) = self.majority(&voters) else { return Vec::new() };
        let agrees = |vote: &&DigestVote| vote.damage.is_empty() && found(vote) == majority;
        self.votes.values().filter(agrees).map(|vote| vote.node).collect()
    }

    /// Whether every member has voted.
    pub fn complete(&self, membership: &StoredMembership) -> bool {
        membership.nodes().all(|(id, _)| self.votes.contains_key(id))
    }

    /// As a snapshot holds it.
    pub fn to_wire(&self) -> SnapshotIntegrity {
        let quarantined =
            self.quarantined.iter().map(|(node, round)| SnapshotQuarantine { node: *node, round: *round });
        SnapshotIntegrity {
            round: self.round,
            opened_ms: self.opened_ms,
            votes: self.votes.values().cloned().collect(),
            quarantined: quarantined.collect(),
            agreed: self.agreed,
        }
    }

    /// As a snapshot had it.
    pub fn from_wire(wire: SnapshotIntegrity) -> Self {
        Self {
            round: wire.round,
            opened_ms: wire.opened_ms,
            votes: wire.votes.into_iter().map(|vote| (vote.node, vote)).collect(),
            quarantined: wire.quarantined.into_iter().map(|one| (one.node, one.round)).collect(),
            agreed: wire.agreed,
        }
    }
}

fn found(vote: &DigestVote) -> (u64, u64) {
    (vote.state, vote.graphs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::{Member, Membership};

    fn members(voters: &[u64], learners: &[u64]) -> StoredMembership {
        let nodes = voters.iter().chain(learners).map(|id| (*id, Member::default())).collect::<BTreeMap<_, _>>();
        let membership = Membership::new(vec![voters.iter().copied().collect()], nodes).expect("voters are members");
        StoredMembership::new(None, membership)
    }

    fn vote(node: u64, graphs: u64) -> DigestVote {
        DigestVote { round: 5, node, state: 1, graphs, damage: String::new() }
    }

    /// Who is quarantined after these votes.
    fn after(membership: &StoredMembership, votes: &[DigestVote]) -> Vec<u64> {
        let mut integrity = Integrity::default();
        integrity.open(5, 0);
        votes.iter().for_each(|vote| assert!(integrity.vote(vote.clone(), membership)));
        integrity.quarantined.into_keys().collect()
    }

    #[test]
    fn whoever_differs_from_a_strict_majority_is_quarantined_in_whatever_order_votes_come() {
        let three = members(&[1, 2, 3], &[4]);
        let votes = [vote(1, 7), vote(2, 8), vote(3, 7), vote(4, 9)];
        assert_eq!(after(&three, &votes), [2, 4]);
        let reversed: Vec<DigestVote> = votes.iter().rev().cloned().collect();
        assert_eq!(after(&three, &reversed), [2, 4]);
        assert_eq!(after(&three, &[vote(4, 9), vote(1, 7), vote(2, 8)]), [0; 0], "nobody has a majority");
        assert_eq!(after(&members(&[1, 2], &[]), &[vote(1, 7), vote(2, 8)]), [0; 0], "one against one");
        assert_eq!(after(&members(&[1, 2, 3, 4], &[]), &[vote(1, 7), vote(2, 7), vote(3, 8)]), [0; 0], "half");
    }

    #[test]
    fn a_member_that_says_it_is_damaged_is_quarantined_and_returns_with_the_next_agreement() {
        let three = members(&[1, 2, 3], &[]);
        let mut integrity = Integrity::default();
        integrity.open(5, 0);
        let damaged = DigestVote { damage: "row 3".into(), ..vote(2, 7) };
        assert!(integrity.vote(damaged, &three));
        assert_eq!(integrity.quarantined, [(2, 5)].into());
        assert!(integrity.vote(vote(1, 7), &three) && integrity.vote(vote(3, 7), &three));
        assert_eq!((integrity.agreed, integrity.majority_members(&three)), (5, vec![1, 3]));
        assert!(!integrity.vote(vote(9, 7), &three), "no member");
        integrity.open(8, 1);
        assert!(!integrity.vote(vote(2, 7), &three), "of the round before");
        let on_8 = |node| DigestVote { round: 8, ..vote(node, 6) };
        assert!(integrity.vote(on_8(2), &three) && integrity.quarantined.contains_key(&2));
        assert!(integrity.vote(on_8(3), &three) && integrity.quarantined.is_empty());
        let again = Integrity::from_wire(integrity.to_wire());
        assert_eq!((again.round, again.votes, again.agreed), (8, integrity.votes, 8));
    }
}
