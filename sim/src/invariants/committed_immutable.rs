//! `committed_immutable` and `same_log_same_state`: every node applies the same entry at an index, with the same
//! outcome on the same state. The digest is chained, so one equal digest vouches for the whole past.

use super::Invariant;
use crate::observe::Record;
use std::collections::BTreeMap;

/// (term, digest, node) by index.
#[derive(Default)]
pub struct CommittedImmutable(BTreeMap<u64, (u64, String, u64)>);

impl Invariant for CommittedImmutable {
    fn name(&self) -> &'static str {
        "committed_immutable"
    }

    fn observe(&mut self, record: &Record) -> Result<(), String> {
        if record.message != "applied" {
            return Ok(());
        }
        let (Some(node), Some(index), Some(term)) = (record.node, record.number("index"), record.number("term")) else {
            return Err("an applied event without node, index or term".into());
        };
        let digest = record.text("digest").to_string();
        let first = self.0.entry(index).or_insert_with(|| (term, digest.clone(), node));
        if (first.0, &first.1) == (term, &digest) {
            return Ok(());
        }
        let (other_term, other_digest, other) = first;
        Err(format!(
            "at log index {index} node {other} applied term {other_term} digest {other_digest}, \
             node {node} term {term} digest {digest}"
        ))
    }
}
