//! The `engram` command: serve a node, speak to a cluster, show the whole corridor.
//!
//! Place in the corridor: around it. `serve` wires the real world to [`crate::run`]; everything else is a client.
//! Data goes to stdout (`--json` for programs), words to stderr, and [`exit`] says what the exit codes mean.

mod admin;
mod backup;
mod bench;
mod cluster;
mod config;
mod demo;
mod doctor;
pub mod exit;
mod export;
mod feed;
mod input;
mod local;
mod npy;
mod observe;
mod out;
#[cfg(feature = "parquet")]
mod parquet_file;
mod recall;
mod rows;
mod serve;
mod settings;
mod space;
mod spooled;
mod terms;
mod watch;

use clap::{Args, CommandFactory, Parser, Subcommand};
use engram_client::{Client, Timing};
use exit::Failure;
use std::process::ExitCode;
use std::time::Duration;

/// A replicated service that remembers: texts with embeddings, in exactly once, found by nearness from any node.
#[derive(Debug, Parser)]
#[command(name = "engram", version, after_help = exit::HELP, after_long_help = exit::HELP, subcommand_required = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start three nodes on this machine, kill the leader under load, and check what was promised.
    Demo(demo::DemoArgs),
    /// Run a node until SIGTERM or SIGINT.
    Serve(serve::ServeArgs),
    /// Stream observations from a file into a space, exactly once.
    #[command(visible_alias = "import")]
    Observe(observe::ObserveArgs),
    /// Write a space's rows as JSON lines, as `engram import` reads them.
    Export(export::ExportArgs),
    /// Find the nearest observations to a cue.
    Recall(recall::RecallArgs),
    /// Follow a space: print observations as they are committed.
    Watch(watch::WatchArgs),
    /// Show observations by row number or by name.
    Get(rows::GetArgs),
    /// Count observations, all or those that conditions mean.
    Count(rows::CountArgs),
    /// Forget observations: by row number, by name, by age, or those that conditions mean.
    Forget(rows::ForgetArgs),
    /// Make, list and drop spaces.
    #[command(subcommand)]
    Space(space::SpaceCommand),
    /// Make a cluster, look at it, add and remove nodes.
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Look at a node's configuration before it is started.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Look whether this machine's disk, limits and clock serve a node, and how the members of a cluster are.
    Doctor(doctor::DoctorArgs),
    /// Save everything that is acked into a directory, while the cluster runs.
    Backup(backup::BackupArgs),
    /// Make a data directory of a backup: a new cluster of one node, to which others are added.
    Restore(backup::RestoreArgs),
    /// Look closer at what the nodes hold.
    #[command(subcommand)]
    Admin(admin::AdminCommand),
    /// Print a shell's completions: `source <(engram completions bash)`.
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
    /// Write manual pages, one a command.
    Man {
        /// Where to; it must be there.
        #[arg(value_name = "DIR")]
        dir: std::path::PathBuf,
    },
    /// Measure this machine's figures, beside other libraries where they are at hand.
    #[command(subcommand)]
    Bench(bench::BenchCommand),
}

/// How to reach a cluster.
#[derive(Clone, Debug, Args)]
pub struct Target {
    /// Client addresses of some members, host:port, separated by commas.
    #[arg(long, env = "ENGRAM_ENDPOINTS", value_delimiter = ',', default_value = "127.0.0.1:7600")]
    endpoints: Vec<String>,
    /// Seconds to wait for an answer, attempts included.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// W3C's traceparent of the trace that the calls belong to, for nodes that send spans to a collector.
    #[arg(long, env = "TRACEPARENT", value_name = "TRACEPARENT", hide_env_values = true)]
    traceparent: Option<String>,
}

impl Target {
    /// A client; call it inside a runtime.
    fn client(&self) -> Result<Client, Failure> {
        self.client_of(self.endpoints.iter().cloned())
    }

    /// A client of other addresses, as patient.
    fn client_of(&self, endpoints: impl Iterator<Item = String>) -> Result<Client, Failure> {
        let timing = Timing { deadline: Duration::from_secs(self.timeout), ..Timing::default() };
        let client = Client::connect(endpoints).map_err(Failure::from)?.with_timing(timing);
        match &self.traceparent {
            Some(trace) => client.traced(trace).map_err(Failure::from),
            None => Ok(client),
        }
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

/// Reads the arguments, does what they say, and explains what went wrong.
pub fn main() -> ExitCode {
    // clap prints its own errors and exits with 2, which is our code for usage too.
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Demo(args) => client(demo::run(args)),
        Command::Serve(args) => serve::run(args),
        Command::Observe(args) => client(observe::run(args)),
        Command::Export(args) => client(export::run(args)),
        Command::Recall(args) => client(recall::run(args)),
        Command::Watch(args) => client(watch::run(args)),
        Command::Get(args) => client(rows::get(args)),
        Command::Count(args) => client(rows::count(args)),
        Command::Forget(args) => client(rows::forget(args)),
        Command::Space(command) => client(space::run(command)),
        Command::Cluster(command) => client(cluster::run(command)),
        Command::Config(command) => config::run(command),
        Command::Doctor(args) => doctor::run(&args),
        Command::Backup(args) => client(backup::backup(args)),
        Command::Restore(args) => client(backup::restore(args)),
        Command::Admin(command) => client(admin::run(command)),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "engram", &mut script);
            out::line(String::from_utf8_lossy(&script).trim_end());
            Ok(())
        }
        Command::Man { dir } => clap_mangen::generate_to(Cli::command(), &dir)
            .map_err(|e| Failure::input(format!("{}: {e}; name a directory that can be written", dir.display()))),
        Command::Bench(command) => bench::run(command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            out::note(format_args!("engram: {failure}"));
            failure.code.into()
        }
    }
}

/// Runs a client's work; Ctrl-C drops it, and with it whatever it started.
fn client<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::failed(format!("no runtime: {e}")))?;
    runtime.block_on(async {
        let interrupted = serve::signalled()?;
        tokio::select! {
            biased; // an interrupt must not wait for work that is always ready
            signal = interrupted => Err(Failure::failed(format!("interrupted by {signal}"))),
            done = work => done,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent_and_the_help_names_the_exit_codes() {
        Cli::command().debug_assert();
        assert!(Cli::command().render_help().to_string().contains("Exit codes:"));
    }
}
