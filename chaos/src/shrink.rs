//! Fewest faults, shortest times, same failure.
//!
//! Delta debugging over the faults (Zeller and Hildebrandt 2002), then shorter windows, then a shorter plan. Leaving
//! faults out and shortening them keeps a plan valid and within its budget.
//!
//! Invariants: the result breaks the same invariant as the plan did; leaving out any one of its faults does not
//! (unless the runs were over).
//!
//! Leaves out: fewer nodes and fewer operations.

use crate::outcome::Violation;
use crate::plan::{Fault, Plan};
use crate::runner::{RunError, Simulate};

/// Time that a shortened plan keeps after its last fault and its violation.
const MARGIN_MS: u64 = 500;
/// A window is not cut by less than this.
const CUT_MS_MIN: u64 = 20;

/// A plan that can't be made smaller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shrunk {
    /// The plan.
    pub plan: Plan,
    /// How it fails.
    pub violation: Violation,
    /// How many runs that took.
    pub runs: u64,
}

/// What came of an attempt to shrink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shrink {
    /// The plan, smaller.
    Smaller(Shrunk),
    /// The plan broke nothing, so there is nothing to keep.
    Clean,
}

struct Search<'s> {
    simulator: &'s dyn Simulate,
    invariant: String,
    best: Shrunk,
    runs_max: u64,
    heard: &'s dyn Fn(&Plan, bool),
}

/// Shrinks `plan` with at most `runs_max` runs. `heard` is told of each attempt and whether it still failed.
pub fn shrink(
    plan: &Plan,
    simulator: &dyn Simulate,
    runs_max: u64,
    heard: &dyn Fn(&Plan, bool),
) -> Result<Shrink, RunError> {
    let Some(violation) = simulator.simulate(plan)?.outcome.violation else { return Ok(Shrink::Clean) };
    let invariant = violation.invariant.clone();
    let best = Shrunk { plan: plan.clone(), violation, runs: 1 };
    let mut search = Search { simulator, invariant, best, runs_max, heard };
    search.fewer_faults()?;
    search.shorter_windows()?;
    search.shorter_plan()?;
    // What a shorter fault made superfluous.
    search.fewer_faults()?;
    Ok(Shrink::Smaller(search.best))
}

impl Search<'_> {
    /// Takes `plan` for the best if it fails in the same way.
    fn attempt(&mut self, plan: Plan) -> Result<bool, RunError> {
        if self.best.runs >= self.runs_max || plan == self.best.plan || plan.validate().is_err() {
            return Ok(false);
        }
        self.best.runs += 1;
        let violation = self.simulator.simulate(&plan)?.outcome.violation;
        let same = violation.filter(|violation| violation.invariant == self.invariant);
        (self.heard)(&plan, same.is_some());
        let Some(violation) = same else { return Ok(false) };
        (self.best.plan, self.best.violation) = (plan, violation);
        Ok(true)
    }

    fn attempt_faults(&mut self, faults: Vec<Fault>) -> Result<bool, RunError> {
        self.attempt(Plan { faults, ..self.best.plan.clone() })
    }

    fn fewer_faults(&mut self) -> Result<(), RunError> {
        let mut run = self.best.plan.faults.len();
        while run > 0 {
            let (mut at, mut fewer) = (0, false);
            while at < self.best.plan.faults.len() {
                let mut faults = self.best.plan.faults.clone();
                faults.drain(at..(at + run).min(faults.len()));
                if self.attempt_faults(faults)? {
                    fewer = true;
                } else {
                    at += run;
                }
            }
            run = if run == 1 && fewer { 1 } else { run / 2 };
        }
        Ok(())
    }

    /// Cuts each window at its end, then at its start: by half, and by ever less where half was too much.
    fn shorter_windows(&mut self) -> Result<(), RunError> {
        for index in 0..self.best.plan.faults.len() {
            for from_end in [true, false] {
                let length = |fault: &Fault| fault.until_ms - fault.at_ms;
                let mut cut = length(&self.best.plan.faults[index]) / 2;
                while cut >= CUT_MS_MIN {
                    let mut faults = self.best.plan.faults.clone();
                    let fault = &mut faults[index];
                    if from_end {
                        fault.until_ms -= cut;
                    } else {
                        fault.at_ms += cut;
                    }
                    let half = if self.attempt_faults(faults)? { u64::MAX } else { cut / 2 };
                    cut = half.min(length(&self.best.plan.faults[index]) / 2);
                }
            }
        }
        Ok(())
    }

    /// Ends the plan soon after the last fault, or after the violation if that is later.
    fn shorter_plan(&mut self) -> Result<(), RunError> {
        let Shrunk { plan, violation, .. } = &self.best;
        let last = plan.faults.iter().map(|fault| fault.until_ms).max().unwrap_or(0);
        let ends = [last, last.max(violation.at_ms)].map(|end| (end + MARGIN_MS).min(plan.duration_ms));
        for duration_ms in ends {
            if self.attempt(Plan { duration_ms, ..self.best.plan.clone() })? {
                break;
            }
        }
        Ok(())
    }
}
