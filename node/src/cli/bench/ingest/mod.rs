//! `engram bench ingest`: rows streamed into real nodes, recalls beside them, and what that costs.
//!
//! Place: the front of the bench; a [`plan`](args::Plan) is carried out in two parts, acked as committed and then as
//! searchable, into one space; then what was acked is compared with what the space lists. Nodes and bench share the
//! machine, so rates by processor time stand beside rates by the clock. Invariant: an acked row that is lost, or one that
//! is there twice, fails the command; a gate that is not met is printed, and is no failure. Leaves out: faults.
#![expect(clippy::disallowed_methods, reason = "a command measures with the system's clock")]

mod args;
mod check;
mod data;
mod pace;
mod probe;
mod process;
mod report;
mod stream;
mod text;
mod watch;
mod ws;

pub use args::IngestArgs;

use crate::cli::exit::Failure;
use crate::cli::local::{nodes::Nodes, wait};
use crate::cli::out;
use args::{Plan, Rate};
use data::Data;
use engram_client::{AckStage, Client, SpaceConfig};
use pace::Pace;
use probe::{Asking, Recalled, Visible};
use report::Report;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stream::{Job, Numbers, Streamed};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const SPACE: &str = "bench";
/// The second part's share of the time, as a divisor.
const SEARCHABLE_PART: u64 = 4;
/// Further than any stream of the first part comes.
const SECOND_PART: u64 = 1 << 40;
/// For the nodes to be equal, their graphs finished, before the end is looked at.
const SETTLE: Duration = Duration::from_secs(1);

/// Measures, prints, and fails where a promise broke.
pub async fn run(args: IngestArgs) -> Result<(), Failure> {
    let json = args.json;
    let plan = args.plan()?;
    step("reads or makes the data");
    let data = Arc::new(Data::of(&plan)?);
    let place = tempfile::Builder::new().prefix("engram-bench-").tempdir();
    let place = place.map_err(|e| Failure::failed(format!("no temporary folder: {e}; set TMPDIR")))?;
    // After `place`, so that it is dropped first.
    let mut nodes = Nodes::create(place.path(), plan.nodes, "", true)?;
    let report = match measure(&plan, &data, &mut nodes).await {
        Ok(report) => report,
        Err(failure) => {
            out::note(nodes.tails());
            return Err(failure.context("bench ingest"));
        }
    };
    match json {
        true => out::line(serde_json::to_string(&report).expect("plain fields and string keys")),
        false => text::print(&report),
    }
    match (report.lost, report.doubled, report.not_found) {
        (0, 0, 0) => Ok(()),
        (lost, doubled, not_found) => {
            let text = format!("{lost} acked rows lost, {doubled} doubled, {not_found} not found; report this defect");
            Err(Failure::failed(text))
        }
    }
}

async fn measure(plan: &Plan, data: &Arc<Data>, nodes: &mut Nodes) -> Result<Report, Failure> {
    let addresses = nodes.addresses();
    let client = Client::connect(addresses.iter().map(|address| address.client_address.clone()))?;
    step(format_args!("starts {} node(s)", plan.nodes));
    nodes.start_all()?;
    wait::answering(&client, nodes).await?;
    client.on(&addresses[0].client_address).init(addresses.clone()).await?;
    wait::ready(&client, nodes).await?;
    let config = SpaceConfig { name: SPACE.into(), dim: data.dim as u32, ..SpaceConfig::default() };
    client.create_space(config).await?;
    let leader = wait::leader(&client, nodes).await?;
    let leader = addresses.iter().find(|address| address.node == leader).expect("one of them");
    let bench = Bench {
        plan,
        client: client.clone(),
        leader: leader.client_address.clone(),
        asking: Asking {
            client: client.clone(),
            nodes: addresses.iter().map(|address| address.client_address.clone()).collect(),
            space: SPACE.into(),
            data: data.clone(),
        },
        processes: nodes.processes(),
    };
    let mut report = Report::new(plan, data);
    step(format_args!("streams for {} s, acked as committed", plan.seconds));
    let mut first = bench.part(AckStage::Committed, plan.seconds, 0).await?;
    nodes.check()?;
    report.take_first(&first);
    let short = (plan.seconds / SEARCHABLE_PART).max(1);
    step(format_args!("streams for {short} s, acked as searchable"));
    let second = bench.part(AckStage::Searchable, short, SECOND_PART).await?;
    nodes.check()?;
    report.take_second(&second);
    step("lists what the space holds, and compares");
    tokio::time::sleep(SETTLE).await;
    first.streams.extend(second.streams);
    let held = check::all(&client, SPACE, &first.streams).await?;
    report.take_held(&held, &first.streams);
    report.take_end(&bench.processes);
    nodes.stop().await?;
    step("searches exactly what recalls should have found");
    report.recall_at_10 = check::recall_at_10(data, &held.order, &first.recalled.seen);
    report.finish();
    Ok(report)
}

struct Bench<'a> {
    plan: &'a Plan,
    client: Client,
    leader: String,
    asking: Asking,
    processes: Vec<u32>,
}

/// What one part gave.
pub struct Part {
    /// What each stream was promised.
    pub streams: Vec<Streamed>,
    /// The recalls.
    pub recalled: Recalled,
    /// The probes.
    pub visible: Visible,
    /// The nodes.
    pub watched: watch::Watched,
    /// Until the pace's end.
    pub seconds: f64,
    /// Until the graphs had it all: processor time is of this long.
    pub elapsed: f64,
    /// Processor time of each node, and of the bench itself.
    pub cpu: Vec<std::collections::BTreeMap<String, f64>>,
    /// The bench's own.
    pub own_cpu: f64,
    /// Resident bytes of the largest node before.
    pub resident_before: u64,
    /// Metrics of each node after.
    pub metrics: Vec<String>,
}

impl Bench<'_> {
    async fn part(&self, stage: AckStage, seconds: u64, first: u64) -> Result<Part, Failure> {
        let before: Vec<process::Times> = self.processes.iter().map(|process| process::times(*process)).collect();
        let own_before = process::times(std::process::id());
        let resident_before = self.processes.iter().map(|process| process::memory(*process).0).max().unwrap_or(0);
        let start = Instant::now();
        let until = start + Duration::from_secs(seconds);
        let pace =
            |per_s: Option<f64>| Pace { start, until, every: per_s.map(|rate| Duration::from_secs_f64(1.0 / rate)) };
        let (probes, probed) = mpsc::channel(1);
        let mut streaming = self.start(stage, pace(self.message_rate()), first, &probes);
        drop(probes);
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let watching = watch::run(self.processes.clone(), self.asking.nodes.clone(), stopped);
        let asked = self.plan.recalls_per_s;
        let recalling = async {
            match asked > 0.0 {
                true => Some(probe::recalls(self.asking.clone(), pace(Some(asked))).await),
                false => None,
            }
        };
        let streams = async {
            let streams = ended(&mut streaming).await;
            // What was acked and waits for the index is paid for too.
            watch::indexed(&self.asking.nodes).await;
            let elapsed = start.elapsed().as_secs_f64();
            let after = self.processes.iter().map(|process| process::times(*process));
            let cpu = after.zip(&before).map(|(after, before)| after.since(before)).collect::<Vec<_>>();
            let own_cpu = process::times(std::process::id()).since(&own_before)[""];
            stop.send_replace(true);
            (streams, elapsed, cpu, own_cpu)
        };
        let visibility = probe::visibility(self.asking.clone(), probed);
        let (streams, watched, recalled, visible) = tokio::join!(streams, watching, recalling, visibility);
        let (streams, elapsed, cpu, own_cpu) = streams;
        let streams = streams?;
        let none = || Recalled { latency: crate::cli::feed::histogram(), seen: Vec::new(), failed: 0 };
        let recalled = recalled.unwrap_or_else(none);
        let metrics = watch::all_metrics(&self.asking.nodes).await;
        let seconds = seconds as f64;
        Ok(Part { streams, recalled, visible, watched, seconds, elapsed, cpu, own_cpu, resident_before, metrics })
    }

    /// Messages a second of one stream.
    fn message_rate(&self) -> Option<f64> {
        match self.plan.rate {
            Rate::Max => None,
            Rate::Rows(rows) => Some(rows / self.plan.streams as f64 / self.plan.batch as f64),
        }
    }

    fn start(
        &self,
        stage: AckStage,
        pace: Pace,
        first: u64,
        probes: &mpsc::Sender<probe::Probe>,
    ) -> JoinSet<Result<Streamed, Failure>> {
        let mut streaming = JoinSet::new();
        for stream in 0..self.plan.streams {
            let job = Job {
                data: self.asking.data.clone(),
                space: SPACE.into(),
                stage,
                batch: self.plan.batch,
                rows: Numbers { first: first + stream, step: self.plan.streams },
                pace,
                probes: probes.clone(),
            };
            streaming.spawn(stream::run(self.plan.transport, self.client.clone(), self.leader.clone(), job));
        }
        streaming
    }
}

/// What each stream was promised, once all have ended.
async fn ended(streaming: &mut JoinSet<Result<Streamed, Failure>>) -> Result<Vec<Streamed>, Failure> {
    let mut streams = Vec::new();
    while let Some(done) = streaming.join_next().await {
        streams.push(done.map_err(|e| Failure::failed(format!("a stream's task: {e}")))??);
    }
    Ok(streams)
}

/// Words about what goes on, for the person who waits.
fn step(text: impl std::fmt::Display) {
    out::note(format_args!("bench ingest: {text}"));
}
