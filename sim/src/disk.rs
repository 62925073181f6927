//! The simulated disk: a live and a durable image, torn, lost and failed writes.
//!
//! Model. A write is live at once and durable after `sync_data`; a name after `sync_dir`. When power fails, each
//! write since the last sync survives whole, not at all, or up to a drawn byte, independently of the others;
//! names survive as a drawn prefix of the changes of their folder, as a journalling file system keeps them. A
//! process crash loses nothing, but locks and open files end with it.
//!
//! Invariant `durable_means_synced`, but where the disk is made to lie (`lies`).

mod file;
mod image;
mod lies;

use engram_node::env::{Disk, File, Open, Seed};
use file::SimFile;
use image::{Content, NameChange, rename};
use lies::Lies;
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a sync that was made to fail says.
pub const SYNC_FAILED: &str = "the sync failed";
/// What operations say once the power has failed.
pub const POWER_OFF: &str = "the power is off";
/// Operations that may still pass before power fails "soon": a write and its sync are two.
const SOON_OPERATIONS: std::ops::Range<u64> = 0..3;
/// The capacity of a disk that is not full.
const ROOMY: u64 = 1 << 40;

struct Inner {
    rng: StdRng,
    /// Rises with each crash: open files and locks of an earlier one are void.
    generation: u64,
    dirs: BTreeSet<PathBuf>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    pending_names: Vec<NameChange>,
    files: BTreeMap<u64, Content>,
    next_file: u64,
    locks: BTreeSet<PathBuf>,
    capacity: u64,
    fail_syncs: u32,
    /// A sync failed since the last crash.
    sync_failed: bool,
    /// Operations that write, sync or rename so far; power fails before the one that `power_fails_at` names.
    operations: u64,
    power_fails_at: Option<u64>,
    /// The next loss of power takes everything.
    wiped: bool,
    lies: Lies,
}

impl Inner {
    fn file(&self, path: &Path) -> io::Result<u64> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("{}: no such file", path.display()));
        self.names.get(path).copied().ok_or_else(missing)
    }

    fn used(&self) -> u64 {
        self.names.values().filter_map(|file| self.files.get(file)).map(|file| file.live.len() as u64).sum()
    }

    fn name(&mut self, change: NameChange) {
        rename(&mut self.names, &change);
        self.pending_names.push(change);
    }

    /// Counts an operation; an error once power has failed.
    fn operate(&mut self) -> io::Result<()> {
        self.operations += 1;
        match self.power_is_off() {
            true => Err(io::Error::other(POWER_OFF)),
            false => Ok(()),
        }
    }

    fn power_is_off(&self) -> bool {
        self.power_fails_at.is_some_and(|at| self.operations > at)
    }

    fn room(&self, more: u64) -> io::Result<()> {
        match self.used() + more <= self.capacity {
            true => Ok(()),
            false => Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on the simulated disk")),
        }
    }
}

/// A disk that survives its node's crashes; cheap to clone, all clones are one.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<Inner>>);

impl SimDisk {
    /// Empty; what power loss spares is drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            rng: Seed(seed).stream("disk"),
            generation: 0,
            dirs: BTreeSet::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            files: BTreeMap::new(),
            next_file: 0,
            locks: BTreeSet::new(),
            capacity: ROOMY,
            fail_syncs: 0,
            sync_failed: false,
            operations: 0,
            power_fails_at: None,
            wiped: false,
            lies: Lies::default(),
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process died: locks and open files end, bytes stay.
    pub fn crash(&self) {
        let mut inner = self.inner();
        inner.generation += 1;
        inner.locks.clear();
        (inner.fail_syncs, inner.sync_failed) = (0, false);
    }

    /// The disk is lost with the next loss of power: it is empty then.
    pub fn wipe_at_power_loss(&self) {
        self.inner().wiped = true;
    }

    /// Power failed: what was not synced may be lost or torn. Whether the disk was lost altogether.
    pub fn power_loss(&self) -> bool {
        self.crash();
        let mut guard = self.inner();
        let inner = &mut *guard;
        let wiped = std::mem::take(&mut inner.wiped);
        if wiped {
            (inner.durable_names, inner.pending_names) = (BTreeMap::new(), Vec::new());
        }
        let pending = std::mem::take(&mut inner.pending_names);
        let kept = inner.rng.random_range(0..=pending.len());
        pending[..kept].iter().for_each(|change| rename(&mut inner.durable_names, change));
        inner.names = inner.durable_names.clone();
        for content in inner.files.values_mut() {
            content.lose_power(&mut inner.rng);
        }
        let named: BTreeSet<u64> = inner.names.values().copied().collect();
        inner.files.retain(|file, _| named.contains(file));
        inner.power_fails_at = None;
        wiped
    }

    /// The next sync fails, and what it should have made durable is lost once power fails.
    pub fn fail_next_sync(&self) {
        self.inner().fail_syncs += 1;
    }

    /// Whether a sync has failed since the last crash.
    pub fn sync_failed(&self) -> bool {
        self.inner().sync_failed
    }

    /// Bytes that all files together may have.
    pub fn set_capacity(&self, bytes: u64) {
        self.inner().capacity = bytes;
    }

    /// Files take no more bytes than they have, or as many as there may be.
    pub fn fill(&self, full: bool) {
        let mut inner = self.inner();
        inner.capacity = if full { inner.used() } else { ROOMY };
    }

    /// The files of a folder.
    pub fn files(&self, dir: &Path) -> Vec<PathBuf> {
        self.inner().names.keys().filter(|path| path.parent() == Some(dir)).cloned().collect()
    }

    /// Operations that changed something, or tried to.
    pub fn operations(&self) -> u64 {
        self.inner().operations
    }

    /// Every changing operation after the first `operations` fails, until [`Self::power_loss`].
    pub fn fail_power_after(&self, operations: u64) {
        self.inner().power_fails_at = Some(operations);
    }

    /// Power fails within the next few operations, between a write and its sync, perhaps; until [`Self::power_loss`] they fail.
    pub fn fail_power_soon(&self) {
        let mut inner = self.inner();
        let more = inner.rng.random_range(SOON_OPERATIONS);
        inner.power_fails_at = Some(inner.operations + more);
    }

    /// Whether an operation has met the end of power.
    pub fn power_is_off(&self) -> bool {
        self.inner().power_is_off()
    }

    /// Flips a bit of a file, in both images: rot.
    pub fn flip(&self, path: &Path, offset: u64) -> io::Result<()> {
        let mut inner = self.inner();
        let file = inner.file(path)?;
        let content = inner.files.get_mut(&file).expect("named files are there");
        for image in [&mut content.live, &mut content.durable] {
            if let Some(byte) = image.get_mut(offset as usize) {
                *byte ^= 1;
            }
        }
        Ok(())
    }
}

impl Disk for SimDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.inner().dirs.insert(path.to_path_buf());
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let inner = self.inner();
        let inside = inner.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn open(&self, path: &Path, mode: Open) -> io::Result<Box<dyn File>> {
        let mut inner = self.inner();
        let file = match (mode, inner.file(path)) {
            (Open::CreateNew, Ok(_)) => {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{}: exists", path.display())));
            }
            (Open::CreateNew, Err(_)) => {
                inner.operate()?;
                inner.next_file += 1;
                let file = inner.next_file;
                inner.files.insert(file, Content::default());
                inner.name(NameChange::Made(path.to_path_buf(), file));
                file
            }
            (_, found) => found?,
        };
        let (disk, generation) = (self.clone(), inner.generation);
        Ok(Box::new(SimFile { disk, file, generation, writable: mode != Open::Read }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.operate()?;
        inner.file(from)?;
        inner.name(NameChange::Moved(from.to_path_buf(), to.to_path_buf()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.file(path)?;
        inner.operate()?;
        inner.name(NameChange::Removed(path.to_path_buf()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut guard = self.inner();
        guard.operate()?;
        let inner = &mut *guard;
        let touches = |change: &NameChange| match change {
            NameChange::Made(path, _) | NameChange::Removed(path) => path.parent() == Some(dir),
            NameChange::Moved(from, to) => from.parent() == Some(dir) || to.parent() == Some(dir),
        };
        let (synced, left) = std::mem::take(&mut inner.pending_names).into_iter().partition(touches);
        inner.pending_names = left;
        let synced: Vec<NameChange> = synced;
        synced.iter().for_each(|change| rename(&mut inner.durable_names, change));
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let mut inner = self.inner();
        match inner.locks.insert(path.to_path_buf()) {
            true => Ok(Box::new(Lock { disk: self.clone(), path: path.to_path_buf(), generation: inner.generation })),
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn available_bytes(&self, _dir: &Path) -> io::Result<u64> {
        let inner = self.inner();
        Ok(inner.capacity.saturating_sub(inner.used()))
    }
}

struct Lock {
    disk: SimDisk,
    path: PathBuf,
    generation: u64,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut inner = self.disk.inner();
        if inner.generation == self.generation {
            inner.locks.remove(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engram_node::env::disk::{read_all, replace};

    #[test]
    fn a_replaced_file_is_old_or_new_after_power_loss_and_new_once_it_returned() {
        let path = Path::new("/d/file");
        for seed in 0..200 {
            for cut in 0..8 {
                let disk = SimDisk::new(seed);
                replace(&disk, path, b"old").expect("written");
                let before = disk.operations();
                disk.fail_power_after(before + cut);
                let done = replace(&disk, path, b"new").is_ok();
                disk.power_loss();
                let found = read_all(&disk, path, 100).expect("one of them is there");
                assert!(found == b"new" || (!done && found == b"old"), "seed {seed} cut {cut}: {found:?}");
            }
        }
    }

    #[test]
    fn locks_end_with_a_crash_and_old_handles_are_void() {
        let disk = SimDisk::new(1);
        let lock = disk.lock(Path::new("/lock")).expect("free");
        assert!(disk.lock(Path::new("/lock")).is_err());
        let file = disk.open(Path::new("/f"), Open::CreateNew).expect("made");
        disk.crash();
        assert!(file.write_at(0, b"late").is_err());
        let second = disk.lock(Path::new("/lock")).expect("free after a crash");
        drop(lock);
        assert!(disk.lock(Path::new("/lock")).is_err(), "an old guard frees nothing");
        drop(second);
        assert!(disk.lock(Path::new("/lock")).is_ok());
    }

    #[test]
    fn a_full_disk_refuses_and_recovers() {
        let disk = SimDisk::new(1);
        disk.set_capacity(10);
        let file = disk.open(Path::new("/f"), Open::CreateNew).expect("made");
        assert!(file.preallocate(10).is_ok());
        assert_eq!(file.write_at(5, &[1; 6]).expect_err("full").kind(), io::ErrorKind::StorageFull);
        disk.set_capacity(20);
        assert!(file.write_at(5, &[1; 6]).is_ok());
    }
}
