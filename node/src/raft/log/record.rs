//! What a frame means: the records that the log is a sequence of, and what a sequence of them adds up to.
//!
//! Invariant `log_without_holes`: an entry follows the last one, or begins an empty log.

use crate::raft::types::{Entry, LogId, Vote, log_id};
use crate::raft::wire::{entry_from_wire, entry_to_wire};
use engram_proto::wire::peer::RaftEntry;
use prost::{Message, bytes::Bytes};

use super::format::{GroupBuilder, u64_at};

/// A frame's kind that says an entry.
pub const ENTRY: u32 = 1;
const VOTE: u32 = 2;
const COMMITTED: u32 = 3;
const TRUNCATE: u32 = 4;
const PURGE: u32 = 5;
const LAST: u32 = 6;

/// One step of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An entry of this id; its bytes stay in the file.
    Entry(LogId),
    /// A vote was given.
    Vote(Vote),
    /// The log is final up to here.
    Committed(Option<LogId>),
    /// The log ends here now; what followed is void.
    Truncate(Option<LogId>),
    /// The log begins after this now.
    Purge(LogId),
    /// The last log id when this segment was begun; opens a segment's first group.
    Last(Option<LogId>),
}

/// A log id as 16 bytes.
pub fn put_id(into: &mut Vec<u8>, id: LogId) {
    into.extend_from_slice(&id.committed_leader_id().term.to_le_bytes());
    into.extend_from_slice(&id.index.to_le_bytes());
}

fn id(payload: &[u8]) -> LogId {
    log_id(u64_at(payload, 0), u64_at(payload, 8))
}

impl Record {
    /// Appends it as a frame. Entries go through [`put_entry`].
    pub fn put(&self, group: &mut GroupBuilder) {
        let optional = |group: &mut GroupBuilder, kind, id: Option<LogId>| {
            group.frame(kind, |into| id.into_iter().for_each(|id| put_id(into, id)));
        };
        match *self {
            Self::Entry(_) => debug_assert!(false, "entries carry bytes"),
            Self::Vote(vote) => {
                group.frame(VOTE, |into| {
                    into.extend_from_slice(&vote.leader_id.term.to_le_bytes());
                    into.extend_from_slice(&vote.leader_id.voted_for.to_le_bytes());
                    into.extend_from_slice(&u64::from(vote.committed).to_le_bytes());
                });
            }
            Self::Committed(id) => optional(group, COMMITTED, id),
            Self::Truncate(id) => optional(group, TRUNCATE, id),
            Self::Purge(id) => optional(group, PURGE, Some(id)),
            Self::Last(id) => optional(group, LAST, id),
        }
    }

    /// Of a frame's checked payload; an error says what is wrong with it.
    pub fn decode(kind: u32, payload: &[u8]) -> Result<Self, &'static str> {
        let optional = || match payload.len() {
            0 => Ok(None),
            16 => Ok(Some(id(payload))),
            _ => Err("a log id of a wrong length"),
        };
        Ok(match kind {
            ENTRY if payload.len() >= 16 => Self::Entry(id(payload)),
            VOTE if payload.len() == 24 => {
                let (term, node) = (u64_at(payload, 0), u64_at(payload, 8));
                match u64_at(payload, 16) {
                    0 => Self::Vote(Vote::new(term, node)),
                    1 => Self::Vote(Vote::new_committed(term, node)),
                    _ => return Err("a vote that is neither granted nor not"),
                }
            }
            COMMITTED => Self::Committed(optional()?),
            TRUNCATE => Self::Truncate(optional()?),
            PURGE => Self::Purge(optional()?.ok_or("a purge of nothing")?),
            LAST => Self::Last(optional()?),
            _ => return Err("a record of a kind or length that this version does not know"),
        })
    }
}

/// Appends an entry's frame; answers where it begins in the group's bytes and its payload's length.
pub fn put_entry(group: &mut GroupBuilder, entry: &Entry) -> (usize, u32) {
    let wire = entry_to_wire(entry);
    group.frame(ENTRY, |into| {
        put_id(into, entry.log_id);
        into.reserve(wire.encoded_len());
        // A Vec grows: only a fixed buffer could be too short.
        wire.encode_raw(into);
    })
}

/// An entry of a frame's checked payload; it must be the one of `expected`.
pub fn get_entry(kind: u32, payload: Bytes, expected: LogId) -> Result<Entry, String> {
    if kind != ENTRY || payload.len() < 16 || id(&payload) != expected {
        return Err(format!("another record than the entry {expected}"));
    }
    let wire = RaftEntry::decode(payload.slice(16..)).map_err(|e| format!("the entry {expected} is malformed: {e}"))?;
    let entry = entry_from_wire(wire).map_err(|e| format!("the entry {expected}: {e}"))?;
    match entry.log_id == expected {
        true => Ok(entry),
        false => Err(format!("the entry {expected} calls itself {}", entry.log_id)),
    }
}

/// What the records so far add up to, the entries' bytes aside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The last vote.
    pub vote: Option<Vote>,
    /// The last committed mark.
    pub committed: Option<LogId>,
    /// The log begins after it.
    pub purged: Option<LogId>,
    /// The log ends with it; `purged` when the log is empty.
    pub last: Option<LogId>,
}

impl View {
    /// Takes one more step; an error says why it can't follow.
    pub fn apply(&mut self, record: &Record) -> Result<(), &'static str> {
        match *record {
            Record::Entry(id) => {
                if self.last.is_some_and(|last| last.index.checked_add(1) != Some(id.index)) {
                    return Err("an entry that does not follow the last one");
                }
                self.last = Some(id);
            }
            Record::Vote(vote) => self.vote = Some(vote),
            Record::Committed(id) => self.committed = id,
            Record::Truncate(id) => self.last = id,
            Record::Purge(id) => {
                self.purged = self.purged.max(Some(id));
                if self.last.is_none_or(|last| last.index <= id.index) {
                    self.last = Some(id);
                }
            }
            Record::Last(id) if id == self.last => {}
            Record::Last(_) => return Err("a segment that does not continue the one before"),
        }
        Ok(())
    }

    /// The records that a segment begins with: they make older segments needless once they hold no live entry.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        let vote = self.vote.map(Record::Vote);
        let purged = self.purged.map(Record::Purge);
        [Some(Record::Last(self.last)), vote, Some(Record::Committed(self.committed)), purged].into_iter().flatten()
    }
}
