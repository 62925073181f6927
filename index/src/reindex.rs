//! A new generation: the living rows of an index in one of their own, whose graph is made of them alone.
//!
//! Place: behind `Index::reindex`, for a space in which many rows are forgotten. The old index serves on while the new
//! one is filled and built; dropping the old one gives its memory back. Codes are copied, not made anew: they depend on
//! the options, which stay. Invariant `same_log_same_graph`: the new rows and forgets are a function of the old ones and
//! of the snapshot. Leaves out: who changes over, and when; that is the caller's log.

use crate::{forget::Snapshot, index::Index, vector::VectorError};

/// An index made of another's living rows.
pub struct Generation {
    index: Index,
    /// The old number of each new row, rising.
    old: Vec<u32>,
    /// What was taken over so far.
    seen: Snapshot,
}

impl Generation {
    /// Takes over the rows that live in `at`, a snapshot of `from`; none is built yet.
    pub(crate) fn new(from: &Index, at: Snapshot) -> Self {
        let index = from.empty_twin();
        let mut generation = Self { index, old: Vec::new(), seen: Snapshot { rows: 0, forgets: at.forgets } };
        generation.push(from, at.rows, &|row| from.graph().forgets.lives(row, at.forgets));
        generation
    }

    /// The new index. Build it as any other; a reader may use it at once.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Takes over what came to `from`, the index that this one was made of, up to the snapshot `to`: rows and forgets, in
    /// their order. To be called until nothing is missing, the last time while nothing comes.
    pub fn catch_up(&mut self, from: &Index, to: Snapshot) {
        for at in self.seen.forgets..to.forgets.min(from.now().forgets) {
            let (row, rows) = from.graph().forgets.event(at);
            self.push(from, rows, &|_| true);
            if let Some(new) = self.new_row(row) {
                self.index.forget(new).expect("a row that was taken over");
            }
            self.seen.forgets = at + 1;
        }
        self.push(from, to.rows.min(from.rows()), &|_| true);
    }

    fn push(&mut self, from: &Index, rows: u32, lives: &dyn Fn(u32) -> bool) {
        for row in self.seen.rows..rows {
            if lives(row) {
                let taken: Result<u32, VectorError> = self.index.graph().codes.take_over(&from.graph().codes.code(row));
                taken.expect("no more rows than the old index has");
                self.old.push(row);
            }
        }
        self.seen.rows = self.seen.rows.max(rows);
    }

    /// The number that a row of this index had in the old one.
    pub fn old_row(&self, new: u32) -> Option<u32> {
        self.old.get(new as usize).copied()
    }

    /// The number that a row of the old index has here, if it was taken over.
    pub fn new_row(&self, old: u32) -> Option<u32> {
        self.old.binary_search(&old).ok().map(|new| new as u32)
    }

    /// The index, and the old number of each of its rows.
    pub fn finish(self) -> (Index, Vec<u32>) {
        (self.index, self.old)
    }
}
