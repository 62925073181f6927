//! A disk for tests that fails when it is told to.

use engram_node::env::{Disk, File, Open, OsDisk};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Real files that can be made to find no further room, and record files that cannot be read.
#[derive(Clone, Default)]
pub struct Failing {
    pub full: Arc<AtomicBool>,
    pub unreadable: Arc<AtomicBool>,
}

impl Failing {
    fn room(&self) -> io::Result<()> {
        match self.full.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

impl Disk for Failing {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        OsDisk.create_dir_all(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsDisk.list(dir)
    }
    fn open(&self, path: &Path, mode: Open) -> io::Result<Box<dyn File>> {
        let record = path.extension().is_some_and(|end| end == "rec");
        Ok(Box::new(FailingFile { file: OsDisk.open(path, mode)?, disk: self.clone(), record }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        OsDisk.sync_dir(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        OsDisk.lock(path)
    }
    fn available_bytes(&self, dir: &Path) -> io::Result<u64> {
        match self.room() {
            Ok(()) => OsDisk.available_bytes(dir),
            Err(_) => Ok(0),
        }
    }
}

struct FailingFile {
    file: Box<dyn File>,
    disk: Failing,
    record: bool,
}

impl File for FailingFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        match self.record && self.disk.unreadable.load(Ordering::SeqCst) {
            true => Err(io::Error::other("the test lets nothing be read")),
            false => self.file.read_at(offset, into),
        }
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        // Room that was allocated before is still there.
        if offset + bytes.len() as u64 > self.file.len()? {
            self.disk.room()?;
        }
        self.file.write_at(offset, bytes)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn preallocate(&self, len: u64) -> io::Result<()> {
        if len > self.file.len()? {
            self.disk.room()?;
        }
        self.file.preallocate(len)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
