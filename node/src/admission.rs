//! The yes or no before the log: three bounded lanes, permits, pressure.
//!
//! Place in the corridor: `Sequenced → Admitted`. A permit is taken before a chunk is queued and ends when the
//! chunk's outcome is known or the node stops, never at a client's time-out.
//! Invariants: `queue_within_cap` (rows and bytes under permit never pass their caps), `credit_conserved`
//! (each permit returns what it took, once).

use crate::config::AdmissionConfig;
use crate::session::Sequenced;
use crossbeam_queue::SegQueue;
use engram_proto::error::Error;
use engram_proto::wire::v1::Priority;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// Fullness at which streams are told to go slower, in thousandths.
pub const SIGNAL_PERMILLE: u32 = 800;
/// Fullness at which new rows are refused.
pub const REFUSE_PERMILLE: u32 = 900;
/// One chunk in so many is taken from the low lane first, so that it moves under a full high lane.
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

/// Proof of admission; its drop returns rows and bytes.
pub struct Permit {
    shared: Arc<Shared>,
    lane: usize,
    rows: usize,
    bytes: usize,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let before = self.shared.lanes[self.lane].rows.fetch_sub(self.rows, Ordering::AcqRel);
        assert!(before >= self.rows, "credit_conserved: more rows came back than were taken");
        self.shared.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.shared.drained.fetch_add(self.rows as u64, Ordering::Relaxed);
    }
}

struct Lane {
    queue: SegQueue<Admitted>,
    rows: AtomicUsize,
    cap: usize,
}

struct Shared {
    lanes: [Lane; 3],
    bytes: AtomicUsize,
    bytes_cap: usize,
    unbuilt: AtomicUsize,
    unbuilt_cap: usize,
    disk_full: AtomicBool,
    closed: AtomicBool,
    /// Rows whose permits came back since the start.
    drained: AtomicU64,
    /// Rows a second, from the last look at `drained`.
    rate: AtomicU32,
    picks: AtomicU64,
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
        let lane = |cap| Lane { queue: SegQueue::new(), rows: AtomicUsize::new(0), cap };
        Self(Arc::new(Shared {
            lanes: [lane(config.high_rows), lane(config.normal_rows), lane(config.low_rows)],
            bytes: AtomicUsize::new(0),
            bytes_cap: config.bytes,
            unbuilt: AtomicUsize::new(0),
            unbuilt_cap: config.unbuilt_rows,
            disk_full: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            drained: AtomicU64::new(0),
            rate: AtomicU32::new(0),
            picks: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            filled: Notify::new(),
            node,
        }))
    }

    /// Admits a chunk or refuses it; a refusal has no effect at all.
    pub fn admit(&self, chunk: Sequenced, priority: Priority) -> Result<(), Error> {
        let permit = self.permit(lane_of(priority), chunk.records().len(), chunk.bytes())?;
        let lane = permit.lane;
        self.0.lanes[lane].queue.push(Admitted { chunk, permit });
        self.0.filled.notify_one();
        Ok(())
    }

    /// A permit for work that another node queued: a follower's forwarded entry.
    pub fn permit(&self, lane: usize, rows: usize, bytes: usize) -> Result<Permit, Error> {
        let shared = &self.0;
        let node = shared.node;
        if shared.closed.load(Ordering::Acquire) {
            return Err(self.refuse(format!("node {node} is stopping; use another")));
        }
        if shared.disk_full.load(Ordering::Acquire) {
            return Err(self.refuse(format!("node {node}: the disk is full; free space, then it goes on by itself")));
        }
        let (unbuilt, unbuilt_cap) = (shared.unbuilt.load(Ordering::Acquire), shared.unbuilt_cap);
        if permille(unbuilt, unbuilt_cap) >= REFUSE_PERMILLE {
            let text = format!("admission on node {node}: {unbuilt} of {unbuilt_cap} rows wait for the index");
            return Err(self.refuse(text));
        }
        let cap = shared.lanes[lane].cap;
        if !take(&shared.lanes[lane].rows, rows, limit(cap)) {
            return Err(self.refuse(format!("admission on node {node}: its lane of {cap} rows is nearly full")));
        }
        if !take(&shared.bytes, bytes, limit(shared.bytes_cap)) {
            shared.lanes[lane].rows.fetch_sub(rows, Ordering::AcqRel);
            let cap = shared.bytes_cap;
            return Err(self.refuse(format!("admission on node {node}: its {cap} bytes of credit are nearly in use")));
        }
        Ok(Permit { shared: shared.clone(), lane, rows, bytes })
    }

    fn refuse(&self, text: String) -> Error {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
        let retry_after_ms = self.retry_after_ms();
        Error::overloaded(format!("{text}; resend in {retry_after_ms} ms"), retry_after_ms)
    }

    /// How long until the lanes have drained from the refusal mark to the signal mark at the present rate.
    fn retry_after_ms(&self) -> u32 {
        let excess: usize = self.0.lanes.iter().map(|lane| lane.rows.load(Ordering::Relaxed)).sum::<usize>() / 10;
        let rate = self.0.rate.load(Ordering::Relaxed);
        match (excess as u64 * 1000).checked_div(rate.into()) {
            Some(ms) => (ms as u32).clamp(RETRY_MS_MIN, RETRY_MS_MAX),
            None => RETRY_MS_MAX / 4,
        }
    }

    /// The next chunk: high before normal before low, with a share kept for the lower ones.
    pub fn pop(&self) -> Option<Admitted> {
        let lanes = &self.0.lanes;
        let pick = self.0.picks.fetch_add(1, Ordering::Relaxed);
        let order = match pick {
            pick if pick % LOW_SHARE == LOW_SHARE - 1 => [2, 0, 1],
            pick if pick % NORMAL_SHARE == NORMAL_SHARE - 1 => [1, 0, 2],
            _ => [0, 1, 2],
        };
        order.into_iter().find_map(|lane| lanes[lane].queue.pop())
    }

    /// Ends when a chunk was queued since the last call. Cancel safe.
    pub async fn filled(&self) {
        self.0.filled.notified().await;
    }

    /// Rows under permit, by lane: queued or proposed.
    pub fn depth(&self) -> [usize; 3] {
        std::array::from_fn(|lane| self.0.lanes[lane].rows.load(Ordering::Acquire))
    }

    /// Rows that each lane may hold.
    pub fn caps(&self) -> [usize; 3] {
        std::array::from_fn(|lane| self.0.lanes[lane].cap)
    }

    /// Bytes under permit.
    pub fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Acquire)
    }

    /// Chunks refused since the start.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// The largest fullness of lane, bytes and unbuilt rows, in thousandths.
    pub fn pressure_permille(&self, priority: Priority) -> u32 {
        let lane = &self.0.lanes[lane_of(priority)];
        let rows = permille(lane.rows.load(Ordering::Relaxed), lane.cap);
        let bytes = permille(self.bytes(), self.0.bytes_cap);
        let unbuilt = permille(self.0.unbuilt.load(Ordering::Relaxed), self.0.unbuilt_cap);
        rows.max(bytes).max(unbuilt)
    }

    /// The indexer says how many rows of complete batches wait.
    pub fn set_unbuilt(&self, rows: usize) {
        self.0.unbuilt.store(rows, Ordering::Release);
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

fn take(used: &AtomicUsize, amount: usize, limit: usize) -> bool {
    let update = |used: usize| used.checked_add(amount).filter(|&after| after <= limit);
    used.fetch_update(Ordering::AcqRel, Ordering::Acquire, update).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::tests::chunk;

    fn admission(rows: usize) -> Admission {
        let config =
            AdmissionConfig { high_rows: rows, normal_rows: rows, low_rows: rows, ..AdmissionConfig::default() };
        Admission::new(1, &config)
    }

    #[test]
    fn rows_are_refused_at_nine_tenths_and_come_back() {
        let admission = admission(100);
        for _ in 0..9 {
            admission.admit(chunk(10), Priority::High).expect("room");
        }
        let error = admission.admit(chunk(10), Priority::High).expect_err("full");
        assert!(error.0.retry_after_ms > 0 && error.is_rejected());
        assert_eq!(admission.depth(), [90, 0, 0]);
        drop(admission.pop());
        assert_eq!(admission.depth(), [80, 0, 0]);
        admission.admit(chunk(10), Priority::High).expect("room again");
    }

    #[test]
    fn low_moves_under_a_full_high_lane() {
        let admission = admission(1000);
        for _ in 0..50 {
            admission.admit(chunk(1), Priority::High).expect("room");
            admission.admit(chunk(2), Priority::Low).expect("room");
        }
        let taken: Vec<usize> = (0..40).map(|_| admission.pop().expect("queued").chunk.records().len()).collect();
        assert_eq!(taken.iter().filter(|rows| **rows == 2).count(), 5);
    }

    #[test]
    fn a_full_disk_and_a_late_index_refuse() {
        let admission = admission(1000);
        admission.set_disk_full(true);
        assert!(admission.admit(chunk(1), Priority::Normal).expect_err("full").to_string().contains("disk is full"));
        admission.set_disk_full(false);
        admission.set_unbuilt(190_000);
        assert!(admission.admit(chunk(1), Priority::Normal).is_err());
        admission.set_unbuilt(0);
        assert!(admission.admit(chunk(1), Priority::Normal).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn depth_never_passes_the_cap(steps in proptest::collection::vec((0usize..3, 1usize..40), 1..200)) {
            let admission = admission(100);
            for (step, rows) in steps {
                match step {
                    0 => drop(admission.pop()),
                    1 => drop(admission.admit(chunk(rows), Priority::High)),
                    _ => drop(admission.admit(chunk(rows), Priority::Low)),
                }
                proptest::prop_assert!(admission.depth().iter().all(|depth| *depth <= 90));
            }
            while admission.pop().is_some() {}
            proptest::prop_assert_eq!(admission.depth(), [0; 3]);
            proptest::prop_assert_eq!(admission.bytes(), 0);
        }
    }
}
