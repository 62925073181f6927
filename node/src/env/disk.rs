//! Files, synchronously: calls block, so they are made on the pool's I/O lanes or before the node serves.
//!
//! Invariant `durable_means_synced`: bytes survive power loss once `sync_data` returned; a file's name once
//! `sync_dir` of its folder returned. Nothing else is promised, and a simulated disk promises no more.

use engram_mutants::mutant;
use std::{io, path::Path};

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// It must exist; reading alone.
    Read,
    /// It must exist; reading and writing.
    Write,
    /// It must not exist; reading and writing.
    CreateNew,
}

/// A folder tree.
pub trait Disk: Send + Sync + 'static {
    /// Makes a folder and its parents; no error when it is there.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// The names in a folder, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Opens a file.
    fn open(&self, path: &Path, mode: Open) -> io::Result<Box<dyn File>>;
    /// Replaces `to` by `from`, atomically for readers; durable after `sync_dir`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file; durable after `sync_dir`.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes names in a folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes what was written to each of these durable, at once where the disk can. After an error nothing is known of any.
    fn sync_all(&self, files: &[&dyn File]) -> io::Result<()> {
        files.iter().try_for_each(|file| file.sync_data())
    }
    /// Takes an exclusive lock on a file, made if it is not there, until the value is dropped or the process
    /// dies. `WouldBlock` when somebody else holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;
    /// Bytes that an unprivileged writer may still take on the file system of `dir`.
    fn available_bytes(&self, dir: &Path) -> io::Result<u64>;
}

/// One open file. Positions are bytes from its start.
pub trait File: Send + Sync {
    /// Reads up to `into.len()` bytes; 0 at the end.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;
    /// Writes all of `bytes`, or fails with any part of them written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes the written bytes and the length durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Allocates zeroed room up to `len`, so that later writes and syncs change no metadata and find room.
    fn preallocate(&self, len: u64) -> io::Result<()>;
    /// Cuts or extends.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// No bytes at all.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Fills all of `into`; `UnexpectedEof` when the file ends first.
pub fn read_exact_at(file: &dyn File, mut offset: u64, mut into: &mut [u8]) -> io::Result<()> {
    while !into.is_empty() {
        match file.read_at(offset, into)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                offset += read as u64;
                into = &mut into[read..];
            }
        }
    }
    Ok(())
}

/// A whole file of at most `max` bytes.
pub fn read_all(disk: &dyn Disk, path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let file = disk.open(path, Open::Read)?;
    let len = file.len()?;
    if len > max {
        let text = format!("{} has {len} bytes; at most {max} expected", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut bytes = vec![0; len as usize];
    read_exact_at(&*file, 0, &mut bytes).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
    Ok(bytes)
}

/// Replaces a file so that after power loss either the old or the new one is there, whole.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    put(disk, path, bytes)?;
    if mutant!("replaced_name_not_synced") {
        return Ok(());
    }
    disk.sync_dir(path.parent().expect("a file is in a folder"))
}

/// The same but for the folder's sync, which the caller makes for many files at once: write beside it, sync, rename.
pub fn put(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    match disk.remove(&beside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let file = disk.open(&beside, Open::CreateNew)?;
    file.write_at(0, bytes)?;
    if !mutant!("named_before_synced") {
        file.sync_data()?;
    }
    disk.rename(&beside, path)
}

/// The disk has no room; it may have some later.
pub fn is_full(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
