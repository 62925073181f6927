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
    /// The rows before its end that are not living in it are left out.
    of: Snapshot,
    /// What was taken over so far.
    seen: Snapshot,
}

impl Generation {
    /// For the rows that live in `of`, a snapshot of `from`; none is taken over yet.
    pub(crate) fn new(from: &Index, of: Snapshot) -> Self {
        Self { index: from.empty_twin(), old: Vec::new(), of, seen: Snapshot { rows: 0, forgets: of.forgets } }
    }

    /// The new index. Build it as any other; a reader may use it at once.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Takes over what came to `from`, the index that this one was made of, up to the snapshot `to`: rows and forgets, in
    /// their order. To be called until nothing is missing, the last time while nothing comes; by rising numbers of rows, if
    /// to copy all of them at once takes too long: about 1.6 ms for a thousand.
    pub fn catch_up(&mut self, from: &Index, to: Snapshot) {
        for at in self.seen.forgets..to.forgets.min(from.now().forgets) {
            let (row, rows) = from.graph().forgets.event(at);
            let rows = rows.max(self.of.rows);
            if rows > to.rows {
                break;
            }
            self.push(from, rows);
            if let Some(new) = self.new_row(row) {
                self.index.forget(new).expect("a row that was taken over");
            }
            self.seen.forgets = at + 1;
        }
        self.push(from, to.rows.min(from.rows()));
    }

    /// What is taken over of `from`: all of it, once this is its snapshot of now.
    pub fn seen(&self) -> Snapshot {
        self.seen
    }

    fn push(&mut self, from: &Index, rows: u32) {
        for row in self.seen.rows..rows {
            if row >= self.of.rows || from.graph().forgets.lives(row, self.of.forgets) {
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
