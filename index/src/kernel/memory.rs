//! Tables that only grow and whose rows never move, and prefetching.
//!
//! Place: under `codes` and `layer`. A table is a few blocks, each twice the one before, taken zeroed from the
//! system, so that pages cost nothing until a row is written; rows start on cache lines where their width allows.
//!
//! Invariants: `rows_never_move`, a reference to a row stays good as long as the table; `published_before_read`,
//! a row is read only once its push is complete (`len`, released after the write, acquired before the read).
//! Leaves out: removal; a space gives memory back by a new generation, in another table.

use bytes::Bytes;
use std::{
    marker::PhantomData,
    sync::{
        Mutex,
        atomic::{AtomicPtr, AtomicU32, Ordering},
    },
};

const FIRST_BITS: u32 = 10;
/// Rows of the first block.
const FIRST: u32 = 1 << FIRST_BITS;
const BLOCKS: usize = 20;
/// Most rows of a table; a beam's key has two bits beside the row.
pub(crate) const ROWS_MAX: u32 = (1 << 30) - FIRST;
const LINE: usize = 64;
const HUGE: usize = 2 << 20;
/// Bytes from which a block is worth huge pages.
const HUGE_FROM: usize = 1 << 20;

/// The block that holds a row, the row's place in it.
#[inline(always)]
fn locate(row: u32) -> (usize, usize) {
    let from = row + FIRST;
    let block = from.ilog2() - FIRST_BITS;
    (block as usize, (from - (FIRST << block)) as usize)
}

mod sealed {
    /// Numbers for which every bit pattern is a value.
    pub trait Number: Copy + Send + Sync + 'static {
        /// From little-endian bytes, as many as the number has.
        fn read(bytes: &[u8]) -> Self;
    }

    macro_rules! number {
        ($($number:ty)*) => {$(
            impl Number for $number {
                fn read(bytes: &[u8]) -> Self {
                    bytes.iter().rev().fold(0, |number: u64, &byte| number << 8 | u64::from(byte)) as Self
                }
            }
        )*};
    }
    number!(u8 u32 u64);
}
pub(crate) use sealed::Number;

/// Blocks of zeroed memory that start on a cache line and never move, made when they are first asked for.
struct Blocks {
    /// Bytes of a row.
    row: usize,
    /// Whether a row may have a cache line more than its length says, as one that starts in mid-line.
    straddles: bool,
    /// Null until made. Invariant: set once, to a place inside a buffer of `made`, under the lock, or inside `lent`,
    /// before anybody else knows the table; in the latter all rows are published, and so never written.
    at: [AtomicPtr<u8>; BLOCKS],
    /// The memory itself, only ever touched through `at`.
    made: Mutex<Vec<Vec<u8>>>,
    /// Memory of the caller's in which some blocks lie; they are only read.
    #[expect(dead_code, reason = "held, because `at` points into it")]
    lent: Bytes,
}

impl Blocks {
    fn new(row: usize) -> Self {
        let at = std::array::from_fn(|_| AtomicPtr::default());
        // Blocks begin with a line.
        let straddles = !row.is_multiple_of(LINE) && !LINE.is_multiple_of(row);
        Self { row, straddles, at, made: Mutex::default(), lent: Bytes::new() }
    }

    /// Blocks in `lent`, as many as it fills, if rows of it may be read where they lie; the rows in them.
    fn over(row: usize, align: usize, lent: &Bytes) -> (Self, u32) {
        let aligned = lent.as_ptr().align_offset(LINE) == 0;
        let mut blocks = Self { lent: lent.clone(), ..Self::new(row) };
        blocks.straddles |= !aligned;
        let mut rows = 0u32;
        let usable = cfg!(target_endian = "little") && lent.as_ptr().align_offset(align) == 0;
        for (block, at) in blocks.at.iter().enumerate().take_while(|_| usable) {
            let count = FIRST << block;
            if (rows as usize + count as usize) * row > lent.len() {
                break;
            }
            at.store(lent[rows as usize * row..].as_ptr().cast_mut(), Ordering::Release);
            rows += count;
        }
        (blocks, rows)
    }

    /// The place of a row; nonsense, but no fault, if its block was not yet made.
    #[inline(always)]
    fn row(&self, row: u32) -> *mut u8 {
        let (block, at) = locate(row);
        self.at[block].load(Ordering::Acquire).wrapping_add(at * self.row)
    }

    /// Whether the row's block was made.
    #[inline(always)]
    fn has(&self, row: u32) -> bool {
        !self.at[locate(row).0].load(Ordering::Acquire).is_null()
    }

    /// Asks for the cache lines of a row; a hint, never a fault. A missed line costs the gain. How often it asks depends on
    /// the table alone, so that the CPU need not guess.
    #[inline(always)]
    fn prefetch(&self, row: u32) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let start = self.row(row);
            // SAFETY: a prefetch reads nothing.
            let ask = |at: usize| unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(at).cast()) };
            (0..self.row).step_by(LINE).for_each(ask);
            if self.straddles {
                ask(self.row.wrapping_sub(1));
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = row;
    }

    #[cold]
    fn make(&self, row: u32) {
        let block = locate(row).0;
        let mut made = self.made.lock().expect("making a block does not panic");
        if self.at[block].load(Ordering::Relaxed).is_null() {
            let bytes = ((FIRST as usize) << block) * self.row;
            // Large blocks are whole huge pages. The room to align is never touched, and so costs nothing; nor does a
            // page of zeros before its first row. (`alloc_zeroed` with an alignment would write them all.)
            let align = if bytes >= HUGE_FROM { HUGE } else { LINE };
            let mut buffer = vec![0u8; bytes.next_multiple_of(align) + align];
            let at = buffer.as_mut_ptr();
            let at = at.wrapping_add(at.align_offset(align));
            if align == HUGE {
                ask_for_huge_pages(at, bytes.next_multiple_of(HUGE));
            }
            made.push(buffer);
            self.at[block].store(at, Ordering::Release);
        }
    }
}

/// A walk touches rows all over the tables: with pages of 4 KiB many of them miss the TLB too. A hint, before the first
/// touch; where it is refused nothing changes but speed.
fn ask_for_huge_pages(at: *mut u8, bytes: usize) {
    #[cfg(target_os = "linux")]
    {
        unsafe extern "C" {
            fn madvise(at: *mut std::ffi::c_void, bytes: usize, advice: std::ffi::c_int) -> std::ffi::c_int;
        }
        const MADV_HUGEPAGE: std::ffi::c_int = 14;
        // SAFETY: whole pages of a buffer that we own; the advice does not change their content.
        unsafe { madvise(at.cast(), bytes, MADV_HUGEPAGE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (at, bytes);
}

/// Rows of `width` numbers each, appended one by one, read by any number of threads meanwhile.
pub(crate) struct Rows<T> {
    width: usize,
    blocks: Blocks,
    /// Invariant: rows below it are complete and never written again.
    len: AtomicU32,
    appender: Mutex<()>,
    of: PhantomData<T>,
}

impl<T: Number> Rows<T> {
    pub(crate) fn new(width: usize) -> Self {
        let blocks = Blocks::new(width * size_of::<T>());
        Self { width, blocks, len: AtomicU32::new(0), appender: Mutex::new(()), of: PhantomData }
    }

    /// The rows of a table in little-endian bytes; those that fill whole blocks stay where they lie.
    pub(crate) fn over(width: usize, bytes: &Bytes) -> Self {
        let row = width * size_of::<T>();
        let (blocks, lent) = Blocks::over(row, align_of::<T>(), bytes);
        let table = Self { width, blocks, len: AtomicU32::new(lent), appender: Mutex::new(()), of: PhantomData };
        let mut next = Vec::with_capacity(width);
        for row in bytes[lent as usize * row..].chunks_exact(row) {
            next.clear();
            next.extend(row.chunks_exact(size_of::<T>()).map(T::read));
            table.push(&next);
        }
        table
    }

    /// All rows below `rows`, in runs of at most `count`.
    pub(crate) fn runs(&self, rows: u32, count: u32) -> impl Iterator<Item = &[T]> {
        let mut next = 0;
        std::iter::from_fn(move || {
            let run = (next < rows).then(|| self.run(next, count.min(rows - next)))?;
            next += (run.len() / self.width) as u32;
            Some(run)
        })
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> u32 {
        self.len.load(Ordering::Acquire)
    }

    #[inline(always)]
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Appends a row. Panics when `ROWS_MAX` are there; the door above counts.
    pub(crate) fn push(&self, row: &[T]) {
        assert_eq!(row.len(), self.width);
        let _guard = self.appender.lock().expect("a push does not panic once its asserts hold");
        let len = self.len.load(Ordering::Relaxed);
        assert!(len < ROWS_MAX, "a table holds {ROWS_MAX} rows");
        if !self.blocks.has(len) {
            self.blocks.make(len);
        }
        // SAFETY: the block has room for the row; nobody reads a row at or above `len`, and the lock keeps other
        // pushes away. Blocks are zeroed and aligned for any number.
        unsafe { self.blocks.row(len).cast::<T>().copy_from_nonoverlapping(row.as_ptr(), self.width) }
        self.len.store(len + 1, Ordering::Release);
    }

    /// Panics when the row is not yet published.
    #[inline(always)]
    pub(crate) fn get(&self, row: u32) -> &[T] {
        assert!(row < self.len(), "a row is read after it is published");
        // SAFETY: a published row has a block; it is complete and is never written again.
        unsafe { std::slice::from_raw_parts(self.blocks.row(row).cast::<T>(), self.width) }
    }

    /// The rows from `row` on that lie in one piece, as many as are published, at most `count`.
    #[inline]
    pub(crate) fn run(&self, row: u32, count: u32) -> &[T] {
        let len = self.len();
        assert!(row <= len, "a row is read after it is published");
        let (block, at) = locate(row);
        let left = ((FIRST as usize) << block) - at;
        let count = left.min(count.min(len - row) as usize);
        if count == 0 {
            return &[];
        }
        // SAFETY: as for `get`, for each of the rows.
        unsafe { std::slice::from_raw_parts(self.blocks.row(row).cast::<T>(), count * self.width) }
    }

    /// The first published row for which `below` is false; it is true for all rows before.
    #[inline]
    pub(crate) fn partition(&self, below: impl Fn(&[T]) -> bool) -> u32 {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match below(self.get(middle)) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }

    /// Asks for the cache lines of a row.
    #[inline(always)]
    pub(crate) fn prefetch(&self, row: u32) {
        self.blocks.prefetch(row);
    }
}

/// Lists of `width` numbers that are changed in place, one number at a time, while they are read.
/// They exist, all zero, from the moment that their block is asked for.
pub(crate) struct Lists {
    width: usize,
    blocks: Blocks,
}

impl Lists {
    pub(crate) fn new(width: usize) -> Self {
        Self { width, blocks: Blocks::new(width * size_of::<AtomicU32>()) }
    }

    #[inline(always)]
    pub(crate) fn get(&self, list: u32) -> &[AtomicU32] {
        let mut at = self.blocks.row(list);
        if !self.blocks.has(list) {
            self.blocks.make(list);
            at = self.blocks.row(list);
        }
        // SAFETY: the list lies inside its block, aligned to 4; it is only ever touched as atomics.
        unsafe { std::slice::from_raw_parts(at.cast::<AtomicU32>(), self.width) }
    }

    /// The list if its block is there.
    #[inline(always)]
    pub(crate) fn peek(&self, list: u32) -> Option<&[AtomicU32]> {
        self.blocks.has(list).then(|| self.get(list))
    }

    /// As for rows.
    #[inline(always)]
    pub(crate) fn prefetch(&self, list: u32) {
        self.blocks.prefetch(list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_where_they_were_put_across_blocks() {
        let rows = Rows::<u64>::new(3);
        for row in 0..5000 {
            rows.push(&[row, row * 7, !row]);
        }
        for row in (0..5000u64).rev() {
            assert_eq!(rows.get(row as u32), [row, row * 7, !row]);
        }
        let mut seen = 0;
        while seen < rows.len() {
            let run = rows.run(seen, 700);
            assert!(run.chunks(3).enumerate().all(|(i, row)| row[0] == u64::from(seen) + i as u64));
            seen += (run.len() / 3) as u32;
        }
        assert_eq!(seen, 5000);
        assert!(rows.run(5000, 9).is_empty());
    }

    #[test]
    fn the_last_row_of_a_table_lies_in_its_last_block() {
        let (block, at) = locate(ROWS_MAX - 1);
        assert_eq!((block, at), (BLOCKS - 1, (1 << 29) - 1));
        assert_eq!(locate(0), (0, 0));
        assert_eq!(locate(FIRST - 1), (0, FIRST as usize - 1));
        assert_eq!(locate(FIRST), (1, 0));
    }

    #[test]
    fn a_table_over_bytes_holds_their_rows_and_grows_on() {
        let numbers: Vec<u32> = (0..2 * 5000).map(|i| i * 77).collect();
        for shift in [0, 1] {
            let mut bytes = vec![9; shift];
            bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
            let rows = Rows::<u32>::over(2, &Bytes::from(bytes).slice(shift..));
            assert_eq!(rows.len(), 5000);
            rows.push(&[1, 2]);
            assert!((0..5000).all(|row| rows.get(row) == [row * 154, row * 154 + 77]));
            assert_eq!(rows.get(5000), [1, 2]);
            assert_eq!(rows.runs(5001, 300).map(<[u32]>::len).sum::<usize>(), 10_002);
        }
    }

    #[test]
    #[should_panic(expected = "after it is published")]
    fn a_row_that_was_not_pushed_is_not_read() {
        Rows::<u8>::new(4).get(0);
    }

    #[test]
    fn lists_start_empty_and_on_a_cache_line() {
        let lists = Lists::new(32);
        for list in [0, 1, 1023, 1024, 9000] {
            assert!(lists.get(list).iter().all(|link| link.load(Ordering::Relaxed) == 0));
            assert_eq!(lists.get(list).as_ptr() as usize % 64, 0);
        }
    }
}
