//! `vote_is_kept`: a node votes for one candidate a term, and comes back from any crash in no earlier term than it voted in.

use super::Invariant;
use crate::observe::Record;
use std::collections::BTreeMap;

/// The last vote of each node: term and candidate.
#[derive(Default)]
pub struct VoteIsKept(BTreeMap<u64, (u64, u64)>);

impl Invariant for VoteIsKept {
    fn name(&self) -> &'static str {
        "vote_is_kept"
    }

    fn observe(&mut self, record: &Record) -> Result<(), String> {
        let (Some(node), Some(term)) = (record.node, record.number("term")) else { return Ok(()) };
        let (last, candidate) = self.0.get(&node).copied().unwrap_or_default();
        match &*record.message {
            "vote granted" => {
                let to = record.number("candidate").unwrap_or(0);
                if term < last || (term == last && to != candidate) {
                    return Err(format!("node {node} votes for {to} in term {term} after {candidate} in term {last}"));
                }
                self.0.insert(node, (term, to));
            }
            "node started" if term < last => {
                return Err(format!("node {node} starts in term {term} and had voted for {candidate} in term {last}"));
            }
            _ => {}
        }
        Ok(())
    }

    /// It cannot know, and `wiped_disk_refused` keeps it from being asked again.
    fn wiped(&mut self, node: u64) {
        self.0.remove(&node);
    }
}
