//! The write-ahead log: Raft's entries, votes, truncations, purges and committed marks, through one ordered writer.
//!
//! `proposer → raft → log`. Operations queue in `state`; an idle writer is woken on the pool's WAL lane and takes all
//! that is queued as one group: one write, one sync, then everybody is told. `format` and `record` are the bytes,
//! `segment` and `mark` the files, `recover` reads them back, `read` serves old entries, `scrub` looks for rot, `store` is
//! openraft's door.
//!
//! Invariants: `flush_before_ack`, `written_in_order`, `never_retry_a_sync` (writer), `durable_is_never_cut`
//! (recover), `group_whole_or_absent` (format), `log_without_holes` (record), `read_is_checked` (read).
//! Leaves out: the lock on the data directory (`run` holds it), recycled segments, repair from a peer.

#[cfg(test)]
pub(crate) mod counting;
mod format;
mod index;
mod mark;
mod read;
mod record;
mod recover;
mod report;
mod scrub;
mod segment;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod writer;

pub use format::Position;
pub use report::{OpenError, Recovery};
pub use scrub::Rot;
pub use writer::Counters;

use crate::env::{Clock, Disk, Lane, Open, Pool, run_on};
use crate::metrics::Histogram;
use crate::raft::types::{LogId, Vote};
use engram_probes::probe;
use state::{Op, State};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{future::Future, io};
use tokio::sync::{Notify, oneshot, watch};
use writer::{MARK_EVERY, Writer, Written};

/// Where and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The log's own folder; made if it is not there.
    pub dir: PathBuf,
    /// Bytes of a segment; a larger append gets a larger segment. 64 MiB serves well, simulations take little.
    pub segment_bytes: u64,
    /// Recent entries kept in memory, in bytes. Entries that are not yet durable are kept on top.
    pub cache_bytes: usize,
    /// The disk's id, drawn when the data directory was made.
    pub identity: [u8; 16],
}

impl Options {
    /// 64 MiB segments, 64 MiB of recent entries.
    pub fn new(dir: PathBuf, identity: [u8; 16]) -> Self {
        Self { dir, segment_bytes: 64 << 20, cache_bytes: 64 << 20, identity }
    }
}

/// Reads a log without changing anything: what opening would find, or why it would refuse. Blocking.
pub fn examine(disk: &dyn Disk, dir: &Path, identity: &[u8; 16]) -> Result<Recovery, OpenError> {
    let mark = mark::Mark::open(disk, dir, identity, Open::Read)?;
    recover::examine(disk, dir, identity, &mark)
}

/// No segment is smaller: its header, its first records, and something.
const SEGMENT_BYTES_MIN: u64 = 8192;

/// The log. Clones are the same log.
#[derive(Clone)]
pub struct Log(Arc<Shared>);

struct Shared {
    options: Arc<Options>,
    pool: Arc<dyn Pool>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    writer: Mutex<Writer>,
    /// Something waits for `tend`.
    untidy: Notify,
    poisoned: watch::Sender<Option<Arc<str>>>,
    sync_times: Histogram,
}

impl Log {
    /// Opens or creates, and recovers. Blocking: called on the pool, before the node serves.
    pub fn open(
        disk: Arc<dyn Disk>,
        pool: Arc<dyn Pool>,
        clock: Arc<dyn Clock>,
        mut options: Options,
    ) -> Result<(Log, Recovery), OpenError> {
        options.segment_bytes = options.segment_bytes.clamp(SEGMENT_BYTES_MIN, segment::MAX_BYTES / 2);
        let options = Arc::new(options);
        disk.create_dir_all(&options.dir)?;
        let names = disk.list(&options.dir)?;
        if !names.iter().any(|name| name == mark::NAME) {
            if let Some(name) = names.iter().find(|name| segment::number(name).is_some()) {
                let detail = format!("the durable mark is missing, the segment {name} is there");
                return Err(OpenError::rot(options.dir.join(mark::NAME), 0, detail));
            }
            if let Some(parent) = options.dir.parent() {
                disk.sync_dir(parent)?;
            }
            mark::create(&*disk, &options.dir, &options.identity)?;
        }
        let mark = mark::Mark::open(&*disk, &options.dir, &options.identity, Open::Write)?;
        let recovered = recover::recover(&*disk, &options, &mark)?;
        let recover::Replay { view, index, spans, .. } = recovered.replay;
        let oldest = recovered.files.first_key_value().map_or(1, |(number, _)| *number);
        let mut state = State::new(view.clone(), index, recovered.files);
        let at = (oldest, recovered.active);
        let writer = Writer::open(disk, clock.clone(), options.clone(), mark, at, (view, spans))?;
        let sync_times = writer.sync_times();
        let (number, file) = writer.active();
        state.files.insert(number, file);
        publish(&mut state, &writer);
        let (state, writer, untidy) = (Mutex::new(state), Mutex::new(writer), Notify::new());
        let poisoned = watch::Sender::new(None);
        let log = Log(Arc::new(Shared { options, pool, clock, state, writer, untidy, poisoned, sync_times }));
        Ok((log, recovered.report))
    }

    /// The last log id that is durable here.
    pub fn flushed(&self) -> Option<LogId> {
        self.0.state().flushed
    }

    /// The last log id that was appended.
    pub fn submitted(&self) -> Option<LogId> {
        self.0.state().now.last
    }

    /// The last log id that is not in the log any more, because a snapshot has it.
    pub fn purged(&self) -> Option<LogId> {
        self.0.state().now.purged
    }

    /// The last vote, durable or about to be.
    pub fn vote(&self) -> Option<Vote> {
        self.0.state().now.vote
    }

    /// The disk is full: no segment after this one can be had. Admission takes no new rows meanwhile; what is in
    /// flight waits if it must, and Raft's own records have room. Ends by itself when space returns.
    pub fn is_full(&self) -> bool {
        self.0.state().full
    }

    /// Why the log takes nothing more: the first write or sync that failed. It stays so.
    pub fn poisoned(&self) -> Option<Arc<str>> {
        self.0.state().poisoned.clone()
    }

    /// Ends when the log is poisoned, with the cause. Cancel safe.
    pub fn until_poisoned(&self) -> impl Future<Output = Arc<str>> + Send + 'static {
        let (mut cause, shared) = (self.0.poisoned.subscribe(), self.0.clone());
        async move {
            // `shared` holds the sender, so that waiting can't fail.
            let _held = shared;
            match cause.wait_for(Option::is_some).await {
                Ok(cause) => cause.clone().unwrap_or_else(|| "unknown".into()),
                Err(_) => "the log is gone".into(),
            }
        }
    }

    /// What was written since it was opened.
    pub fn counters(&self) -> Counters {
        self.0.state().counters
    }

    /// How long its groups took to be durable.
    pub fn sync_times(&self) -> &Histogram {
        &self.0.sync_times
    }

    /// Makes everything durable and lets the mark say so. Cancel safe. The log may be used on.
    pub async fn close(&self) {
        let (done, flushed) = oneshot::channel();
        if self.0.submit(|_| Ok(Some(Op::Flush(done)))).is_ok() {
            drop(flushed.await);
        }
    }

    /// The lowest index of an entry, purged or not, whose bytes are in the log's files; `None`: there is no entry.
    pub fn lowest(&self) -> Option<u64> {
        self.0.state().lowest
    }

    /// Goes on in another segment, so that the files of what is there can go once it is purged. Returns at once; has no
    /// effect while the disk is full, or when the log is poisoned.
    pub fn roll(&self) {
        drop(self.0.submit(|_| Ok(Some(Op::Roll))));
    }

    /// Runs as long as the node: writes what was left for later (committed marks, the durable mark within 50 ms)
    /// and asks a full disk again. Ends when the log is poisoned.
    pub fn tend(&self) -> impl Future<Output = ()> + Send + 'static {
        let shared = self.0.clone();
        async move {
            loop {
                shared.untidy.notified().await;
                while shared.is_untidy() {
                    shared.clock.sleep(MARK_EVERY).await;
                    let tidying = shared.clone();
                    let done = run_on(&*shared.pool, Lane::Wal, move || tidying.work(true)).await;
                    if done.is_none() || shared.state().poisoned.is_some() {
                        return;
                    }
                }
            }
        }
    }
}

fn publish(state: &mut State, writer: &Writer) {
    let outcome = writer.outcome();
    (state.vote, state.counters) = (outcome.vote, outcome.counters);
    (state.full, state.unmarked, state.lowest) = (outcome.full, outcome.unmarked, outcome.lowest);
    state.files.retain(|number, _| *number >= outcome.oldest);
}

impl Shared {
    // A panic elsewhere leaves both whole: each change is made under the lock at once.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_untidy(&self) -> bool {
        let state = self.state();
        state.poisoned.is_none() && (state.unmarked || state.full || !state.queue.is_empty())
    }

    /// Queues what `make` answers, in the order of the lock, and wakes the writer if it is idle.
    fn submit(self: &Arc<Self>, make: impl FnOnce(&mut State) -> io::Result<Option<Op>>) -> io::Result<()> {
        let mut state = self.state();
        state.sound()?;
        let Some(op) = make(&mut state)? else { return Ok(()) };
        let lazy = !op.urgent();
        let wake = !lazy && !state.busy;
        state.busy |= wake;
        state.queue.push_back(op);
        drop(state);
        if wake {
            let shared = self.clone();
            self.pool.submit(Lane::Wal, Box::new(move || shared.work(false)));
        }
        if lazy {
            self.untidy.notify_one();
        }
        Ok(())
    }

    /// On the WAL lane: groups until nothing urgent is queued. `all`: what is not urgent too, and the mark.
    fn work(&self, mut all: bool) {
        let mut writer = self.writer();
        loop {
            let mut ops = {
                let mut state = self.state();
                if state.poisoned.is_some() || !(all || state.queue.iter().any(Op::urgent)) {
                    state.busy = false;
                    break;
                }
                std::mem::take(&mut state.queue)
            };
            let written = self.groups(&mut writer, &mut ops);
            let stuck = match written.and_then(|stuck| if all { writer.tidy(None).map(|()| stuck) } else { Ok(stuck) })
            {
                Ok(stuck) => stuck,
                Err(e) => return self.poison(&e, ops),
            };
            let mut state = self.state();
            while let Some(op) = ops.pop_back() {
                state.queue.push_front(op);
            }
            publish(&mut state, &writer);
            if stuck {
                state.busy = false;
                break;
            }
            all = false;
        }
        drop(writer);
        if self.is_untidy() {
            self.untidy.notify_one();
        }
    }

    /// Writes `ops`; true when the disk was too full for what is left of them. After an error those that are left
    /// wait in vain.
    fn groups(&self, writer: &mut Writer, ops: &mut VecDeque<Op>) -> io::Result<bool> {
        while !ops.is_empty() {
            let Some(written) = writer.group(ops)? else { return Ok(true) };
            self.placed(writer, &written);
            let Written { ops: done, tidying, .. } = written;
            // A flush waits for the mark as well.
            let (flushes, others): (Vec<Op>, Vec<Op>) = done.into_iter().partition(|op| matches!(op, Op::Flush(_)));
            others.into_iter().for_each(|op| op.complete(Ok(())));
            let tidied = writer.tidy(Some(tidying));
            if tidied.is_err() {
                flushes.into_iter().rev().for_each(|op| ops.push_front(op));
                tidied?;
            } else {
                flushes.into_iter().for_each(|op| op.complete(Ok(())));
            }
        }
        Ok(false)
    }

    fn placed(&self, writer: &Writer, written: &Written) {
        let mut state = self.state();
        let (number, file) = writer.active();
        state.files.entry(number).or_insert(file);
        for (id, at, len) in &written.placed {
            state.placed(*id, *at, *len);
        }
        state.evict(self.options.cache_bytes);
        publish(&mut state, writer);
    }

    /// Nothing is written any more: whoever waits or comes is told the cause.
    fn poison(&self, e: &io::Error, ops: VecDeque<Op>) {
        probe!("log_is_poisoned");
        let dir = self.options.dir.display();
        let cause: Arc<str> = format!(
            "write-ahead log {dir}: {e}; what was not acknowledged may be lost, so this node stops: \
             check the disk, then start it again"
        )
        .into();
        let queued = {
            let mut state = self.state();
            state.poisoned.get_or_insert_with(|| cause.clone());
            state.busy = false;
            std::mem::take(&mut state.queue)
        };
        self.poisoned.send_replace(Some(cause.clone()));
        ops.into_iter().chain(queued).for_each(|op| op.complete(Err(io::Error::other(cause.to_string()))));
    }
}
