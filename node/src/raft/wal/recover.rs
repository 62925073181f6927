//! Opening: reads every segment, tells rot from a torn tail, and says what it did.
//!
//! A group that does not check out is a torn tail, and is cut, only if nothing says that bytes beyond it were
//! durable: not the durable mark, not a later group of this generation, not a later segment. Everything else is
//! rot, and is refused with file and offset.

use super::format::{
    GROUP_HEADER_BYTES, GroupHeader, HeaderFault, Kind, MARK_SLOT_BYTES, Mark, SEGMENT_HEADER_BYTES, SegmentHeader,
    take_frame,
};
use super::index::{Index, Place};
use crate::env::disk::{Disk, File, Open, read_exact_at};
use crate::raft::types::{LogId, Vote};
use crate::raft::wire::{entry_from_wire, log_id_from_wire, vote_from_wire};
use engram_proto::wire::peer;
use prost::Message;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a log was not opened. Messages say what, where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Bytes that were durable are damaged.
    #[error(
        "{file} is damaged at byte {offset}: {detail}; it held durable entries, so this node must not go on with \
         it: remove the node from the cluster and add it under a new id with an empty directory"
    )]
    Rot {
        /// The file.
        file: String,
        /// Bytes from its start.
        offset: u64,
        /// What is wrong.
        detail: String,
    },
    /// Written by another version.
    #[error("{file} has version {found}; this program reads version 1: use the program that wrote it, or upgrade")]
    Version {
        /// The file.
        file: String,
        /// Its version.
        found: u32,
    },
    /// A file of another data directory.
    #[error("{file} belongs to another data directory; put back the right files, do not mix directories")]
    OtherDisk {
        /// The file.
        file: String,
    },
    /// The disk.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// What an opening found and did: one line for the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segment files read.
    pub segments: usize,
    /// Entries in the log.
    pub entries: usize,
    /// The first entry's index.
    pub first_index: u64,
    /// The last entry's index; 0 when there is none.
    pub last_index: u64,
    /// Bytes of a torn, never acknowledged end that were cut.
    pub torn_bytes: u64,
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segments, entries, first_index, last_index, torn_bytes } = self;
        write!(f, "log opened: {entries} entries, {first_index} to {last_index}, in {segments} segments; ")?;
        match torn_bytes {
            0 => write!(f, "nothing was torn"),
            bytes => write!(f, "a torn end of {bytes} bytes, never acknowledged, was cut"),
        }
    }
}

/// A segment as it was read.
pub struct Segment {
    /// Its file.
    pub file: Arc<dyn File>,
    /// Its path.
    pub path: PathBuf,
    /// Its generation.
    pub generation: u64,
    /// The last entry index in it; 0 for none.
    pub last_index: u64,
    /// Where its groups end.
    pub end: u64,
}

/// Everything that a log knows after opening.
pub struct Recovered {
    /// Entries.
    pub index: Index,
    /// The last vote.
    pub vote: Option<Vote>,
    /// The last committed mark.
    pub committed: Option<LogId>,
    /// The last purge.
    pub purged: Option<LogId>,
    /// By number.
    pub segments: BTreeMap<u64, Segment>,
    /// The number of the segment that is written now; `None` for a new log.
    pub current: Option<u64>,
    /// The durable mark's next turn.
    pub mark_turn: u64,
    /// For the operator.
    pub report: Recovery,
}

/// The name of a segment file.
pub fn segment_name(number: u64) -> String {
    format!("{number:016x}.wal")
}

/// The name of the durable mark's file.
pub const MARK_NAME: &str = "durable";

/// Reads the log of `dir`, which exists.
pub fn recover(disk: &dyn Disk, dir: &Path, identity: [u8; 16], cache_bytes: usize) -> Result<Recovered, OpenError> {
    let (mark, mark_turn) = read_mark(disk, dir)?;
    let mut reader = Reader {
        recovered: Recovered {
            index: Index::new(cache_bytes),
            vote: None,
            committed: None,
            purged: None,
            segments: BTreeMap::new(),
            current: None,
            mark_turn,
            report: Recovery::default(),
        },
        mark,
    };
    let mut names: Vec<(u64, String)> = Vec::new();
    for name in disk.list(dir)? {
        match name.strip_suffix(".wal").and_then(|hex| u64::from_str_radix(hex, 16).ok()) {
            Some(number) => names.push((number, name)),
            // A segment that was being made when the process ended.
            None if name.ends_with(".new") => disk.remove(&dir.join(name))?,
            None => {}
        }
    }
    names.sort();
    let mut opened = Vec::new();
    for (number, name) in names {
        opened.push((number, open_segment(disk, &dir.join(name), number, identity)?));
    }
    reader.segments(opened)?;
    Ok(reader.recovered)
}

fn read_mark(disk: &dyn Disk, dir: &Path) -> Result<(Mark, u64), OpenError> {
    let file = match disk.open(&dir.join(MARK_NAME), Open::Read) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((Mark::default(), 1)),
        Err(e) => return Err(e.into()),
    };
    let mut best: Option<(u64, Mark)> = None;
    for slot in 0..2 {
        let mut bytes = vec![0; MARK_SLOT_BYTES];
        // A short file or a torn slot: the other slot counts.
        if read_exact_at(&*file, slot * MARK_SLOT_BYTES as u64, &mut bytes).is_ok()
            && let Some(found) = Mark::decode(&bytes)
            && best.is_none_or(|best| found.0 > best.0)
        {
            best = Some(found);
        }
    }
    Ok(best.map_or((Mark::default(), 1), |(turn, mark)| (mark, turn + 1)))
}

fn open_segment(
    disk: &dyn Disk,
    path: &Path,
    number: u64,
    identity: [u8; 16],
) -> Result<(Segment, Vec<u8>), OpenError> {
    let file: Arc<dyn File> = Arc::from(disk.open(path, Open::Write)?);
    let mut bytes = vec![0; file.len()? as usize];
    read_exact_at(&*file, 0, &mut bytes)?;
    let name = path.display().to_string();
    let rot = |detail: &str| OpenError::Rot { file: name.clone(), offset: 0, detail: detail.into() };
    let header = SegmentHeader::decode(&bytes).map_err(|fault| match fault {
        HeaderFault::Damaged => rot("the segment header does not check out"),
        HeaderFault::Version(found) => OpenError::Version { file: name.clone(), found },
    })?;
    if header.identity != identity {
        return Err(OpenError::OtherDisk { file: name });
    }
    if header.number != number {
        return Err(rot(&format!("the header says segment {}", header.number)));
    }
    let end = SEGMENT_HEADER_BYTES;
    Ok((Segment { file, path: path.to_path_buf(), generation: header.generation, last_index: 0, end }, bytes))
}

struct Reader {
    recovered: Recovered,
    mark: Mark,
}

impl Reader {
    fn segments(&mut self, opened: Vec<(u64, (Segment, Vec<u8>))>) -> Result<(), OpenError> {
        let mut before: Option<(u64, u64, String)> = None;
        let count = opened.len();
        for (at, (number, (mut segment, bytes))) in opened.into_iter().enumerate() {
            let name = segment.path.display().to_string();
            let rot = |offset, detail: String| OpenError::Rot { file: name.clone(), offset, detail };
            if let Some((previous, _, _)) = &before
                && number != previous + 1
            {
                return Err(rot(0, format!("segment {} should come before it and is not there", number - 1)));
            }
            let first = self.groups(number, &mut segment, &bytes, &name)?;
            if let (Some(first), Some((_, end, file))) = (first, &before)
                && first.previous_end != *end
            {
                let detail = format!("its groups end at {end}, the next segment knows them to {}", first.previous_end);
                return Err(OpenError::Rot { file: file.clone(), offset: *end, detail });
            }
            let written = first.is_some();
            // Only the last segment may be a spare that nothing was written to.
            if !written && at + 1 < count {
                return Err(rot(SEGMENT_HEADER_BYTES, "no group in it, but segments follow".into()));
            }
            self.tail(number, &mut segment, &bytes, &name)?;
            if written || before.is_none() {
                self.recovered.current = Some(number);
            }
            before = Some((number, segment.end, name));
            self.recovered.segments.insert(number, segment);
        }
        if self.mark.segment > before.as_ref().map_or(0, |(number, _, _)| *number) {
            let (number, offset) = (self.mark.segment, self.mark.offset);
            let file = segment_name(number);
            return Err(OpenError::Rot { file, offset, detail: "it was durable and is not there".into() });
        }
        self.no_hole(before.map_or(String::new(), |(_, _, file)| file))?;
        let recovered = &mut self.recovered;
        recovered.report.segments = recovered.segments.len();
        recovered.report.entries = recovered.index.len();
        recovered.report.first_index = recovered.index.first();
        recovered.report.last_index = recovered.index.last().map_or(0, |id| id.index);
        Ok(())
    }

    /// The first entry follows the purged one, or is the first of all.
    fn no_hole(&self, file: String) -> Result<(), OpenError> {
        let index = &self.recovered.index;
        let wanted = self.recovered.purged.map_or(0, |purged| purged.index + 1);
        if index.len() > 0 && index.first() != wanted {
            let detail = format!("the log begins at entry {}, not at {wanted}", index.first());
            return Err(OpenError::Rot { file, offset: SEGMENT_HEADER_BYTES, detail });
        }
        Ok(())
    }

    /// Folds in all good groups; returns the first one's header.
    fn groups(
        &mut self,
        number: u64,
        segment: &mut Segment,
        bytes: &[u8],
        name: &str,
    ) -> Result<Option<GroupHeader>, OpenError> {
        let mut first = None;
        while let Some(header) = group_at(bytes, segment.generation, segment.end) {
            let start = segment.end as usize + GROUP_HEADER_BYTES;
            let mut at = start;
            for _ in 0..header.frames {
                let (kind, payload, taken) = take_frame(&bytes[at..]).expect("checked by group_at");
                let place = Place { segment: number, offset: at as u64, bytes: taken as u32 };
                self.frame(kind, payload, place, segment).map_err(|detail| OpenError::Rot {
                    file: name.into(),
                    offset: at as u64,
                    detail,
                })?;
                at += taken;
            }
            first.get_or_insert(header);
            segment.end = at as u64;
        }
        Ok(first)
    }

    fn frame(&mut self, kind: Kind, payload: &[u8], place: Place, segment: &mut Segment) -> Result<(), String> {
        let recovered = &mut self.recovered;
        let log_id = |payload: &[u8]| match payload.is_empty() {
            true => Ok(None),
            false => peer::LogId::decode(payload).map(|id| Some(log_id_from_wire(id))).map_err(|e| e.to_string()),
        };
        match kind {
            Kind::Entry => {
                let wire = peer::RaftEntry::decode(payload).map_err(|e| e.to_string())?;
                let entry = entry_from_wire(wire).map_err(|e| e.to_string())?;
                let id = entry.log_id;
                segment.last_index = segment.last_index.max(id.index);
                if recovered.purged.is_some_and(|purged| id.index <= purged.index) {
                    return Ok(());
                }
                match recovered.index.push(id, Some(entry), Some(place), payload.len()) {
                    true => Ok(()),
                    false => Err(format!("entry {id} does not follow {:?}", recovered.index.last())),
                }
            }
            Kind::Vote => {
                let wire = peer::RaftVote::decode(payload).map_err(|e| e.to_string())?;
                recovered.vote = Some(vote_from_wire(Some(wire)).map_err(|e| e.to_string())?);
                Ok(())
            }
            Kind::Truncate => {
                recovered.index.truncate(log_id(payload)?.map(|id| id.index));
                Ok(())
            }
            Kind::Purge => {
                if let Some(purged) = log_id(payload)? {
                    recovered.index.purge(purged.index);
                    recovered.purged = recovered.purged.max(Some(purged));
                }
                Ok(())
            }
            Kind::Committed => {
                recovered.committed = recovered.committed.max(log_id(payload)?);
                Ok(())
            }
        }
    }

    /// What stands after the last good group: nothing, a torn end, or rot.
    fn tail(&mut self, number: u64, segment: &mut Segment, bytes: &[u8], name: &str) -> Result<(), OpenError> {
        let end = segment.end;
        let rot = |detail: String| OpenError::Rot { file: name.into(), offset: end, detail };
        let mark = self.mark;
        if mark.segment == number && mark.offset > end {
            return Err(rot(format!("a group does not check out, but bytes to {} were durable", mark.offset)));
        }
        let rest = &bytes[end as usize..];
        let Some(dirty) = rest.iter().rposition(|byte| *byte != 0) else { return Ok(()) };
        // Only behind it: the group that stands here itself may be torn after its header.
        for at in (end..bytes.len() as u64).step_by(super::format::ALIGN).skip(1) {
            let header = GroupHeader::decode(&bytes[at as usize..], segment.generation, at);
            if let Some(header) = header
                && header.previous_end > end
            {
                let detail = format!("a group does not check out, but the one at {at} says that it was durable");
                return Err(rot(detail));
            }
        }
        if mark.segment > number {
            return Err(rot("bytes that are no group, but later segments were durable".into()));
        }
        let torn = dirty as u64 + 1;
        segment.file.write_at(end, &vec![0; torn as usize])?;
        segment.file.sync_data()?;
        self.recovered.report.torn_bytes += torn;
        Ok(())
    }
}

/// The whole, good group at an offset.
fn group_at(bytes: &[u8], generation: u64, offset: u64) -> Option<GroupHeader> {
    let header = GroupHeader::decode(bytes.get(offset as usize..)?, generation, offset)?;
    let start = offset as usize + GROUP_HEADER_BYTES;
    let frames = bytes.get(start..start.checked_add(usize::try_from(header.bytes).ok()?)?)?;
    let mut at = 0;
    for _ in 0..header.frames {
        at += take_frame(frames.get(at..)?)?.2;
    }
    (at == frames.len()).then_some(header)
}
