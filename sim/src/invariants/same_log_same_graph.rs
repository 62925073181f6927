//! `same_log_same_graph`: an epoch of a space has one digest, on every node and in every life.

use super::Invariant;
use crate::observe::Record;
use std::collections::BTreeMap;

/// (rows, digest, node) by (space, epoch).
#[derive(Default)]
pub struct SameLogSameGraph(BTreeMap<(u64, u64), (u64, String, u64)>);

impl Invariant for SameLogSameGraph {
    fn name(&self) -> &'static str {
        "same_log_same_graph"
    }

    fn observe(&mut self, record: &Record) -> Result<(), String> {
        if record.message != "epoch published" {
            return Ok(());
        }
        let number = |field| record.number(field).ok_or(format!("an epoch event without {field}"));
        let (space, epoch, rows) = (number("space")?, number("epoch")?, number("rows")?);
        let node = record.node.unwrap_or(0);
        let digest = record.text("digest").to_string();
        let first = self.0.entry((space, epoch)).or_insert_with(|| (rows, digest.clone(), node));
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
