//! `wiped_disk_refused`: a node whose disk was emptied takes part in nothing under its old id. It has promised things, and
//! acked things, that it knows nothing of.

use super::Invariant;
use crate::observe::Record;
use std::collections::BTreeSet;

/// Nodes whose disk was emptied.
#[derive(Default)]
pub struct WipedDiskRefused(BTreeSet<u64>);

impl Invariant for WipedDiskRefused {
    fn name(&self) -> &'static str {
        "wiped_disk_refused"
    }

    fn observe(&mut self, record: &Record) -> Result<(), String> {
        let Some(node) = record.node.filter(|node| self.0.contains(node)) else { return Ok(()) };
        let took_part = match record.message.as_str() {
            "vote granted" | "applied" | "snapshot installed" | "acked as searchable" => true,
            "role" => matches!(record.text("role"), "Candidate" | "Leader"),
            _ => false,
        };
        match took_part {
            true => Err(format!("node {node} lost its disk, and takes part all the same: {}", record.message)),
            false => Ok(()),
        }
    }

    fn wiped(&mut self, node: u64) {
        self.0.insert(node);
    }
}
