//! The durable mark: a file of two alternating slots that follows the log's durable end.
//!
//! It tells rot from a torn tail: what lies below the mark was synced once. A write of the mark that is torn
//! damages one slot, and the other, older one holds.

use super::format::{Position, VERSION, id_at, u32_at, u64_at};
use super::report::OpenError;
use crate::env::disk::{self, Disk, File, Open};
use std::{io, path::Path, time::Duration};

const MAGIC: &[u8; 8] = b"EngrmEnd";
const SLOT: usize = 64;
const STEP: u64 = 4096;
/// The mark's file.
pub const NAME: &str = "durable";
/// The mark of a log that never was begun.
pub const NEW: Position = Position { segment: 1, offset: 0 };

/// The open mark.
pub struct Mark {
    file: Box<dyn File>,
    identity: [u8; 16],
    sequence: u64,
    /// What it says.
    pub at: Position,
    /// Monotonic time when it was written.
    pub written: Duration,
}

fn encode(sequence: u64, at: Position, identity: &[u8; 16]) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    slot[..8].copy_from_slice(MAGIC);
    slot[8..12].copy_from_slice(&VERSION.to_le_bytes());
    slot[16..24].copy_from_slice(&sequence.to_le_bytes());
    slot[24..32].copy_from_slice(&at.segment.to_le_bytes());
    slot[32..40].copy_from_slice(&at.offset.to_le_bytes());
    slot[40..56].copy_from_slice(identity);
    let sum = sum(&slot);
    slot[12..16].copy_from_slice(&sum.to_le_bytes());
    slot
}

fn sum(slot: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&slot[..12]), &slot[16..])
}

/// Makes the file of a new log, whole or not at all.
pub fn create(disk: &dyn Disk, dir: &Path, identity: &[u8; 16]) -> io::Result<()> {
    let mut bytes = vec![0; 2 * STEP as usize];
    bytes[..SLOT].copy_from_slice(&encode(0, NEW, identity));
    disk::replace(disk, &dir.join(NAME), &bytes)
}

impl Mark {
    /// Reads the newer whole slot.
    pub fn open(disk: &dyn Disk, dir: &Path, identity: &[u8; 16], mode: Open) -> Result<Self, OpenError> {
        let path = dir.join(NAME);
        let file = disk.open(&path, mode)?;
        let mut newest: Option<(u64, Position)> = None;
        for at in [0, STEP] {
            let mut slot = [0; SLOT];
            match disk::read_exact_at(&*file, at, &mut slot) {
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => continue,
                read => read?,
            }
            if &slot[..8] != MAGIC || u32_at(&slot, 12) != sum(&slot) {
                continue;
            }
            match (u32_at(&slot, 8), id_at(&slot, 40)) {
                (VERSION, id) if id == *identity => {
                    let at = Position { segment: u64_at(&slot, 24), offset: u64_at(&slot, 32) };
                    newest = newest.max(Some((u64_at(&slot, 16), at)));
                }
                (VERSION, found) => return Err(OpenError::OtherDisk { file: path, found, expected: *identity }),
                (found, _) => return Err(OpenError::Version { file: path, found }),
            }
        }
        let (sequence, at) =
            newest.ok_or_else(|| OpenError::rot(path, 0, "neither slot of the durable mark is whole"))?;
        Ok(Self { file, identity: *identity, sequence, at, written: Duration::ZERO })
    }

    /// Makes it say `at`, durably.
    pub fn set(&mut self, at: Position, now: Duration) -> io::Result<()> {
        let sequence = self.sequence + 1;
        self.file.write_at(sequence % 2 * STEP, &encode(sequence, at, &self.identity))?;
        self.file.sync_data()?;
        (self.sequence, self.at, self.written) = (sequence, at, now);
        Ok(())
    }
}
