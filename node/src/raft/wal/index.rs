//! The log in memory: where each entry is, and the recent ones themselves.
//!
//! Invariant `log_has_no_hole`: entries are consecutive from the first after the purged one to the last.

use crate::raft::types::{Entry, LogId};
use std::collections::VecDeque;

/// Where an entry's frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Segment number.
    pub segment: u64,
    /// Of its frame, in bytes from the segment's start.
    pub offset: u64,
    /// Bytes of the frame, padding included.
    pub bytes: u32,
}

struct Slot {
    log_id: LogId,
    /// `None` until it is durable.
    place: Option<Place>,
    /// `None` once it left the cache.
    entry: Option<Entry>,
    bytes: usize,
}

/// Consecutive entries.
pub struct Index {
    slots: VecDeque<Slot>,
    /// The index of `slots[0]`.
    first: u64,
    cached_bytes: usize,
    cache_max: usize,
    /// No slot before it is cached.
    cache_from: u64,
}

/// An entry as the index knows it.
pub enum Found {
    /// In memory.
    Cached(Entry),
    /// On disk.
    Placed(LogId, Place),
}

impl Index {
    /// Empty; keeps about `cache_max` bytes of entries in memory.
    pub fn new(cache_max: usize) -> Self {
        Self { slots: VecDeque::new(), first: 0, cached_bytes: 0, cache_max, cache_from: 0 }
    }

    /// The first entry's index; where the next would be when there is none.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The last entry.
    pub fn last(&self) -> Option<LogId> {
        self.slots.back().map(|slot| slot.log_id)
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    fn next(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    fn slot(&self, index: u64) -> Option<&Slot> {
        self.slots.get(index.checked_sub(self.first)? as usize)
    }

    /// Appends an entry; false when it leaves a hole. An empty index takes any first entry.
    pub fn push(&mut self, log_id: LogId, entry: Option<Entry>, place: Option<Place>, bytes: usize) -> bool {
        if self.slots.is_empty() {
            self.first = log_id.index;
            self.cache_from = self.cache_from.max(log_id.index);
        }
        if log_id.index != self.next() {
            return false;
        }
        self.cached_bytes += if entry.is_some() { bytes } else { 0 };
        self.slots.push_back(Slot { log_id, place, entry, bytes });
        self.evict();
        true
    }

    /// An entry is durable; false when it was truncated or purged meanwhile.
    pub fn placed(&mut self, log_id: LogId, place: Place) -> bool {
        let Some(at) = log_id.index.checked_sub(self.first) else { return false };
        match self.slots.get_mut(at as usize) {
            Some(slot) if slot.log_id == log_id => slot.place = Some(place),
            _ => return false,
        }
        self.evict();
        true
    }

    /// Lets the oldest cached entries go that are on disk.
    fn evict(&mut self) {
        self.cache_from = self.cache_from.max(self.first);
        while self.cached_bytes > self.cache_max {
            let at = (self.cache_from - self.first) as usize;
            let Some(slot) = self.slots.get_mut(at) else { return };
            if slot.place.is_none() {
                return;
            }
            if slot.entry.take().is_some() {
                self.cached_bytes -= slot.bytes;
            }
            self.cache_from += 1;
        }
    }

    /// Drops all entries after `last`.
    pub fn truncate(&mut self, last: Option<u64>) {
        let keep = last.map_or(0, |last| (last + 1).saturating_sub(self.first)) as usize;
        while self.slots.len() > keep {
            let slot = self.slots.pop_back().expect("longer than keep");
            self.cached_bytes -= if slot.entry.is_some() { slot.bytes } else { 0 };
        }
        self.cache_from = self.cache_from.min(self.next());
    }

    /// Drops all entries up to `index`.
    pub fn purge(&mut self, index: u64) {
        while self.first <= index
            && let Some(slot) = self.slots.pop_front()
        {
            self.first += 1;
            self.cached_bytes -= if slot.entry.is_some() { slot.bytes } else { 0 };
        }
        if self.slots.is_empty() {
            self.first = self.first.max(index + 1);
        }
        self.cache_from = self.cache_from.max(self.first);
    }

    /// Entries from `start`, at most until `end` and until they add up to `bytes_max`; the first one in any case.
    pub fn range(&self, start: u64, end: u64, bytes_max: usize) -> Vec<Found> {
        let (mut found, mut bytes) = (Vec::new(), 0);
        for index in start.max(self.first)..end {
            let Some(slot) = self.slot(index) else { break };
            bytes += slot.bytes;
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            match (&slot.entry, slot.place) {
                (Some(entry), _) => found.push(Found::Cached(entry.clone())),
                (None, Some(place)) => found.push(Found::Placed(slot.log_id, place)),
                (None, None) => unreachable!("log_has_no_hole: an entry is in memory until it is on disk"),
            }
        }
        found
    }
}
