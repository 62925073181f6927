//! `quarantined_is_silent`: from the moment a node says that it is quarantined until it has another state,
//! nobody reads it.

use super::{Invariant, MARKED, UNMARKED};
use crate::observe::Record;
use std::collections::BTreeSet;

/// Nodes that are quarantined.
#[derive(Default)]
pub struct QuarantinedIsSilent {
    /// By their own proof, until they have another state.
    damaged: BTreeSet<u64>,
    /// By the others' digests, until a vote that agrees. A state from elsewhere says anew whether the mark stands.
    marked: BTreeSet<u64>,
}

impl Invariant for QuarantinedIsSilent {
    fn name(&self) -> &'static str {
        "quarantined_is_silent"
    }

    fn observe(&mut self, record: &Record) -> Result<(), String> {
        let Some(node) = record.node else { return Ok(()) };
        match &*record.message {
            "memory is damaged" => drop(self.damaged.insert(node)),
            MARKED => drop(self.marked.insert(node)),
            UNMARKED => drop(self.marked.remove(&node)),
            "snapshot installed" => self.restarted(node),
            "state read" if self.damaged.contains(&node) || self.marked.contains(&node) => {
                return Err(format!("node {node} answers at {} while it is quarantined", record.text("applied_index")));
            }
            _ => {}
        }
        Ok(())
    }

    fn restarted(&mut self, node: u64) {
        self.damaged.remove(&node);
        self.marked.remove(&node);
    }
}
