//! What a person reads: a plan as a timeline, a run as a line, a failure with the command that repeats it.
//!
//! Invariant: every failure is reported with one line that reproduces it.
//!
//! Leaves out: printing (the command does).

use std::path::Path;

use crate::generate::Request;
use crate::kind::Kind;
use crate::outcome::Outcome;
use crate::plan::{Fault, Plan};
use crate::runner::Run;
use crate::shrink::Shrunk;
use crate::sweep::Tally;
use crate::world::World;

/// A run in one line.
pub fn run_line(run: &Run) -> String {
    let Run { outcome, wall_ms } = run;
    let Outcome { seed, world, trace_hash, events, simulated_ms, acked, .. } = outcome;
    let figures = format!(
        "seed {seed} in {world}, {:.1} s simulated in {:.1} s, {acked} acked, {events} events, trace {trace_hash}",
        *simulated_ms as f64 / 1000.0,
        *wall_ms as f64 / 1000.0
    );
    match &outcome.violation {
        None => format!("ok: {figures}"),
        Some(violation) => {
            let (invariant, at_ms, detail) = (&violation.invariant, violation.at_ms, &violation.detail);
            format!("BROKEN: {invariant} at {at_ms} ms: {detail} ({figures})")
        }
    }
}

/// The command that repeats a drawn run.
pub fn reproduce_seed(request: Request) -> String {
    let Request { seed, profile, world, nodes, duration_ms } = request;
    let time = match duration_ms {
        ms if ms % 60_000 == 0 => format!("--minutes {}", ms / 60_000),
        ms => format!("--seconds {}", ms / 1_000),
    };
    format!("reproduce: cargo chaos run --seed {seed} {time} --world {world} --profile {profile} --nodes {nodes}")
}

/// The command that repeats the run of a file.
pub fn reproduce_file(path: &Path, world: World) -> String {
    format!("reproduce: cargo chaos replay {} --world {world}", path.display())
}

/// A sweep in one line.
pub fn tally_line(tally: &Tally, elapsed_ms: u64) -> String {
    let Tally { clean, broken, failed, simulated_ms, wall_ms, acked } = tally;
    let seeds = *clean + broken.len() as u64 + failed.len() as u64;
    let per_hour = seeds as f64 * 3_600_000.0 / elapsed_ms.max(1) as f64;
    format!(
        "{seeds} seeds: {clean} ok, {} broken, {} not run; {acked} acked; {:.1} simulated seconds a second of a process, \
         {per_hour:.0} seeds an hour",
        broken.len(),
        failed.len(),
        *simulated_ms as f64 / (*wall_ms).max(1) as f64
    )
}

/// A plan as a timeline, one fault a line.
pub fn timeline(plan: &Plan) -> String {
    let Plan { seed, profile, duration_ms, nodes, faults, .. } = plan;
    let head =
        format!("plan of seed {seed}, profile {profile}: {nodes} nodes, {duration_ms} ms, {} faults\n", faults.len());
    let line = |fault: &Fault| format!("{:>8} to {:>8} ms  {}\n", fault.at_ms, fault.until_ms, describe(&fault.kind));
    head + &faults.iter().map(line).collect::<String>()
}

/// What came of shrinking, with the small plan.
pub fn shrunk(before: &Plan, after: &Shrunk) -> String {
    let Shrunk { plan, violation, runs } = after;
    let (invariant, detail) = (&violation.invariant, &violation.detail);
    let (from, to) = (before.faults.len(), plan.faults.len());
    format!("{from} faults shrunk to {to} in {runs} runs; still {invariant}: {detail}\n{}", timeline(plan))
}

/// A fault in words.
pub fn describe(kind: &Kind) -> String {
    let list = |nodes: &[u64]| nodes.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    match kind {
        Kind::Partition { a, b } => format!("partition {} | {}", list(a), list(b)),
        Kind::OneWay { from, to } => format!("no message from {} to {}", list(from), list(to)),
        Kind::Loss { nodes, per_mille } => format!("{per_mille} ‰ of messages lost among {}", list(nodes)),
        Kind::Delay { nodes, min_ms, max_ms } => format!("{min_ms} to {max_ms} ms of delay among {}", list(nodes)),
        Kind::Crash { node } => format!("node {node} crashed"),
        Kind::PowerLoss { nodes } => format!("power lost at {}", list(nodes)),
        Kind::Pause { node } => format!("node {node} paused"),
        Kind::WorkerCrash { node, every_ms } => format!("a worker of node {node} dies every {every_ms} ms"),
        Kind::DiskStall { node, stall_ms } => format!("each disk operation of node {node} takes {stall_ms} ms"),
        Kind::DiskFull { node } => format!("disk of node {node} full"),
        Kind::MemoryFlip { node, .. } => format!("a bit flips in the memory of node {node}"),
        Kind::ClockSkew { node, offset_ms } => format!("clock of node {node} off by {offset_ms} ms"),
        Kind::Burst { rows } => format!("{rows} rows at once"),
    }
}
