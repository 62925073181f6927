//! `searchable_on_n`: rows acked as searchable on n nodes have been applied by n of them.
//!
//! A node that starts again may have to catch up once more: what it had in an earlier life counts.

use super::Invariant;
use crate::observe::Record;
use std::collections::BTreeMap;

/// The highest index that each node ever applied.
#[derive(Default)]
pub struct SearchableOnN(BTreeMap<u64, u64>);

impl Invariant for SearchableOnN {
    fn name(&self) -> &'static str {
        "searchable_on_n"
    }

    fn observe(&mut self, record: &Record) -> Result<(), String> {
        let (Some(node), Some(index)) = (record.node, record.number("index")) else { return Ok(()) };
        match record.message.as_str() {
            "applied" | "snapshot installed" => {
                let highest = self.0.entry(node).or_default();
                *highest = index.max(*highest);
                Ok(())
            }
            "acked as searchable" => {
                let there = self.0.values().filter(|highest| **highest >= index).count() as u64;
                let nodes = record.number("nodes").unwrap_or(u64::MAX);
                match there >= nodes {
                    true => Ok(()),
                    false => Err(format!("node {node} acked {index} for {nodes} nodes; {there} have applied it")),
                }
            }
            _ => Ok(()),
        }
    }
}
