//! Where each live entry is: 40 bytes an entry. Bounded by the log's length, which snapshots and purges bound.

use super::format::{FRAME_HEAD, Position};
use crate::raft::types::{LogId, log_id};
use std::collections::VecDeque;

/// An entry's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The entry's term.
    pub term: u64,
    /// Its frame's head; `None` until it is durable.
    pub at: Option<Position>,
    /// Its payload's bytes; an estimate until it is durable.
    pub len: u32,
}

impl Place {
    /// Bytes of the frame.
    pub fn frame_len(&self) -> u64 {
        u64::from(self.len) + FRAME_HEAD as u64
    }
}

/// Consecutive entries.
#[derive(Debug, Default)]
pub struct Index {
    start: u64,
    places: VecDeque<Place>,
}

impl Index {
    /// Adds the entry after the last, or the first.
    pub fn push(&mut self, index: u64, place: Place) {
        if self.places.is_empty() {
            self.start = index;
        }
        debug_assert_eq!(index, self.start + self.places.len() as u64, "log_without_holes");
        self.places.push_back(place);
    }

    /// Removes entries from `from` on.
    pub fn truncate(&mut self, from: u64) {
        self.places.truncate(from.saturating_sub(self.start) as usize);
    }

    /// Removes entries up to `upto`, inclusive.
    pub fn purge(&mut self, upto: u64) {
        let gone = upto.saturating_add(1).saturating_sub(self.start).min(self.places.len() as u64);
        self.places.drain(..gone as usize);
        self.start += gone;
    }

    /// The entries' indexes.
    pub fn range(&self) -> std::ops::Range<u64> {
        self.start..self.start + self.places.len() as u64
    }

    /// One entry's place.
    pub fn get(&self, index: u64) -> Option<&Place> {
        self.places.get(index.checked_sub(self.start)? as usize)
    }

    /// The same, to be set once it is written.
    pub fn get_mut(&mut self, index: u64) -> Option<&mut Place> {
        self.places.get_mut(index.checked_sub(self.start)? as usize)
    }

    /// The log id of one entry.
    pub fn log_id(&self, index: u64) -> Option<LogId> {
        self.get(index).map(|place| log_id(place.term, index))
    }
}
