//! `same_log_same_graph`: an epoch of a space is of one generation and has one digest, on every node and in every life; but
//! on one whose memory was damaged, until it is rebuilt.

use super::Invariant;
use crate::observe::Record;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub struct SameLogSameGraph {
    /// By (space, epoch): generation, rows, digest, and the node that had them first.
    epochs: BTreeMap<(u64, u64), (u64, u64, String, u64)>,
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
        let (space, epoch, generation, rows) =
            (number("space")?, number("epoch")?, number("generation")?, number("rows")?);
        let digest = record.text("digest").to_string();
        let first = self.epochs.entry((space, epoch)).or_insert_with(|| (generation, rows, digest.clone(), node));
        if (first.0, first.1, &first.2) == (generation, rows, &digest) {
            return Ok(());
        }
        let (other_generation, other_rows, other_digest, other) = first;
        Err(format!(
            "epoch {epoch} of space {space}: node {other} has generation {other_generation}, {other_rows} rows, digest \
             {other_digest}; node {node} generation {generation}, {rows} rows, digest {digest}"
        ))
    }
}
