//! Real files.
#![expect(clippy::disallowed_methods, reason = "the one place where production files enter")]

use super::disk::{Disk, File, Open};
use rustix::fs::FallocateFlags;
use std::{
    fs, io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    thread,
};

/// The machine's file systems.
pub struct OsDisk;

fn named(path: &Path, e: io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}

impl Disk for OsDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path).map_err(|e| named(path, e))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir).map_err(|e| named(dir, e))? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn open(&self, path: &Path, mode: Open) -> io::Result<Box<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(mode != Open::Read).create_new(mode == Open::CreateNew);
        let file = options.open(path).map_err(|e| named(path, e))?;
        Ok(Box::new(OsFile { file, path: path.to_path_buf() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to).map_err(|e| named(to, e))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path).map_err(|e| named(path, e))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| named(dir, e))
    }

    /// A thread a file: one sync after the other would wait for the disk as often as there are files.
    fn sync_all(&self, files: &[&dyn File]) -> io::Result<()> {
        thread::scope(|scope| {
            let syncs: Vec<_> = files.iter().map(|file| scope.spawn(|| file.sync_data())).collect();
            let panicked = |_| Err(io::Error::other("a sync panicked"));
            syncs.into_iter().try_for_each(|sync| sync.join().unwrap_or_else(panicked))
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|e| named(path, e))?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(fs::TryLockError::Error(e)) => Err(named(path, e)),
        }
    }

    fn available_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir).map_err(|e| named(dir, e.into()))?;
        Ok(stat.f_bavail * stat.f_frsize)
    }
}

struct OsFile {
    file: fs::File,
    path: PathBuf,
}

impl OsFile {
    fn named<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|e| named(&self.path, e))
    }
}

impl File for OsFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.named(self.file.read_at(into, offset))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.named(self.file.write_all_at(bytes, offset))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.named(self.file.sync_data())
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        self.named(rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len).map_err(Into::into))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.named(self.file.set_len(len))
    }

    fn len(&self) -> io::Result<u64> {
        self.named(self.file.metadata().map(|m| m.len()))
    }
}
