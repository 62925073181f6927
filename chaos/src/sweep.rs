//! Many seeds, several at a time, one process each.
//!
//! Invariant: every seed of the range is reported once, unless it was done before, the time was over or too many could
//! not be run; what a seed gives does not depend on `jobs`.
//!
//! Leaves out: remembering what is done ([`crate::sweep_log`]).

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::generate::Request;
use crate::outcome::{Outcome, Violation};
use crate::plan::Plan;
use crate::runner::{Run, RunError, Simulate};

/// After so many seeds that could not be run a sweep ends: the reason is the simulator, not the seeds.
pub const FAILED_MAX: usize = 20;

/// What to sweep.
pub struct Sweep<'s> {
    /// The seeds.
    pub seeds: Range<u64>,
    /// How many at a time.
    pub jobs: usize,
    /// No run is started after this.
    pub deadline: Option<Instant>,
    /// Seeds that are left out, as they are done.
    pub done: &'s (dyn Fn(u64) -> bool + Sync),
    /// The plan of a seed.
    pub plan: &'s (dyn Fn(Request) -> Plan + Sync),
}

/// What a sweep found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Seeds whose promises held.
    pub clean: u64,
    /// Seeds that broke one.
    pub broken: Vec<(u64, Violation)>,
    /// Seeds that could not be run.
    pub failed: Vec<(u64, RunError)>,
    /// How many of them were run by an earlier sweep; the figures below leave them out.
    pub earlier: u64,
    /// Simulated time of all runs.
    pub simulated_ms: u64,
    /// Wall time of the slowest run.
    pub slowest_ms: u64,
    /// What all runs cost a core.
    pub core_ms: u64,
    /// Whether `core_ms` is CPU time; wall time of the processes otherwise.
    pub cpu_time: bool,
    /// Observations acknowledged in all runs.
    pub acked: u64,
    /// By mark of the code: in how many runs somebody came by.
    pub probes: BTreeMap<String, u64>,
}

impl Tally {
    fn add(&mut self, seed: u64, result: &Result<Run, RunError>) {
        match result {
            Err(error) => self.failed.push((seed, error.clone())),
            Ok(run) => {
                self.simulated_ms += run.outcome.simulated_ms;
                self.slowest_ms = self.slowest_ms.max(run.wall_ms);
                self.core_ms += run.core_ms();
                self.cpu_time = run.cpu_ms.is_some();
                self.acked += run.outcome.acked;
                self.judge(seed, &run.outcome);
            }
        }
    }

    /// Adds a seed that an earlier sweep ran.
    pub fn remember(&mut self, outcome: &Outcome) {
        self.earlier += 1;
        self.judge(outcome.seed, outcome);
        self.sort();
    }

    fn judge(&mut self, seed: u64, outcome: &Outcome) {
        for (name, hits) in &outcome.probes {
            *self.probes.entry(name.clone()).or_default() += u64::from(*hits > 0);
        }
        match &outcome.violation {
            Some(violation) => self.broken.push((seed, violation.clone())),
            None => self.clean += 1,
        }
    }

    fn sort(&mut self) {
        self.broken.sort_by_key(|(seed, _)| *seed);
        self.failed.sort_by_key(|(seed, _)| *seed);
    }

    /// How many seeds were run or tried, earlier ones included.
    pub fn seeds(&self) -> u64 {
        self.clean + self.broken.len() as u64 + self.failed.len() as u64
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

/// Runs the seeds with the rest of `request`. `heard` is told of each result as it comes, of one at a time.
pub fn sweep(
    simulator: &dyn Simulate,
    request: Request,
    sweep: &Sweep<'_>,
    heard: &(dyn Fn(&Plan, &Result<Run, RunError>) + Sync),
) -> Tally {
    let next = AtomicU64::new(sweep.seeds.start);
    let tally = Mutex::new(Tally::default());
    let in_time = || sweep.deadline.is_none_or(|deadline| Instant::now() < deadline);
    let step = |seed: u64| (seed < sweep.seeds.end).then(|| seed + 1);
    let take = || next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).ok().filter(|_| in_time());
    std::thread::scope(|scope| {
        for _ in 0..sweep.jobs.max(1) {
            scope.spawn(|| {
                while let Some(seed) = take() {
                    if (sweep.done)(seed) {
                        continue;
                    }
                    let plan = (sweep.plan)(Request { seed, ..request });
                    let result = simulator.simulate(&plan);
                    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                    tally.add(seed, &result);
                    heard(&plan, &result);
                    if tally.failed.len() >= FAILED_MAX {
                        next.store(sweep.seeds.end, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    tally.sort();
    tally
}
