//! The arguments of the `chaos` command.
//!
//! Leaves out: what the commands do (`commands.rs`).

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use engram_chaos::World;
use engram_chaos::generate::Request;
use engram_chaos::plan::{DURATION_MS_MAX, NODES_MAX};
use engram_chaos::profile::Profile;

/// Faults as data: drawn from a seed, run in a simulator, replayed, shrunk.
///
/// Exit code: 0 every promise held; 1 one was broken; 2 unusable input, or something could not be run.
#[derive(Parser)]
#[command(name = "chaos", version, about)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Run one seed.
    Run(Run),
    /// Run many seeds, several at a time.
    Sweep(Sweep),
    /// Run one plan again: its timeline, what the simulator says, and where the trace is.
    Replay(Replay),
    /// Draw one run as a page that opens in a browser without a network.
    Trace(Trace),
    /// Make the plan of a failing run as small as it gets.
    Shrink(Shrink),
    /// Print the plan of a seed as JSON.
    Plan(Drawn),
    /// Run every plan of the corpus.
    Corpus(Corpus),
    /// Hunt planted bugs: how many seeds and core-seconds each of them takes.
    Mutants(Mutants),
    /// Run the same plans in both worlds and compare what was committed.
    Diff(Diff),
}

/// What a plan is drawn from.
#[derive(Args, Clone)]
pub struct Draw {
    /// How long faults may happen, in simulated minutes.
    #[arg(long, conflicts_with = "seconds", value_parser = clap::value_parser!(u64).range(1..=DURATION_MS_MAX / 60_000))]
    pub minutes: Option<u64>,
    /// The same in seconds; one minute if neither is given, half of one for mutants and diff.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=DURATION_MS_MAX / 1_000))]
    pub seconds: Option<u64>,
    #[arg(long, help = profiles())]
    pub profile: Option<Profile>,
    /// How many nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=NODES_MAX))]
    pub nodes: u64,
}

/// Where it runs.
#[derive(Args, Clone)]
pub struct Place {
    /// The simulated world: turmoil or madsim.
    #[arg(long, default_value_t = World::Turmoil)]
    pub world: World,
    /// A built simulator; else ENGRAM_SIM_BIN, else it is built with cargo.
    #[arg(long, value_name = "FILE")]
    pub sim_bin: Option<PathBuf>,
}

/// How many at a time, and for how long.
#[derive(Args, Clone)]
pub struct Pace {
    /// How many runs at a time; as many as there are cores if left out.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// No run is started after this much time: 90s, 10m, 2h.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub budget: Option<Duration>,
}

#[derive(Args)]
pub struct Run {
    /// The seed.
    #[arg(long)]
    pub seed: u64,
    #[command(flatten)]
    pub draw: Draw,
    #[command(flatten)]
    pub place: Place,
    /// Print the trace's hash as the last line.
    #[arg(long)]
    pub trace_hash: bool,
}

/// What a sweep goes by, besides seeds.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Guided {
    /// Marks at rare branches.
    Probes,
}

#[derive(Args)]
pub struct Sweep {
    /// How many seeds; as many as the budget allows if left out.
    #[arg(long, required_unless_present = "budget", value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: Option<u64>,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    pub from: u64,
    #[command(flatten)]
    pub pace: Pace,
    /// Where the seeds that are done are noted; those in it already are not run again.
    #[arg(long, value_name = "FILE", conflicts_with = "guide")]
    pub resume: Option<PathBuf>,
    /// What chooses the plans of every other seed: variations of those that came by the rarest marks of the code.
    #[arg(long, value_enum)]
    pub guide: Option<Guided>,
    #[command(flatten)]
    pub draw: Draw,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Args)]
pub struct Replay {
    /// A plan.
    #[arg(required_unless_present = "seed", conflicts_with = "seed")]
    pub file: Option<PathBuf>,
    /// A seed instead of a file.
    #[arg(long)]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub draw: Draw,
    #[command(flatten)]
    pub place: Place,
    /// Where the trace goes; a file in the temporary directory if left out.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Show what the nodes did until the first of them had applied this log index.
    #[arg(long, value_name = "INDEX", conflicts_with = "until_ms")]
    pub until_index: Option<u64>,
    /// Show what the nodes did until this simulated time.
    #[arg(long, value_name = "MS")]
    pub until_ms: Option<u64>,
}

#[derive(Args)]
pub struct Trace {
    /// A seed.
    #[arg(required_unless_present = "plan", conflicts_with = "plan")]
    pub seed: Option<u64>,
    /// A plan instead of a seed.
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    #[command(flatten)]
    pub draw: Draw,
    #[command(flatten)]
    pub place: Place,
    /// Where the page goes; trace-SEED.html if left out.
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Args)]
pub struct Shrink {
    /// The plan of a failing run (`chaos plan --seed N` prints one).
    pub file: PathBuf,
    /// Where the small plan goes; beside the file, ending in .min.json, if left out.
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// How many runs it may take.
    #[arg(long, default_value_t = 500)]
    pub runs: u64,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Args)]
pub struct Drawn {
    /// The seed.
    #[arg(long)]
    pub seed: u64,
    #[command(flatten)]
    pub draw: Draw,
    /// The world that will run it.
    #[arg(long, default_value_t = World::Turmoil)]
    pub world: World,
}

#[derive(Args)]
pub struct Corpus {
    /// Where the plans are.
    #[arg(default_value = engram_chaos::corpus::DIRECTORY)]
    pub directory: PathBuf,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Args)]
pub struct Mutants {
    /// How many seeds each planted bug is given.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub per_mutant_seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    pub from: u64,
    /// These planted bugs alone.
    #[arg(long, value_name = "NAME", value_delimiter = ',', conflicts_with = "sample")]
    pub only: Vec<String>,
    /// So many of them, drawn by --from.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub sample: Option<u64>,
    /// Where the same facts go as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    #[command(flatten)]
    pub pace: Pace,
    #[command(flatten)]
    pub draw: Draw,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Args)]
pub struct Diff {
    /// How many seeds.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    pub from: u64,
    /// turmoil's simulator; built with cargo if left out.
    #[arg(long, value_name = "FILE")]
    pub turmoil_bin: Option<PathBuf>,
    /// madsim's simulator; built with cargo if left out.
    #[arg(long, value_name = "FILE")]
    pub madsim_bin: Option<PathBuf>,
    #[command(flatten)]
    pub draw: Draw,
}

impl Draw {
    /// The request for `seed`, with these where the arguments say nothing.
    pub fn request_or(&self, seed: u64, world: World, profile: Profile, seconds: u64) -> Request {
        let seconds = self.minutes.map(|minutes| minutes * 60).or(self.seconds).unwrap_or(seconds);
        let profile = self.profile.unwrap_or(profile);
        Request { seed, profile, world, nodes: self.nodes, duration_ms: seconds * 1_000 }
    }

    /// The request for `seed`: everything for a minute where the arguments say nothing.
    pub fn request(&self, seed: u64, world: World) -> Request {
        self.request_or(seed, world, Profile::Combined, 60)
    }
}

impl Pace {
    /// How many runs at a time.
    pub fn jobs(&self) -> usize {
        self.jobs.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from)
    }
}

fn profiles() -> String {
    let names = Profile::ALL.map(Profile::name).join(", ");
    format!("The mix of faults: {names}; combined if left out, network for diff")
}

fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time: 90s, 10m, 2h");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        _ => return Err(wrong()),
    };
    let count: u64 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| wrong())?;
    count.checked_mul(seconds).filter(|seconds| *seconds > 0).map(Duration::from_secs).ok_or_else(wrong)
}
