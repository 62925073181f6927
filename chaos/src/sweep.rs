//! Many seeds, several at a time, one process each.
//!
//! Invariant: every seed of the range is reported once; what a seed gives does not depend on `jobs`.
//!
//! Leaves out: resuming a sweep that was stopped.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::generate::{Request, generate};
use crate::outcome::Violation;
use crate::runner::{Run, RunError, Simulate};

/// What a sweep found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Seeds whose promises held.
    pub clean: u64,
    /// Seeds that broke one.
    pub broken: Vec<(u64, Violation)>,
    /// Seeds that could not be run.
    pub failed: Vec<(u64, RunError)>,
    /// Simulated time of all runs.
    pub simulated_ms: u64,
    /// Wall time of all runs, added up over the jobs.
    pub wall_ms: u64,
    /// Observations acknowledged in all runs.
    pub acked: u64,
}

impl Tally {
    fn add(&mut self, seed: u64, result: &Result<Run, RunError>) {
        match result {
            Err(error) => self.failed.push((seed, error.clone())),
            Ok(Run { outcome, wall_ms }) => {
                self.simulated_ms += outcome.simulated_ms;
                self.wall_ms += wall_ms;
                self.acked += outcome.acked;
                match &outcome.violation {
                    Some(violation) => self.broken.push((seed, violation.clone())),
                    None => self.clean += 1,
                }
            }
        }
    }

    /// Exit code of the command: 0 clean, 1 broken, 2 not all could be run.
    pub fn exit_code(&self) -> u8 {
        match (self.broken.is_empty(), self.failed.is_empty()) {
            (false, _) => 1,
            (true, false) => 2,
            (true, true) => 0,
        }
    }
}

/// Runs each seed of `seeds` with the rest of `request`. `heard` is told of each result as it comes.
pub fn sweep(
    simulator: &dyn Simulate,
    request: Request,
    seeds: Range<u64>,
    jobs: usize,
    heard: &(dyn Fn(u64, &Result<Run, RunError>) + Sync),
) -> Tally {
    let next = AtomicU64::new(seeds.start);
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < seeds.end) {
                    let result = simulator.simulate(&generate(Request { seed, ..request }));
                    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                    tally.add(seed, &result);
                    heard(seed, &result);
                }
            });
        }
    });
    let mut tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    tally.broken.sort_by_key(|(seed, _)| *seed);
    tally.failed.sort_by_key(|(seed, _)| *seed);
    tally
}
