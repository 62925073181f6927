//! Segment files: their names, making the next one ahead of need, removing old ones.

use crate::env::disk::{Disk, File, Open};
use engram_mutants::mutant;
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A longer file is no segment.
pub const MAX_BYTES: u64 = 4 << 30;

/// A segment that is written.
pub struct Segment {
    /// From 1, without gaps.
    pub number: u64,
    /// Which life of a segment file it is.
    pub generation: u64,
    /// Open for reading and writing.
    pub file: Arc<dyn File>,
    /// Bytes that are allocated.
    pub room: u64,
    /// Bytes that are used; 0: not even the header.
    pub end: u64,
}

/// A segment's file.
pub fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.wal"))
}

/// The number that a file's name says, if it is a segment's.
pub fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".wal").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok().filter(|number| format!("{number:016x}") == digits)
}

/// Makes the file of a segment that will be needed: zeroed, allocated, its name durable.
pub fn prepare(disk: &dyn Disk, dir: &Path, number: u64, generation: u64, room: u64) -> io::Result<Segment> {
    let path = path(dir, number);
    let file: Arc<dyn File> = match disk.open(&path, Open::CreateNew) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => disk.open(&path, Open::Write)?.into(),
        made => made?.into(),
    };
    if let Err(e) = file.preallocate(room) {
        // What it took is somebody else's now. If removing fails too, the next try finds the file and goes on.
        drop(disk.remove(&path));
        return Err(e);
    }
    file.sync_data()?;
    if !mutant!("segment_name_not_synced") {
        disk.sync_dir(dir)?;
    }
    Ok(Segment { number, generation, file, room, end: 0 })
}

/// The lowest and the highest index of entries.
pub type Span = (u64, u64);

/// An entry was written in a segment.
pub fn widen(spans: &mut BTreeMap<u64, Span>, segment: u64, index: u64) {
    let (low, high) = spans.entry(segment).or_insert((index, index));
    (*low, *high) = ((*low).min(index), (*high).max(index));
}
