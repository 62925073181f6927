//! The one writer. It turns what is queued into groups: one write and one sync each, then everybody is told.
//!
//! Invariants: `flush_before_ack`: nothing is acknowledged before the sync that covers it returned.
//! `written_in_order`: records reach the disk in the order they were asked for, except that a purge may pass
//! appends of later entries while the disk is full, because it is what makes room.
//! `never_retry_a_sync`: the first failed write or sync is the last one; the caller poisons the log.

use super::Options;
use super::format::{BLOCK, GroupBuilder, Header, Position, Sum};
use super::mark::Mark;
use super::record::{Record, View, put_entry};
use super::segment::{self, Segment, Span, widen};
use super::state::Op;
use crate::env::disk::is_full;
use crate::env::{Clock, Disk};
use crate::metrics::{Histogram, Unit};
use crate::raft::types::LogId;
use engram_mutants::mutant;
use engram_probes::probe;
use std::collections::{BTreeMap, VecDeque};
use std::{io, sync::Arc, time::Duration};

/// A group is closed when it holds this much; the measured disk gains nothing from more.
const GROUP_BYTES: usize = 8 << 20;
/// How far the durable mark may be behind.
pub const MARK_EVERY: Duration = Duration::from_millis(50);
/// How often a full disk is asked again.
const SPACE_EVERY: Duration = Duration::from_millis(500);
/// Room in the last segment that is kept for votes, blank entries and membership while the disk is full.
const KEPT_BYTES: u64 = 64 << 10;

/// More than a group's head and a segment's first records take.
const FIRST_RECORDS: u64 = 256;

/// Counts since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Groups written: one sync each.
    pub groups: u64,
    /// Entries written.
    pub entries: u64,
    /// Bytes written, heads and padding included.
    pub bytes: u64,
}

/// See the file's header. Used on the WAL lane alone.
pub struct Writer {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    options: Arc<Options>,
    sum: Sum,
    active: Segment,
    spare: Option<Segment>,
    /// The oldest segment that is kept.
    oldest: u64,
    full: bool,
    space_asked: Option<Duration>,
    /// As written.
    view: View,
    spans: BTreeMap<u64, Span>,
    durable: Position,
    mark: Mark,
    /// The group's memory, used again.
    buffer: Vec<u8>,
    counters: Counters,
    sync_times: Histogram,
}

/// What one group did.
#[derive(Default)]
pub struct Written {
    /// To be completed.
    pub ops: Vec<Op>,
    /// Where entries went.
    pub placed: Vec<(LogId, Position, u32)>,
    /// To be done once they are told.
    pub tidying: Tidying,
}

/// What a group leaves to do.
#[derive(Clone, Copy, Default)]
pub struct Tidying {
    purged: bool,
    flush: bool,
}

struct Batch {
    group: GroupBuilder,
    /// Of the group's segment's start, where the buffer's first byte goes.
    base: u64,
    written: Written,
}

impl Writer {
    /// Goes on after `active`; without one, begins segment 1.
    pub fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        options: Arc<Options>,
        mark: Mark,
        (oldest, active): (u64, Option<Segment>),
        (view, spans): (View, BTreeMap<u64, Span>),
    ) -> io::Result<Self> {
        let begun = active.is_some();
        let active = match active {
            Some(active) => active,
            None => segment::prepare(&*disk, &options.dir, 1, 1, options.segment_bytes)?,
        };
        let durable = Position { segment: active.number, offset: active.end };
        let mut writer = Self {
            sum: Sum::of(&options.identity),
            disk,
            clock,
            options,
            active,
            spare: None,
            oldest,
            full: false,
            space_asked: None,
            view,
            spans,
            durable,
            mark,
            buffer: Vec::new(),
            counters: Counters::default(),
            sync_times: Histogram::new(Unit::Seconds),
        };
        if !begun {
            let mut batch = writer.batch();
            writer.write(&mut batch)?;
        }
        writer.set_mark()?;
        writer.remove_purged()?;
        writer.ensure_spare()?;
        Ok(writer)
    }

    /// How long groups took to be durable.
    pub fn sync_times(&self) -> Histogram {
        self.sync_times.clone()
    }

    /// The segment that is written to.
    pub fn active(&self) -> (u64, Arc<dyn crate::env::File>) {
        (self.active.number, self.active.file.clone())
    }

    /// The highest index of entries in segments up to this one, 0 if they have none; `None` once it is gone.
    pub fn highest(&self, segment: u64) -> Option<u64> {
        let highest = self.spans.range(..=segment).map(|(_, (_, highest))| *highest).max();
        (segment >= self.oldest).then_some(highest.unwrap_or(0))
    }

    /// An empty group at the end of the active segment; in a fresh segment with its header and first records.
    fn batch(&mut self) -> Batch {
        let mut bytes = std::mem::take(&mut self.buffer);
        bytes.clear();
        bytes.shrink_to(GROUP_BYTES);
        let base = self.active.end;
        if base == 0 {
            let Segment { number, generation, .. } = self.active;
            bytes.extend_from_slice(&Header { number, generation }.encode(&self.options.identity));
        }
        let mut group = GroupBuilder::new(bytes, self.sum);
        if base == 0 {
            self.view.records().for_each(|record| record.put(&mut group));
        }
        Batch { group, base, written: Written::default() }
    }

    /// Writes one group from the front of `ops`. `None`: nothing could be written, the disk is full. After an error
    /// all that were not written are in `ops` again.
    pub fn group(&mut self, ops: &mut VecDeque<Op>) -> io::Result<Option<Written>> {
        let mut batch = self.batch();
        while let Some(op) = ops.pop_front() {
            match self.put(&mut batch, &op) {
                Ok(()) => batch.written.ops.push(op),
                Err(need) => {
                    ops.push_front(op);
                    if !batch.written.ops.is_empty() {
                        break;
                    }
                    self.buffer = batch.group.bytes;
                    if !self.begin_segment(need)? && !hoist_purge(ops) && !drop_roll(ops) {
                        probe!("log_is_full");
                        return Ok(None);
                    }
                    batch = self.batch();
                }
            }
            if batch.group.bytes.len() >= GROUP_BYTES {
                break;
            }
        }
        if let Err(e) = self.write(&mut batch) {
            batch.written.ops.into_iter().rev().for_each(|op| ops.push_front(op));
            return Err(e);
        }
        Ok(Some(batch.written))
    }

    /// Adds one operation; when the segment has no room for it, answers how much a new one must have.
    fn put(&mut self, batch: &mut Batch, op: &Op) -> Result<(), u64> {
        let (point, placed) = (batch.group.point(), batch.written.placed.len());
        match op {
            Op::Append(entries, _) => {
                for entry in entries {
                    let (at, len) = put_entry(&mut batch.group, entry);
                    let at = Position { segment: self.active.number, offset: batch.base + at as u64 };
                    batch.written.placed.push((entry.log_id, at, len));
                }
            }
            Op::Vote(..) if mutant!("vote_not_written") => {}
            Op::Vote(vote, _) => Record::Vote(*vote).put(&mut batch.group),
            Op::Truncate(last) => Record::Truncate(*last).put(&mut batch.group),
            Op::Purge(upto) => {
                if !mutant!("purge_not_written") {
                    Record::Purge(*upto).put(&mut batch.group);
                }
                batch.written.tidying.purged = true;
            }
            Op::Committed(id) => Record::Committed(*id).put(&mut batch.group),
            Op::Flush(_) => batch.written.tidying.flush = true,
            // What is in the segment is written first.
            Op::Roll if batch.base > 0 => return Err(0),
            Op::Roll => {}
        }
        let kept = match self.full && batch.base > 0 && !op.essential() {
            true => KEPT_BYTES.min(self.active.room / 8),
            false => 0,
        };
        if batch.base + batch.group.sealed_len() + kept <= self.active.room {
            return Ok(());
        }
        let op_bytes = (batch.group.bytes.len() - point.0) as u64;
        batch.group.back(point);
        batch.written.placed.truncate(placed);
        Err(BLOCK + FIRST_RECORDS + op_bytes)
    }

    /// One write and one sync.
    fn write(&mut self, batch: &mut Batch) -> io::Result<()> {
        let group = std::mem::replace(&mut batch.group, GroupBuilder::new(Vec::new(), self.sum));
        let (base, written) = (batch.base, &batch.written);
        if group.is_empty() {
            self.buffer = group.bytes;
            return Ok(());
        }
        let bytes = group.seal(self.active.generation, base.max(BLOCK), self.durable);
        let begun = self.clock.monotonic();
        self.active.file.write_at(base, &bytes)?;
        let votes = written.ops.iter().all(|op| matches!(op, Op::Vote(..)));
        let unsynced = mutant!("ack_before_flush") || votes && mutant!("vote_not_synced");
        if !unsynced {
            match self.active.file.sync_data() {
                Err(_) if mutant!("failed_sync_ignored") => {}
                synced => synced?,
            }
        }
        self.sync_times.time(self.clock.monotonic().saturating_sub(begun));
        self.active.end = base + bytes.len() as u64;
        self.durable = Position { segment: self.active.number, offset: self.active.end };
        self.counters.groups += 1;
        self.counters.entries += written.placed.len() as u64;
        self.counters.bytes += bytes.len() as u64;
        self.buffer = bytes;
        for op in &written.ops {
            self.apply(op).map_err(io::Error::other)?;
        }
        written.placed.iter().for_each(|(id, ..)| widen(&mut self.spans, self.active.number, id.index));
        Ok(())
    }

    fn apply(&mut self, op: &Op) -> Result<(), &'static str> {
        match op {
            Op::Append(entries, _) => {
                entries.iter().try_for_each(|entry| self.view.apply(&Record::Entry(entry.log_id)))
            }
            Op::Vote(vote, _) => self.view.apply(&Record::Vote(*vote)),
            Op::Truncate(last) => self.view.apply(&Record::Truncate(*last)),
            Op::Purge(upto) => self.view.apply(&Record::Purge(*upto)),
            Op::Committed(id) => self.view.apply(&Record::Committed(*id)),
            Op::Flush(_) | Op::Roll => Ok(()),
        }
    }

    /// After a group, or now and then: old segments go, the next one is made, the mark follows.
    pub fn tidy(&mut self, after: Option<Tidying>) -> io::Result<()> {
        if after.is_some_and(|tidying| tidying.purged) {
            self.remove_purged()?;
        }
        self.ensure_spare()?;
        let due = self.clock.monotonic().saturating_sub(self.mark.written) >= MARK_EVERY;
        if due || after.is_none_or(|tidying| tidying.flush) {
            self.set_mark()?;
        }
        Ok(())
    }

    fn set_mark(&mut self) -> io::Result<()> {
        match self.mark.at < self.durable {
            true => self.mark.set(self.durable, self.clock.monotonic()),
            false => Ok(()),
        }
    }

    /// Removes segments whose every entry is purged, oldest first, each durably: no gap can appear.
    fn remove_purged(&mut self) -> io::Result<()> {
        let Some(purged) = self.view.purged else { return Ok(()) };
        while self.oldest < self.active.number
            && self.spans.get(&self.oldest).is_none_or(|(_, highest)| *highest <= purged.index)
        {
            self.set_mark()?; // it never names a segment that is gone
            self.disk.remove(&segment::path(&self.options.dir, self.oldest))?;
            self.disk.sync_dir(&self.options.dir)?;
            probe!("log_removes_a_segment");
            self.spans.remove(&self.oldest);
            self.oldest += 1;
            self.space_asked = None;
        }
        Ok(())
    }

    /// Makes the next segment's file; a full disk is no error.
    fn ensure_spare(&mut self) -> io::Result<()> {
        let now = self.clock.monotonic();
        if self.spare.is_some() || self.space_asked.is_some_and(|asked| now.saturating_sub(asked) < SPACE_EVERY) {
            return Ok(());
        }
        let (number, generation) = (self.active.number + 1, self.active.generation + 1);
        let made = segment::prepare(&*self.disk, &self.options.dir, number, generation, self.options.segment_bytes);
        match made {
            Ok(spare) => (self.spare, self.space_asked, self.full) = (Some(spare), None, false),
            Err(e) if is_full(&e) => (self.space_asked, self.full) = (Some(now), true),
            Err(e) => return Err(e),
        }
        Ok(())
    }

    /// Goes on in the next segment, which gets at least `room`; false when the disk is full.
    fn begin_segment(&mut self, room: u64) -> io::Result<bool> {
        self.ensure_spare()?;
        let Some(mut spare) = self.spare.take() else { return Ok(false) };
        if spare.room < room {
            match spare.file.preallocate(room) {
                Err(e) if is_full(&e) => {
                    (self.spare, self.full) = (Some(spare), true);
                    return Ok(false);
                }
                grown => grown?,
            }
            spare.room = room;
        }
        self.active = spare;
        Ok(true)
    }

    /// After a group or an opening.
    pub fn outcome(&self) -> Outcome {
        let (oldest, full, unmarked) = (self.oldest, self.full, self.mark.at < self.durable);
        let lowest = self.spans.values().map(|(lowest, _)| *lowest).min();
        Outcome { vote: self.view.vote, oldest, full, unmarked, lowest, counters: self.counters }
    }
}

/// What the rest of the node may know of the writer.
pub struct Outcome {
    /// Durable.
    pub vote: Option<crate::raft::types::Vote>,
    /// Older segments are gone.
    pub oldest: u64,
    /// The next segment can't be had.
    pub full: bool,
    /// The mark is behind.
    pub unmarked: bool,
    /// Of all entries in the files.
    pub lowest: Option<u64>,
    /// For metrics.
    pub counters: Counters,
}

/// Lets a purge pass the appends that wait for the room it makes. Only of older entries, so order does not matter.
fn hoist_purge(ops: &mut VecDeque<Op>) -> bool {
    let Some(Op::Append(entries, _)) = ops.front() else { return false };
    let Some(first) = entries.first().map(|entry| entry.log_id.index) else { return false };
    let passes = |op: &Op| matches!(op, Op::Purge(upto) if upto.index < first);
    let purge = ops.iter().position(passes).and_then(|at| ops.remove(at));
    purge.map(|purge| ops.push_front(purge)).is_some()
}

/// A full disk has no other segment to go on in.
fn drop_roll(ops: &mut VecDeque<Op>) -> bool {
    ops.pop_front_if(|op| matches!(op, Op::Roll)).is_some()
}
