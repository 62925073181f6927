//! A disk that counts: what a log hands over to be written, and how it is grouped by syncs.
//!
//! Place: around the seam's [`Disk`], between the log and real files. Invariant: every byte and every sync of the log
//! passes here, so its figures need nothing from the kernel. A group is what a segment was given between two syncs; a
//! second sync of the same bytes is a group of none.

use crate::env::{Disk, File, Open};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// What was counted so far.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Bytes handed over to be written, to any file.
    pub bytes: u64,
    /// Bytes of each group, in order.
    pub groups: Vec<u64>,
}

/// See the file's header.
pub struct Counting {
    disk: Arc<dyn Disk>,
    counts: Arc<Mutex<Counts>>,
}

impl Counting {
    /// Counts what passes to `disk`.
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, counts: Arc::default() }
    }

    /// What was counted since the last time.
    pub fn take(&self) -> Counts {
        std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn note(counts: &Mutex<Counts>, change: impl FnOnce(&mut Counts)) {
    change(&mut counts.lock().unwrap_or_else(PoisonError::into_inner));
}

impl Disk for Counting {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn open(&self, path: &Path, mode: Open) -> io::Result<Box<dyn File>> {
        let segment = path.extension().is_some_and(|extension| extension == "wal");
        let (file, counts) = (self.disk.open(path, mode)?, self.counts.clone());
        Ok(Box::new(Counted { file, counts, segment, given: AtomicU64::new(0), synced: AtomicU64::new(0) }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.disk.lock(path)
    }
    fn available_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.disk.available_bytes(dir)
    }
}

struct Counted {
    file: Box<dyn File>,
    counts: Arc<Mutex<Counts>>,
    segment: bool,
    /// Bytes so far.
    given: AtomicU64,
    /// Of those, at the last sync.
    synced: AtomicU64,
}

impl File for Counted {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, into)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        note(&self.counts, |counts| counts.bytes += bytes.len() as u64);
        self.given.fetch_add(bytes.len() as u64, Relaxed);
        self.file.write_at(offset, bytes)
    }
    fn sync_data(&self) -> io::Result<()> {
        let given = self.given.load(Relaxed);
        let group = given - self.synced.swap(given, Relaxed);
        // A segment made ahead is synced before anything is in it: that is no group.
        if self.segment && given > 0 {
            note(&self.counts, |counts| counts.groups.push(group));
        }
        self.file.sync_data()
    }
    fn preallocate(&self, len: u64) -> io::Result<()> {
        self.file.preallocate(len)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::OsDisk;

    #[test]
    fn bytes_are_counted_and_groups_are_of_segments_alone() {
        let dir = tempfile::tempdir().expect("temporary");
        let disk = Counting::new(Arc::new(OsDisk));
        let segment = disk.open(&dir.path().join("1.wal"), Open::CreateNew).expect("made");
        segment.sync_data().expect("synced");
        segment.write_at(0, &[1; 10]).expect("written");
        segment.write_at(10, &[1; 5]).expect("written");
        segment.sync_data().expect("synced");
        segment.sync_data().expect("synced again");
        let other = disk.open(&dir.path().join("durable"), Open::CreateNew).expect("made");
        other.write_at(0, &[1; 64]).expect("written");
        other.sync_data().expect("synced");
        let counts = disk.take();
        assert_eq!((counts.bytes, counts.groups.as_slice()), (79, &[15, 0][..]));
        assert_eq!(disk.take().bytes, 0);
    }
}
