//! sled as Raft's log: what the write-ahead log is held against.
//!
//! Place: behind openraft's door, as the log itself; the bench alone opens it. Entries are in one tree by big-endian
//! index, encoded as on the wire; vote, committed and purged marks in another. An append is in the tree when it returns;
//! what waits for its ack is flushed together, on the pool's WAL lane, then everybody is told.
//! Invariants: in the first two modes nothing is acked before the flush that covers it returned; a purge is noted before
//! its entries go, so a crash between leaves entries that opening removes. Leaves out: what the bench does not need, such
//! as reads off the reactor and a check for holes.

use crate::env::{Disk, Lane, Open, OsDisk, Pool, run_on};
use crate::raft::types::{Entry, LogId, TypeConfig, Vote, log_id};
use crate::raft::wire::{entry_from_wire, entry_to_wire};
use engram_proto::wire::peer::RaftEntry;
use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use prost::Message;
use sled::{Batch, Db, IVec, Tree};
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// sled's own default.
pub const FLUSH_EVERY_MS: u64 = 500;
const VOTE: &[u8] = b"vote";
const COMMITTED: &[u8] = b"committed";
const PURGED: &[u8] = b"purged";

/// When an append is acked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// After sled's `flush`, which on Linux is sync_file_range: it waits for the disk to take the bytes, not for its
    /// cache, and not for the file's length.
    Flush,
    /// After `flush` and a sync of all that it wrote: what the write-ahead log promises.
    Sync,
    /// At once. A thread of sled's flushes every [`FLUSH_EVERY_MS`].
    Periodic,
}

/// The log. Clones are the same log.
#[derive(Clone)]
pub struct SledLog(Arc<Shared>);

struct Shared {
    db: Db,
    entries: Tree,
    meta: Tree,
    mode: Mode,
    dir: PathBuf,
    pool: Arc<dyn Pool>,
    waiting: Mutex<Waiting>,
    /// Blobs that were synced.
    synced: Mutex<BTreeSet<String>>,
    flushes: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    callbacks: Vec<IOFlushed<TypeConfig>>,
    /// A job is queued or runs.
    busy: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn put_id(id: LogId) -> Vec<u8> {
    [id.committed_leader_id().term, id.index].map(u64::to_be_bytes).concat()
}

fn words<const N: usize>(bytes: &[u8]) -> io::Result<[u64; N]> {
    let words: Vec<u64> = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_be_bytes(*word)).collect();
    words.try_into().map_err(|_| io::Error::other("a mark of another length"))
}

fn get_id(bytes: &[u8]) -> io::Result<LogId> {
    words::<2>(bytes).map(|[term, index]| log_id(term, index))
}

fn decode(value: &IVec) -> io::Result<Entry> {
    let entry = RaftEntry::decode(&value[..]).map_err(io::Error::other)?;
    entry_from_wire(entry).map_err(io::Error::other)
}

impl SledLog {
    /// Opens or creates, and removes what an unfinished purge left.
    pub fn open(dir: &Path, pool: Arc<dyn Pool>, mode: Mode) -> io::Result<Self> {
        let periodic = (mode == Mode::Periodic).then_some(FLUSH_EVERY_MS);
        let db = sled::Config::new().path(dir).flush_every_ms(periodic).open()?;
        let (entries, meta) = (db.open_tree("entries")?, db.open_tree("meta")?);
        let (dir, waiting, synced) = (dir.to_path_buf(), Mutex::default(), Mutex::default());
        let flushes = AtomicU64::new(0);
        let log = Self(Arc::new(Shared { db, entries, meta, mode, dir, pool, waiting, synced, flushes }));
        if let Some(purged) = log.0.mark(PURGED)? {
            log.0.remove(..=purged.index)?;
        }
        Ok(log)
    }

    /// Flushes so far that appends waited for; none where they do not wait.
    pub fn flushes(&self) -> Option<u64> {
        (self.0.mode != Mode::Periodic).then(|| self.0.flushes.load(Relaxed))
    }

    /// Flushes, and lets go of the files once no other clone is left.
    pub async fn close(self) -> io::Result<()> {
        self.0.flush()?;
        let pool = self.0.pool.clone();
        drop(self);
        // The lane's last job may still hold the log.
        run_on(&*pool, Lane::Wal, || ()).await.ok_or_else(|| io::Error::other("the lane stopped"))
    }
}

impl Shared {
    fn mark(&self, key: &[u8]) -> io::Result<Option<LogId>> {
        self.meta.get(key)?.map(|bytes| get_id(&bytes)).transpose()
    }

    fn remove(&self, range: impl RangeBounds<u64>) -> io::Result<()> {
        let mut batch = Batch::default();
        for key in self.keys(range).keys() {
            batch.remove(key?);
        }
        Ok(self.entries.apply_batch(batch)?)
    }

    fn keys(&self, range: impl RangeBounds<u64>) -> sled::Iter {
        let key = |bound: Bound<&u64>| bound.map(|index| index.to_be_bytes());
        self.entries.range((key(range.start_bound()), key(range.end_bound())))
    }

    fn flush(&self) -> io::Result<()> {
        self.db.flush()?;
        if self.mode == Mode::Sync { self.sync() } else { Ok(()) }
    }

    /// Values that are larger than a quarter of sled's segments are files of their own.
    fn sync(&self) -> io::Result<()> {
        let (disk, blobs, mut synced) = (OsDisk, self.dir.join("blobs"), lock(&self.synced));
        let names = disk.list(&blobs)?;
        let new: Vec<&String> = names.iter().filter(|name| !synced.contains(*name)).collect();
        for name in &new {
            match disk.open(&blobs.join(name), Open::Write) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                file => file?.sync_data()?,
            }
        }
        if !new.is_empty() {
            disk.sync_dir(&blobs)?;
        }
        *synced = names.into_iter().collect();
        disk.open(&self.dir.join("db"), Open::Write)?.sync_data()
    }

    /// On the WAL lane: flushes until nobody waits.
    fn flush_all(&self) {
        loop {
            let callbacks = {
                let mut waiting = lock(&self.waiting);
                if waiting.callbacks.is_empty() {
                    waiting.busy = false;
                    return;
                }
                std::mem::take(&mut waiting.callbacks)
            };
            self.flushes.fetch_add(1, Relaxed);
            let failed = self.flush().err().map(|e| e.to_string());
            for callback in callbacks {
                callback.io_completed(failed.clone().map_or(Ok(()), |e| Err(io::Error::other(e))));
            }
        }
    }
}

impl RaftLogReader<TypeConfig> for SledLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        self.0.keys(range).values().map(|value| decode(&value?)).collect()
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        let Some(bytes) = self.0.meta.get(VOTE)? else { return Ok(None) };
        let [term, node, committed] = words(&bytes)?;
        Ok(Some(if committed == 1 { Vote::new_committed(term, node) } else { Vote::new(term, node) }))
    }
}

impl RaftLogStorage<TypeConfig> for SledLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let last_purged_log_id = self.0.mark(PURGED)?;
        let last = self.0.entries.last()?.map(|(_, value)| decode(&value)).transpose()?;
        let last_log_id = last.map(|entry| entry.log_id).or(last_purged_log_id);
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    /// Returns once the vote is flushed, in every mode.
    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let words = [vote.leader_id.term, vote.leader_id.voted_for, u64::from(vote.committed)];
        self.0.meta.insert(VOTE, words.map(u64::to_be_bytes).concat())?;
        self.0.flush()
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        match committed {
            Some(id) => self.0.meta.insert(COMMITTED, put_id(id))?,
            None => self.0.meta.remove(COMMITTED)?,
        };
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        self.0.mark(COMMITTED)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut batch = Batch::default();
        for entry in entries {
            batch.insert(&entry.log_id.index.to_be_bytes(), entry_to_wire(&entry).encode_to_vec());
        }
        self.0.entries.apply_batch(batch)?;
        if self.0.mode == Mode::Periodic {
            callback.io_completed(Ok(()));
            return Ok(());
        }
        let mut waiting = lock(&self.0.waiting);
        waiting.callbacks.push(callback);
        if !std::mem::replace(&mut waiting.busy, true) {
            let shared = self.0.clone();
            self.0.pool.submit(Lane::Wal, Box::new(move || shared.flush_all()));
        }
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.0.remove(last.map_or(0, |last| last.index + 1)..)?;
        self.0.flush()
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.0.meta.insert(PURGED, put_id(upto))?;
        self.0.remove(..=upto.index)?;
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Threads;
    use crate::raft::log::counting::Counting;
    use openraft::StorageError;
    use openraft::testing::log::{StoreBuilder, Suite};
    use openraft::type_config::TypeConfigExt;

    struct Builder(Arc<dyn Pool>, Mode);

    impl StoreBuilder<TypeConfig, SledLog, Counting, tempfile::TempDir> for Builder {
        async fn build(&self) -> Result<(tempfile::TempDir, SledLog, Counting), StorageError<TypeConfig>> {
            let dir = tempfile::tempdir().expect("temporary");
            let log = SledLog::open(&dir.path().join("log"), self.0.clone(), self.1).expect("opened");
            Ok((dir, log, Counting::default()))
        }
    }

    #[test]
    fn openrafts_own_suite_passes_in_every_mode() {
        let pool = Arc::new(Threads::start(std::num::NonZeroUsize::MIN).expect("threads"));
        for mode in [Mode::Flush, Mode::Sync, Mode::Periodic] {
            TypeConfig::run(Suite::test_all(Builder(pool.clone(), mode))).expect("the suite passes");
        }
    }
}
