//! The worker pool of one life of a node: the same jobs as in production, on virtual time, in drawn order.
//!
//! A lane's jobs keep their order, each begins after a drawn delay, so that a sync takes its time and a crash
//! finds work undone. A batch's chunks run in an order that the seed draws: the digests then show that the order
//! does not matter. A worker that dies takes a chunk with it. Everything dies with the node, because the lanes are its tasks.

use crate::wear::Wear;
use engram_index::Workers;
use engram_node::env::{Job, Lane, Pool, Rt, Seed};
use openraft::AsyncRuntime;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Microseconds before a job, per lane: a sync, a file, a batch, syncs of files.
const DELAY_US: [std::ops::Range<u64>; 4] = [50..3000, 50..3000, 100..10_000, 50..3000];

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    running: bool,
}

struct Shared {
    lanes: [Mutex<Queue>; 4],
    rng: Mutex<StdRng>,
    wear: Arc<Wear>,
    shuffle: Arc<Shuffled>,
}

/// Made anew for each life of a node.
#[derive(Clone)]
pub struct SimPool(Arc<Shared>);

impl SimPool {
    /// Draws from `seed`, on the world's time.
    pub fn new(seed: Seed, now: fn() -> Duration, wear: Arc<Wear>) -> Self {
        let (rng, died) = (Mutex::new(seed.stream("chunks")), Mutex::new(now()));
        let shuffle = Arc::new(Shuffled { rng, now, died, wear: wear.clone() });
        Self(Arc::new(Shared { lanes: Default::default(), rng: Mutex::new(seed.stream("lanes")), wear, shuffle }))
    }

    async fn drain(self, lane: Lane) {
        loop {
            let delay = {
                let mut rng = self.0.rng.lock().unwrap_or_else(PoisonError::into_inner);
                Duration::from_micros(rng.random_range(DELAY_US[lane as usize].clone()))
            };
            let stalled = if lane == Lane::Index { Duration::ZERO } else { self.0.wear.stalled() };
            Rt::sleep(delay + stalled).await;
            let job = {
                let mut queue = self.0.lanes[lane as usize].lock().unwrap_or_else(PoisonError::into_inner);
                let job = queue.jobs.pop_front();
                queue.running = job.is_some();
                job
            };
            match job {
                Some(job) => job(),
                None => return,
            }
        }
    }
}

impl Pool for SimPool {
    fn submit(&self, lane: Lane, job: Job) {
        let mut queue = self.0.lanes[lane as usize].lock().unwrap_or_else(PoisonError::into_inner);
        queue.jobs.push_back(job);
        if !std::mem::replace(&mut queue.running, true) {
            drop(Rt::spawn(self.clone().drain(lane)));
        }
    }

    fn workers(&self) -> Arc<dyn Workers> {
        self.0.shuffle.clone()
    }
}

struct Shuffled {
    rng: Mutex<StdRng>,
    now: fn() -> Duration,
    /// When a worker died last.
    died: Mutex<Duration>,
    wear: Arc<Wear>,
}

impl Shuffled {
    /// Whether a worker dies now, and takes a chunk with it.
    fn dies(&self) -> bool {
        let Some(every) = self.wear.worker_dies_every() else { return false };
        let (now, mut died) = ((self.now)(), self.died.lock().unwrap_or_else(PoisonError::into_inner));
        let due = now >= *died + every;
        if due {
            *died = now;
        }
        due
    }
}

impl Workers for Shuffled {
    fn run(&self, jobs: usize, _rows: usize, job: &(dyn Fn(usize) + Sync)) {
        let mut order: Vec<usize> = (0..jobs).collect();
        order.shuffle(&mut *self.rng.lock().unwrap_or_else(PoisonError::into_inner));
        if self.dies() {
            order.pop();
        }
        order.into_iter().for_each(job);
    }
}
