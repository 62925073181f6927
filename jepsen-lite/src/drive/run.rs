//! `jepsen-lite run --plan FILE|--seed N --minutes M --nodes 3|5 --html OUT`: real processes under real faults, and their
//! verdicts.
//!
//! Standard output has one line for each check, what was not injected, the figures, and a last line that begins with
//! `ok:` or `BROKEN:`; a broken run is followed by the command that repeats it. Progress goes to standard error. Exit code:
//! 0 all promises held, 1 one was broken, 2 it could not be run.

use crate::drive::alone::{self, Inside, Network};
use crate::drive::report::Run;
use crate::drive::{play, schedule};
use clap::Args;
use engram_chaos::Plan;
use engram_chaos::profile::Profile;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What to run.
#[derive(Args)]
pub struct Arguments {
    /// A plan, as the simulators' `chaos plan` writes it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "minutes", "profile", "nodes"])]
    plan: Option<PathBuf>,
    /// Draw the plan from this seed; it also draws the workload.
    #[arg(long, value_name = "N", required_unless_present = "plan")]
    seed: Option<u64>,
    /// How long faults and load last.
    #[arg(long, value_name = "M", default_value_t = 2.0, value_parser = minutes)]
    minutes: f64,
    /// How many voters.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=9))]
    nodes: u64,
    /// The simulator's mix of faults (network, crash, disk, clock, membership, overload, combined) in place of the driver's.
    #[arg(long, value_name = "NAME")]
    profile: Option<Profile>,
    /// Nothing beside the plan: neither the rolling restart nor backups.
    #[arg(long)]
    bare: bool,
    /// Write timeline, latencies and verdicts as one page.
    #[arg(long, value_name = "OUT")]
    html: Option<PathBuf>,
    /// Keep histories, logs and data here; a new directory. Else a temporary one, kept if the run is broken.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The server; else the `engram` beside this command.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// The nodes begin as this server, and the rolling restart upgrades them.
    #[arg(long, value_name = "PATH", conflicts_with = "bare")]
    old_binary: Option<PathBuf>,
    /// How the nodes are kept apart.
    #[arg(long, value_enum, default_value = "auto")]
    network: Network,
    /// What the driver has become, said by itself.
    #[arg(long, hide = true)]
    inside: Option<Inside>,
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(minutes) if (0.1..=1440.0).contains(&minutes) => Ok(minutes),
        _ => Err("from 0.1 to 1440".into()),
    }
}

/// Runs it; Ctrl-C and SIGTERM end it, and its processes.
pub fn run(arguments: &Arguments) -> ExitCode {
    let inside = match arguments.inside.map_or_else(|| alone::enter(arguments.network), Ok) {
        Ok(inside) => inside,
        Err(why) => {
            eprintln!("jepsen-lite: not run: {why}");
            return ExitCode::from(2);
        }
    };
    let temporary = match arguments.dir {
        Some(_) => None,
        None => match tempfile::Builder::new().prefix("jepsen-lite-").tempdir() {
            Ok(dir) => Some(dir),
            Err(error) => {
                eprintln!("jepsen-lite: not run: no temporary directory: {error}; name one with --dir");
                return ExitCode::from(2);
            }
        },
    };
    let dir = arguments.dir.clone().or_else(|| Some(temporary.as_ref()?.path().to_path_buf())).unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let ran = match runtime {
        Err(error) => Err(format!("no runtime: {error}")),
        Ok(runtime) => runtime.block_on(async {
            tokio::select! {
                biased; // an interrupt must not wait for work that is always ready
                name = interrupted() => Err(format!("interrupted by {name}")),
                ran = attempt(arguments, inside, &dir) => ran,
            }
        }),
    };
    // The runtime is gone, and with it whatever still used the directory.
    match ran {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            let _kept = temporary.map(tempfile::TempDir::keep);
            ExitCode::from(1)
        }
        Err(why) => {
            eprintln!("jepsen-lite: not run: {why}");
            ExitCode::from(2)
        }
    }
}

async fn interrupted() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        biased; // both mean the same
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// Whether all promises held. The error: it could not be run, and what to do.
async fn attempt(arguments: &Arguments, inside: Inside, dir: &Path) -> Result<bool, String> {
    let plan = plan(arguments)?;
    let binary = arguments.binary.clone().map_or_else(beside, Ok)?;
    for file in [Some(&binary), arguments.old_binary.as_ref()].into_iter().flatten() {
        if !file.is_file() {
            return Err(format!("{} is no file; build it, or name the server with --binary", file.display()));
        }
    }
    if arguments.dir.is_some() {
        std::fs::create_dir(dir).map_err(|e| format!("{}: {e}; name a new directory", dir.display()))?;
    }
    let dir = std::path::absolute(dir).map_err(|e| e.to_string())?;
    plan.save(&dir.join("plan.json")).map_err(|e| e.to_string())?;
    let old_binary = arguments.old_binary.clone();
    let (command, bare) = (command(arguments), arguments.bare);
    let run = Run { plan, command, binary, old_binary, bare, inside, dir: dir.clone() };
    let report = play::play(&run).await?;
    let broken = !report.is_valid();
    report.write(&dir)?;
    if let Some(out) = &arguments.html {
        std::fs::write(out, report.page()).map_err(|e| format!("{}: {e}", out.display()))?;
    }
    print!("{}", report.lines());
    if broken {
        println!("kept: {}", dir.display());
    }
    Ok(!broken)
}

fn plan(arguments: &Arguments) -> Result<Plan, String> {
    match (&arguments.plan, arguments.seed) {
        (Some(file), _) => Plan::load(file).map_err(|error| error.to_string()),
        (None, Some(seed)) => {
            let duration_ms = (arguments.minutes * 60_000.0) as u64;
            Ok(schedule::draw(schedule::Request {
                seed,
                profile: arguments.profile,
                nodes: arguments.nodes,
                duration_ms,
            }))
        }
        (None, None) => Err("--plan FILE or --seed N is missing".into()),
    }
}

/// The server that was built with this command.
fn beside() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let beside = own.with_file_name("engram");
    match beside.is_file() {
        true => Ok(beside),
        false => Err(format!(
            "there is no {}; build it (cargo build -p engram-node --bin engram), or name one with --binary",
            beside.display()
        )),
    }
}

/// The line that repeats the run.
fn command(arguments: &Arguments) -> String {
    let mut line = match (&arguments.plan, arguments.seed) {
        (Some(plan), _) => format!("jepsen-lite run --plan {}", plan.display()),
        (None, seed) => {
            let Arguments { minutes, nodes, .. } = arguments;
            let profile = arguments.profile.map_or(String::new(), |profile| format!(" --profile {profile}"));
            format!("jepsen-lite run --seed {} --minutes {minutes} --nodes {nodes}{profile}", seed.unwrap_or_default())
        }
    };
    let paths = [("--binary", &arguments.binary), ("--old-binary", &arguments.old_binary)];
    for (flag, path) in paths {
        line += &path.as_ref().map_or(String::new(), |path| format!(" {flag} {}", path.display()));
    }
    line += match arguments.network {
        Network::Auto => "",
        Network::Namespaces => " --network namespaces",
        Network::Proxy => " --network proxy",
    };
    line + if arguments.bare { " --bare" } else { "" }
}
