//! The runner that `chaos` starts: one plan, one process, one verdict as the last line of standard output.
//!
//! Exit codes: 0 every promise held, 1 one was broken, 2 the input was unusable.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods, reason = "a command line")]

use clap::{Parser, Subcommand};
use engram_chaos::{Outcome, Plan, World};
use engram_sim::run::{Script, run};
use engram_sim::world::NAME;
use std::path::PathBuf;
use std::process::ExitCode;

/// The whole cluster in one simulated world.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a plan.
    Run {
        /// The plan, as JSON.
        #[arg(long)]
        plan: PathBuf,
        /// Writes the trace's lines here.
        #[arg(long)]
        trace: Option<PathBuf>,
        /// Writes the clients' history here, as JSON lines.
        #[arg(long)]
        history: Option<PathBuf>,
        /// Writes what was committed here, as JSON.
        #[arg(long)]
        summary: Option<PathBuf>,
        /// Runs with one planted bug; needs a build with `--cfg mutants`.
        #[arg(long)]
        mutant: Option<String>,
    },
    /// Prints the names of the planted bugs, one a line; none in a build without `--cfg mutants`.
    Mutants,
    /// Runs the fixed scenario: the leader is cut off, later the leader of then loses power.
    Leader {
        /// Determines everything.
        #[arg(long)]
        seed: u64,
        /// Writes the trace's lines here.
        #[arg(long)]
        trace: Option<PathBuf>,
    },
    /// The fixed scenario of WebSockets.
    WebSocket {
        /// Determines everything.
        #[arg(long)]
        seed: u64,
        /// Writes the trace's lines here.
        #[arg(long)]
        trace: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let (seed, nodes, script, trace, (history, summary)) = match Args::parse().command {
        Command::Mutants => {
            names().iter().for_each(|name| println!("{name}"));
            return ExitCode::SUCCESS;
        }
        Command::Run { plan, trace, history, summary, mutant } => {
            match plant(mutant.as_deref()).and_then(|()| load(&plan)) {
                Ok(plan) => (plan.seed, plan.nodes, Script::Plan(plan), trace, (history, summary)),
                Err(error) => {
                    eprintln!("{error}");
                    return ExitCode::from(2);
                }
            }
        }
        Command::Leader { seed, trace } => (seed, 3, Script::LeaderLost, trace, (None, None)),
        Command::WebSocket { seed, trace } => (seed, 3, Script::WebSocket, trace, (None, None)),
    };
    let report = match run(seed, nodes, script, trace.as_deref()) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("trace: {error}");
            return ExitCode::from(2);
        }
    };
    let summed = serde_json::to_string(&report.summary).expect("plain data");
    for (path, text) in [(history, report.history), (summary, summed)] {
        if let Some(path) = path
            && let Err(error) = std::fs::write(&path, text)
        {
            eprintln!("{}: {error}", path.display());
            return ExitCode::from(2);
        }
    }
    let broken = report.violation.is_some();
    let outcome = Outcome {
        verdict: if broken { engram_chaos::outcome::Verdict::Broken } else { engram_chaos::outcome::Verdict::Ok },
        seed,
        world: NAME.parse::<World>().expect("the build's own world"),
        trace_hash: format!("{:016x}", report.trace_hash),
        events: report.events,
        simulated_ms: report.simulated.as_millis() as u64,
        acked: report.acked,
        probes: engram_probes::hits().map(|(name, hits)| (name.to_string(), hits)).collect(),
        violation: report.violation,
    };
    println!("{}", serde_json::to_string(&outcome).expect("plain data"));
    ExitCode::from(u8::from(broken))
}

fn load(path: &std::path::Path) -> Result<Plan, String> {
    let plan = Plan::load(path).map_err(|e| e.to_string())?;
    let world = NAME.parse::<World>().expect("the build's own world");
    match world.lacks(&plan) {
        Some((index, fault)) => {
            Err(format!("{}: faults[{index}]: {NAME} cannot do {}", path.display(), fault.kind.name()))
        }
        None => Ok(plan),
    }
}

fn names() -> &'static [&'static str] {
    if cfg!(mutants) { engram_mutants::NAMES } else { &[] }
}

fn plant(mutant: Option<&str>) -> Result<(), String> {
    let Some(name) = mutant else { return Ok(()) };
    #[cfg(mutants)]
    if engram_mutants::choose(name) {
        return Ok(());
    }
    match names().is_empty() {
        true => Err("--mutant: this build has no planted bugs; build with RUSTFLAGS naming --cfg mutants".into()),
        false => Err(format!("--mutant: no planted bug is called {name:?}; see `engram-sim mutants`")),
    }
}
