//! `same_log_same_graph`: an epoch of a space has one digest, on every node and in every life; but on one whose memory was
//! damaged, until it is rebuilt.

use super::Invariant;
use crate::observe::Record;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub struct SameLogSameGraph {
    /// (rows, digest, node) by (space, epoch).
    epochs: BTreeMap<(u64, u64), (u64, String, u64)>,
    damaged: BTreeSet<u64>,
}

impl Invariant for SameLogSameGraph {
    fn name(&self) -> &'static str {
        "same_log_same_graph"
    }

    fn observe(&mut self, record: &Record) -> Result<(), String> {
        let node = record.node.unwrap_or(0);
        match record.message.as_str() {
            "a bit flips" => drop(self.damaged.insert(node)),
            "the state was rebuilt from another node's" => drop(self.damaged.remove(&node)),
            "epoch published" if !self.damaged.contains(&node) => return self.published(node, record),
            _ => {}
        }
        Ok(())
    }
}

impl SameLogSameGraph {
    fn published(&mut self, node: u64, record: &Record) -> Result<(), String> {
        let number = |field| record.number(field).ok_or(format!("an epoch event without {field}"));
        let (space, epoch, rows) = (number("space")?, number("epoch")?, number("rows")?);
        let digest = record.text("digest").to_string();
        let first = self.epochs.entry((space, epoch)).or_insert_with(|| (rows, digest.clone(), node));
        if (first.0, &first.1) == (rows, &digest) {
            return Ok(());
        }
        let (other_rows, other_digest, other) = first;
        Err(format!(
            "epoch {epoch} of space {space}: node {other} has {other_rows} rows, digest {other_digest}; \
             node {node} {rows} rows, digest {digest}"
        ))
    }
}
