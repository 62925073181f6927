//! The `chaos` command: draws plans from seeds, runs them in the simulator, repeats and shrinks failures.
//!
//! Exit code: 0 every promise held; 1 one was broken; 2 unusable input, or something could not be run. Results go to
//! standard output, progress and the commands that are run to standard error.
//!
//! Leaves out: the simulator, which is a process of its own.

#![allow(
    clippy::disallowed_methods,
    reason = "a tool outside the simulated corridor: it starts processes and measures"
)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

mod commands;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use engram_chaos::World;
use engram_chaos::generate::Request;
use engram_chaos::plan::{DURATION_MS_MAX, NODES_MAX};
use engram_chaos::profile::Profile;

/// Faults as data: drawn from a seed, run in a simulator, replayed, shrunk.
///
/// Exit code: 0 every promise held; 1 one was broken; 2 unusable input, or something could not be run.
#[derive(Parser)]
#[command(name = "chaos", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one seed.
    Run(Run),
    /// Run many seeds, several at a time.
    Sweep(Sweep),
    /// Run one plan again: its timeline, what the simulator says, and where the trace is.
    Replay(Replay),
    /// Make the plan of a failing run as small as it gets.
    Shrink(Shrink),
    /// Print the plan of a seed as JSON.
    Plan(Drawn),
    /// Run every plan of the corpus.
    Corpus(Corpus),
}

/// What a plan is drawn from.
#[derive(Args, Clone)]
struct Draw {
    /// How long faults may happen, in simulated minutes.
    #[arg(long, conflicts_with = "seconds", value_parser = clap::value_parser!(u64).range(1..=DURATION_MS_MAX / 60_000))]
    minutes: Option<u64>,
    /// The same in seconds; one minute if neither is given.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=DURATION_MS_MAX / 1_000))]
    seconds: Option<u64>,
    /// The mix of faults: network, crash or combined.
    #[arg(long, default_value_t = Profile::Combined)]
    profile: Profile,
    /// How many nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=NODES_MAX))]
    nodes: u64,
}

/// Where it runs.
#[derive(Args, Clone)]
struct Place {
    /// The simulated world: turmoil or madsim.
    #[arg(long, default_value_t = World::Turmoil)]
    world: World,
    /// A built simulator; else ENGRAM_SIM_BIN, else it is built with cargo.
    #[arg(long, value_name = "FILE")]
    sim_bin: Option<PathBuf>,
}

#[derive(Args)]
struct Run {
    /// The seed.
    #[arg(long)]
    seed: u64,
    #[command(flatten)]
    draw: Draw,
    #[command(flatten)]
    place: Place,
    /// Print the trace's hash as the last line.
    #[arg(long)]
    trace_hash: bool,
}

#[derive(Args)]
struct Sweep {
    /// How many seeds.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many at a time; as many as there are cores if left out.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    #[command(flatten)]
    draw: Draw,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
struct Replay {
    /// A plan.
    #[arg(required_unless_present = "seed", conflicts_with = "seed")]
    file: Option<PathBuf>,
    /// A seed instead of a file.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    draw: Draw,
    #[command(flatten)]
    place: Place,
    /// Where the trace goes; a file in the temporary directory if left out.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

#[derive(Args)]
struct Shrink {
    /// The plan of a failing run (`chaos plan --seed N` prints one).
    file: PathBuf,
    /// Where the small plan goes; beside the file, ending in .min.json, if left out.
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How many runs it may take.
    #[arg(long, default_value_t = 500)]
    runs: u64,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
struct Drawn {
    /// The seed.
    #[arg(long)]
    seed: u64,
    #[command(flatten)]
    draw: Draw,
    /// The world that will run it.
    #[arg(long, default_value_t = World::Turmoil)]
    world: World,
}

#[derive(Args)]
struct Corpus {
    /// Where the plans are.
    #[arg(default_value = engram_chaos::corpus::DIRECTORY)]
    directory: PathBuf,
    #[command(flatten)]
    place: Place,
}

impl Draw {
    fn request(&self, seed: u64, world: World) -> Request {
        let seconds = self.minutes.map(|minutes| minutes * 60).or(self.seconds).unwrap_or(60);
        Request { seed, profile: self.profile, world, nodes: self.nodes, duration_ms: seconds * 1_000 }
    }
}

fn main() -> ExitCode {
    let code = match Cli::parse().command {
        Command::Run(run) => commands::run(&run),
        Command::Sweep(sweep) => commands::sweep(&sweep),
        Command::Replay(replay) => commands::replay(&replay),
        Command::Shrink(shrink) => commands::shrink(&shrink),
        Command::Plan(drawn) => commands::plan(&drawn),
        Command::Corpus(corpus) => commands::corpus(&corpus),
    };
    match code {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("chaos: {error}");
            ExitCode::from(2)
        }
    }
}
