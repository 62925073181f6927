//! The batched build: from a range of rows to the next epoch.
//!
//! Place: between `Index::build` and the graph. A batch is built against the graph as it was before it, the *frozen*
//! graph, in steps of pure jobs: (1) `order`: descend, and sort the rows by the path taken, so that neighbours are
//! worked on together; then, layer by layer, (2) `choose`: walk the frozen layer and prune, with near rows of the batch
//! as further candidates; (3) `tree`: hang every row on the spanning tree; (4) `merge`: write the rows' links, and the
//! links back from their targets, each target by one job in a fixed order; at last the epoch is published.
//!
//! Invariants: `same_log_same_graph`, the result depends on options, rows and batch alone; `job_is_pure`;
//! `tree_spans`, in each layer every slot but 0 has a parent of smaller number, linked both ways by links that are
//! never pruned, so that every slot is reachable from every other. Leaves out: when to build; the caller knows.

mod choose;
mod merge;
mod order;
mod tree;

use crate::{
    epoch::State,
    graph::Graph,
    level::{LAYERS, level},
    walk::{WALKS, Walk},
    workers::Workers,
};
use std::{
    ops::Range,
    sync::{Mutex, MutexGuard},
};
pub(crate) use tree::children_max;

/// Fewest rows of a batch. So few that every row is compared with every other of its batch.
pub(crate) const BATCH_MIN: u32 = 64;
/// Most rows of a batch.
pub(crate) const BATCH_MAX: u32 = 8192;
/// Rows of a job that walks: as many as keep its memory warm, and fewer where a batch has few, so that all workers have
/// some; then in whole sets of walks, for the last of a set that is not full waits for its memory alone. Of no effect on
/// the graph.
fn chunk(rows: usize) -> usize {
    (rows / 16).next_multiple_of(WALKS).clamp(WALKS, 128)
}

/// The batch that follows `rows` rows: an eighth of the graph, a function of the number alone.
pub(crate) fn batch_after(rows: u32) -> Range<u32> {
    rows..rows + (rows / 8).clamp(BATCH_MIN, BATCH_MAX)
}

/// What a build keeps from batch to batch.
pub(crate) struct Builder {
    /// Children of each slot in its layer's tree.
    children: Vec<Vec<u8>>,
    scratch: Scratch,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self { children: vec![Vec::new(); LAYERS], scratch: Scratch(Mutex::default()) }
    }

    /// Builds `batch`, which follows the graph's rows and whose rows are all pushed; publishes the epoch.
    pub(crate) fn build(&mut self, graph: &Graph, batch: Range<u32>, workers: &dyn Workers) -> State {
        let frozen = graph.epochs.now();
        let part = Part { graph, frozen: &frozen, workers, scratch: &self.scratch };
        let members = order::by_path(&part, batch.clone());
        let (mut slots, mut sum) = (frozen.slots, frozen.sum);
        let forgets = match engram_mutants::mutant!("batch_sees_later_forgets") {
            true => graph.forgets.count(),
            false => graph.forgets.before(batch.end - 1),
        };
        for at in frozen.epoch.forgets..forgets {
            sum = sum.wrapping_add(graph.forgets.hash(at, graph.options.salt));
        }
        for layer in &graph.layers {
            let reach = |row: u32| level(row, graph.options.salt) >= layer.level;
            let rows = batch.clone().filter(|&row| reach(row));
            let mut next = frozen.slots[layer.level];
            for row in rows {
                if layer.level > 0 {
                    layer.enter(row, graph.codes.bits.get(row));
                }
                next += 1;
            }
            let members: Vec<_> = members.iter().filter(|member| reach(member.row)).copied().collect();
            if members.is_empty() {
                break;
            }
            let mut chosen = choose::choose(&part, layer, &members);
            tree::hang(layer, frozen.slots[layer.level], &mut chosen, &mut self.children[layer.level]);
            sum = sum.wrapping_add(merge::link(&part, layer, next, &chosen));
            slots[layer.level] = next;
        }
        let state = frozen.next(forgets, slots, sum);
        graph.epochs.publish(&state);
        state
    }

    /// Counts the children anew, for a graph that was loaded.
    pub(crate) fn recount(&mut self, graph: &Graph) {
        let state = graph.epochs.now();
        for layer in &graph.layers {
            let count = |slot| layer.links(slot).filter(|link| link.tree && link.slot > slot).count() as u8;
            self.children[layer.level] = (0..state.slots[layer.level]).map(count).collect();
        }
    }
}

/// What the steps of one batch have in common.
struct Part<'a> {
    graph: &'a Graph,
    /// The graph before the batch.
    frozen: &'a State,
    workers: &'a dyn Workers,
    scratch: &'a Scratch,
}

/// Sets of walks between jobs. A job that panics loses its set, no more.
pub(crate) struct Scratch(Mutex<Vec<Vec<Walk>>>);

impl Scratch {
    fn sets(&self) -> MutexGuard<'_, Vec<Vec<Walk>>> {
        self.0.lock().expect("nothing panics with the sets locked")
    }

    fn take(&self) -> Vec<Walk> {
        self.sets().pop().unwrap_or_else(|| (0..WALKS).map(|_| Walk::default()).collect())
    }

    fn give_back(&self, walks: Vec<Walk>) {
        self.sets().push(walks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_follow_one_another_and_grow_with_the_graph() {
        let (mut rows, mut sizes) = (0, Vec::new());
        while rows < 200_000 {
            let batch = batch_after(rows);
            assert_eq!(batch.start, rows);
            sizes.push(batch.len() as u32);
            rows = batch.end;
        }
        assert_eq!((sizes[0], sizes.last()), (BATCH_MIN, Some(&BATCH_MAX)));
        assert!(sizes.is_sorted());
    }
}
