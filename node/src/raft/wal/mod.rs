//! The write-ahead log: Raft's entries and votes, through one ordered writer, durable before anybody is told.
//!
//! Place in the corridor: inside `raft`, below consensus. Appends return once the entries can be read back from
//! memory; their callbacks come after the sync of the group they are in. Votes, truncations and purges go through
//! the same queue, in order. Invariants: `durable_before_told`, `log_has_no_hole`, `rot_is_told_from_a_torn_tail`.
//!
//! Leaves out: reuse of purged segments (the format has their generation), repair from a peer.

mod format;
mod index;
mod recover;
#[cfg(test)]
mod tests;
mod writer;

pub use recover::{OpenError, Recovery};

use crate::env::disk::{File, read_exact_at};
use crate::env::{Clock, Disk, Lane, Pool, run_on};
use crate::raft::types::{Entry, LogId, TypeConfig, Vote};
use crate::raft::wire::{entry_from_wire, entry_to_wire};
use engram_proto::wire::peer::RaftEntry;
use index::{Found, Index, Place};
use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use prost::Message;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{oneshot, watch};
use writer::{Op, Writer, Written};

/// Bytes of entries that one read gives at most, but one entry in any case.
const READ_BYTES_MAX: usize = 4 << 20;

/// How a log is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its folder; made when it is not there.
    pub dir: PathBuf,
    /// Bytes of a segment file.
    pub segment_bytes: u64,
    /// Bytes of recent entries kept in memory, about.
    pub cache_bytes: usize,
    /// The data directory's id: segments of another directory are refused.
    pub identity: [u8; 16],
}

/// Cheap to clone; all clones are one log.
#[derive(Clone)]
pub struct Log(Arc<Shared>);

struct Shared {
    pool: Arc<dyn Pool>,
    state: Mutex<State>,
    /// Taken by the writing job alone.
    writer: Mutex<Writer>,
    poison: watch::Sender<Option<Arc<str>>>,
}

struct State {
    index: Index,
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    /// The last entry that was handed in.
    submitted: Option<LogId>,
    /// The last entry that is durable.
    flushed: Option<LogId>,
    /// Bounded by what consensus has in flight.
    queue: Vec<Op>,
    writing: bool,
    full: bool,
    files: BTreeMap<u64, Arc<dyn File>>,
}

impl Log {
    /// Blocking: opens the log of a folder, or makes one.
    pub fn open(
        disk: Arc<dyn Disk>,
        pool: Arc<dyn Pool>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<(Self, Recovery), OpenError> {
        let Options { dir, segment_bytes, cache_bytes, identity } = options;
        disk.create_dir_all(&dir)?;
        let mut recovered = recover::recover(&*disk, &dir, identity, cache_bytes)?;
        let writer = Writer::open(disk, clock, dir, segment_bytes, identity, &mut recovered)?;
        let last = recovered.index.last().or(recovered.purged);
        let state = State {
            index: recovered.index,
            vote: recovered.vote,
            committed: recovered.committed,
            purged: recovered.purged,
            submitted: last,
            flushed: last,
            queue: Vec::new(),
            writing: false,
            full: false,
            files: writer.files().into_iter().collect(),
        };
        let (state, writer) = (Mutex::new(state), Mutex::new(writer));
        let log = Self(Arc::new(Shared { pool, state, writer, poison: watch::Sender::new(None) }));
        Ok((log, recovered.report))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last durable entry, or what the log was purged to.
    pub fn flushed(&self) -> Option<LogId> {
        self.state().flushed
    }

    /// The last entry that was handed in.
    pub fn submitted(&self) -> Option<LogId> {
        self.state().submitted
    }

    /// Whether no further segment can be made now. Asking tries again.
    pub fn is_full(&self) -> bool {
        let full = self.state().full;
        if full {
            self.submit(Op::Tend(None));
        }
        full
    }

    /// Why the log can't be trusted any more.
    pub fn poisoned(&self) -> Option<Arc<str>> {
        self.0.poison.borrow().clone()
    }

    /// Ends when the log is poisoned, with the cause. Cancel safe.
    pub async fn until_poisoned(&self) -> Arc<str> {
        let mut poison = self.0.poison.subscribe();
        let cause = poison.wait_for(Option::is_some).await.expect("self holds the sender");
        cause.clone().expect("waited for it")
    }

    /// Writes what is queued and the durable mark. Cancel: both go on.
    pub async fn close(&self) {
        let (done, told) = oneshot::channel();
        self.submit(Op::Tend(Some(done)));
        // A poisoned log closes as it is.
        drop(told.await);
    }

    fn check(&self) -> io::Result<()> {
        match self.poisoned() {
            Some(cause) => Err(io::Error::other(format!("the log is poisoned: {cause}"))),
            None => Ok(()),
        }
    }

    /// Queues an operation and wakes the writer.
    fn submit(&self, op: Op) {
        let mut state = self.state();
        state.queue.push(op);
        if !std::mem::replace(&mut state.writing, true) {
            drop(state);
            let log = self.clone();
            self.0.pool.submit(Lane::Wal, Box::new(move || log.write()));
        }
    }

    /// Runs on the log's lane until the queue is empty.
    fn write(&self) {
        let mut writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let ops = {
                let mut state = self.state();
                if state.queue.is_empty() {
                    state.writing = false;
                    return;
                }
                Writer::take_group(&mut state.queue)
            };
            let result = self.check().and_then(|()| writer.write(&ops));
            let told = match result {
                Ok(written) => {
                    self.written(written);
                    Ok(())
                }
                Err(error) => {
                    let cause: Arc<str> = error.to_string().into();
                    self.0.poison.send_if_modified(|poison| {
                        let first = poison.is_none();
                        poison.get_or_insert(cause.clone());
                        first
                    });
                    Err(error)
                }
            };
            tell(ops, &told);
        }
    }

    fn written(&self, written: Written) {
        let mut state = self.state();
        for (id, place) in written.places {
            if state.index.placed(id, place) {
                state.flushed = Some(id);
            }
        }
        state.files.extend(written.opened);
        for number in written.removed {
            state.files.remove(&number);
        }
        state.full = written.full;
    }

    async fn wait(&self, op: impl FnOnce(writer::Done) -> Op) -> io::Result<()> {
        self.check()?;
        let (done, told) = oneshot::channel();
        self.submit(op(done));
        told.await.unwrap_or_else(|_| Err(io::Error::other("the log's lane has stopped")))
    }

    /// Reads entries from `start` to before `end`, at most `bytes_max` of them.
    async fn read(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let (found, files) = {
            let state = self.state();
            let found = state.index.range(start, end, bytes_max);
            let placed = found.iter().any(|found| matches!(found, Found::Placed(..)));
            (found, if placed { state.files.clone() } else { BTreeMap::new() })
        };
        if files.is_empty() {
            let cached = found.into_iter().filter_map(|found| match found {
                Found::Cached(entry) => Some(entry),
                Found::Placed(..) => None,
            });
            return Ok(cached.collect());
        }
        let read = move || {
            let entry = |found| match found {
                Found::Cached(entry) => Ok(entry),
                Found::Placed(id, place) => read_entry(&files, id, place),
            };
            found.into_iter().map(entry).collect()
        };
        let entries = run_on(&*self.0.pool, Lane::Files, read).await;
        entries.unwrap_or_else(|| Err(io::Error::other("the files lane has stopped")))
    }
}

fn tell(ops: Vec<Op>, result: &io::Result<()>) {
    let copy = || match result {
        Ok(()) => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    };
    for op in ops {
        match op {
            Op::Append(_, callback) => callback.io_completed(copy()),
            // Whoever asked may be gone.
            Op::Vote(_, done) | Op::Truncate(_, done) | Op::Purge(_, done) | Op::Tend(Some(done)) => {
                drop(done.send(copy()));
            }
            Op::Committed(_) | Op::Tend(None) => {}
        }
    }
}

fn read_entry(files: &BTreeMap<u64, Arc<dyn File>>, id: LogId, place: Place) -> io::Result<Entry> {
    let name = recover::segment_name(place.segment);
    let rot = |detail: &str| {
        let text = format!("{name} is damaged at byte {}: {detail} (log entry {id})", place.offset);
        io::Error::new(io::ErrorKind::InvalidData, text)
    };
    let file = files.get(&place.segment).ok_or_else(|| rot("the segment is not there"))?;
    let mut bytes = vec![0; place.bytes as usize];
    read_exact_at(&**file, place.offset, &mut bytes)?;
    let (kind, payload, _) = format::take_frame(&bytes).ok_or_else(|| rot("the checksum does not match"))?;
    if kind != format::Kind::Entry {
        return Err(rot("not an entry"));
    }
    let wire = RaftEntry::decode(payload).map_err(|e| rot(&e.to_string()))?;
    let entry = entry_from_wire(wire).map_err(|e| rot(&e.to_string()))?;
    match entry.log_id == id {
        true => Ok(entry),
        false => Err(rot("another entry stands there")),
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl RaftLogReader<TypeConfig> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let (start, end) = bounds(&range);
        self.read(start, end, usize::MAX).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.state().vote)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start, end, READ_BYTES_MAX).await
    }
}

impl RaftLogStorage<TypeConfig> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let state = self.state();
        let last_log_id = state.index.last().or(state.purged);
        Ok(LogState { last_purged_log_id: state.purged, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.state().vote = Some(*vote);
        self.wait(|done| Op::Vote(*vote, done)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        if let Some(committed) = committed {
            let mut state = self.state();
            state.committed = state.committed.max(Some(committed));
            // It goes out with the next group: losing it costs a wait for the leader, nothing else.
            if matches!(state.queue.last(), Some(Op::Committed(_))) {
                state.queue.pop();
            }
            state.queue.push(Op::Committed(committed));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.state().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
    {
        self.check()?;
        let mut encoded = Vec::new();
        {
            let mut state = self.state();
            for entry in entries {
                let (id, bytes) = (entry.log_id, entry_to_wire(&entry).encode_to_vec());
                assert!(state.index.push(id, Some(entry), None, bytes.len()), "log_has_no_hole: {id} leaves one");
                state.submitted = Some(id);
                encoded.push((id, bytes.into()));
            }
        }
        self.submit(Op::Append(encoded, callback));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        {
            let mut state = self.state();
            state.index.truncate(last.map(|id| id.index));
            let last = state.index.last().or(state.purged);
            state.submitted = last;
            state.flushed = state.flushed.min(last);
        }
        self.wait(|done| Op::Truncate(last, done)).await
    }

    async fn purge(&mut self, purged: LogId) -> io::Result<()> {
        {
            let mut state = self.state();
            state.index.purge(purged.index);
            state.purged = state.purged.max(Some(purged));
            state.submitted = state.submitted.max(Some(purged));
            state.flushed = state.flushed.max(Some(purged));
        }
        self.wait(|done| Op::Purge(purged, done)).await
    }
}
