//! Record files: what snapshots are made of. Written once, never changed, and named by a hash of what is in them, so equal
//! content is one file, on every node the same, and sending a snapshot is sending the files that the other lacks.
//!
//! Invariants: `named_is_durable`, a file has its name once its bytes are synced, and the folder is synced before a
//! snapshot names it; `held_is_kept`, a file that somebody holds is not removed; `what_is_read_is_what_was_written`, bytes
//! that do not have their file's hash are given to nobody.
//!
//! Leaves out: what is in a file (`super::snapshot`), and who has one that is lost here (`crate::mend`).

mod arrival;

pub use arrival::Arrival;

use super::snapshot::Damaged;
use super::snapshot::sections;
use crate::env::{Disk, disk};
use bytes::Bytes;
use engram_mutants::mutant;
use std::array::TryFromSliceError;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SUFFIX: &str = "rec";
/// Bytes of a file that are read: far above what is written.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// BLAKE3 of a file's bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// As messages carry it; the other way is `try_from`.
    pub fn to_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }

    fn parse(name: &str) -> Option<Self> {
        let hex = name.strip_suffix(SUFFIX)?.strip_suffix('.')?;
        let digits: &[u8; 64] = hex.as_bytes().try_into().ok()?;
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.as_chunks::<2>().0) {
            *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(hash))
    }
}

impl TryFrom<&[u8]> for Hash {
    type Error = TryFromSliceError;

    fn try_from(bytes: &[u8]) -> Result<Self, TryFromSliceError> {
        bytes.try_into().map(Self)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A folder of record files; cheap to clone, all clones are one. Calls block.
#[derive(Clone)]
pub struct Records(Arc<Shared>);

struct Shared {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    files: Mutex<Files>,
}

#[derive(Default)]
struct Files {
    there: BTreeSet<Hash>,
    /// Their bytes are not what was written: not there for anybody, until they are written again or go.
    damaged: BTreeSet<Hash>,
    /// How often one was found so.
    rot: u64,
    /// How many hold each.
    held: BTreeMap<Hash, u32>,
    /// What files are called that are being written and have no name yet.
    arriving: BTreeSet<String>,
    /// How many of those there ever were.
    arrivals: u64,
}

impl Records {
    /// Opens a folder; it is made if it is not there.
    pub fn open(disk: Arc<dyn Disk>, dir: PathBuf) -> io::Result<Self> {
        disk.create_dir_all(&dir)?;
        Self::look(disk, dir)
    }

    /// Opens a folder for reading; where none is, no file is.
    pub fn look(disk: Arc<dyn Disk>, dir: PathBuf) -> io::Result<Self> {
        let names = match disk.list(&dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            names => names?,
        };
        let there = names.iter().filter_map(|name| Hash::parse(name)).collect();
        let files = Mutex::new(Files { there, ..Files::default() });
        Ok(Self(Arc::new(Shared { disk, dir, files })))
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a file is, or would be.
    pub fn path(&self, hash: &Hash) -> PathBuf {
        self.0.dir.join(format!("{hash}.{SUFFIX}"))
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// Those that are there and sound; reads all.
    pub fn sound(&self) -> Vec<Hash> {
        let there: Vec<Hash> = self.files().there.iter().copied().collect();
        there.into_iter().filter(|hash| self.read(hash).is_ok()).collect()
    }

    /// The next file that is there and that somebody holds, in the order of hashes; after the last none.
    pub fn held_after(&self, last: Option<Hash>) -> Option<Hash> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let files = self.files();
        // One that is held and not there is on its way.
        files.there.range((from, Bound::Unbounded)).find(|hash| files.held.contains_key(hash)).copied()
    }

    /// Reads a file. One that is lost or damaged is as one that is not there from then on; the error says which, and where.
    pub fn read(&self, hash: &Hash) -> Result<Bytes, Damaged> {
        let path = self.path(hash);
        let read = disk::read_all(&*self.0.disk, &path, FILE_BYTES_MAX).map(Bytes::from);
        let (offset, detail) = match read {
            Ok(bytes) if Hash::of(&bytes) == *hash || mutant!("rot_read_as_sound") => return Ok(bytes),
            Ok(bytes) => {
                let offset = sections::first_damage(&bytes);
                (offset, format!("record file {} is damaged at byte {offset}", path.display()))
            }
            // It names the file.
            Err(error) => (0, format!("record file {error}")),
        };
        let mut files = self.files();
        if files.there.remove(hash) {
            files.damaged.insert(*hash);
            files.rot += 1;
        }
        Err(Damaged { offset, detail, lost: Some(*hash) })
    }

    /// Files that were found damaged or gone since the folder was opened, by whoever read them.
    pub fn rot(&self) -> u64 {
        self.files().rot
    }

    /// Holds nothing yet.
    pub fn hold(&self) -> Held {
        Held { records: self.clone(), hashes: Vec::new(), written: 0 }
    }

    /// Whether a file is there that nobody holds.
    pub fn unheld(&self) -> bool {
        let files = self.files();
        files.there.iter().chain(&files.damaged).any(|hash| !files.held.contains_key(hash))
    }

    /// Removes files that nobody holds, and what was being written when a process died or a transfer ended; how many files.
    pub fn sweep(&self) -> io::Result<usize> {
        let listed = self.0.disk.list(&self.0.dir)?;
        let mut files = self.files();
        for left in listed.iter().filter(|name| name.ends_with(".new") && !files.arriving.contains(*name)) {
            self.0.disk.remove(&self.0.dir.join(left))?;
        }
        let Files { there, damaged, held, .. } = &mut *files;
        let gone = there.iter().chain(damaged.iter()).filter(|hash| !held.contains_key(hash));
        let gone: Vec<Hash> = gone.copied().collect();
        for hash in &gone {
            match self.0.disk.remove(&self.path(hash)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                // One that was lost altogether is not there to be removed.
                _ => {}
            }
            there.remove(hash);
            damaged.remove(hash);
        }
        if !gone.is_empty() {
            self.0.disk.sync_dir(&self.0.dir)?;
        }
        Ok(gone.len())
    }
}

/// Files that are not removed while it lives.
pub struct Held {
    records: Records,
    hashes: Vec<Hash>,
    /// Bytes that were written for it.
    pub written: u64,
}

impl Held {
    /// Holds a file, there or not: one that comes later under the hash is held too.
    pub fn add(&mut self, hash: Hash) {
        *self.records.files().held.entry(hash).or_default() += 1;
        self.hashes.push(hash);
    }

    /// Holds a file if it is there; whether it is.
    pub fn add_there(&mut self, hash: Hash) -> bool {
        let records = self.records.clone();
        let mut files = records.files();
        let there = files.there.contains(&hash);
        if there {
            *files.held.entry(hash).or_default() += 1;
            self.hashes.push(hash);
        }
        there
    }

    /// Writes a file, unless it is there, and holds it. Durable after `sync`.
    pub fn put(&mut self, bytes: &[u8]) -> io::Result<Hash> {
        let hash = Hash::of(bytes);
        if !self.add_there(hash) {
            self.add(hash);
            self.records.write(&hash, bytes)?;
            self.written += bytes.len() as u64;
        }
        Ok(hash)
    }

    /// Those that it holds, in the order in which they were added.
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// Those that it holds and that are not there.
    pub fn missing(&self) -> Vec<Hash> {
        let files = self.records.files();
        self.hashes.iter().filter(|hash| !files.there.contains(hash)).copied().collect()
    }

    /// Where its files are.
    pub fn records(&self) -> &Records {
        &self.records
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut files = self.records.files();
        for hash in &self.hashes {
            let count = files.held.get_mut(hash).expect("counted when it was added");
            *count -= 1;
            if *count == 0 {
                files.held.remove(hash);
            }
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} record files", self.hashes.len())
    }
}

impl Records {
    fn write(&self, hash: &Hash, bytes: &[u8]) -> io::Result<()> {
        disk::put(&*self.0.disk, &self.path(hash), bytes)?;
        self.written(hash);
        Ok(())
    }

    /// A file has its name.
    fn written(&self, hash: &Hash) {
        let mut files = self.files();
        files.damaged.remove(hash);
        files.there.insert(*hash);
    }

    /// Makes the names of all files durable that were written before.
    pub fn sync(&self) -> io::Result<()> {
        if mutant!("record_names_not_synced") {
            return Ok(());
        }
        self.0.disk.sync_dir(&self.0.dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::OsDisk;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test damages files behind the node's back")]
    fn files_are_kept_while_they_are_held_and_damage_is_told_and_mended() {
        let dir = tempfile::tempdir().expect("temporary");
        let open = || Records::open(Arc::new(OsDisk), dir.path().join("records")).expect("opens");
        let records = open();
        let (mut one, mut two) = (records.hold(), records.hold());
        let first = one.put(b"first").expect("written");
        let second = one.put(b"second").expect("written");
        assert_eq!((two.put(b"second").expect("there"), two.written, one.written), (second, 0, 11));
        drop(one);
        assert_eq!(records.sweep().expect("swept"), 1);
        assert!(records.read(&first).expect_err("gone").lost == Some(first));
        assert_eq!(&records.read(&second).expect("held")[..], b"second");

        std::fs::write(records.path(&second), b"sacond").expect("written");
        assert_eq!(two.missing(), []);
        let damaged = records.read(&second).expect_err("rot");
        assert!(damaged.detail.contains(&second.to_string()) && damaged.lost == Some(second), "{damaged}");
        assert_eq!((two.missing(), records.held_after(None)), (vec![second], None));
        records.read(&second).expect_err("not there");
        assert_eq!(records.rot(), 1, "one file, however often it is read");
        records.take(&second, b"third").expect_err("other bytes");
        records.take(&second, b"second").expect("mended");
        assert_eq!((two.missing(), &records.read(&second).expect("mended")[..]), (vec![], &b"second"[..]));

        let (third, fourth) = (Hash::of(b"third"), Hash::of(b"fourth"));
        let arrived = [(third, &b"third"[..]), (fourth, b"fourth"), (fourth, b"fourth")];
        let arrived = arrived.map(|(hash, bytes)| records.arrive(&hash, bytes).expect("came"));
        assert!(!records.path(&third).exists() && records.sweep().expect("swept") == 0);
        records.name(arrived.into()).expect("named, though one came twice");
        assert_eq!(&records.read(&third).expect("named")[..], b"third");
        drop(records.arrive(&third, b"third").expect("came"));
        assert_eq!(records.sweep().expect("swept"), 2, "held by nobody");
        assert_eq!(std::fs::read_dir(records.dir()).expect("a folder").count(), 1, "nor is what was dropped there");

        std::fs::write(records.path(&second), b"sacond").expect("written");
        records.read(&second).expect_err("rot again");
        assert!(!records.unheld());
        drop(two);
        assert!(records.unheld());
        assert_eq!(records.sweep().expect("swept"), 1, "damaged, and held by nobody");
        assert!(!records.path(&second).exists());
        two = records.hold();
        two.put(b"second").expect("written");
        std::fs::write(records.dir().join("left.new"), b"half").expect("written");
        let again = open();
        assert!(again.hold().add_there(second) && !again.hold().add_there(first));
        assert_eq!(again.sweep().expect("swept"), 1, "held by nobody any more");
        assert!(!records.dir().join("left.new").exists());
    }
}
