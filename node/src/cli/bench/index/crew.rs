//! The threads that build, and how evenly they worked.
//!
//! Place: handed to the index by `builds` and `batches`. Leaves out: queues; jobs are claimed one by one.

use super::subject::now;
use crate::cli::exit::Failure;
use engram_index::Workers;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Threads.
pub struct Crew {
    /// Busy nanoseconds by thread.
    busy: Vec<AtomicU64>,
}

/// How evenly threads worked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Balance {
    /// By how much the busiest was busier than the average; 0: all alike.
    pub imbalance: Option<f64>,
    /// Share of the time in which a thread worked.
    pub utilisation: Option<f64>,
}

impl Crew {
    /// So many threads.
    pub fn new(threads: usize) -> Result<Self, Failure> {
        Ok(Self { busy: (0..threads).map(|_| AtomicU64::new(0)).collect() })
    }

    /// What the threads did since they were made, `seconds` ago.
    pub fn balance(&self, seconds: f64) -> Balance {
        let busy: Vec<f64> = self.busy.iter().map(|busy| busy.load(Ordering::Relaxed) as f64 / 1e9).collect();
        let mean = busy.iter().sum::<f64>() / busy.len() as f64;
        let most = busy.iter().copied().fold(0.0, f64::max);
        Balance { imbalance: Some(most / mean - 1.0), utilisation: Some(mean / seconds) }
    }
}

impl Workers for Crew {
    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        let next = AtomicUsize::new(0);
        let work = |busy: &AtomicU64| {
            let started = now();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= jobs {
                    break;
                }
                job(at);
            }
            busy.fetch_add(started.elapsed().as_nanos() as u64, Ordering::Relaxed);
        };
        let work = &work;
        std::thread::scope(|scope| {
            self.busy.iter().take(jobs).skip(1).for_each(|busy| drop(scope.spawn(move || work(busy))));
            work(&self.busy[0]);
        });
    }
}
