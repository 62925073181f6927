//! Runs a plan: the simulator as a child process, plan in as a file, verdict out as the last line.
//!
//! Invariant `one_seed_one_process`: each run is a fresh process, so no run can color another.
//!
//! What counts as broken, besides a verdict that says so: a simulator that died (`panic`: an assertion is a promise
//! too) and one that was still running after its wall time (`wall_time`). Exit code 2, a signal from outside, or an end
//! without a verdict is an error: the plan was not run.
//!
//! Leaves out: building the simulator ([`crate::binary`]), and what it does.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::child::{self, Ended};
use crate::outcome::{Outcome, Verdict, Violation};
use crate::plan::Plan;
use crate::world::World;

/// The name of the violation of a simulator that died without a verdict.
pub const PANIC: &str = "panic";
/// Signals that come from outside (SIGINT, SIGKILL, SIGTERM): a simulator that fails sends itself others.
const OUTSIDE: [i32; 3] = [2, 9, 15];
/// The name of the violation of a simulator that did not end in time.
pub const WALL_TIME: &str = "wall_time";

/// A plan that could not be run: what, where, what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunError(pub String);

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RunError {}

/// A run and how long it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What the simulator said.
    pub outcome: Outcome,
    /// Wall time.
    pub wall_ms: u64,
    /// CPU time of the simulator; `None` where the system does not tell.
    pub cpu_ms: Option<u64>,
}

impl Run {
    /// What it cost a core: CPU time, or wall time where that is not known.
    pub fn core_ms(&self) -> u64 {
        self.cpu_ms.unwrap_or(self.wall_ms)
    }
}

/// Whatever can run a plan: the simulator, or a closure in a test.
pub trait Simulate: Sync {
    /// Runs `plan` once.
    fn simulate(&self, plan: &Plan) -> Result<Run, RunError>;
}

impl<F: Fn(&Plan) -> Result<Run, RunError> + Sync> Simulate for F {
    fn simulate(&self, plan: &Plan) -> Result<Run, RunError> {
        self(plan)
    }
}

/// The simulator's binary.
#[derive(Debug, Clone)]
pub struct Simulator {
    /// Where it is.
    pub program: PathBuf,
    /// The world that it was built for.
    pub world: World,
    /// Where it writes its trace, if anywhere.
    pub trace: Option<PathBuf>,
    /// Where it writes its [`crate::summary::Summary`], if anywhere.
    pub summary: Option<PathBuf>,
    /// The planted bug that it runs with, if any.
    pub mutant: Option<String>,
    /// Whether its standard error is passed on while it runs.
    pub echo: bool,
    /// How long it may run.
    pub wall_time_max: Duration,
}

impl Simulate for Simulator {
    fn simulate(&self, plan: &Plan) -> Result<Run, RunError> {
        if let Some((index, fault)) = self.world.lacks(plan) {
            let kind = fault.kind.name();
            return Err(RunError(format!("faults[{index}]: {} does not execute {kind} faults", self.world)));
        }
        let file = PlanFile::new(plan)?;
        let mut command = Command::new(&self.program);
        command.arg("run").arg("--plan").arg(&file.0);
        if let Some(trace) = &self.trace {
            command.arg("--trace").arg(trace);
        }
        if let Some(summary) = &self.summary {
            command.arg("--summary").arg(summary);
        }
        if let Some(mutant) = &self.mutant {
            command.arg("--mutant").arg(mutant);
        }
        let start = Instant::now();
        let ended = child::run(&mut command, self.echo, self.wall_time_max)
            .map_err(|error| RunError(format!("{}: can't be started: {error}", self.program.display())))?;
        let wall_ms = start.elapsed().as_millis() as u64;
        Ok(Run { outcome: judge(plan, self.world, &ended)?, wall_ms, cpu_ms: ended.cpu_ms })
    }
}

/// What the end of the process means.
fn judge(plan: &Plan, world: World, ended: &Ended) -> Result<Outcome, RunError> {
    let silent = |invariant: &str, detail: String| {
        let violation = Some(Violation { invariant: invariant.into(), detail, at_ms: 0 });
        let (trace_hash, seed) = ("0".repeat(16), plan.seed);
        let (events, simulated_ms, acked) = (0, 0, 0);
        let (verdict, probes) = (Verdict::Broken, BTreeMap::new());
        Outcome { verdict, seed, world, trace_hash, events, simulated_ms, acked, probes, violation }
    };
    if ended.killed {
        return Ok(silent(WALL_TIME, "still running when its wall time was over".into()));
    }
    let outcome = match ended.code {
        Some(0 | 1) => Outcome::parse(&ended.last_line)
            .map_err(|error| RunError(format!("the simulator's last line {error}: {:?}", shorten(&ended.last_line))))?,
        Some(2) => return Err(RunError(format!("the simulator refused the plan: {}", ended.complaint()))),
        Some(code) => return Ok(silent(PANIC, format!("exit code {code}: {}", ended.complaint()))),
        None => {
            let signal = ended.signal.unwrap_or(0);
            if OUTSIDE.contains(&signal) {
                let why = "somebody killed the simulator, or the machine was out of memory";
                return Err(RunError(format!("signal {signal}: {why}")));
            }
            return Ok(silent(PANIC, format!("ended by signal {signal}: {}", ended.complaint())));
        }
    };
    let expected = if outcome.verdict == Verdict::Ok { 0 } else { 1 };
    if ended.code != Some(expected) {
        return Err(RunError(format!("the simulator's exit code {:?} contradicts its verdict", ended.code)));
    }
    if outcome.world != world || outcome.seed != plan.seed {
        let Outcome { seed, world: other, .. } = outcome;
        let asked = plan.seed;
        return Err(RunError(format!("the simulator ran seed {seed} in {other}; asked was {asked} in {world}")));
    }
    Ok(outcome)
}

fn shorten(line: &str) -> String {
    line.chars().take(200).collect()
}

/// A plan in the temporary directory, as long as this lives.
struct PlanFile(PathBuf);

impl PlanFile {
    fn new(plan: &Plan) -> Result<Self, RunError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("engram-chaos-{}-{number}.json", std::process::id());
        let file = PlanFile(std::env::temp_dir().join(name));
        plan.save(&file.0).map_err(|error| RunError(error.to_string()))?;
        Ok(file)
    }
}

impl Drop for PlanFile {
    fn drop(&mut self) {
        // A file that is left behind in the temporary directory harms nobody.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The simulator of `world` at `program`, quiet, with the usual wall time.
pub fn simulator(program: &Path, world: World) -> Simulator {
    Simulator {
        program: program.to_path_buf(),
        world,
        trace: None,
        summary: None,
        mutant: None,
        echo: false,
        wall_time_max: Duration::from_secs(1_800),
    }
}
