//! How often opening reads what is there: a disk that counts the bytes that are asked of each file.

use super::{IDENTITY, Inline, Still, append, entry, now, options, segments};
use crate::env::{Disk, File, Open, OsDisk};
use crate::raft::log::{Log, examine};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

type Read = Arc<Mutex<BTreeMap<PathBuf, u64>>>;

#[derive(Default)]
struct Watched {
    read: Read,
}

impl Disk for Watched {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        OsDisk.create_dir_all(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsDisk.list(dir)
    }
    fn open(&self, path: &Path, mode: Open) -> io::Result<Box<dyn File>> {
        Ok(Box::new(WatchedFile { file: OsDisk.open(path, mode)?, path: path.into(), read: self.read.clone() }))
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
        OsDisk.available_bytes(dir)
    }
}

struct WatchedFile {
    file: Box<dyn File>,
    path: PathBuf,
    read: Read,
}

impl File for WatchedFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        *self.read.lock().unwrap().entry(self.path.clone()).or_default() += into.len() as u64;
        self.file.read_at(offset, into)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }
    fn sync_data(&self) -> io::Result<()> {
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

#[test]
fn opening_reads_each_segment_once() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let open = |disk: Arc<Watched>| Log::open(disk, Arc::<Inline>::default(), Arc::new(Still), options.clone());
    let (mut log, _) = open(Arc::default()).unwrap();
    (0..40).for_each(|index| drop(append(&mut log, [entry(1, index, 1500)])));
    now(log.close());
    drop(log);
    let names = segments(dir.path());
    assert!(names.len() > 4, "{names:?}");
    let once: BTreeMap<PathBuf, u64> =
        names.iter().map(|name| (options.dir.join(name), options.segment_bytes)).collect();
    let read = |disk: &Watched| {
        let mut read = std::mem::take(&mut *disk.read.lock().unwrap());
        read.retain(|path, _| path.extension().is_some());
        read
    };
    let disk = Arc::<Watched>::default();
    examine(&*disk, &options.dir, &IDENTITY).unwrap();
    assert_eq!(read(&disk), once, "only looked at");
    drop(open(disk.clone()).unwrap());
    assert_eq!(read(&disk), once, "the last and the one made ahead too");
}
