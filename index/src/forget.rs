//! Which rows are forgotten, and when: the second kind of input beside the rows themselves.
//!
//! Place: beside `codes`; written by `Index::forget`, read by every search, scan and build. A forget has an ordinal,
//! counted from 1, and a place between two pushes, so that a snapshot is two numbers and a batch sees exactly the
//! forgets before its last row. Invariants: `same_log_same_graph`; `answer_within_snapshot`, a row shows in every
//! snapshot between its push and its forget. Leaves out: taking a row out of the graph; it routes on.

use crate::{
    hash::fold,
    kernel::{Lists, Rows},
};
use std::sync::atomic::{AtomicU32, Ordering};

/// What a reader sees: the rows below `rows`, without those forgotten by the first `forgets` forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Rows pushed.
    pub rows: u32,
    /// Forgets done.
    pub forgets: u32,
}

impl Snapshot {
    /// All that is there when the question is asked.
    pub const LATEST: Self = Self { rows: u32::MAX, forgets: u32::MAX };
}

/// A row that cannot be forgotten. Remedy: correct the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("row {row} of {rows}: there is no such row to forget")]
pub struct NoSuchRow {
    /// The row asked for.
    pub row: u32,
    /// Rows pushed.
    pub rows: u32,
}

pub(crate) struct Forgets {
    /// Per forget: the row, and the rows pushed before it.
    events: Rows<u32>,
    /// Per row: the ordinal of its forget, 0 while it lives. No memory before a row nearby is forgotten.
    ordinals: Lists,
}

impl Forgets {
    pub(crate) fn new() -> Self {
        Self { events: Rows::new(2), ordinals: Lists::new(1) }
    }

    /// Forgets so far. Taken before ordinals are read, it bounds what they may say.
    #[inline(always)]
    pub(crate) fn count(&self) -> u32 {
        self.events.len()
    }

    /// Forgets a row of `rows` that are pushed; false when it was forgotten before. One writer at a time.
    pub(crate) fn forget(&self, row: u32, rows: u32) -> bool {
        if self.ordinal(row) != 0 {
            return false;
        }
        // The ordinal first: whoever counts the event finds it.
        self.ordinals.get(row)[0].store(self.count() + 1, Ordering::Release);
        self.events.push(&[row, rows]);
        true
    }

    #[inline(always)]
    fn ordinal(&self, row: u32) -> u32 {
        self.ordinals.peek(row).map_or(0, |ordinal: &[AtomicU32]| ordinal[0].load(Ordering::Acquire))
    }

    /// Whether the row is not among those that the first `forgets` forgets took.
    #[inline(always)]
    pub(crate) fn lives(&self, row: u32, forgets: u32) -> bool {
        // Zero wraps round to the largest.
        let forgets = forgets.saturating_sub(u32::from(engram_mutants::mutant!("last_forget_not_seen")));
        self.ordinal(row).wrapping_sub(1) >= forgets
    }

    /// Forgets that happened before row `last` was pushed.
    pub(crate) fn before(&self, last: u32) -> u32 {
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.events.get(middle)[1] <= last {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }

    /// The row of a forget, counted from 0, and the rows pushed before it.
    pub(crate) fn event(&self, at: u32) -> (u32, u32) {
        let event = self.events.get(at);
        (event[0], event[1])
    }

    /// Hash of a forget, for the digest.
    pub(crate) fn hash(&self, at: u32, salt: u64) -> u64 {
        let (row, rows) = self.event(at);
        fold(salt ^ 0xf0f0 << 40 ^ u64::from(at), [u64::from(row), u64::from(rows)].into_iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_lives_until_its_forget_and_falls_once() {
        let forgets = Forgets::new();
        assert!(forgets.lives(7, u32::MAX) && forgets.lives(7, 0));
        assert!(forgets.forget(3000, 3001) && forgets.forget(7, 3001) && !forgets.forget(7, 3005));
        assert_eq!(forgets.count(), 2);
        assert!(forgets.lives(7, 1) && !forgets.lives(7, 2) && !forgets.lives(7, u32::MAX));
        assert!(forgets.lives(3000, 0) && !forgets.lives(3000, 1) && forgets.lives(8, 2));
    }

    #[test]
    fn a_batch_sees_the_forgets_before_its_last_row() {
        let forgets = Forgets::new();
        for (row, rows) in [(0, 5), (1, 5), (2, 9)] {
            forgets.forget(row, rows);
        }
        let seen: Vec<u32> = [4, 5, 8, 9, 10].map(|last| forgets.before(last)).to_vec();
        assert_eq!(seen, [0, 2, 2, 3, 3]);
    }
}
