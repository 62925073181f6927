//! The hunt for planted bugs: which invariant catches each of them, after how many seeds and how much computing.
//!
//! The simulator holds many mutants, at most one active in a run. All mutants are given the first seed, then those
//! that are left the next one, so that a hunt whose time runs out was fair. A seed that fails without a mutant proves
//! nothing: the command runs the same seeds without one beforehand.
//!
//! Invariants: a mutant is run by one process at a time, its seeds in order, and not again once it is caught; what a
//! hunt finds does not depend on `jobs`, unless its time runs out.
//!
//! Leaves out: where the mutants are and what they do (`mutant!` in the server).

use std::collections::VecDeque;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;

use crate::generate::{Request, generate};
use crate::outcome::Violation;
use crate::plan::Plan;
use crate::rng::Rng;
use crate::runner::{Run, RunError};

/// What came of one planted bug.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mutant {
    /// Its name.
    pub name: String,
    /// What caught it.
    pub caught: Option<Violation>,
    /// Why it could not be hunted.
    pub error: Option<String>,
    /// How many seeds were run with it; the last of them caught it if it was caught.
    pub seeds_run: u64,
    /// What these runs cost a core, in ms.
    pub core_ms: u64,
}

/// How to hunt.
#[derive(Debug, Clone, Copy)]
pub struct Hunt {
    /// What plans are drawn from; `seed` is the first one.
    pub request: Request,
    /// How many seeds each mutant is given.
    pub seeds: u64,
    /// How many mutants at a time.
    pub jobs: usize,
    /// No run is started after this.
    pub deadline: Option<Instant>,
}

/// Runs a plan with one mutant.
pub type RunMutant<'r> = &'r (dyn Fn(&str, &Plan) -> Result<Run, RunError> + Sync);

impl Mutant {
    fn new(name: String) -> Mutant {
        Mutant { name, caught: None, error: None, seeds_run: 0, core_ms: 0 }
    }

    /// Whether another seed may still catch it.
    fn at_large(&self, seeds: u64) -> bool {
        self.caught.is_none() && self.error.is_none() && self.seeds_run < seeds
    }

    fn add(&mut self, result: Result<Run, RunError>) {
        match result {
            Err(RunError(error)) => self.error = Some(error),
            Ok(run) => {
                self.seeds_run += 1;
                self.core_ms += run.core_ms();
                self.caught = run.outcome.violation;
            }
        }
    }
}

/// Hunts each of `names`; the result is in their order. `heard` is told whenever one is done.
pub fn hunt(names: Vec<String>, hunt: Hunt, run: RunMutant<'_>, heard: &(dyn Fn(&Mutant) + Sync)) -> Vec<Mutant> {
    let mutants: Vec<Mutex<Mutant>> = names.into_iter().map(Mutant::new).map(Mutex::new).collect();
    let queue: Mutex<VecDeque<usize>> = Mutex::new((0..mutants.len()).collect());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let in_time = || hunt.deadline.is_none_or(|deadline| Instant::now() < deadline);
    std::thread::scope(|scope| {
        for _ in 0..hunt.jobs.clamp(1, mutants.len().max(1)) {
            scope.spawn(|| {
                while let Some(index) = Some(()).filter(|()| in_time()).and_then(|()| next()) {
                    let mut mutant = mutants[index].lock().unwrap_or_else(PoisonError::into_inner);
                    let seed = hunt.request.seed + mutant.seeds_run;
                    let result = run(&mutant.name, &generate(Request { seed, ..hunt.request }));
                    mutant.add(result);
                    if mutant.at_large(hunt.seeds) {
                        queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(index);
                    } else {
                        heard(&mutant);
                    }
                }
            });
        }
    });
    mutants.into_iter().map(|mutant| mutant.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
}

/// The names of the mutants that `program` was built with: none if it was built without.
pub fn names(program: &Path) -> Result<Vec<String>, RunError> {
    let output = Command::new(program)
        .arg("mutants")
        .output()
        .map_err(|error| RunError(format!("{}: can't be started: {error}", program.display())))?;
    // A simulator that does not know the command has no mutants either.
    let known =
        if output.status.success() { String::from_utf8_lossy(&output.stdout).into_owned() } else { String::new() };
    Ok(known.lines().map(str::trim).filter(|name| !name.is_empty()).map(String::from).collect())
}

/// `count` of `names`, drawn by `seed`, in their order.
pub fn sample(names: &[String], count: u64, seed: u64) -> Vec<String> {
    let chosen = Rng::stream(seed, "mutants").nodes(names.len() as u64, count);
    chosen.into_iter().map(|number| names[number as usize - 1].clone()).collect()
}
