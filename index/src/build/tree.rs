//! Step 3 of a batch: every row is hung on its layer's spanning tree.
//!
//! Place: between `choose` and `merge`. Pruning alone leaves rows that no link leads to, above all among equals. So
//! each slot but 0 gets a parent of smaller number: the nearest of its candidates that has few children, else the slot
//! before it. Their links, there and back, are marked and never pruned.
//!
//! Invariants: `tree_spans`; a slot has at most `children_max` children, a quarter of its list. The step is
//! sequential, in the order of slots: some tens of nanoseconds a row.
//! Leaves out: balance; the tree is a guarantee, the other links are the way.

use super::choose::Chosen;
use crate::layer::Layer;

/// Most children of a slot.
pub(crate) fn children_max(degree: usize) -> u8 {
    (degree / 4) as u8
}

/// Puts the parent first in each row's list of parents and drops the others. `first` is the batch's first slot.
pub(super) fn hang(layer: &Layer, first: u32, chosen: &mut [Chosen], children: &mut Vec<u8>) {
    let most = children_max(layer.degree);
    let mut by_slot: Vec<usize> = vec![0; chosen.len()];
    chosen.iter().enumerate().for_each(|(at, row)| by_slot[(row.slot - first) as usize] = at);
    children.resize(first as usize + chosen.len(), 0);
    for at in by_slot {
        let row = &mut chosen[at];
        let near = row.parents.iter().copied().find(|&parent| children[parent as usize] < most);
        // The slot before has no children yet: they come after it, and of those this is the first.
        let parent = near.or(row.slot.checked_sub(1));
        row.parents.clear();
        if let Some(parent) = parent {
            children[parent as usize] += 1;
            row.parents.push(parent);
        }
    }
}
