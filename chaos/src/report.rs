//! What a person reads: a plan as a timeline, a run as a line, a failure with the command that repeats it.
//!
//! Invariant: every failure is reported with one line that reproduces it.
//!
//! Leaves out: printing (the command does).

use std::path::Path;
use std::time::Duration;

use crate::generate::Request;
use crate::kind::Kind;
use crate::outcome::{Outcome, Violation};
use crate::plan::{Fault, Plan};
use crate::runner::Run;
use crate::shrink::Shrunk;
use crate::sweep::Tally;
use crate::world::World;

/// A run in one line.
pub fn run_line(run: &Run) -> String {
    let Run { outcome, wall_ms, .. } = run;
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

/// A broken promise of a seed in one line.
pub fn violation_line(seed: u64, violation: &Violation) -> String {
    let Violation { invariant, detail, at_ms } = violation;
    format!("BROKEN: {invariant} at {at_ms} ms: {detail} (seed {seed})")
}

/// The command that repeats a drawn run.
pub fn reproduce_seed(request: Request) -> String {
    format!("reproduce: cargo chaos run --seed {} {}", request.seed, draw_arguments(request))
}

/// The arguments that draw the same plans, but for seeds.
pub fn draw_arguments(request: Request) -> String {
    let Request { profile, world, nodes, .. } = request;
    format!("{} --world {world} --profile {profile} --nodes {nodes}", time_argument(request.duration_ms))
}

/// The argument for the time of faults.
pub fn time_argument(duration_ms: u64) -> String {
    match duration_ms {
        ms if ms % 60_000 == 0 => format!("--minutes {}", ms / 60_000),
        ms => format!("--seconds {}", ms / 1_000),
    }
}

/// The command that repeats the run of a file.
pub fn reproduce_file(path: &Path, world: World) -> String {
    format!("reproduce: cargo chaos replay {} --world {world}", path.display())
}

/// How far a sweep is.
pub fn progress(done: u64, seeds: Option<u64>, elapsed: Duration) -> String {
    let of = seeds.map_or(String::new(), |seeds| format!(" of {seeds}"));
    format!("{done}{of} seeds in {} s", elapsed.as_secs())
}

/// A sweep's figures: what held, and how fast it was checked.
pub fn tally_lines(tally: &Tally, elapsed: Duration) -> String {
    let Tally { clean, broken, failed, earlier, simulated_ms, core_ms, cpu_time, acked, .. } = tally;
    let seeds = tally.seeds();
    let (broken, failed) = (broken.len(), failed.len());
    let ran = seeds - earlier - failed as u64;
    let found = format!("{seeds} seeds: {clean} ok, {broken} broken, {failed} not run");
    let before = if *earlier > 0 { format!(", {earlier} of them by an earlier sweep") } else { String::new() };
    let elapsed_ms = (elapsed.as_millis() as u64).max(1);
    let per_core_hour = ran as f64 * 3_600_000.0 / (*core_ms).max(1) as f64;
    let rate = *simulated_ms as f64 / elapsed_ms as f64;
    let core = if *cpu_time { "CPU time" } else { "wall time of processes" };
    format!(
        "{found}{before}\n{acked} acked in {:.1} s; {per_core_hour:.0} seeds an hour of a core ({core}), {rate:.1} \
         simulated seconds a wall second",
        elapsed_ms as f64 / 1000.0
    )
}

/// The marks of the code that no run came by, and those that few did; nothing where the simulator tells of none.
pub fn probe_lines(tally: &Tally) -> Vec<String> {
    const RARE: usize = 5;
    if tally.probes.is_empty() {
        return Vec::new();
    }
    let mut hit: Vec<(&String, u64)> = tally.probes.iter().map(|(name, runs)| (name, *runs)).collect();
    hit.sort_by_key(|(_, runs)| *runs);
    let never: Vec<&str> = hit.iter().take_while(|(_, runs)| *runs == 0).map(|(name, _)| name.as_str()).collect();
    hit.drain(..never.len());
    let rare: Vec<String> = hit.iter().take(RARE).map(|(name, runs)| format!("{name} ({runs})")).collect();
    let head = format!("probes: {} of {} hit; in the fewest runs: {}", hit.len(), tally.probes.len(), rare.join(", "));
    let never = (!never.is_empty()).then(|| format!("never: {}", never.join(", ")));
    std::iter::once(head).chain(never).collect()
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
        Kind::SyncError { node } => format!("a sync of node {node} fails"),
        Kind::Rot { node, .. } => format!("a bit of a record file of node {node} flips"),
        Kind::Reset { node } => format!("connections of node {node} broken"),
        Kind::ClockDrift { node, ppm } => format!("clock of node {node} runs {ppm} ppm fast"),
        Kind::DiskLie { node, lie, .. } => format!("disk of node {node} lies: {}", lie.describe()),
        Kind::Wipe { node, replacement } => format!("disk of node {node} lost; node {replacement} replaces it"),
        Kind::Join { node } => format!("node {node} is added, and removed at the end"),
        Kind::Transfer { node } => format!("leadership handed to node {node}"),
        Kind::DiskFull { node } => format!("disk of node {node} full"),
        Kind::MemoryFlip { node, .. } => format!("a bit flips in the memory of node {node}"),
        Kind::ClockSkew { node, offset_ms } => format!("clock of node {node} off by {offset_ms} ms"),
        Kind::SlowReader { web, every_ms } => {
            let stream = if *web { "WebSocket" } else { "gRPC stream" };
            match every_ms {
                0 => format!("a client does not read its {stream}"),
                _ => format!("a client reads its {stream} every {every_ms} ms"),
            }
        }
        Kind::Burst { rows } => format!("{rows} rows at once"),
    }
}
