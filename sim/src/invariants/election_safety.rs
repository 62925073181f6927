//! `election_safety`: at most one node leads in a term (Raft paper, figure 3).

use super::Invariant;
use crate::observe::Record;
use std::collections::BTreeMap;

/// Leaders by term.
#[derive(Default)]
pub struct ElectionSafety(BTreeMap<u64, u64>);

impl Invariant for ElectionSafety {
    fn name(&self) -> &'static str {
        "election_safety"
    }

    fn observe(&mut self, record: &Record) -> Result<(), String> {
        if record.message != "role" || record.text("role") != "Leader" {
            return Ok(());
        }
        let (Some(node), Some(term)) = (record.node, record.number("term")) else {
            return Err("a role event without node or term".into());
        };
        match *self.0.entry(term).or_insert(node) {
            leader if leader == node => Ok(()),
            leader => Err(format!("nodes {leader} and {node} both lead in term {term}")),
        }
    }
}
