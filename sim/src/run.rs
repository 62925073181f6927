//! One run: make a cluster, load it, hurt it by the plan, heal it, check everything.
//!
//! Two phases. Safety: faults happen, invariants look at every event. Liveness: the faults stop, and within a
//! stated simulated time the cluster must be whole.

use crate::churn::Churn;
use crate::cluster::Cluster;
use crate::faults::Faults;
use crate::follower::Follower;
use crate::observe::Observer;
use crate::trace::Trace;
use crate::workload::{DIM, Load, Recorder, SPACE};
use crate::world::{Act, Hands};
use crate::{echo, liveness, slow, web, workload};
use engram_chaos::summary::Summary;
use engram_chaos::{Kind, Plan, Violation};
use engram_client::{Client, NodeAddress, SpaceConfig};
use engram_jepsen_lite::once;
use engram_node::env::{Env, Rt, Seed, seeded};
use openraft::AsyncRuntime;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Observers of the workload.
const OBSERVERS: u64 = 6;
/// Rows of each of them.
const ROWS_PER_SECOND: u64 = 16;
/// The last of them has rows acked once they are searchable on so many nodes, where there are as many.
const SEARCHABLE_NODES: u32 = 2;
/// Fresh rows of the liveness phase.
const FRESH_ROWS: usize = 10;
/// Simulated time beyond the plan in which a run must end.
const GRACE: Duration = Duration::from_secs(600);

/// When what is broken.
#[derive(Clone, Debug)]
pub enum Script {
    /// As a plan says.
    Plan(Plan),
    /// The leader is cut off for a while; later the leader of then loses power.
    LeaderLost,
    /// A WebSocket client observes while the node that it talks to loses power, and recalls; another goes mute.
    WebSocket,
}

/// A run to be made.
pub struct Run {
    /// Determines everything, with the script and the build.
    pub seed: u64,
    /// Voters.
    pub nodes: u64,
    /// Nodes after them that a plan adds.
    pub spares: u64,
    /// What is broken.
    pub script: Script,
    /// Where events go.
    pub trace: Trace,
    /// Who looks at them.
    pub observer: Observer,
    /// The world stops here at the latest.
    pub limit: Duration,
    report: Arc<Mutex<Report>>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Rows that clients saw acked.
    pub acked: u64,
    /// Rows that every node holds in the end.
    pub rows: u64,
    /// Recalls answered.
    pub recalls: u64,
    /// Simulated time.
    pub simulated: Duration,
    /// What did not hold.
    pub violation: Option<Violation>,
    /// The trace.
    pub trace_hash: u64,
    /// Its lines.
    pub events: u64,
    /// The clients' history, as JSON lines.
    pub history: String,
    /// What was committed, to be compared with another world's.
    pub summary: Summary,
}

/// Runs a script in this build's world. The error is of the machine around the simulation.
pub fn run(seed: u64, nodes: u64, script: Script, trace_file: Option<&Path>) -> std::io::Result<Report> {
    use tracing_subscriber::layer::SubscriberExt;
    let trace = Trace::new(crate::world::now, trace_file)?;
    let observer = Observer::new(trace.clone());
    let report = Arc::new(Mutex::new(Report::default()));
    let length = match &script {
        Script::Plan(plan) => Duration::from_millis(plan.duration_ms),
        Script::LeaderLost => LEADER_LOST_LENGTH,
        Script::WebSocket => web::LENGTH_MAX,
    };
    let limit = length + GRACE;
    let (nodes, observing) = (nodes.max(1), observer.clone());
    let spares = match &script {
        Script::Plan(plan) => plan.spares(),
        Script::LeaderLost | Script::WebSocket => 0,
    };
    let run = Run { seed, nodes, spares, script, trace: trace.clone(), observer, limit, report: report.clone() };
    let subscriber = tracing_subscriber::registry().with(observing.clone());
    let ended = tracing::subscriber::with_default(subscriber, || crate::world::run(run));
    let ended_at = trace.last();
    let mut report = report.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let at_ms = ended_at.as_millis() as u64;
    if let Some(found) = observing.violation() {
        let (invariant, at_ms) = (found.invariant.to_string(), found.at.as_millis() as u64);
        report.violation = Some(Violation { invariant, detail: found.detail, at_ms });
    } else if let Err(error) = ended {
        let (invariant, detail) = match error.split_once(": ") {
            Some((invariant, detail)) if !invariant.contains(' ') => (invariant.to_string(), detail.to_string()),
            _ => ("no_node_stops".to_string(), error),
        };
        report.violation.get_or_insert(Violation { invariant, detail, at_ms });
    }
    (report.trace_hash, report.events) = trace.finish()?;
    Ok(report)
}

const LEADER_LOST_LENGTH: Duration = Duration::from_secs(20);

/// What the client's host does, from the first to the last moment.
pub async fn script(run: Run, cluster: Cluster, hands: Arc<dyn Hands>) -> Result<(), String> {
    let seed = run.seed;
    seeded(seed, play(run, cluster, hands)).await
}

async fn play(run: Run, cluster: Cluster, hands: Arc<dyn Hands>) -> Result<(), String> {
    let env = cluster.client_env(run.seed ^ 0xc11e);
    let client = Client::new(env.world(), run.seed, cluster.endpoints()).map_err(|e| e.to_string())?;
    found(&cluster, &client, &env).await?;
    let started = env.clock.monotonic();
    let recorder = Recorder::new(crate::world::now);
    let length = match &run.script {
        Script::Plan(plan) => Duration::from_millis(plan.duration_ms),
        Script::LeaderLost => LEADER_LOST_LENGTH,
        Script::WebSocket => {
            let acked = web::play(&cluster, &env, &*hands, Seed(run.seed), &recorder).await?;
            return finish(&run, &cluster, &client, &env, &recorder, acked, 1).await;
        }
    };
    let until = started + length;
    let load = Load::default();
    let observers: Vec<_> = (1..=OBSERVERS)
        .map(|name| {
            let (client, clock) = (observer_client(&run, &cluster, &env, name), env.clock.clone());
            let seed = Seed(run.seed ^ (name << 40));
            let nodes = if name == OBSERVERS && run.nodes > 1 { SEARCHABLE_NODES } else { 0 };
            let (recorder, load, rows) = (recorder.clone(), load.clone(), rows(&run.script));
            Rt::spawn(workload::Streamer { client, name, rows, nodes, clock, recorder, load }.run(seed, until))
        })
        .collect();
    let churn = observer_client(&run, &cluster, &env, 97);
    let churn = Rt::spawn(Churn::run(churn, Seed(run.seed ^ 97), env.clock.clone(), until));
    let raw = observer_client(&run, &cluster, &env, 95);
    let raw = Rt::spawn(echo::run(raw, cluster.clone(), env.clone(), Seed(run.seed ^ 95), until));
    let reader = observer_client(&run, &cluster, &env, 99);
    let reader = workload::recall(reader, Seed(run.seed ^ 99), env.clock.clone(), until, recorder.clone());
    let reader = Rt::spawn(reader);
    let follower = observer_client(&run, &cluster, &env, 98);
    let follower = Rt::spawn(Follower::run(follower, env.clock.clone(), until));
    match run.script.clone() {
        Script::Plan(plan) => {
            run.trace.event("the plan begins");
            let client = observer_client(&run, &cluster, &env, 96);
            Faults { cluster: cluster.clone(), hands, client, env: env.clone(), load }.follow(&plan, started).await?;
        }
        Script::LeaderLost | Script::WebSocket => lose_leader(&cluster, &client, &*hands, &env).await?,
    }
    let ended = env.clock.monotonic();
    env.clock.sleep(until.saturating_sub(ended)).await;
    let (mut acked, mut unknown) = (0, 0);
    for observer in observers {
        let written = observer.await.map_err(|e| format!("an observer died: {e}"))??;
        (acked, unknown) = (acked + written.acked, unknown + written.unknown);
    }
    run.report.lock().unwrap_or_else(PoisonError::into_inner).summary.unknown = unknown > 0;
    let recalls = reader.await.map_err(|e| format!("the reader died: {e}"))??;
    let follower = follower.await.map_err(|e| format!("the watcher died: {e}"))??;
    let churn = churn.await.map_err(|e| format!("the client of names died: {e}"))??;
    liveness::converge(&cluster, &client, &env.clock).await?;
    follower.check(&client).await?;
    churn.check(&cluster, &client).await?;
    let twice = raw.await.map_err(|e| format!("the client that says everything twice died: {e}"))??;
    run.trace.event(format_args!("checked: {twice} rows acked twice"));
    echo::check(&cluster, &client).await?;
    slow::check(&cluster, &client).await?;
    finish(&run, &cluster, &client, &env, &recorder, acked, recalls).await
}

fn observer_client(run: &Run, cluster: &Cluster, env: &Env, name: u64) -> Client {
    let client = Client::new(env.world(), run.seed ^ (name << 20), cluster.endpoints());
    client.expect("the endpoints were good a moment ago")
}

/// Rows of one observer: all together offer a hundred a second, and each its share of each burst.
fn rows(script: &Script) -> u64 {
    let Script::Plan(plan) = script else { return LEADER_LOST_LENGTH.as_secs() * ROWS_PER_SECOND };
    let bursts = plan.faults.iter().filter_map(|fault| match fault.kind {
        Kind::Burst { rows } => Some(rows / OBSERVERS),
        _ => None,
    });
    plan.duration_ms * ROWS_PER_SECOND / 1000 + bursts.sum::<u64>()
}

async fn finish(
    run: &Run,
    cluster: &Cluster,
    client: &Client,
    env: &Env,
    recorder: &Recorder,
    acked: u64,
    recalls: u64,
) -> Result<(), String> {
    liveness::converge(cluster, client, &env.clock).await?;
    liveness::serve(cluster, client, Seed(run.seed)).await?;
    liveness::converge(cluster, client, &env.clock).await?;
    liveness::prove(cluster, client).await?;
    let committed = liveness::scan(cluster, client, recorder, FRESH_ROWS).await?;
    liveness::forget(cluster, client).await?;
    liveness::converge(cluster, client, &env.clock).await?;
    let history = recorder.history();
    let verdict = once::check(&history);
    let mut report = run.report.lock().unwrap_or_else(PoisonError::into_inner);
    report.acked = acked;
    report.recalls = recalls;
    let rows = committed.len() as u64;
    report.rows = rows;
    report.summary.observations = committed;
    report.summary.digests = run.observer.digests();
    report.simulated = crate::world::now();
    report.history = history.to_jsonl();
    run.trace.event(format_args!("checked: {acked} acked, {rows} rows, {recalls} recalls"));
    if let Some(failure) = cluster.failure() {
        return Err(failure);
    }
    match verdict.is_valid() {
        true => Ok(()),
        false => Err(format!("exactly_once: {}", verdict.sentence())),
    }
}

/// Makes the cluster and its space, once the nodes are up.
async fn found(cluster: &Cluster, client: &Client, env: &Env) -> Result<(), String> {
    let nodes: Vec<NodeAddress> = cluster.nodes().map(|node| cluster.address(node)).collect();
    let first = client.on(&nodes[0].client_address);
    for _ in 0..50 {
        if first.init(nodes.clone()).await.is_ok() {
            break;
        }
        env.clock.sleep(Duration::from_millis(100)).await;
    }
    let config = SpaceConfig { name: SPACE.into(), dim: DIM as u32, ..SpaceConfig::default() };
    for _ in 0..50 {
        let spaces = client.list_spaces().await.unwrap_or_default();
        if !spaces.is_empty() || client.create_space(config.clone()).await.is_ok() {
            return Ok(());
        }
        env.clock.sleep(Duration::from_millis(200)).await;
    }
    Err("the cluster did not begin".into())
}

async fn lose_leader(cluster: &Cluster, client: &Client, hands: &dyn Hands, env: &Env) -> Result<(), String> {
    let sleep = |ms| env.clock.sleep(Duration::from_millis(ms));
    sleep(2000).await;
    let cut = leader(cluster, client).await?;
    let others: Vec<u64> = cluster.nodes().filter(|node| *node != cut).collect();
    let passage = |open| {
        for &other in &others {
            hands.act(Act::Passage { from: cut, to: other, open });
            hands.act(Act::Passage { from: other, to: cut, open });
        }
    };
    passage(false);
    sleep(4000).await;
    passage(true);
    sleep(3000).await;
    let lost = leader(cluster, client).await?;
    hands.act(Act::Crash { node: lost, power: true });
    sleep(4000).await;
    hands.act(Act::Restart { node: lost });
    Ok(())
}

/// The node that most nodes call leader.
async fn leader(cluster: &Cluster, client: &Client) -> Result<u64, String> {
    let mut votes = std::collections::BTreeMap::<u64, u64>::new();
    for endpoint in cluster.endpoints() {
        if let Ok(status) = client.on(&endpoint).status().await
            && let Some(leader) = status.leader
        {
            *votes.entry(leader).or_default() += 1;
        }
    }
    votes.into_iter().max_by_key(|(_, votes)| *votes).map(|(leader, _)| leader).ok_or("nobody leads".into())
}
