//! How far back a space can be read, and which of its forgotten rows are erased.
//!
//! Place: beside a space's rows; written by apply alone. A floor is a log index: what was forgotten up to there may lose
//! its payload, so no state before it can be shown any more. The floor and the number of erased forgets are replicated
//! state; when memory is given back is not, because a snapshot that is being written needs what it froze.
//! Invariants: `past_above_floor`, a row that some readable state shows has its payload; `same_log_same_state`.

use engram_mutants::mutant;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

/// A log index that forgot rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// And of so many it has been done.
    done: u32,
    /// Snapshots that are being written.
    holds: u32,
}

/// One space's.
#[derive(Default)]
pub struct Past {
    /// Rising.
    marks: RwLock<Vec<Mark>>,
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
        match marks.last_mut().filter(|last| last.log_index == mark.log_index) {
            Some(last) => *last = mark,
            None => marks.push(mark),
        }
    }

    /// Forgets up to a log index.
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

    /// The mark of each of the first `count` forgets.
    pub fn marks(&self, count: u32) -> Vec<Mark> {
        let marks = self.marks.read().unwrap_or_else(PoisonError::into_inner);
        let mut marks = marks.iter().copied();
        let mut mark = marks.next();
        let of = |at: u32| {
            while mark.is_some_and(|mark| mark.forgets <= at) {
                mark = marks.next();
            }
            mark
        };
        (0..count).map_while(of).collect()
    }

    /// Where the past begins; 0 while nothing is erased.
    pub fn floor(&self) -> u64 {
        self.floor.load(Ordering::Acquire)
    }

    /// The rows of so many forgets are erased.
    pub fn erased(&self) -> u32 {
        self.erased_now().due
    }

    /// Raises the floor; how many more rows are erased by that. To be followed by a `sweep`.
    pub fn raise(&self, floor: u64) -> u32 {
        // The floor first: whoever misses a payload finds it raised.
        if !mutant!("floor_not_raised") {
            self.floor.fetch_max(floor, Ordering::AcqRel);
        }
        let due = self.forgets(self.floor());
        let mut erased = self.erased_now();
        let more = due - erased.due;
        erased.due = due;
        more
    }

    /// As a snapshot has it.
    pub fn restore(&self, floor: u64, erased: u32) {
        self.floor.store(floor, Ordering::Release);
        *self.erased_now() = Erased { due: erased, done: erased, holds: 0 };
    }

    /// Does what is due, forget by forget, unless somebody holds it.
    pub fn sweep(&self, mut erase: impl FnMut(u32)) {
        let mut erased = self.erased_now();
        if erased.holds == 0 {
            (erased.done..erased.due).for_each(&mut erase);
            erased.done = erased.due;
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
        assert_eq!((past.raise(15), past.raise(12), past.floor()), (2, 0, 15));
        assert_eq!((sweep(), sweep()), (vec![0, 1], vec![]));
        assert_eq!(past.to_erase(1999), None, "all of it is erased");
        assert_eq!(past.hold(), 2);
        assert_eq!((past.raise(30), past.erased(), sweep()), (4, 6, vec![]));
        past.release();
        assert_eq!(sweep(), [2, 3, 4, 5]);
        assert_eq!(past.marks(3).iter().map(|mark| mark.log_index).collect::<Vec<_>>(), [10, 10, 20]);
    }
}
