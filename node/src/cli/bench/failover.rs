//! `engram bench failover`: how long nobody acks once the leader is killed, and how often one is replaced that lives.
//!
//! Place: three nodes as processes of this binary, one stream that pushes a row every few milliseconds. A run is a SIGKILL to
//! the leader at a moment that nothing is tuned to, the time from there to the first ack of a row that was pushed
//! after it, and the killed node's return. Before the runs the cluster is watched for a while without any fault, with
//! as many busy threads beside it as wished: an election then is a false one.
//! Invariant: a figure is printed as it was measured. Leaves out: what was acked and lost; the demo and the
//! simulators look for that.
#![expect(clippy::disallowed_methods, reason = "a command measures with the system's clock")]

use super::gate::{Bound, Gate, table};
use crate::cli::exit::Failure;
use crate::cli::local::{nodes::Nodes, wait};
use crate::cli::out;
use clap::Args;
use engram_client::{Client, Event, ObserveOptions, Observer, SpaceConfig, Timing, observation};
use serde::Serialize;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const SPACE: &str = "bench";
const NODES: u64 = 3;
const EVERY: Duration = Duration::from_millis(5);
/// Between a node's return and the next kill, and a bit of a heartbeat more each time, so that kills meet every phase of it.
const SETTLE: Duration = Duration::from_millis(400);
const PHASE: Duration = Duration::from_millis(37);
const GATE_P99_S: f64 = 3.0;

/// What to kill, and how often.
#[derive(Debug, Args)]
pub struct FailoverArgs {
    /// Kills of the leader.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1000))]
    runs: u64,
    /// Seconds without a fault before them.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=3600))]
    quiet_s: u64,
    /// Threads that take processor time beside the nodes all the while.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=256))]
    busy: u64,
    /// The nodes' `raft.heartbeat_ms`; their default otherwise, as for the next two.
    #[arg(long, value_name = "MS")]
    heartbeat_ms: Option<u64>,
    /// The nodes' `raft.election_min_ms`.
    #[arg(long, value_name = "MS")]
    election_min_ms: Option<u64>,
    /// The nodes' `raft.election_max_ms`.
    #[arg(long, value_name = "MS")]
    election_max_ms: Option<u64>,
    /// Print one JSON object on one line.
    #[arg(long)]
    json: bool,
}

impl FailoverArgs {
    fn settings(&self) -> String {
        let keys = [
            ("heartbeat_ms", self.heartbeat_ms),
            ("election_min_ms", self.election_min_ms),
            ("election_max_ms", self.election_max_ms),
        ];
        let line = |(key, value): (&str, Option<u64>)| Some(format!("{key} = {}\n", value?));
        format!("[raft]\n{}", keys.into_iter().filter_map(line).collect::<String>())
    }
}

#[derive(Debug, Serialize)]
struct Report {
    runs: u64,
    busy_threads: u64,
    p50_s: f64,
    p99_s: f64,
    max_s: f64,
    all_s: Vec<f64>,
    /// Terms that the runs took beyond one each: votes that were split, or leaders that did not last.
    further_terms: u64,
    quiet_s: u64,
    /// Terms that began while nothing was wrong.
    false_elections: u64,
    gates: Vec<Gate>,
}

/// Threads that do nothing, as fast as they can, until it is dropped.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn start(threads: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        for _ in 0..threads {
            let stop = stop.clone();
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        Self(stop)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Measures and prints; fails only where it could not measure.
pub async fn run(args: FailoverArgs) -> Result<(), Failure> {
    let place = tempfile::Builder::new().prefix("engram-bench-").tempdir();
    let place = place.map_err(|e| Failure::failed(format!("no temporary folder: {e}; set TMPDIR")))?;
    let mut nodes = Nodes::create(place.path(), NODES, &args.settings(), true)?;
    let report = match measure(&args, &mut nodes).await {
        Ok(report) => report,
        Err(failure) => {
            out::note(nodes.tails());
            return Err(failure.context("bench failover"));
        }
    };
    match args.json {
        true => out::line(serde_json::to_string(&report).expect("plain fields")),
        false => print(&report),
    }
    Ok(())
}

fn print(report: &Report) {
    let Report { runs, p50_s, p99_s, max_s, further_terms, quiet_s, false_elections, busy_threads, .. } = report;
    out::line(format_args!("{runs} kills of the leader, from SIGKILL to the first ack of a row pushed after it:"));
    out::line(format_args!(
        "  P50 {p50_s:.2} s, P99 {p99_s:.2} s, longest {max_s:.2} s; {further_terms} further terms"
    ));
    out::line(format_args!(
        "{quiet_s} s before without a fault, {busy_threads} busy threads: {false_elections} elections"
    ));
    out::line(table(&report.gates, 2));
}

async fn measure(args: &FailoverArgs, nodes: &mut Nodes) -> Result<Report, Failure> {
    let addresses = nodes.addresses();
    let client = Client::connect(addresses.iter().map(|address| address.client_address.clone()))?;
    let client = client.with_timing(Timing { backoff_max: Duration::from_millis(200), ..Timing::default() });
    nodes.start_all()?;
    wait::answering(&client, nodes).await?;
    client.on(&addresses[0].client_address).init(addresses.clone()).await?;
    wait::ready(&client, nodes).await?;
    client.create_space(SpaceConfig { name: SPACE.into(), dim: 8, ..SpaceConfig::default() }).await?;
    let _busy = Busy::start(args.busy);
    let observer = client.observe(SPACE, ObserveOptions::default()).await?;
    let stop = Cell::new(false);
    let (acks, acked) = mpsc::unbounded_channel();
    let killing = async {
        let measured = kills(args, &client, nodes, acked).await;
        stop.set(true);
        measured
    };
    let (streamed, measured) = tokio::join!(stream(&observer, &stop, &acks), killing);
    streamed?;
    let report = measured?;
    nodes.stop().await?;
    Ok(report)
}

/// Pushes a row every few milliseconds, and tells of each ack when its row was pushed.
async fn stream(
    observer: &Observer,
    stop: &Cell<bool>,
    acks: &mpsc::UnboundedSender<(Instant, Instant)>,
) -> Result<(), Failure> {
    let pushed = RefCell::new(BTreeMap::new());
    let pushing = async {
        while !stop.get() {
            let ticket = observer.push(observation("row", &[1.0; 8])).await?;
            pushed.borrow_mut().insert(ticket, Instant::now());
            tokio::time::sleep(EVERY).await;
        }
        Ok::<(), Failure>(())
    };
    let hearing = async {
        while let Some(event) = observer.next_event().await {
            if let Event::Acked { tickets, .. } = event {
                let now = Instant::now();
                let mut pushed = pushed.borrow_mut();
                for at in tickets.filter_map(|ticket| pushed.remove(&ticket)) {
                    // The other half may be done already.
                    let _ = acks.send((at, now));
                }
            }
        }
    };
    tokio::select! {
        biased; // what was pushed first: the stream's end is its own
        pushed = pushing => pushed,
        () = hearing => Err(Failure::failed("the stream ended before its time")),
    }
}

async fn kills(
    args: &FailoverArgs,
    client: &Client,
    nodes: &mut Nodes,
    mut acked: mpsc::UnboundedReceiver<(Instant, Instant)>,
) -> Result<Report, Failure> {
    out::note(format_args!("bench failover: {} s without a fault", args.quiet_s));
    let before = term(client, nodes).await?;
    tokio::time::sleep(Duration::from_secs(args.quiet_s)).await;
    let quiet = term(client, nodes).await?;
    let mut seconds = Vec::new();
    for run in 0..args.runs {
        tokio::time::sleep(SETTLE + PHASE * run as u32).await;
        let leader = wait::leader(client, nodes).await?;
        nodes.kill(leader)?;
        let killed = Instant::now();
        let acked = loop {
            match acked.recv().await {
                Some((pushed, acked)) if pushed > killed => break acked,
                Some(_) => {}
                None => return Err(Failure::failed("the stream ended before its time")),
            }
        };
        let pause = (acked - killed).as_secs_f64();
        out::note(format_args!("bench failover: {:3} node {leader} killed, acks again after {pause:.2} s", run + 1));
        seconds.push(pause);
        nodes.start(leader)?;
        wait::ready(client, nodes).await?;
    }
    let after = term(client, nodes).await?;
    let mut sorted = seconds.clone();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted[((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len()) - 1];
    let p99_s = at(0.99);
    Ok(Report {
        runs: args.runs,
        busy_threads: args.busy,
        p50_s: at(0.5),
        p99_s,
        max_s: at(1.0),
        all_s: seconds,
        further_terms: (after - quiet).saturating_sub(args.runs),
        quiet_s: args.quiet_s,
        false_elections: quiet - before,
        gates: vec![Gate::new("failover P99, s", Bound::Most(GATE_P99_S), Some(p99_s))],
    })
}

/// The largest term that a node knows.
async fn term(client: &Client, nodes: &mut Nodes) -> Result<u64, Failure> {
    wait::leader(client, nodes).await?;
    let mut term = 0;
    for address in nodes.addresses() {
        term = client.on(&address.client_address).status().await?.term.max(term);
    }
    Ok(term)
}
