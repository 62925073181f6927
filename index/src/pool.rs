//! A pool of threads for builds: one queue a worker, and stealing where queues are long.
//!
//! Place: ready-made [`Workers`] for programs that have no pool of their own. Jobs are dealt out in runs, so that a
//! worker's jobs are neighbours and share memory; who is done takes from the far end of a queue that passed a thousand
//! rows. Threads live as long as a run: some tens of microseconds each, against milliseconds of work, and none is left
//! behind by a panic. Invariant `job_is_pure`: who ran a job cannot be seen in its result.
//! Leaves out: order and seeds; a simulation brings workers of its own.
#![allow(
    clippy::disallowed_methods,
    reason = "threads and their clock are what this file is; nothing else here has any"
)]

use crate::workers::Workers;
use crossbeam_deque::{Steal, Stealer, Worker};
use std::{
    num::NonZeroUsize,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Rows in a worker's queue from which others may take of it.
const STEAL_FROM_ROWS: usize = 1000;
/// Rows of a run that its caller works on alone: to start a thread takes as long as to build a row or two.
const ALONE_ROWS: usize = 16;

/// Threads for builds. Cheap to keep; several builds may use it at once, each with as many threads.
pub struct Pool {
    done: Vec<Done>,
    /// Nanoseconds: of all runs; of each run's busiest worker; of each run's average worker.
    wall: AtomicU64,
    busiest: AtomicU64,
    average: AtomicU64,
}

#[derive(Default)]
struct Done {
    jobs: AtomicU64,
    rows: AtomicU64,
    stolen: AtomicU64,
    busy: AtomicU64,
}

/// What one worker did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerCounters {
    /// Jobs run.
    pub jobs: u64,
    /// Rows of those jobs.
    pub rows: u64,
    /// Of the jobs, those taken from another's queue.
    pub stolen: u64,
    /// Time spent in jobs.
    pub busy: Duration,
}

/// What a pool did since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By worker.
    pub workers: Vec<WorkerCounters>,
    /// Time during which runs were on.
    pub wall: Duration,
    busiest: Duration,
    average: Duration,
}

impl Counters {
    /// Share of the workers' time in runs that was spent in jobs, 0 to 1.
    pub fn utilisation(&self) -> f64 {
        let busy: Duration = self.workers.iter().map(|worker| worker.busy).sum();
        share(busy, self.wall * self.workers.len() as u32)
    }

    /// By how much the busiest worker of a run had more to do than the average one, as a share of the latter, over all
    /// runs: 0 is even.
    pub fn imbalance(&self) -> f64 {
        (share(self.busiest, self.average) - 1.0).max(0.0)
    }
}

fn share(part: Duration, whole: Duration) -> f64 {
    if whole.is_zero() { 1.0 } else { part.as_secs_f64() / whole.as_secs_f64() }
}

impl Pool {
    /// A pool of `threads`, the caller's among them while it waits.
    pub fn new(threads: NonZeroUsize) -> Self {
        let done = (0..threads.get()).map(|_| Done::default()).collect();
        Self { done, wall: AtomicU64::new(0), busiest: AtomicU64::new(0), average: AtomicU64::new(0) }
    }

    /// Workers of a run.
    pub fn threads(&self) -> usize {
        self.done.len()
    }

    /// What was done so far.
    pub fn counters(&self) -> Counters {
        let time = |nanoseconds: &AtomicU64| Duration::from_nanos(nanoseconds.load(Ordering::Relaxed));
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let worker = |done: &Done| WorkerCounters {
            jobs: count(&done.jobs),
            rows: count(&done.rows),
            stolen: count(&done.stolen),
            busy: time(&done.busy),
        };
        Counters {
            workers: self.done.iter().map(worker).collect(),
            wall: time(&self.wall),
            busiest: time(&self.busiest),
            average: time(&self.average),
        }
    }
}

/// A worker's share of a run.
struct Share {
    queue: Worker<usize>,
    /// It is long enough to be taken from.
    long: bool,
}

impl Workers for Pool {
    fn run(&self, jobs: usize, rows: usize, job: &(dyn Fn(usize) + Sync)) {
        let started = Instant::now();
        let threads = if jobs * rows < ALONE_ROWS { 1 } else { self.threads().min(jobs) };
        let deal = |worker: usize| {
            let queue = Worker::new_lifo();
            let own = worker * jobs / threads..(worker + 1) * jobs / threads;
            let long = own.len() * rows > STEAL_FROM_ROWS;
            own.rev().for_each(|at| queue.push(at));
            Share { queue, long }
        };
        let shares: Vec<Share> = (0..threads).map(deal).collect();
        let others: Vec<Stealer<usize>> =
            shares.iter().filter(|share| share.long).map(|share| share.queue.stealer()).collect();
        let mut shares = shares.into_iter().zip(&self.done);
        let busy = std::thread::scope(|scope| {
            let own = shares.next();
            let run = |(share, done): (Share, &Done)| work(&share.queue, &others, rows, job, done);
            let handles: Vec<_> = shares.map(|share| scope.spawn(move || run(share))).collect();
            let mut busy = vec![own.map_or(0, run)];
            // A thread that died was lost with its jobs; the caller runs them again.
            busy.extend(handles.into_iter().map(|handle| handle.join().unwrap_or(0)));
            busy
        });
        self.wall.fetch_add(nanoseconds(started), Ordering::Relaxed);
        self.busiest.fetch_add(busy.iter().copied().max().unwrap_or(0), Ordering::Relaxed);
        self.average.fetch_add(busy.iter().sum::<u64>() / self.threads() as u64, Ordering::Relaxed);
    }
}

/// Nanoseconds spent in jobs.
fn work(
    queue: &Worker<usize>,
    others: &[Stealer<usize>],
    rows: usize,
    job: &(dyn Fn(usize) + Sync),
    done: &Done,
) -> u64 {
    let started = Instant::now();
    let (mut jobs, mut stolen) = (0, 0);
    loop {
        let own = queue.pop();
        let Some(at) = own.or_else(|| steal(others)) else { break };
        job(at);
        jobs += 1;
        stolen += u64::from(own.is_none());
    }
    let busy = nanoseconds(started);
    done.jobs.fetch_add(jobs, Ordering::Relaxed);
    done.rows.fetch_add(jobs * rows as u64, Ordering::Relaxed);
    done.stolen.fetch_add(stolen, Ordering::Relaxed);
    done.busy.fetch_add(busy, Ordering::Relaxed);
    busy
}

/// A job of the first queue that has one.
fn steal(others: &[Stealer<usize>]) -> Option<usize> {
    others.iter().find_map(|other| {
        loop {
            match other.steal() {
                Steal::Success(at) => return Some(at),
                Steal::Empty => return None,
                Steal::Retry => {}
            }
        }
    })
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    };

    fn pool(threads: usize) -> Pool {
        Pool::new(NonZeroUsize::new(threads).expect("not zero"))
    }

    #[test]
    fn every_job_runs_exactly_once() {
        for threads in [1, 2, 3, 8] {
            let pool = pool(threads);
            for jobs in [0, 1, 2, 7, 64, 500] {
                let runs: Vec<AtomicUsize> = (0..jobs).map(|_| AtomicUsize::new(0)).collect();
                pool.run(jobs, 128, &|at| {
                    runs[at].fetch_add(1, Ordering::Relaxed);
                });
                assert!(runs.iter().all(|runs| runs.load(Ordering::Relaxed) == 1), "{threads} threads, {jobs} jobs");
            }
            let counters = pool.counters();
            assert_eq!(counters.workers.iter().map(|worker| worker.jobs).sum::<u64>(), 574);
            assert_eq!(counters.workers.iter().map(|worker| worker.rows).sum::<u64>(), 574 * 128);
            assert!(counters.utilisation() <= 1.01 && counters.imbalance() >= 0.0);
        }
    }

    /// Worker 0 is held in its first job until all others' jobs, and all that may be stolen, are done.
    fn held(jobs: usize, rows: usize) -> (u64, usize) {
        let (pool, gate, left) = (pool(2), Barrier::new(2), AtomicUsize::new(jobs - 1));
        let stolen_all = jobs / 2 * rows > STEAL_FROM_ROWS;
        let until = if stolen_all { 0 } else { jobs / 2 - 1 };
        pool.run(jobs, rows, &|at| {
            if at == 0 || left.fetch_sub(1, Ordering::AcqRel) == until + 1 {
                gate.wait();
            }
        });
        (pool.counters().workers.iter().map(|worker| worker.stolen).sum(), left.into_inner())
    }

    #[test]
    fn a_queue_that_passed_a_thousand_rows_is_taken_from_and_a_shorter_one_is_not() {
        let (stolen, left) = held(20, 128);
        assert!(stolen > 0 && left == 0, "{stolen} stolen, {left} left");
        assert_eq!(held(10, 128).0, 0);
    }
}
