//! A space's rows: appended by apply, read by anybody, never moved.
//!
//! Invariant `rows_immutable`: a row that was published stays as it is until it is erased; a reader that knows a count
//! may read all rows below it without waiting for the appender.
//!
//! Leaves out: files. Payloads live in memory and in the snapshot.

use super::spaces::Origin;
use engram_proto::observation::payload_hash;
use engram_proto::wire::log::Record;
use std::sync::{
    OnceLock, PoisonError, RwLock,
    atomic::{AtomicU32, Ordering},
};

/// One stored observation.
#[derive(Debug)]
pub struct Row {
    /// The log index of the entry that brought it.
    pub log_index: u64,
    /// The log time of that entry, milliseconds. Never falls from row to row.
    pub stamp_ms: u64,
    /// Whose it is.
    pub session: u64,
    /// Its number there.
    pub sequence: u64,
    /// Tells a repeat from another payload.
    pub payload_hash: u64,
    /// The row that had the same id before.
    pub previous: Option<u32>,
    /// In a box, so that what is erased gives its memory back.
    record: RwLock<Option<Box<Record>>>,
}

impl Row {
    /// A row; without a record it is an erased one.
    pub fn new(origin: Origin, payload_hash: u64, previous: Option<u32>, record: Option<Record>) -> Self {
        let Origin { log_index, stamp_ms, session, sequence } = origin;
        let record = RwLock::new(record.map(Box::new));
        Self { log_index, stamp_ms, session, sequence, payload_hash, previous, record }
    }

    /// Looks at text, embedding as stored, time, metadata and id; `None` once they are erased.
    pub fn with<R>(&self, look: impl FnOnce(&Record) -> R) -> Option<R> {
        self.record.read().unwrap_or_else(PoisonError::into_inner).as_deref().map(look)
    }

    /// Whether the payload is the one that was written; one that was erased is.
    pub fn is_intact(&self) -> bool {
        self.with(|record| payload_hash(record) == self.payload_hash).unwrap_or(true)
    }

    /// Erases them, and gives them a last time.
    pub fn erase(&self) -> Option<Box<Record>> {
        self.record.write().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Block b holds 2^(b + 6) rows: 27 blocks hold all that a u32 can number, and a space of few rows takes little.
const FIRST_BLOCK_BITS: u32 = 6;
const BLOCKS: usize = 27;

/// Append-only; one appender (apply), any number of readers.
pub struct Rows {
    blocks: [OnceLock<Box<[OnceLock<Row>]>>; BLOCKS],
    len: AtomicU32,
}

impl Default for Rows {
    fn default() -> Self {
        Self { blocks: std::array::from_fn(|_| OnceLock::new()), len: AtomicU32::new(0) }
    }
}

fn place(row: u32) -> (usize, usize) {
    let shifted = u64::from(row) + (1 << FIRST_BLOCK_BITS);
    let block = shifted.ilog2() - FIRST_BLOCK_BITS;
    (block as usize, (shifted - (1 << (block + FIRST_BLOCK_BITS))) as usize)
}

impl Rows {
    /// Rows published.
    pub fn len(&self) -> u32 {
        self.len.load(Ordering::Acquire)
    }

    /// No row published.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a row and returns its number. `None` when all numbers are used up.
    pub fn push(&self, row: Row) -> Option<u32> {
        let at = self.len.load(Ordering::Relaxed);
        let next = at.checked_add(1)?;
        let (block, offset) = place(at);
        let size = 1usize << (block as u32 + FIRST_BLOCK_BITS);
        let block = self.blocks[block].get_or_init(|| (0..size).map(|_| OnceLock::new()).collect());
        block[offset].set(row).expect("one appender: the slot is free");
        self.len.store(next, Ordering::Release);
        Some(at)
    }

    /// A published row.
    pub fn get(&self, row: u32) -> Option<&Row> {
        let (block, offset) = place(row);
        self.blocks[block].get()?.get(offset)?.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_where_it_was_put() {
        let rows = Rows::default();
        for i in 0..5000u64 {
            let origin = Origin { log_index: i, stamp_ms: i, session: 1, sequence: i };
            assert_eq!(rows.push(Row::new(origin, 0, None, Some(Record::default()))), Some(i as u32));
        }
        assert!((0..5000).all(|i| rows.get(i).expect("published").log_index == u64::from(i)));
        assert!(rows.get(5000).is_none());
        assert!(rows.get(u32::MAX).is_none());
    }
}
