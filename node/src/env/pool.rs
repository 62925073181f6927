//! CPU work and blocking I/O, off the reactor.
//!
//! A lane runs its jobs one at a time, in the order they were submitted. The index lane's job may spread
//! its chunks over all workers. A simulator runs the same jobs in an order that its seed draws.
use engram_index::{Counters, Pool as Workforce, Workers};
use futures_util::FutureExt;
use std::{
    future::Future,
    io,
    num::NonZeroUsize,
    sync::{Arc, mpsc},
    thread,
};
use tokio::sync::oneshot;

/// One piece of work.
pub type Job = Box<dyn FnOnce() + Send>;

/// A queue of jobs that run one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// The write-ahead log's writes and syncs.
    Wal,
    /// Snapshot files, and reads of old log entries.
    Files,
    /// Index batches.
    Index,
    /// Syncs of record files that came from elsewhere, while others are being written.
    Arrivals,
}

/// Lanes and workers.
pub trait Pool: Send + Sync + 'static {
    /// Queues a job; it runs even if nobody waits for it.
    fn submit(&self, lane: Lane, job: Job);
    /// Spreads a batch's chunks.
    fn workers(&self) -> Arc<dyn Workers>;
    /// What the workers did since the start, where somebody counts: for metrics.
    fn counters(&self) -> Option<Counters> {
        None
    }
}

/// Runs `work` on a lane. Cancel safe: the work itself goes on. `None` when the lane died with the work in it.
pub fn run_on<T: Send + 'static>(
    pool: &dyn Pool,
    lane: Lane,
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Option<T>> + Send + 'static {
    let (done, result) = oneshot::channel();
    pool.submit(lane, Box::new(move || drop(done.send(work()))));
    result.map(Result::ok)
}

/// One thread a lane, and a pool of threads for a batch.
pub struct Threads {
    lanes: [mpsc::Sender<Job>; 4],
    workers: Arc<Workforce>,
}

impl Threads {
    /// Starts the lanes; batches use `workers` threads.
    pub fn start(workers: NonZeroUsize) -> io::Result<Self> {
        let lane = |name: &str| {
            let (sender, jobs) = mpsc::channel::<Job>();
            let run = move || jobs.into_iter().for_each(|job| job());
            thread::Builder::new().name(format!("engram-{name}")).spawn(run)?;
            Ok::<_, io::Error>(sender)
        };
        let lanes = [lane("wal")?, lane("files")?, lane("index")?, lane("arrivals")?];
        Ok(Self { lanes, workers: Arc::new(Workforce::new(workers)) })
    }
}

impl Pool for Threads {
    fn submit(&self, lane: Lane, job: Job) {
        // A lane whose thread panicked takes no more jobs: `run_on` answers `None`, and the node stops.
        drop(self.lanes[lane as usize].send(job));
    }

    fn workers(&self) -> Arc<dyn Workers> {
        self.workers.clone()
    }

    fn counters(&self) -> Option<Counters> {
        Some(self.workers.counters())
    }
}
