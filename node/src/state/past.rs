//! How far back a space can be read, and which of its forgotten rows are erased.
//!
//! Place: beside a space's rows; written by apply alone. A floor is a log index: what was forgotten up to there may lose
//! its payload, so no state before it can be shown any more. The floor and the number of erased forgets are replicated
//! state; when memory is given back is not, because a snapshot that is being written needs what it froze.
//! Invariants: `past_above_floor`, a row that some readable state shows has its payload; `same_log_same_state`.

use engram_mutants::mutant;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// A log index that forgot rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The log index.
    pub log_index: u64,
    /// Its log time, milliseconds.
    pub stamp_ms: u64,
    /// How many forgets the space has had after it.
    pub forgets: u32,
}

#[derive(Default)]
struct Erased {
    /// The rows of so many forgets, from the first on, are erased for every reader.
    due: u32,
    /// The rows of which it has not been done yet.
    left: Vec<u32>,
    /// Snapshots that are being written.
    holds: u32,
}

/// One space's.
#[derive(Default)]
pub struct Past {
    /// Rising. Whoever freezes them has them as they were.
    marks: RwLock<Arc<Vec<Mark>>>,
    floor: AtomicU64,
    erased: Mutex<Erased>,
}

impl Past {
    fn erased_now(&self) -> MutexGuard<'_, Erased> {
        self.erased.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that there were `mark.forgets` forgets after the command of `mark.log_index`.
    pub fn note(&self, mark: Mark) {
        let mut marks = self.marks.write().unwrap_or_else(PoisonError::into_inner);
        let marks = Arc::make_mut(&mut marks);
        match marks.last_mut().filter(|last| last.log_index == mark.log_index) {
            Some(last) => *last = mark,
            None => marks.push(mark),
        }
    }

    /// Forgets up to a log index; none are known before the mark of the last whose row is dropped.
    pub fn forgets(&self, log_index: u64) -> u32 {
        self.last(|mark| mark.log_index <= log_index).map_or(0, |mark| mark.forgets)
    }

    /// The last mark up to a log time whose rows are not all erased.
    pub fn to_erase(&self, stamp_ms: u64) -> Option<Mark> {
        self.last(|mark| mark.stamp_ms <= stamp_ms).filter(|mark| mark.forgets > self.erased())
    }

    fn last(&self, up_to: impl Fn(&Mark) -> bool) -> Option<Mark> {
        let marks = self.marks.read().unwrap_or_else(PoisonError::into_inner);
        let passed = marks.partition_point(up_to);
        passed.checked_sub(1).map(|last| marks[last])
    }

    /// The marks as they are now.
    pub fn freeze(&self) -> Arc<Vec<Mark>> {
        self.marks.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The rows of the first `forgets` forgets are dropped: of their marks the last is kept alone, and given.
    pub fn drop_first(&self, forgets: u32) -> Option<Mark> {
        let mut marks = self.marks.write().unwrap_or_else(PoisonError::into_inner);
        let last = marks.partition_point(|mark| mark.forgets <= forgets).checked_sub(1)?;
        *marks = Arc::new(marks[last..].to_vec());
        marks.first().copied()
    }

    /// Where the past begins; 0 while nothing is erased.
    pub fn floor(&self) -> u64 {
        self.floor.load(Ordering::Acquire)
    }

    /// The rows of so many forgets are erased.
    pub fn erased(&self) -> u32 {
        self.erased_now().due
    }

    /// Raises the floor; how many more rows are erased by that, `row` saying which a forget took. To be followed by a `sweep`.
    pub fn raise(&self, floor: u64, row: impl Fn(u32) -> Option<u32>) -> u32 {
        // The floor first: whoever misses a payload finds it raised.
        if !mutant!("floor_not_raised") {
            self.floor.fetch_max(floor, Ordering::AcqRel);
        }
        let due = self.forgets(self.floor());
        let mut erased = self.erased_now();
        let more = erased.due..due;
        erased.due = due;
        erased.left.extend(more.clone().filter_map(row));
        more.len() as u32
    }

    /// As a snapshot has it.
    pub fn restore(&self, floor: u64, erased: u32) {
        self.floor.store(floor, Ordering::Release);
        *self.erased_now() = Erased { due: erased, ..Erased::default() };
    }

    /// Does what is due, row by row, unless somebody holds it.
    pub fn sweep(&self, erase: impl FnMut(u32)) {
        let mut erased = self.erased_now();
        if erased.holds == 0 {
            std::mem::take(&mut erased.left).into_iter().for_each(erase);
        }
    }

    /// Nothing is swept until the same number of `release`. How many forgets are erased now.
    pub fn hold(&self) -> u32 {
        let mut erased = self.erased_now();
        erased.holds += 1;
        erased.due
    }

    /// Ends a hold. To be followed by a `sweep`.
    pub fn release(&self) {
        self.erased_now().holds -= 1;
    }
}

/// The mark of each of these forgets.
pub fn marks_of(marks: &[Mark], forgets: Range<u32>) -> impl Iterator<Item = Mark> {
    let mut marks = marks.iter().copied().peekable();
    forgets.map_while(move |at| {
        while marks.next_if(|mark| mark.forgets <= at).is_some() {}
        marks.peek().copied()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_puts_off_what_a_raised_floor_erases() {
        let past = Past::default();
        for at in 1..=4 {
            past.note(Mark { log_index: at * 10, stamp_ms: at * 1000, forgets: at as u32 * 2 });
        }
        let sweep = || {
            let mut swept = Vec::new();
            past.sweep(|at| swept.push(at));
            swept
        };
        assert_eq!(past.to_erase(1999).map(|mark| mark.log_index), Some(10));
        let raise = |floor| past.raise(floor, |at| Some(100 + at));
        assert_eq!((raise(15), raise(12), past.floor()), (2, 0, 15));
        assert_eq!((sweep(), sweep()), (vec![100, 101], vec![]));
        assert_eq!(past.to_erase(1999), None, "all of it is erased");
        assert_eq!(past.hold(), 2);
        assert_eq!((raise(30), past.erased(), sweep()), (4, 6, vec![]));
        past.release();
        assert_eq!(sweep(), [102, 103, 104, 105]);
        let indexes = |marks: &[Mark], forgets| marks_of(marks, forgets).map(|mark| mark.log_index).collect::<Vec<_>>();
        let all = past.freeze();
        assert_eq!(indexes(&all, 0..3), [10, 10, 20]);
        assert_eq!(past.drop_first(4).map(|mark| mark.log_index), Some(20));
        assert_eq!((past.forgets(20), past.forgets(29), past.forgets(30), past.forgets(19)), (4, 4, 6, 0));
        assert_eq!((indexes(&past.freeze(), 4..8), indexes(&all, 0..3)), (vec![30, 30, 40, 40], vec![10, 10, 20]));
    }
}
