//! `minority_quarantined`: whoever is quarantined had its memory damaged; nobody else ever is.

use super::{Invariant, MARKED};
use crate::observe::Record;
use std::collections::BTreeSet;

/// Nodes whose memory was damaged, in whatever life: a snapshot may have kept it.
#[derive(Default)]
pub struct MinorityQuarantined(BTreeSet<u64>);

impl Invariant for MinorityQuarantined {
    fn name(&self) -> &'static str {
        "minority_quarantined"
    }

    fn observe(&mut self, record: &Record) -> Result<(), String> {
        let node = record.node.unwrap_or(0);
        match record.message.as_str() {
            "a bit flips" => drop(self.0.insert(node)),
            "quarantined" | "memory is damaged" | MARKED if !self.0.contains(&node) => {
                let why = [record.text("why"), record.text("damage")].concat();
                return Err(format!("node {node} is quarantined, and nothing was done to it: {why}"));
            }
            _ => {}
        }
        Ok(())
    }
}
