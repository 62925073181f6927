//! A door for simulators: what no client can do to a running node.
//!
//! Place: beside the crate's front door, hidden from its guide. Leaves out: any promise; it changes as faults do.

use crate::node::Node;
use std::sync::Arc;

/// A running node's inside.
#[derive(Clone)]
pub struct Probe(pub(crate) Arc<Node>);

impl Probe {
    /// Which node.
    pub fn node(&self) -> u64 {
        self.0.id
    }

    /// The last log index that is durable here.
    pub fn flushed(&self) -> u64 {
        self.0.log.flushed().map_or(0, |id| id.index)
    }

    /// Flips a bit of a graph in memory, in the space and row that `draw` falls on; which. `None` while nothing is built.
    pub fn flip_bit(&self, draw: u64) -> Option<(u64, u32)> {
        let data = self.0.state.read();
        let built: Vec<_> = data.spaces.values().filter(|space| space.index.epoch().rows > 0).collect();
        let space = built.get(draw as usize % built.len().max(1))?;
        let row = ((draw >> 8) % u64::from(space.index.epoch().rows)) as u32;
        if !space.index.flip_bit(row) {
            return None;
        }
        tracing::debug!(node = self.0.id, space = space.id, row, "a bit flips");
        Some((space.id, row))
    }
}
