//! What the rows of an index cost in memory, part by part.
//!
//! Place: behind `Index::footprint`, for benches and metrics. Counted from rows and widths, not from what the allocator
//! gave: tables grow by doubling, and what is not written yet is not resident. Leaves out: scratch of walks and builds.

use crate::graph::Graph;

/// Bytes by part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// One bit a coordinate.
    pub bits: u64,
    /// Fine codes.
    pub fine: u64,
    /// Numbers that go with the codes.
    pub weights: u64,
    /// Links of the base.
    pub links: u64,
    /// Links, members and bits of the layers above, and the trees' counts.
    pub upper: u64,
    /// Forgets, of the rows that were forgotten.
    pub forgets: u64,
}

impl Footprint {
    pub(crate) fn of(graph: &Graph) -> Self {
        let rows = u64::from(graph.codes.rows());
        let state = graph.epochs.now();
        let words = graph.codes.encoder.words() as u64;
        let slots = |level: usize| u64::from(state.slots[level]);
        let upper = graph.layers.iter().skip(1).map(|layer| {
            let slot = 4 * layer.degree as u64 + 8 * words + 4 + 1;
            slots(layer.level) * slot
        });
        Self {
            bits: rows * 8 * words,
            fine: rows * graph.codes.encoder.fine_bytes() as u64,
            weights: rows * graph.codes.weight_bytes() as u64,
            links: slots(0) * 4 * graph.layers[0].degree as u64,
            upper: upper.sum::<u64>() + slots(0),
            forgets: u64::from(graph.forgets.count()) * 12,
        }
    }

    /// All parts.
    pub fn total(&self) -> u64 {
        let Self { bits, fine, weights, links, upper, forgets } = self;
        bits + fine + weights + links + upper + forgets
    }
}
