//! `applied_in_order`: within one life a node applies one index after the other; only a snapshot skips.

use super::Invariant;
use crate::observe::Record;
use std::collections::BTreeMap;

/// The last index of each living node.
#[derive(Default)]
pub struct AppliedInOrder(BTreeMap<u64, u64>);

impl Invariant for AppliedInOrder {
    fn name(&self) -> &'static str {
        "applied_in_order"
    }

    fn observe(&mut self, record: &Record) -> Result<(), String> {
        let (Some(node), Some(index)) = (record.node, record.number("index")) else { return Ok(()) };
        match record.message.as_str() {
            "snapshot installed" => {
                self.0.insert(node, index);
                Ok(())
            }
            "applied" => match self.0.insert(node, index) {
                Some(last) if index != last + 1 => Err(format!("node {node} applied {index} after {last}")),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn restarted(&mut self, node: u64) {
        self.0.remove(&node);
    }
}
