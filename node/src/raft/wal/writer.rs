//! The one ordered writer: everything queued becomes one group, one write, one sync; then all are told.
//!
//! It runs on the pool's log lane and owns the files. Invariant `durable_before_told`: a callback or an answer
//! comes after the sync that covers it. A failed write or sync poisons the log: the kernel may have dropped the
//! dirty pages, so a second sync would prove nothing.

use super::format::{
    GROUP_HEADER_BYTES, GroupHeader, Kind, MARK_SLOT_BYTES, Mark, SEGMENT_HEADER_BYTES, SegmentHeader, encode_log_id,
    put_frame,
};
use super::index::Place;
use super::recover::{MARK_NAME, Recovered, Segment, segment_name};
use crate::env::Clock;
use crate::env::disk::{Disk, File, Open};
use crate::raft::types::{LogId, TypeConfig, Vote};
use crate::raft::wire::{log_id_to_wire, vote_to_wire};
use bytes::Bytes;
use openraft::storage::IOFlushed;
use prost::Message;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// The durable mark follows the log within this time.
const MARK_INTERVAL: Duration = Duration::from_millis(50);
/// Bytes after which a group takes no further operation.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// Told when an operation is durable.
pub type Done = oneshot::Sender<io::Result<()>>;

/// What the log is asked to do, in order.
pub enum Op {
    /// Encoded entries, and who is told.
    Append(Vec<(LogId, Bytes)>, IOFlushed<TypeConfig>),
    /// A vote.
    Vote(Vote, Done),
    /// Entries after it go.
    Truncate(Option<LogId>, Done),
    /// Entries up to it go.
    Purge(LogId, Done),
    /// Known as committed; nobody waits for it.
    Committed(LogId),
    /// Nothing to write: make room, or write the mark, and tell.
    Tend(Option<Done>),
}

impl Op {
    fn bytes(&self) -> usize {
        match self {
            Op::Append(entries, _) => entries.iter().map(|(_, bytes)| bytes.len() + 32).sum(),
            _ => 64,
        }
    }
}

/// What a group changed.
#[derive(Default)]
pub struct Written {
    /// Where entries went.
    pub places: Vec<(LogId, Place)>,
    /// Files by segment number that readers may need from now on.
    pub opened: Vec<(u64, Arc<dyn File>)>,
    /// Segments that are gone.
    pub removed: Vec<u64>,
    /// No further segment can be had.
    pub full: bool,
}

/// The writer's own state.
pub struct Writer {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    dir: PathBuf,
    segment_bytes: u64,
    identity: [u8; 16],
    segments: BTreeMap<u64, Segment>,
    current: u64,
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    /// Where the last durable group ended, in its own segment.
    durable: Mark,
    mark: Box<dyn File>,
    mark_turn: u64,
    marked: Mark,
    marked_at: Duration,
}

impl Writer {
    /// Goes on after what was recovered; makes the first segment of a new log.
    pub fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        dir: PathBuf,
        segment_bytes: u64,
        identity: [u8; 16],
        recovered: &mut Recovered,
    ) -> io::Result<Self> {
        let path = dir.join(MARK_NAME);
        let mark = match disk.open(&path, Open::Write) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let file = disk.open(&path, Open::CreateNew)?;
                file.preallocate(2 * MARK_SLOT_BYTES as u64)?;
                file.sync_data()?;
                disk.sync_dir(&dir)?;
                file
            }
            Err(e) => return Err(e),
        };
        let mut writer = Self {
            disk,
            clock,
            dir,
            segment_bytes,
            identity,
            segments: std::mem::take(&mut recovered.segments),
            current: recovered.current.unwrap_or(1),
            vote: recovered.vote,
            committed: recovered.committed,
            purged: recovered.purged,
            durable: Mark::default(),
            mark,
            mark_turn: recovered.mark_turn,
            marked: Mark::default(),
            marked_at: Duration::ZERO,
        };
        if recovered.current.is_none() {
            writer.make_segment(1, segment_bytes)?;
        }
        writer.durable = Mark { segment: writer.current, offset: writer.segments[&writer.current].end };
        Ok(writer)
    }

    /// The files, for readers.
    pub fn files(&self) -> Vec<(u64, Arc<dyn File>)> {
        self.segments.iter().map(|(number, segment)| (*number, segment.file.clone())).collect()
    }

    /// Makes a segment whole and durable under a temporary name, then gives it its own.
    fn make_segment(&mut self, number: u64, bytes: u64) -> io::Result<()> {
        let path = self.dir.join(segment_name(number));
        let beside = path.with_extension("new");
        match self.disk.remove(&beside) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let generation = 1;
        let made = || -> io::Result<Box<dyn File>> {
            let file = self.disk.open(&beside, Open::CreateNew)?;
            file.preallocate(bytes)?;
            file.write_at(0, &SegmentHeader { number, generation, identity: self.identity }.encode())?;
            file.sync_data()?;
            self.disk.rename(&beside, &path)?;
            self.disk.sync_dir(&self.dir)?;
            Ok(file)
        };
        let file = match made() {
            Ok(file) => file,
            Err(error) => {
                // What was allocated of it is given back; nothing in the log needs it.
                drop(self.disk.remove(&beside));
                return Err(error);
            }
        };
        let segment = Segment { file: Arc::from(file), path, generation, last_index: 0, end: SEGMENT_HEADER_BYTES };
        self.segments.insert(number, segment);
        Ok(())
    }

    /// The first operations of a queue that fit one group.
    pub fn take_group(queue: &mut Vec<Op>) -> Vec<Op> {
        let mut bytes = 0;
        let count = queue.iter().take_while(|op| {
            let first = bytes == 0;
            bytes += op.bytes();
            first || bytes <= GROUP_BYTES_MAX
        });
        let count = count.count();
        queue.drain(..count).collect()
    }

    /// Writes one group and makes it durable.
    pub fn write(&mut self, ops: &[Op]) -> io::Result<Written> {
        let mut written = Written::default();
        let size: usize = ops.iter().map(Op::bytes).sum();
        self.make_room(size + 1024, &mut written)?;
        let first = self.segments[&self.current].end == SEGMENT_HEADER_BYTES;
        let mut group = vec![0; GROUP_HEADER_BYTES];
        let (mut frames, mut forced) = (0, false);
        if first {
            frames += self.put_checkpoint(&mut group);
        }
        let offset = self.segments[&self.current].end;
        let mut last_index = 0;
        for op in ops {
            let mut put = |kind: Kind, payload: &[u8]| {
                frames += 1;
                put_frame(&mut group, kind, payload)
            };
            match op {
                Op::Append(entries, _) => {
                    for (id, payload) in entries {
                        let start = put(Kind::Entry, payload) as u64;
                        let bytes = (super::format::FRAME_HEADER_BYTES + payload.len())
                            .next_multiple_of(super::format::ALIGN) as u32;
                        let place = Place { segment: self.current, offset: offset + start, bytes };
                        written.places.push((*id, place));
                        last_index = last_index.max(id.index);
                    }
                }
                Op::Vote(vote, _) => {
                    put(Kind::Vote, &vote_to_wire(*vote).encode_to_vec());
                    self.vote = Some(*vote);
                }
                Op::Truncate(last, _) => {
                    put(Kind::Truncate, &encode_log_id(last.map(log_id_to_wire)));
                }
                Op::Purge(purged, _) => {
                    put(Kind::Purge, &log_id_to_wire(*purged).encode_to_vec());
                    self.purged = self.purged.max(Some(*purged));
                }
                Op::Committed(committed) => {
                    put(Kind::Committed, &log_id_to_wire(*committed).encode_to_vec());
                    self.committed = self.committed.max(Some(*committed));
                }
                Op::Tend(done) => forced |= done.is_some(),
            }
        }
        if ops.iter().any(|op| !matches!(op, Op::Tend(_))) {
            self.put_group(group, frames, offset, last_index)?;
        }
        self.tend(forced)?;
        self.remove_purged(&mut written)?;
        self.prepare_spare(&mut written);
        Ok(written)
    }

    /// What a reader needs when all older segments are gone.
    fn put_checkpoint(&self, group: &mut Vec<u8>) -> u32 {
        let mut frames = 0;
        if let Some(vote) = self.vote {
            put_frame(group, Kind::Vote, &vote_to_wire(vote).encode_to_vec());
            frames += 1;
        }
        if let Some(purged) = self.purged {
            put_frame(group, Kind::Purge, &log_id_to_wire(purged).encode_to_vec());
            frames += 1;
        }
        if let Some(committed) = self.committed {
            put_frame(group, Kind::Committed, &log_id_to_wire(committed).encode_to_vec());
            frames += 1;
        }
        frames
    }

    fn put_group(&mut self, mut group: Vec<u8>, frames: u32, offset: u64, last_index: u64) -> io::Result<()> {
        let segment = self.segments.get_mut(&self.current).expect("the current segment is there");
        let header = GroupHeader {
            bytes: (group.len() - GROUP_HEADER_BYTES) as u64,
            generation: segment.generation,
            offset,
            previous_end: self.durable.offset,
            frames,
        };
        header.encode_into(&mut group);
        segment.file.write_at(offset, &group)?;
        segment.file.sync_data()?;
        segment.end = offset + group.len() as u64;
        segment.last_index = segment.last_index.max(last_index);
        self.durable = Mark { segment: self.current, offset: segment.end };
        Ok(())
    }

    /// Goes on to the next segment when the group does not fit this one.
    fn make_room(&mut self, bytes: usize, written: &mut Written) -> io::Result<()> {
        let segment = &self.segments[&self.current];
        let capacity = segment.file.len()?;
        if segment.end + bytes as u64 <= capacity {
            return Ok(());
        }
        let wanted = self.segment_bytes.max(SEGMENT_HEADER_BYTES + bytes as u64);
        if segment.end == SEGMENT_HEADER_BYTES {
            // Nothing in it yet: one group larger than a segment makes the segment larger.
            return segment.file.preallocate(wanted);
        }
        let next = self.current + 1;
        match self.segments.get(&next) {
            // A spare is there; one group may be larger than it.
            Some(spare) if spare.file.len()? < wanted => spare.file.preallocate(wanted)?,
            Some(_) => {}
            None => self.make_segment(next, wanted)?,
        }
        written.opened.push((next, self.segments[&next].file.clone()));
        self.current = next;
        Ok(())
    }

    /// Has the next segment ready once half of this one is used, so that a full disk shows before it hurts:
    /// the other half is room for Raft's own entries.
    fn prepare_spare(&mut self, written: &mut Written) {
        let segment = &self.segments[&self.current];
        let next = self.current + 1;
        if segment.end * 2 < self.segment_bytes || self.segments.contains_key(&next) {
            return;
        }
        match self.make_segment(next, self.segment_bytes) {
            Ok(()) => written.opened.push((next, self.segments[&next].file.clone())),
            Err(error) => {
                tracing::warn!(%error, "no further log segment can be made; new rows are refused until one can");
                written.full = true;
            }
        }
    }

    fn remove_purged(&mut self, written: &mut Written) -> io::Result<()> {
        let Some(purged) = self.purged else { return Ok(()) };
        // In order, and only once a later segment's checkpoint is durable.
        while let Some((&number, segment)) = self.segments.first_key_value() {
            let checkpointed = self.durable.segment > number && number < self.current;
            if !checkpointed || segment.last_index > purged.index {
                break;
            }
            self.disk.remove(&segment.path)?;
            self.segments.remove(&number);
            written.removed.push(number);
        }
        match written.removed.is_empty() {
            true => Ok(()),
            false => self.disk.sync_dir(&self.dir),
        }
    }

    /// Writes the durable mark when it is due.
    fn tend(&mut self, forced: bool) -> io::Result<()> {
        let now = self.clock.monotonic();
        if self.marked == self.durable || (!forced && now.saturating_sub(self.marked_at) < MARK_INTERVAL) {
            return Ok(());
        }
        let slot = self.mark_turn % 2;
        self.mark.write_at(slot * MARK_SLOT_BYTES as u64, &self.durable.encode(self.mark_turn))?;
        self.mark.sync_data()?;
        self.mark_turn += 1;
        self.marked = self.durable;
        self.marked_at = now;
        Ok(())
    }
}
