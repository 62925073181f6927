//! The log in memory, under one lock that is never held over I/O: what was submitted, what is durable, what waits.
//!
//! Invariants: `flushed ≤ submitted`; an entry is readable from its append on: from `recent` until it is durable,
//! then from `recent` or from its place. The queue is bounded by what openraft has in flight: it awaits votes, and
//! its appends are bounded by admission's credit on the leader and by the pipeline's window on a follower.

use super::format::Position;
use super::index::{Index, Place};
use super::record::View;
use super::writer::Counters;
use crate::env::File;
use crate::raft::types::{Entry, LogId, TypeConfig, Vote};
use engram_probes::probe;
use openraft::EntryPayload;
use openraft::storage::IOFlushed;
use std::collections::{BTreeMap, VecDeque};
use std::{io, sync::Arc};
use tokio::sync::oneshot;

/// Says that an operation is durable, or why it never will be.
pub type Done = oneshot::Sender<io::Result<()>>;

/// One operation, in the order it was asked for.
pub enum Op {
    /// Entries that follow the last.
    Append(Vec<Entry>, IOFlushed<TypeConfig>),
    /// A vote.
    Vote(Vote, Done),
    /// The log ends here.
    Truncate(Option<LogId>),
    /// The log begins after this.
    Purge(LogId),
    /// Final up to here; waits for company.
    Committed(Option<LogId>),
    /// Everything before is durable, and the mark says so.
    Flush(Done),
    /// The next group begins a segment.
    Roll,
}

impl Op {
    /// Worth a write of its own, now.
    pub fn urgent(&self) -> bool {
        !matches!(self, Self::Committed(_))
    }

    /// Raft can't do without it, and it is small: it may use the room that is kept.
    pub fn essential(&self) -> bool {
        let small = |entry: &Entry| !matches!(entry.payload, EntryPayload::Normal(_));
        match self {
            Self::Append(entries, _) => entries.iter().all(small),
            _ => true,
        }
    }

    /// Tells whoever waits.
    pub fn complete(self, result: io::Result<()>) {
        match self {
            Self::Append(_, done) => done.io_completed(result),
            Self::Vote(_, done) | Self::Flush(done) => drop(done.send(result)),
            Self::Truncate(_) | Self::Purge(_) | Self::Committed(_) | Self::Roll => {}
        }
    }
}

/// Bytes of an entry, near enough: what a cache and a read are limited by.
pub fn entry_bytes(entry: &Entry) -> usize {
    64 + match &entry.payload {
        EntryPayload::Normal(payload) => payload.0.len(),
        EntryPayload::Blank => 0,
        EntryPayload::Membership(membership) => 128 * membership.nodes().count(),
    }
}

/// The newest entries. Entries that are not yet durable are always here.
#[derive(Default)]
struct Recent {
    start: u64,
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Recent {
    fn push(&mut self, entry: Entry) {
        if self.entries.is_empty() {
            self.start = entry.log_id.index;
        }
        self.bytes += entry_bytes(&entry);
        self.entries.push_back(entry);
    }

    fn get(&self, index: u64) -> Option<&Entry> {
        self.entries.get(index.checked_sub(self.start)? as usize)
    }

    fn pop_first(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry_bytes(&entry);
            self.start += 1;
        }
    }

    fn pop_last(&mut self) {
        if let Some(entry) = self.entries.pop_back() {
            self.bytes -= entry_bytes(&entry);
        }
    }
}

/// See the file's header.
pub struct State {
    /// As submitted.
    pub now: View,
    /// Where the live entries are.
    pub index: Index,
    recent: Recent,
    /// The last durable log id, or what a snapshot covers.
    pub flushed: Option<LogId>,
    /// The last durable vote.
    pub vote: Option<Vote>,
    /// Not yet written.
    pub queue: VecDeque<Op>,
    /// A job is queued or runs.
    pub busy: bool,
    /// The next segment can't be had.
    pub full: bool,
    /// The mark is behind.
    pub unmarked: bool,
    /// Of all entries in the files.
    pub lowest: Option<u64>,
    /// Why nothing more is written, for good.
    pub poisoned: Option<Arc<str>>,
    /// Open segments.
    pub files: BTreeMap<u64, Arc<dyn File>>,
    /// For metrics.
    pub counters: Counters,
}

impl State {
    /// What recovery found.
    pub fn new(view: View, index: Index, files: BTreeMap<u64, Arc<dyn File>>) -> Self {
        Self {
            flushed: view.last,
            vote: view.vote,
            now: view,
            index,
            recent: Recent::default(),
            queue: VecDeque::new(),
            busy: false,
            full: false,
            unmarked: false,
            lowest: None,
            poisoned: None,
            files,
            counters: Counters::default(),
        }
    }

    /// Fails once the log is poisoned.
    pub fn sound(&self) -> io::Result<()> {
        match &self.poisoned {
            None => Ok(()),
            Some(cause) => Err(io::Error::other(cause.to_string())),
        }
    }

    /// Takes entries in; an error says which does not fit, and nothing is taken.
    pub fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        let mut next = self.now.last.map(|last| last.index + 1);
        for entry in entries {
            let index = entry.log_id.index;
            if next.is_some_and(|next| next != index) || index == u64::MAX {
                let next = next.unwrap_or_default();
                return Err(io::Error::other(format!("append: index {index} given, {next} expected: a hole")));
            }
            next = Some(index + 1);
        }
        for entry in entries {
            let (id, len) = (entry.log_id, entry_bytes(entry) as u32);
            self.index.push(id.index, Place { term: id.committed_leader_id().term, at: None, len });
            self.recent.push(entry.clone());
            self.now.last = Some(id);
        }
        Ok(())
    }

    /// The log ends at `last` now; false when it did before.
    pub fn truncate(&mut self, last: Option<LogId>) -> bool {
        let from = last.map_or(0, |last| last.index + 1);
        if self.now.last.is_none_or(|end| end.index < from) {
            return false;
        }
        probe!("log_loses_a_suffix");
        self.index.truncate(from);
        while self.recent.entries.back().is_some_and(|entry| entry.log_id.index >= from) {
            self.recent.pop_last();
        }
        self.now.last = last;
        if self.flushed.is_some_and(|flushed| flushed.index >= from) {
            self.flushed = last;
        }
        true
    }

    /// The log begins after `upto` now; false when it did before.
    pub fn purge(&mut self, upto: LogId) -> bool {
        if self.now.purged.is_some_and(|purged| purged.index >= upto.index) {
            return false;
        }
        self.index.purge(upto.index);
        while self.recent.entries.front().is_some_and(|entry| entry.log_id.index <= upto.index) {
            self.recent.pop_first();
        }
        self.now.purged = Some(upto);
        if self.now.last.is_none_or(|last| last.index <= upto.index) {
            self.now.last = Some(upto);
        }
        if self.flushed.is_none_or(|flushed| flushed.index < upto.index) {
            self.flushed = Some(upto);
        }
        true
    }

    /// An entry in memory.
    pub fn recent(&self, index: u64) -> Option<&Entry> {
        self.recent.get(index)
    }

    /// Notes where an entry went, if it is still wanted.
    pub fn placed(&mut self, id: LogId, at: Position, len: u32) {
        let term = id.committed_leader_id().term;
        if let Some(place) = self.index.get_mut(id.index).filter(|place| place.term == term) {
            *place = Place { term, at: Some(at), len };
            self.flushed = Some(id);
        }
    }

    /// Forgets the oldest durable entries beyond `limit` bytes.
    pub fn evict(&mut self, limit: usize) {
        while self.recent.bytes > limit && self.index.get(self.recent.start).is_some_and(|place| place.at.is_some()) {
            self.recent.pop_first();
        }
    }
}
