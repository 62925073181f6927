//! `quarantined_is_silent`: from the moment a node says that it is quarantined until it has another state,
//! nobody reads it.

use super::Invariant;
use crate::observe::Record;
use std::collections::BTreeSet;

/// Nodes that are quarantined.
#[derive(Default)]
pub struct QuarantinedIsSilent(BTreeSet<u64>);

impl Invariant for QuarantinedIsSilent {
    fn name(&self) -> &'static str {
        "quarantined_is_silent"
    }

    fn observe(&mut self, record: &Record) -> Result<(), String> {
        let Some(node) = record.node else { return Ok(()) };
        match &*record.message {
            // Either by its own proof, or by the others' digests.
            "memory is damaged" | "quarantined" => {
                self.0.insert(node);
            }
            // A leader's snapshot is another state as well. One that is outvoted in it too is seen again only when it says so.
            "the state was rebuilt from another node's" | "snapshot installed" => {
                self.0.remove(&node);
            }
            "state read" if self.0.contains(&node) => {
                return Err(format!("node {node} answers at {} while it is quarantined", record.text("applied_index")));
            }
            _ => {}
        }
        Ok(())
    }

    fn restarted(&mut self, node: u64) {
        self.0.remove(&node);
    }
}
