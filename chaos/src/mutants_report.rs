//! What a person and a program read of a hunt: a table with the worst first, a line of figures, JSON.
//!
//! Invariant: every mutant that was not caught is reported with one line that hunts it again.
//!
//! Leaves out: the hunt ([`crate::mutants`]), printing.

use std::cmp::Reverse;

use serde_json::{Value, json};

use crate::generate::Request;
use crate::mutants::Mutant;
use crate::report;

/// A hunt and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hunted {
    /// What plans were drawn from; `seed` is the first one.
    pub request: Request,
    /// How many seeds each mutant was given.
    pub seeds: u64,
    /// Whether core-seconds are CPU time; wall time of the processes otherwise.
    pub cpu_time: bool,
    /// The mutants, worst first.
    pub mutants: Vec<Mutant>,
}

impl Hunted {
    /// Puts the worst first: those at large, then the dearest.
    pub fn new(request: Request, seeds: u64, cpu_time: bool, mut mutants: Vec<Mutant>) -> Hunted {
        mutants.sort_by_key(|mutant| (mutant.caught.is_some(), Reverse(mutant.core_ms), mutant.name.clone()));
        Hunted { request, seeds, cpu_time, mutants }
    }

    /// Exit code of the command: 0 all caught, 1 some not, 2 some could not be run.
    pub fn exit_code(&self) -> u8 {
        if self.mutants.iter().any(|mutant| mutant.error.is_some()) {
            return 2;
        }
        u8::from(self.mutants.iter().any(|mutant| mutant.caught.is_none()))
    }

    /// The table, a line for each mutant.
    pub fn table(&self) -> String {
        let width = self.mutants.iter().map(|mutant| mutant.name.len()).max().unwrap_or(0).max("planted bug".len());
        let time = if self.cpu_time { "CPU time" } else { "wall time, for want of CPU time," };
        let head = format!(
            "{:<width$}  {:>5}  {:>8}  caught by (core-s is {time} of the simulator's processes)\n",
            "planted bug", "seeds", "core-s"
        );
        let line = |mutant: &Mutant| {
            let Mutant { name, seeds_run, core_ms, .. } = mutant;
            format!("{name:<width$}  {seeds_run:>5}  {:>8.1}  {}\n", seconds(*core_ms), self.fate(mutant))
        };
        head + &self.mutants.iter().map(line).collect::<String>()
    }

    fn fate(&self, mutant: &Mutant) -> String {
        match mutant {
            Mutant { caught: Some(violation), .. } => violation.invariant.clone(),
            Mutant { error: Some(error), .. } => format!("not run: {error}"),
            Mutant { seeds_run, .. } if *seeds_run < self.seeds => "not caught: the time was over".into(),
            _ => "not caught".into(),
        }
    }

    /// The commands that hunt again what was not caught.
    pub fn reproduce(&self) -> Vec<String> {
        let at_large = self.mutants.iter().filter(|mutant| mutant.caught.is_none());
        at_large.map(|mutant| format!("reproduce: {}", self.again(mutant))).collect()
    }

    /// The command that runs the seed that caught it, or all of them again.
    fn again(&self, mutant: &Mutant) -> String {
        let (from, seeds) = self.caught_at(mutant).map_or((self.request.seed, self.seeds), |seed| (seed, 1));
        let (name, draw) = (&mutant.name, report::draw_arguments(self.request));
        format!("cargo chaos mutants --only {name} --from {from} --per-mutant-seeds {seeds} {draw}")
    }

    fn caught_at(&self, mutant: &Mutant) -> Option<u64> {
        mutant.caught.as_ref().map(|_| (self.request.seed + mutant.seeds_run).saturating_sub(1))
    }

    /// The figures in one line.
    pub fn summary(&self) -> String {
        let (caught, all) = (self.caught().count(), self.mutants.len());
        match self.median_core_ms() {
            None => format!("caught {caught} of {all}"),
            Some(median) => format!(
                "caught {caught} of {all}, median {:.1} core-seconds, {:.0} planted bugs per core-hour",
                seconds(median),
                self.per_core_hour()
            ),
        }
    }

    /// The same facts as JSON.
    pub fn to_json(&self) -> Value {
        let mutants = self.mutants.iter().map(|mutant| {
            json!({
                "name": mutant.name,
                "caught_by": mutant.caught.as_ref().map(|violation| &violation.invariant),
                "detail": mutant.caught.as_ref().map(|violation| &violation.detail),
                "seed": self.caught_at(mutant),
                "reproduce": self.again(mutant),
                "error": mutant.error,
                "seeds_run": mutant.seeds_run,
                "core_seconds": seconds(mutant.core_ms),
            })
        });
        let Request { seed, profile, world, nodes, duration_ms } = self.request;
        json!({
            "profile": profile.name(), "world": world, "nodes": nodes, "duration_ms": duration_ms,
            "from": seed, "per_mutant_seeds": self.seeds,
            "core_seconds_are": if self.cpu_time { "cpu time" } else { "wall time" },
            "caught": self.caught().count(), "of": self.mutants.len(),
            "median_core_seconds": self.median_core_ms().map(seconds),
            "caught_per_core_hour": self.per_core_hour(),
            "mutants": mutants.collect::<Vec<_>>(),
        })
    }

    fn caught(&self) -> impl Iterator<Item = &Mutant> {
        self.mutants.iter().filter(|mutant| mutant.caught.is_some())
    }

    fn median_core_ms(&self) -> Option<u64> {
        let mut costs: Vec<u64> = self.caught().map(|mutant| mutant.core_ms).collect();
        costs.sort_unstable();
        costs.get(costs.len() / 2).copied()
    }

    /// Caught for all the computing of the hunt, that for those at large included, the baseline's not.
    fn per_core_hour(&self) -> f64 {
        let core_ms: u64 = self.mutants.iter().map(|mutant| mutant.core_ms).sum();
        self.caught().count() as f64 * 3_600_000.0 / core_ms.max(1) as f64
    }
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}
