//! `engram demo`: the whole corridor on real data, with the leader killed in the middle.
//!
//! Three nodes run as processes of this binary. What was acked is compared with what each node holds after the kill
//! and after a restart of all; the exit code is 0 only if every promise held.

mod check;
mod cues;
mod data;
mod report;
mod stream;

use super::exit::{Code, Failure};
use super::local::{nodes::Nodes, wait};
use super::out;
use clap::Args;
use data::Data;
use engram_client::{Client, NodeAddress, ObserveOptions, SpaceConfig, Timing};
use report::{Report, Seen};
use std::path::PathBuf;
use std::time::Duration;

const SPACE: &str = "demo";
const NODES: u64 = 3;
/// Small segments, so that a short stream fills some.
const SETTINGS: &str = "[wal]\nsegment_bytes = 16777216\n";
/// Small enough that an ack's time is not all waiting behind others, large enough to keep three nodes busy.
const WINDOW_ROWS: usize = 512;
const BATCH_ROWS: usize = 64;

/// How the demo runs.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Leave the cluster up, and say how to talk to it.
    #[arg(long)]
    keep: bool,
    /// How many observations.
    #[arg(long, default_value_t = data::ROWS_MAX, value_parser = clap::value_parser!(u64).range(100..=data::ROWS_MAX))]
    rows: u64,
    /// Where the nodes' directories and logs go: an empty directory, kept. Otherwise a temporary one.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print the figures as JSON.
    #[arg(long)]
    json: bool,
}

/// The directory, and whether it goes with us.
enum Place {
    Kept(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Place {
    fn new(args: &DemoArgs) -> Result<Self, Failure> {
        let Some(dir) = &args.dir else {
            let dir = tempfile::Builder::new().prefix("engram-demo-").tempdir();
            let dir = dir.map_err(|e| Failure::failed(format!("no temporary directory: {e}; name one with --dir")))?;
            return Ok(Self::Temporary(dir));
        };
        let bad = |e| Failure::input(format!("--dir {}: {e}", dir.display()));
        std::fs::create_dir_all(dir).map_err(bad)?;
        let dir = dir.canonicalize().map_err(bad)?;
        match dir.read_dir().map_err(bad)?.next() {
            None => Ok(Self::Kept(dir)),
            Some(_) => Err(Failure::input(format!("--dir {} is not empty; name another", dir.display()))),
        }
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Kept(dir) => dir.clone(),
            Self::Temporary(dir) => dir.path().to_path_buf(),
        }
    }

    fn keep(self) -> PathBuf {
        match self {
            Self::Kept(dir) => dir,
            Self::Temporary(dir) => dir.keep(),
        }
    }
}

/// Runs it. Dropping the future ends the nodes and removes the temporary directory.
pub async fn run(args: DemoArgs) -> Result<(), Failure> {
    let data = Data::load(args.rows)?;
    let place = Place::new(&args)?;
    // After `place`, so that it is dropped first.
    let mut nodes = Nodes::create(&place.path(), NODES, SETTINGS, !args.keep)?;
    let (report, table) = match play(&data, &mut nodes).await {
        Ok(done) => done,
        Err(failure) => return Err(explain(failure, nodes, place)),
    };
    match args.json {
        true => out::json(&report),
        false => out::line(format_args!("\n{table}\n\n{}", report.render())),
    }
    if !report.broken.is_empty() {
        let failure = Failure::new(Code::Failed, format!("a promise broke: {}", report.broken.join("; ")));
        return Err(explain(failure, nodes, place));
    }
    if args.keep {
        let addresses = nodes.addresses();
        let pids = nodes.release();
        keeping(&addresses, &pids, &place.keep());
    }
    Ok(())
}

/// The nodes' last words, and a directory to look into.
fn explain(failure: Failure, nodes: Nodes, place: Place) -> Failure {
    let tails = nodes.tails();
    drop(nodes);
    out::note(format_args!("\n{tails}"));
    let dir = place.keep();
    Failure { message: format!("demo: {failure}\n(logs and data are kept in {})", dir.display()), ..failure }
}

fn keeping(addresses: &[NodeAddress], pids: &[u32], dir: &std::path::Path) {
    let endpoints: Vec<&str> = addresses.iter().map(|address| &*address.client_address).collect();
    let endpoints = endpoints.join(",");
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let engram = std::env::current_exe().map_or_else(|_| "engram".into(), |path| path.display().to_string());
    out::note(format_args!(
        "\nThe cluster stays up. Talk to it:\n  export ENGRAM_ENDPOINTS={endpoints}\n  {engram} cluster status\n  \
         {engram} recall --space {SPACE} --text-of liturgist -k 5\n  curl http://{}/metrics\nStop it: kill {}\n\
         Its files: {}",
        addresses[0].client_address,
        pids.join(" "),
        dir.display()
    ));
}

async fn play(data: &Data, nodes: &mut Nodes) -> Result<(Report, String), Failure> {
    #[expect(clippy::disallowed_methods, reason = "a command measures with the system's clock")]
    let started = std::time::Instant::now();
    let step = |text: String| out::note(format_args!("{:6.1} s  {text}", started.elapsed().as_secs_f64()));
    let addresses = nodes.addresses();
    let client = Client::connect(addresses.iter().map(|address| address.client_address.clone()))?;
    // On one machine it costs little to look often for the new leader.
    let client = client.with_timing(Timing { backoff_max: Duration::from_millis(200), ..Timing::default() });
    step("three nodes start, each a process with its own directory".into());
    nodes.start_all()?;
    wait::answering(&client, nodes).await?;
    client.on(&addresses[0].client_address).init(addresses.clone()).await?;
    wait::ready(&client, nodes).await?;
    let config = SpaceConfig { name: SPACE.into(), dim: data.dim, ..SpaceConfig::default() };
    client.create_space(config).await?;

    let rows = data.base.texts.len() as u64;
    step(format!("{rows} observations are streamed; the leader is killed at half"));
    let options = ObserveOptions { window_rows: WINDOW_ROWS, batch_rows: BATCH_ROWS, ..ObserveOptions::default() };
    let streamed = stream::run(&client, nodes, SPACE, &data.base, options).await?;
    step(format!("{} acked; waiting until all nodes are equal", streamed.acked.len()));
    let last = streamed.fed.summary.token.log_index;
    let before = wait::equal(&client, nodes, last).await?;

    step("all nodes stop on SIGTERM and start again".into());
    nodes.stop().await?;
    nodes.start_all()?;
    wait::ready(&client, nodes).await?;
    let after = wait::equal(&client, nodes, last).await?;
    step("every row is read back from every node".into());
    let held = check::all(&client, &addresses, SPACE, &data.base, &streamed).await?;

    let leader = wait::leader(&client, nodes).await?;
    let followers = addresses.iter().filter(|address| address.node != leader);
    let followers: Vec<String> = followers.map(|address| address.client_address.clone()).collect();
    step(format!(
        "{} held-out cues are recalled from each of the {} followers",
        data.cues.texts.len(),
        followers.len()
    ));
    let recalled = cues::run(&client, &followers, SPACE, data, client.token()).await?;
    nodes.check()?;
    let elapsed: Duration = started.elapsed();
    let window_rows = WINDOW_ROWS;
    let report = Report::new(Seen {
        space: SPACE,
        rows,
        window_rows,
        streamed: &streamed,
        before: &before,
        after: &after,
        held,
        recalled: &recalled,
        elapsed,
    });
    Ok((report, recalled.table))
}
