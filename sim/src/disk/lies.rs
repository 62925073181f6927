//! A disk that lies: once, about bytes that were durable, or that it says are. Nobody hears of it until they are read again.
//!
//! Each lie is about the log or what is beside it, and is followed by honest syncs before power is lost, so that there is a
//! witness: the durable mark, or a later group. A lie without one is beyond any single node (docs/faults.md).

use super::image::{Change, Content};
use super::{Inner, SimDisk};
use engram_chaos::Lie;
use rand::RngExt;
use std::path::{Path, PathBuf};

/// What the disk has in mind.
#[derive(Default)]
pub(super) struct Lies {
    /// What it will lie about next.
    armed: Option<Lie>,
    /// It has lied since it was last known to be honest.
    told: bool,
}

impl Inner {
    /// The armed lie, if it is this one and about this file: it is told then.
    fn tells(&mut self, lie: Lie, file: u64, about: impl Fn(&Path) -> bool) -> bool {
        let of_it = |(path, named): (&PathBuf, &u64)| *named == file && about(path);
        let tells = self.lies.armed == Some(lie) && self.names.iter().any(of_it);
        if tells {
            (self.lies.armed, self.lies.told) = (None, true);
        }
        tells
    }

    /// A sync that reports success and makes nothing durable; what it should have can be read until power fails.
    pub(super) fn sync_is_lost(&mut self, file: u64) -> bool {
        self.tells(Lie::LostSync, file, is_segment)
    }

    /// A write that lands elsewhere: at another place of the same file, or in another file. Whether it did.
    pub(super) fn write_is_misdirected(&mut self, file: u64, bytes: &[u8]) -> bool {
        if bytes.iter().all(|byte| *byte == 0) || !self.tells(Lie::MisdirectedWrite, file, is_segment) {
            return false;
        }
        let others: Vec<u64> = self.names.values().copied().collect();
        let target =
            if self.rng.random_range(0..2) == 0 { file } else { others[self.rng.random_range(0..others.len())] };
        let content = self.files.get_mut(&target).expect("named files are there");
        let offset = self.rng.random_range(0..=content.durable.len() as u64);
        content.overwrite(offset, bytes);
        true
    }

    /// How many bytes further on a read begins than was asked for. Record files are read all the time, and have faults of their
    /// own.
    pub(super) fn read_goes_astray(&mut self, file: u64) -> u64 {
        match self.tells(Lie::MisdirectedRead, file, |path| !path.parent().is_some_and(|dir| dir.ends_with("records")))
        {
            true => self.rng.random_range(1..8192),
            false => 0,
        }
    }
}

impl Content {
    /// Puts bytes over durable ones, as many as the file has room for, behind everybody's back.
    fn overwrite(&mut self, offset: u64, bytes: &[u8]) {
        for image in [&mut self.live, &mut self.durable] {
            let from = (offset as usize).min(image.len());
            let count = bytes.len().min(image.len() - from);
            image[from..from + count].copy_from_slice(&bytes[..count]);
        }
    }

    /// A write that is seen until power fails, and that nobody has made durable then.
    pub(super) fn pretend(&mut self, change: &Change) {
        Self::apply(&mut self.live, change);
    }
}

impl SimDisk {
    /// The disk lies, now or with the next operation that the lie is about; `draw` says where.
    pub fn lie(&self, lie: Lie, data: &Path, draw: u64) {
        let folder = match lie {
            Lie::LogRot => data.join("wal"),
            Lie::ManifestRot => data.join("snapshots"),
            _ => {
                self.inner().lies.armed = Some(lie);
                return;
            }
        };
        let mut files = self.files(&folder);
        files.retain(|path| lie == Lie::ManifestRot || is_segment(path));
        // The last of the log's is not begun yet; the one before is written to.
        let closed = files.len().saturating_sub(if lie == Lie::LogRot { 2 } else { 0 });
        let Some(path) = files.get(draw as usize % closed.max(1)) else { return };
        let length = self.length(path);
        if length > 0 && self.flip(path, (draw >> 32) % length).is_ok() {
            self.inner().lies.told = true;
        }
    }

    /// Whether it has lied since it was honest.
    pub fn has_lied(&self) -> bool {
        self.inner().lies.told
    }

    /// It lies no more; what it told stays told until [`Self::is_trusted`].
    pub fn lies_no_more(&self) {
        self.inner().lies.armed = None;
    }

    /// What it has was read, and is what was written.
    pub fn is_trusted(&self) {
        self.inner().lies = Lies::default();
    }

    fn length(&self, path: &Path) -> u64 {
        let inner = self.inner();
        let content = inner.file(path).ok().and_then(|file| inner.files.get(&file));
        content.map_or(0, |content| content.durable.len() as u64)
    }
}

/// A segment of the log: its other file there is the durable mark.
fn is_segment(path: &Path) -> bool {
    path.parent().is_some_and(|dir| dir.ends_with("wal")) && path.extension().is_some()
}
