//! Reading a log back: replays whole groups in order, and where they end, decides between rot and a torn tail.
//!
//! Invariant `durable_is_never_cut`: bytes below the durable mark, or before a whole later group that was written
//! when they were durable, are never cut; if they are damaged, opening refuses and changes nothing.
//! Leaves out: repair from a peer.

use super::Options;
use super::format::{BLOCK, Flaw, Group, Header, Position, Sum, blank, parse_group};
use super::index::{Index, Place};
use super::mark::{self, Mark};
use super::record::{Record, View};
use super::report::{OpenError, Recovery};
use super::segment::{self, Segment, Span, widen};
use crate::env::disk::{Disk, File, Open, read_exact_at};
use engram_probes::probe;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::{io, rc::Rc, sync::Arc};

/// Zeros are written in pieces of this size.
const ZEROS: usize = 1 << 20;

/// What the files add up to.
#[derive(Default)]
pub struct Replay {
    /// Vote, committed, purged, last.
    pub view: View,
    /// Where the live entries are.
    pub index: Index,
    /// The indexes of all entries that were ever written in each segment.
    pub spans: BTreeMap<u64, Span>,
    /// Entries below this are in segments that are gone, unless purged; 0: none is missing.
    lost_before: u64,
    begun: bool,
}

impl Replay {
    fn group(&mut self, segment: u64, group: &Group<'_>) -> Result<(), (u64, &'static str)> {
        for frame in &group.frames {
            let fail = |detail| (frame.offset, detail);
            let record = Record::decode(frame.kind, frame.payload).map_err(fail)?;
            if !std::mem::replace(&mut self.begun, true) {
                let Record::Last(last) = record else { return Err(fail("a segment without its first record")) };
                self.view.last = last;
                self.lost_before = last.map_or(0, |last| last.index.saturating_add(1));
            }
            self.view.apply(&record).map_err(fail)?;
            match record {
                Record::Entry(id) => {
                    let at = Some(Position { segment, offset: frame.offset });
                    let term = id.committed_leader_id().term;
                    self.index.push(id.index, Place { term, at, len: frame.payload.len() as u32 });
                    widen(&mut self.spans, segment, id.index);
                }
                Record::Truncate(last) => {
                    let from = last.map_or(0, |last| last.index.saturating_add(1));
                    self.index.truncate(from);
                    self.lost_before = self.lost_before.min(from);
                }
                Record::Purge(id) => self.index.purge(id.index),
                _ => {}
            }
        }
        Ok(())
    }
}

struct Found {
    number: u64,
    path: PathBuf,
    file: Arc<dyn File>,
    len: u64,
}

/// The segments' files, and of the last two that were read their bytes: where the log ends is looked at again and again.
struct Segments {
    found: Vec<Found>,
    read: RefCell<VecDeque<(usize, Rc<Vec<u8>>)>>,
}

impl Segments {
    fn bytes(&self, slot: usize) -> Result<Rc<Vec<u8>>, OpenError> {
        let mut read = self.read.borrow_mut();
        if let Some((_, bytes)) = read.iter().find(|(known, _)| *known == slot) {
            return Ok(bytes.clone());
        }
        let here = &self.found[slot];
        if here.len > segment::MAX_BYTES {
            return Err(OpenError::rot(here.path.clone(), segment::MAX_BYTES, "longer than any segment"));
        }
        let former = if read.len() < 2 { None } else { read.pop_front() };
        // Memory that is there already: a fresh page costs about as much as what is read into it.
        let mut bytes = former.and_then(|(_, bytes)| Rc::into_inner(bytes)).unwrap_or_default();
        bytes.resize(here.len as usize, 0);
        read_exact_at(&*here.file, 0, &mut bytes)?;
        let bytes = Rc::new(bytes);
        read.push_back((slot, bytes.clone()));
        Ok(bytes)
    }
}

/// A log that was read.
pub struct Recovered {
    /// What its records add up to.
    pub replay: Replay,
    /// Whole segments, by number; the last one is written on.
    pub files: BTreeMap<u64, Arc<dyn File>>,
    /// The last segment; `None` in a new log.
    pub active: Option<Segment>,
    /// For people.
    pub report: Recovery,
}

fn found(disk: &dyn Disk, dir: &Path, mode: Open) -> Result<Segments, OpenError> {
    let mut all = Vec::<Found>::new();
    for name in disk.list(dir)? {
        let Some(number) = segment::number(&name) else { continue };
        let path = dir.join(&name);
        if let Some(before) = all.last().filter(|before| before.number + 1 != number) {
            let missing = segment::path(dir, before.number + 1);
            return Err(OpenError::rot(missing, 0, "this segment is missing, a later one is there"));
        }
        let file: Arc<dyn File> = disk.open(&path, mode)?.into();
        let len = file.len()?;
        all.push(Found { number, path, file, len });
    }
    Ok(Segments { found: all, read: RefCell::default() })
}

/// Where reading ended.
#[derive(Default)]
struct End {
    /// After the last whole group; `None`: there is no whole group at all.
    at: Option<Position>,
    /// Position in the list of the segment that `at` is in.
    slot: usize,
    generation: u64,
    /// What was found instead of a group, and where.
    stop: Option<(usize, u64, Flaw)>,
}

struct Walk<'a> {
    all: &'a Segments,
    identity: &'a [u8; 16],
    sum: Sum,
    replay: Replay,
    end: End,
    mark: Position,
}

impl Walk<'_> {
    fn rot(&self, slot: usize, offset: u64, detail: &str) -> OpenError {
        OpenError::rot(self.all.found[slot].path.clone(), offset, detail)
    }

    /// Replays segment `slot`; false when it has no whole group that continues the log.
    fn segment(&mut self, slot: usize) -> Result<bool, OpenError> {
        let (here, bytes) = (&self.all.found[slot], self.all.bytes(slot)?);
        let header = match Header::decode(&bytes, self.identity) {
            Ok(header) if header.number != here.number => return Err(self.rot(slot, 16, "another segment's header")),
            Ok(header) => header,
            Err(flaw @ (Flaw::Version(_) | Flaw::OtherDisk(_))) => {
                return Err(OpenError::flaw(here.path.clone(), 0, flaw, self.identity));
            }
            Err(flaw) => return Ok(self.stop(slot, 0, flaw)),
        };
        let first = match parse_group(&bytes, BLOCK, header.generation, self.sum) {
            Ok(group) => group,
            Err(flaw) => return Ok(self.stop(slot, BLOCK, flaw)),
        };
        if let Some(end) = self.end.at {
            if first.previous > end && first.previous.segment == end.segment {
                return Err(self.stopped_at_end("a later segment was begun when more was durable here"));
            }
            if first.previous != end || header.generation <= self.end.generation {
                return Err(self.rot(slot, BLOCK, "a segment that does not continue the one before"));
            }
        }
        self.groups(slot, &bytes, header.generation, first)?;
        Ok(true)
    }

    fn groups<'b>(&mut self, slot: usize, bytes: &'b [u8], generation: u64, first: Group<'b>) -> Result<(), OpenError> {
        let number = self.all.found[slot].number;
        let (mut offset, mut group) = (BLOCK, first);
        let flaw = loop {
            self.replay.group(number, &group).map_err(|(at, detail)| self.rot(slot, at, detail))?;
            offset += group.len;
            group = match parse_group(bytes, offset, generation, self.sum) {
                Ok(group) => group,
                Err(flaw) => break flaw,
            };
        };
        self.end = End { at: Some(Position { segment: number, offset }), slot, generation, stop: None };
        self.stop(slot, offset, flaw);
        Ok(())
    }

    /// Notes what ended the reading: of damage, the first; a blank is an end, and damage after it says more.
    fn stop(&mut self, slot: usize, offset: u64, flaw: Flaw) -> bool {
        if self.end.stop.is_none_or(|(.., known)| known == Flaw::Blank && flaw != Flaw::Blank) {
            self.end.stop = Some((slot, offset, flaw));
        }
        false
    }

    fn stopped_at_end(&self, why: &str) -> OpenError {
        let (slot, offset, flaw) = self.end.stop.unwrap_or((self.end.slot, 0, Flaw::Blank));
        let detail = match flaw {
            Flaw::Damaged(detail) => detail,
            _ => "zeros where records were",
        };
        self.rot(slot, offset, &format!("{detail} ({why})"))
    }

    /// Refuses if what follows the end was durable once.
    fn judge(&self) -> Result<(), OpenError> {
        let end = self.end.at.unwrap_or(Position { segment: self.all.found[0].number, offset: 0 });
        if end < self.mark {
            return Err(self.stopped_at_end("the durable mark is beyond it"));
        }
        let mut generation = self.end.generation;
        for (slot, here) in self.all.found.iter().enumerate().skip(self.end.slot) {
            let bytes = self.all.bytes(slot)?;
            if slot > self.end.slot || self.end.at.is_none() {
                generation = Header::decode(&bytes, self.identity).map_or(generation + 1, |header| header.generation);
            }
            let from = if here.number == end.segment { end.offset } else { 0 };
            let mut starts = (from..here.len).step_by(8).filter(|at| bytes[*at as usize] != 0);
            let later = starts.find_map(|at| parse_group(&bytes, at, generation, self.sum).ok().map(|g| g.previous));
            if later.is_some_and(|previous| previous > end) {
                return Err(self.stopped_at_end("a later group was written when this was durable"));
            }
        }
        Ok(())
    }
}

/// Reads everything, then cuts a torn tail. Blocking.
pub fn recover(disk: &dyn Disk, options: &Options, mark: &Mark) -> Result<Recovered, OpenError> {
    let all = found(disk, &options.dir, Open::Write)?;
    let (replay, end) = walk(&all, &options.dir, &options.identity, mark)?;
    let torn = torn(&all, &end)?;
    cut(disk, options, &all.found, &end, &torn)?;
    finish(options.dir.clone(), all.found, &end, replay, &torn)
}

/// Reads everything and changes nothing; what is torn is told. Blocking.
pub fn examine(disk: &dyn Disk, dir: &Path, identity: &[u8; 16], mark: &Mark) -> Result<Recovery, OpenError> {
    let all = found(disk, dir, Open::Read)?;
    let (replay, end) = walk(&all, dir, identity, mark)?;
    let torn = torn(&all, &end)?;
    Ok(finish(dir.to_path_buf(), all.found, &end, replay, &torn)?.report)
}

fn walk(all: &Segments, dir: &Path, identity: &[u8; 16], mark: &Mark) -> Result<(Replay, End), OpenError> {
    let (replay, end) = (Replay::default(), End::default());
    let mut walk = Walk { all, identity, sum: Sum::of(identity), replay, end, mark: mark.at };
    let reaches = |found: &Found| found.number >= mark.at.segment;
    if mark.at != mark::NEW && !(all.found.last().is_some_and(reaches) && all.found[0].number <= mark.at.segment) {
        let missing = segment::path(dir, mark.at.segment);
        return Err(OpenError::rot(missing, 0, "this segment is missing, the durable mark names it"));
    }
    for slot in 0..all.found.len() {
        if !walk.segment(slot)? {
            break;
        }
    }
    if !all.found.is_empty() {
        walk.judge()?;
    }
    let (lost, purged) = (walk.replay.lost_before, walk.replay.view.purged);
    if lost > purged.map_or(0, |purged| purged.index.saturating_add(1)) {
        return Err(walk.rot(0, BLOCK, "entries before this segment are missing and not purged"));
    }
    Ok((walk.replay, walk.end))
}

/// What follows the end: by place in the list, from where on, and how many bytes up to the last that is not zero.
#[derive(Default)]
struct Torn {
    /// In the last whole segment.
    tail: Option<(usize, u64, usize)>,
    /// Whole files, the last first; one that is blank was made ahead of need if it is the next.
    later: Vec<(usize, usize)>,
}

fn torn(all: &Segments, end: &End) -> Result<Torn, OpenError> {
    let whole = if end.at.is_some() { end.slot + 1 } else { 0 };
    let used = |bytes: &[u8]| match blank(bytes) {
        true => 0,
        false => bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1),
    };
    let mut torn = Torn::default();
    for slot in (whole..all.found.len()).rev() {
        let used = used(&all.bytes(slot)?);
        if used > 0 || slot > whole {
            torn.later.push((slot, used));
        }
    }
    if let Some(at) = end.at {
        let used = used(&all.bytes(end.slot)?[at.offset as usize..]);
        torn.tail = (used > 0).then_some((end.slot, at.offset, used));
    }
    Ok(torn)
}

/// Cuts what follows the end. Later segments go first: were power lost between the two, nothing would be
/// taken for continuing.
fn cut(disk: &dyn Disk, options: &Options, all: &[Found], end: &End, torn: &Torn) -> Result<(), OpenError> {
    for (slot, _) in &torn.later {
        probe!("log_has_later_segments_than_its_end");
        disk.remove(&all[*slot].path)?;
        disk.sync_dir(&options.dir)?;
    }
    if let Some((slot, offset, used)) = torn.tail {
        probe!("log_ends_in_a_torn_group");
        zero(&*all[slot].file, offset, used)?;
    }
    // What was read may never have been synced; from here on it counts.
    match end.at {
        Some(_) => Ok(all[end.slot].file.sync_data()?),
        None => Ok(()),
    }
}

fn zero(file: &dyn File, mut offset: u64, mut len: usize) -> io::Result<()> {
    while len > 0 {
        let piece = len.min(ZEROS);
        file.write_at(offset, &vec![0; piece])?;
        (offset, len) = (offset + piece as u64, len - piece);
    }
    Ok(())
}

fn finish(dir: PathBuf, all: Vec<Found>, end: &End, replay: Replay, torn: &Torn) -> Result<Recovered, OpenError> {
    let mut report = Recovery { dir, ..Recovery::default() };
    for (slot, offset, used) in torn.later.iter().map(|(slot, used)| (*slot, 0, *used)).chain(torn.tail) {
        if used > 0 {
            report.torn_bytes += used as u64;
            report.torn_at = Some((all[slot].path.clone(), offset));
        }
    }
    let whole = if end.at.is_some() { end.slot + 1 } else { 0 };
    let files: BTreeMap<_, _> = all.into_iter().take(whole).map(|found| (found.number, found.file)).collect();
    let active = match (end.at, files.last_key_value()) {
        (Some(at), Some((number, file))) => Some(Segment {
            number: *number,
            generation: end.generation,
            file: file.clone(),
            room: file.len()?,
            end: at.offset,
        }),
        _ => None,
    };
    let live = replay.index.range();
    report.segments = files.len();
    report.entries = live.end - live.start;
    if !live.is_empty() {
        (report.first_index, report.last_index) = (Some(live.start), Some(live.end - 1));
    }
    (report.vote, report.committed) = (replay.view.vote, replay.view.committed);
    Ok(Recovered { replay, files, active, report })
}
