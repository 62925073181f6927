//! The yes or no before the log: three bounded lanes, permits, pressure.
//!
//! Place in the corridor: `Sequenced → Admitted`. A permit is taken before a chunk is queued and ends when the
//! chunk's outcome is known or the node stops, never at a client's time-out. In a lane streams take turns, and
//! none may have so much of it that others find no room. While too many rows wait for the leader's index, what was
//! admitted waits there for its proposal: entries of all nodes go on one by one, in the order in which they came, as
//! fast as batches are built.
//! Invariants: `queue_within_cap` (rows and bytes under permit never pass their caps), `credit_conserved`
//! (each permit returns what it took, once).

mod budget;
mod sync;
mod turns;

use crate::config::AdmissionConfig;
use crate::session::Sequenced;
use budget::{Budget, Full, Share};
use engram_mutants::mutant;
use engram_proto::error::Error;
use engram_proto::wire::v1::Priority;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use turns::{Source, Turns};

/// Fullness at which streams are told to go slower, in thousandths.
pub const SIGNAL_PERMILLE: u32 = 800;
/// Fullness at which new rows are refused.
pub const REFUSE_PERMILLE: u32 = 900;
/// One turn in so many is the low lane's first, so that it moves under a full high lane.
const LOW_SHARE: u64 = 8;
/// The same for the normal lane.
const NORMAL_SHARE: u64 = 4;
const RETRY_MS_MIN: u32 = 5;
const RETRY_MS_MAX: u32 = 1000;

/// A chunk with its permit: only [`Admission::admit`] makes one.
pub struct Admitted {
    /// What was admitted.
    pub chunk: Sequenced,
    permit: Permit,
}

impl Admitted {
    /// The chunk, and the permit that must live until its outcome is known.
    pub fn into_parts(self) -> (Sequenced, Permit) {
        (self.chunk, self.permit)
    }
}

/// What one stream has in its lane.
struct Held {
    waiting: Arc<Source<Admitted>>,
    rows: Share,
    bytes: Share,
}

/// A stream's place in a lane: only [`Admission::feed`] makes one.
pub struct Feed {
    lane: usize,
    held: Arc<Held>,
}

/// Proof of admission; its drop returns rows and bytes.
pub struct Permit {
    shared: Arc<Shared>,
    lane: usize,
    rows: usize,
    bytes: usize,
    /// Of a stream of this node; `None` for what another node queued.
    held: Option<Arc<Held>>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        if mutant!("permit_not_returned") {
            return;
        }
        let (rows, bytes) = (&self.shared.lanes[self.lane].rows, &self.shared.bytes);
        match &self.held {
            Some(held) => {
                rows.give_back_for(&held.rows, self.rows);
                bytes.give_back_for(&held.bytes, self.bytes);
            }
            None => {
                rows.give_back(self.rows);
                bytes.give_back(self.bytes);
            }
        }
        self.shared.drained.fetch_add(self.rows as u64, Ordering::Relaxed);
    }
}

struct Lane {
    turns: Turns<Admitted>,
    rows: Budget,
    cap: usize,
}

struct Shared {
    lanes: [Lane; 3],
    bytes: Budget,
    bytes_cap: usize,
    unbuilt: AtomicUsize,
    unbuilt_cap: usize,
    /// Whose entry is the next while rows wait for the index: first come, first served.
    next: Mutex<()>,
    built: Notify,
    disk_full: AtomicBool,
    closed: AtomicBool,
    /// Rows whose permits came back since the start.
    drained: AtomicU64,
    /// Rows a second, from the last look at `drained`.
    rate: AtomicU32,
    picks: AtomicU64,
    admitted: AtomicU64,
    refused: AtomicU64,
    filled: Notify,
    node: u64,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Admission(Arc<Shared>);

impl Admission {
    /// Empty lanes of node `node`.
    pub fn new(node: u64, config: &AdmissionConfig) -> Self {
        let lane = |cap| Lane { turns: Turns::default(), rows: Budget::new(limit(cap)), cap };
        Self(Arc::new(Shared {
            lanes: [lane(config.high_rows), lane(config.normal_rows), lane(config.low_rows)],
            bytes: Budget::new(limit(config.bytes)),
            bytes_cap: config.bytes,
            unbuilt: AtomicUsize::new(0),
            unbuilt_cap: config.unbuilt_rows,
            next: Mutex::new(()),
            built: Notify::new(),
            disk_full: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            drained: AtomicU64::new(0),
            rate: AtomicU32::new(0),
            picks: AtomicU64::new(0),
            admitted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            filled: Notify::new(),
            node,
        }))
    }

    /// A place for a stream in the lane of its priority.
    pub fn feed(&self, priority: Priority) -> Feed {
        let held = Held { waiting: Arc::default(), rows: Share::default(), bytes: Share::default() };
        Feed { lane: lane_of(priority), held: Arc::new(held) }
    }

    /// Admits a stream's next chunk or refuses it; a refusal has no effect at all.
    pub fn admit(&self, feed: &Feed, chunk: Sequenced) -> Result<(), Error> {
        let permit = self.take(feed.lane, chunk.records().len(), chunk.bytes(), Some(&feed.held))?;
        self.0.admitted.fetch_add(1, Ordering::Relaxed);
        self.0.lanes[feed.lane].turns.put(&feed.held.waiting, Admitted { chunk, permit });
        self.0.filled.notify_one();
        Ok(())
    }

    /// A permit for work that another node queued: a follower's forwarded entry.
    pub fn permit(&self, lane: usize, rows: usize, bytes: usize) -> Result<Permit, Error> {
        self.take(lane, rows, bytes, None)
    }

    fn take(&self, lane: usize, rows: usize, bytes: usize, held: Option<&Arc<Held>>) -> Result<Permit, Error> {
        let shared = &self.0;
        let node = shared.node;
        if shared.closed.load(Ordering::Acquire) {
            return Err(self.refuse(format!("node {node} is stopping; use another")));
        }
        if shared.disk_full.load(Ordering::Acquire) {
            return Err(self.refuse(format!("node {node}: the disk is full; free space, then it goes on by itself")));
        }
        let Lane { rows: lane_rows, cap, .. } = &shared.lanes[lane];
        let taken = match held {
            Some(held) => lane_rows.take_for(&held.rows, rows),
            None => lane_rows.take(rows),
        };
        taken.map_err(|full| self.full(full, format_args!("lane of {cap} rows")))?;
        let taken = match held {
            Some(held) => shared.bytes.take_for(&held.bytes, bytes),
            None => shared.bytes.take(bytes),
        };
        if let Err(full) = taken {
            match held {
                Some(held) => lane_rows.give_back_for(&held.rows, rows),
                None => lane_rows.give_back(rows),
            }
            return Err(self.full(full, format_args!("{} bytes of credit", shared.bytes_cap)));
        }
        Ok(Permit { shared: shared.clone(), lane, rows, bytes, held: held.cloned() })
    }

    /// The refusal of an entry that has waited for the index as long as it may.
    pub fn late(&self) -> Error {
        let Shared { node, unbuilt, unbuilt_cap, .. } = &*self.0;
        let unbuilt = unbuilt.load(Ordering::Relaxed);
        self.refuse(format!("admission on node {node}: {unbuilt} of {unbuilt_cap} rows wait for the index"))
    }

    fn full(&self, full: Full, what: std::fmt::Arguments<'_>) -> Error {
        let node = self.0.node;
        match full {
            Full::All => self.refuse(format!("admission on node {node}: its {what} is nearly full")),
            Full::Share(held) => {
                self.refuse(format!("admission on node {node}: this stream has its share of the {what}, {held}"))
            }
        }
    }

    fn refuse(&self, text: String) -> Error {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
        let retry_after_ms = self.retry_after_ms();
        Error::overloaded(format!("{text}; resend in {retry_after_ms} ms"), retry_after_ms)
    }

    /// How long until the lanes have drained from the refusal mark to the signal mark at the present rate.
    fn retry_after_ms(&self) -> u32 {
        let excess: usize = self.depth().iter().sum::<usize>() / 10;
        let rate = self.0.rate.load(Ordering::Relaxed);
        match (excess as u64 * 1000).checked_div(rate.into()) {
            Some(ms) => (ms as u32).clamp(RETRY_MS_MIN, RETRY_MS_MAX),
            None => RETRY_MS_MAX / 4,
        }
    }

    /// One stream's turn: its next chunks go to `take` until that breaks off. High before normal before low, with a share
    /// of the turns kept for the lower ones. False when nothing waits.
    pub fn turn(&self, mut take: impl FnMut(Admitted) -> ControlFlow<()>) -> bool {
        let pick = self.0.picks.fetch_add(1, Ordering::Relaxed);
        let order = match pick {
            pick if pick % LOW_SHARE == LOW_SHARE - 1 => [2, 0, 1],
            pick if pick % NORMAL_SHARE == NORMAL_SHARE - 1 => [1, 0, 2],
            _ => [0, 1, 2],
        };
        order.into_iter().any(|lane| self.0.lanes[lane].turns.turn(&mut take))
    }

    /// Ends when a chunk was queued since the last call. Cancel safe.
    pub async fn filled(&self) {
        self.0.filled.notified().await;
    }

    /// Rows under permit, by lane: queued or proposed.
    pub fn depth(&self) -> [usize; 3] {
        std::array::from_fn(|lane| self.0.lanes[lane].rows.used())
    }

    /// Rows that each lane may hold.
    pub fn caps(&self) -> [usize; 3] {
        std::array::from_fn(|lane| self.0.lanes[lane].cap)
    }

    /// Bytes under permit.
    pub fn bytes(&self) -> usize {
        self.0.bytes.used()
    }

    /// Chunks of streams of this node admitted since the start.
    pub fn admitted(&self) -> u64 {
        self.0.admitted.load(Ordering::Relaxed)
    }

    /// Chunks refused since the start.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// Rows of complete batches that wait for the index.
    pub fn unbuilt(&self) -> usize {
        self.0.unbuilt.load(Ordering::Relaxed)
    }

    /// The largest fullness of lane, bytes and unbuilt rows, in thousandths.
    pub fn pressure_permille(&self, priority: Priority) -> u32 {
        let lane = &self.0.lanes[lane_of(priority)];
        let rows = permille(lane.rows.used(), lane.cap);
        let bytes = permille(self.bytes(), self.0.bytes_cap);
        let unbuilt = permille(self.0.unbuilt.load(Ordering::Relaxed), self.0.unbuilt_cap);
        rows.max(bytes).max(unbuilt)
    }

    /// The indexer says how many rows of complete batches wait.
    pub fn set_unbuilt(&self, rows: usize) {
        self.0.unbuilt.store(rows, Ordering::Release);
        self.0.built.notify_one();
    }

    /// Ends when a further entry may be proposed: fewer rows wait for the index than at the refusal mark, or the node
    /// stops. Who came first goes first. Cancel safe: whoever gives up loses its place.
    pub async fn indexable(&self) {
        let shared = &self.0;
        let _first = shared.next.lock().await;
        while permille(shared.unbuilt.load(Ordering::Acquire), shared.unbuilt_cap) >= REFUSE_PERMILLE
            && !shared.closed.load(Ordering::Acquire)
        {
            shared.built.notified().await;
        }
    }

    /// The log says whether there is room for a further segment.
    pub fn set_disk_full(&self, full: bool) {
        self.0.disk_full.store(full, Ordering::Release);
    }

    /// Called about every `since`: turns the drained rows into a rate.
    pub fn measure_rate(&self, drained_before: u64, since: Duration) -> u64 {
        let drained = self.0.drained.load(Ordering::Relaxed);
        let rate = (drained - drained_before) as u128 * 1000 / since.as_millis().max(1);
        self.0.rate.store(rate.min(u128::from(u32::MAX)) as u32, Ordering::Relaxed);
        drained
    }

    /// Takes nothing new from now on.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.built.notify_one();
    }
}

/// The lane of a priority.
pub fn lane_of(priority: Priority) -> usize {
    match priority {
        Priority::High => 0,
        Priority::Unspecified | Priority::Normal => 1,
        Priority::Low => 2,
    }
}

fn permille(used: usize, cap: usize) -> u32 {
    (used as u128 * 1000 / cap.max(1) as u128) as u32
}

/// What may be taken before rows are refused; a single chunk always fits an empty lane.
fn limit(cap: usize) -> usize {
    cap - cap * (1000 - REFUSE_PERMILLE as usize) / 1000
}

#[cfg(test)]
mod tests;
