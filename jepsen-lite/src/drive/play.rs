//! One run from its first process to its last: a new cluster, load and faults, healing, checks.
//!
//! Two phases, as in the simulators. Safety: streams, readers, a WebSocket client and a client of names work while the
//! plan is followed. Liveness: nothing is done any more, and within a stated time the cluster must be whole.
//!
//! Leaves out: what a promise is; the checkers and `settle` know.

use crate::drive::alone::Inside;
use crate::drive::backups::{Backups, Saved};
use crate::drive::clock::Clocks;
use crate::drive::faults::{Diary, Faults};
use crate::drive::nodes::{self, Means, Nodes};
use crate::drive::proxy::Proxies;
use crate::drive::record::{Recorder, SPACE};
use crate::drive::report::{Ending, Facts, Report, Run};
use crate::drive::schedule::Can;
use crate::drive::settle::Settle;
use crate::drive::wires::Wires;
use crate::drive::workload::{DIM, Load, STREAMS, Streamer};
use crate::drive::{Broken, names, reads, restart, web};
use engram_chaos::Kind;
use engram_client::{Client, SpaceConfig, Tcp, Timing};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// For the cluster to begin.
const BEGIN_LIMIT: Duration = Duration::from_secs(30);
/// How often somebody looks whether a node ended by itself.
const WATCH: Duration = Duration::from_millis(500);
/// Readers beside the clients that stream.
const READERS: u64 = 2;

/// The hands and eyes of a run that has begun.
struct Stage {
    nodes: Arc<Nodes>,
    proxies: Arc<Proxies>,
    wires: Option<Arc<Wires>>,
    recorder: Recorder,
    diary: Diary,
    can: Can,
}

impl Stage {
    /// A client of its own connections, whose draws come from the seed.
    fn client(&self, seed: u64, name: u64) -> Result<Client, String> {
        let world = Arc::new(Tcp::current().map_err(|e| e.to_string())?);
        let client = Client::new(world, seed ^ (name << 20), self.nodes.endpoints()).map_err(|e| e.to_string())?;
        Ok(client.with_timing(Timing { deadline: Duration::from_secs(20), ..Timing::default() }))
    }
}

/// Plays a run on a new cluster. The error: it could not be run.
pub async fn play(run: &Run) -> Result<Report, String> {
    let Run { plan, dir, binary, old_binary, .. } = run;
    // A filesystem may be mounted only where it ends with the run, however that ends.
    let disks = run.inside != Inside::Nothing && nodes::can_mount(dir);
    let wires = match run.inside {
        Inside::Network => {
            let wires = Wires::new(plan.nodes + plan.spares()).await;
            Some(Arc::new(wires.map_err(|e| format!("the network cannot be made: {e}; or use --network proxy"))?))
        }
        Inside::Mounts | Inside::Nothing => None,
    };
    let proxies = Proxies::new(plan.seed, nodes::Processes::default());
    let first_binary = old_binary.as_ref().unwrap_or(binary);
    let skewed = plan.faults.iter().any(|fault| matches!(fault.kind, Kind::ClockSkew { .. }));
    let clocks = skewed.then(|| Clocks::find(dir)).flatten();
    let can = Can { disks, clocks: clocks.is_some() };
    let means = Means { disks, wires: wires.clone(), clocks };
    let nodes = Nodes::new(dir, (plan.nodes, plan.spares()), first_binary, &proxies, means).await;
    let nodes = Arc::new(nodes.map_err(|e| format!("the nodes cannot be made: {e}"))?);
    let stage = Stage { nodes, proxies, wires, recorder: Recorder::new(), diary: Diary::default(), can };
    begin(run, &stage).await?;
    let started = stage.recorder.now();
    let faulted = load_and_faults(run, &stage, started).await;
    let stopped_at = stage.recorder.now();
    let healed = heal(&stage).await;
    let mut ending = Ending::default();
    ending.broken.extend(healed.err());
    match faulted {
        Err(error) => ending.broken.push(error),
        Ok(done) => end(run, &stage, done, &mut ending).await?,
    }
    if let Some(failure) = stage.nodes.failure()
        && !ending.broken.contains(&failure)
    {
        ending.broken.insert(0, failure);
    }
    nodes::end_all(&stage.nodes).await;
    stage.nodes.keep_data();
    let facts = Facts { deeds: stage.diary.deeds(), span: (started, stopped_at), counts: stage.recorder.counts() };
    let (histories, samples) = stage.recorder.take();
    Ok(Report::new(run.clone(), facts, histories, &samples, ending))
}

/// Looks at the cluster that is healed.
async fn end(run: &Run, stage: &Stage, done: Done, ending: &mut Ending) -> Result<(), String> {
    let client = stage.client(run.plan.seed, 0)?;
    let (nodes, recorder) = (stage.nodes.clone(), stage.recorder.clone());
    eprintln!("healed; waiting for the cluster to converge");
    let (faults, seed) = (done.faults, run.plan.seed);
    match (Settle { nodes, client: client.clone(), faults, recorder, seed }).run().await {
        Ok(settled) => ending.settled = Some(settled),
        Err(error) => ending.broken.push(error),
    }
    ending.broken.extend(done.known.check(&client, &stage.nodes.endpoints()).await.err());
    ending.broken.extend(done.errors);
    if ending.broken.is_empty() && done.saved.whole > 0 {
        match backups(run, stage).check(&done.saved).await {
            Ok(rows) => ending.restored_rows = Some(rows),
            Err(error) => ending.broken.push(error),
        }
    }
    ending.saved = done.saved;
    Ok(())
}

/// Starts the nodes, makes them a cluster and its spaces.
async fn begin(run: &Run, stage: &Stage) -> Result<(), String> {
    for node in stage.nodes.voters() {
        stage.nodes.start(node, "not started").await.map_err(|e| format!("node {node} cannot be started: {e}"))?;
    }
    let client = stage.client(run.plan.seed, 0)?;
    let addresses: Vec<_> = stage.nodes.voters().map(|node| stage.nodes.address(node)).collect();
    let first = client.on(&addresses[0].client_address);
    let deadline = stage.recorder.now() + BEGIN_LIMIT;
    let mut last = String::new();
    let mut made = false;
    while stage.recorder.now() < deadline {
        if let Some(failure) = stage.nodes.failure() {
            return Err(failure);
        }
        if !made {
            let done = first.init(addresses.clone()).await;
            last = done.as_ref().err().map_or(String::new(), |error| error.to_string());
            made = done.is_ok();
        }
        if made {
            let spaces = client.list_spaces().await.map_err(|e| last = e.to_string()).unwrap_or_default();
            if spaces.len() == 2 {
                return Ok(());
            }
            for name in [SPACE, names::SPACE] {
                let config = SpaceConfig { name: name.into(), dim: DIM as u32, ..SpaceConfig::default() };
                // There already, or refused until there is a leader.
                last = client.create_space(config).await.err().map_or(last, |error| error.to_string());
            }
        }
        sleep(Duration::from_millis(200)).await;
    }
    Err(format!("the cluster did not begin within {BEGIN_LIMIT:?}: {last}"))
}

/// What the load and the faults left behind.
struct Done {
    faults: Faults,
    known: names::Known,
    saved: Saved,
    errors: Vec<Broken>,
}

fn backups(run: &Run, stage: &Stage) -> Backups {
    Backups {
        binary: run.binary.clone(),
        dir: run.dir.clone(),
        endpoints: stage.nodes.endpoints(),
        recorder: stage.recorder.clone(),
        diary: stage.diary.clone(),
    }
}

/// Streams, reads, and hurts the cluster meanwhile; heals it while the last acks are waited for.
async fn load_and_faults(run: &Run, stage: &Stage, started: Duration) -> Result<Done, Broken> {
    let plan = &run.plan;
    let (seed, until) = (plan.seed, started + Duration::from_millis(plan.duration_ms));
    let failed = |e: String| format!("driver: {e}");
    let load = Load::default();
    let mut work: JoinSet<Result<(), Broken>> = JoinSet::new();
    for number in 1..=STREAMS {
        let client = stage.client(seed, number).map_err(failed)?;
        let (recorder, load) = (stage.recorder.clone(), load.clone());
        work.spawn(Streamer { client, number, recorder, load, started, nodes: plan.nodes }.run(plan.clone()));
    }
    let endpoints = stage.nodes.endpoints();
    let socket = web::run(endpoints, seed, stage.recorder.clone(), until);
    work.spawn(async move { socket.await.map(drop) });
    for number in 1..=READERS {
        let client = stage.client(seed, 50 + number).map_err(failed)?;
        let spaces = [SPACE, names::SPACE];
        let reads = reads::read(client, format!("reader {number}"), spaces, seed, stage.recorder.clone(), until);
        work.spawn(async move {
            reads.await;
            Ok(())
        });
    }
    let known = tokio::spawn(names::run(stage.client(seed, 60).map_err(failed)?, seed, stage.recorder.clone(), until));
    let client = stage.client(seed, 61).map_err(failed)?;
    let faults = Faults {
        nodes: stage.nodes.clone(),
        proxies: stage.proxies.clone(),
        wires: stage.wires.clone(),
        client: client.clone(),
        recorder: stage.recorder.clone(),
        load,
        diary: stage.diary.clone(),
        can: stage.can,
    };
    let saves = backups(run, stage);
    let saving = (!run.bare).then(|| tokio::spawn(async move { saves.make(until).await }));
    let follow = {
        let (faults, plan) = (faults.clone(), plan.clone());
        async move { faults.follow(&plan, started).await }
    };
    work.spawn(follow);
    if !run.bare {
        let (nodes, recorder, diary) = (stage.nodes.clone(), stage.recorder.clone(), stage.diary.clone());
        let at = started + Duration::from_millis(plan.duration_ms * 2 / 5);
        let binary = run.binary.clone();
        work.spawn(async move { restart::roll(nodes, client, recorder, diary, &binary, at).await });
    }
    let punctual = tokio::spawn(stage.recorder.clone().watch_itself());
    let watched = watch(stage, &mut work, until).await;
    punctual.abort();
    let errors = watched?;
    let known = known.await.map_err(|e| failed(e.to_string()))?;
    let saved = match saving {
        Some(saving) => saving.await.map_err(|e| failed(e.to_string()))?,
        None => Saved::default(),
    };
    Ok(Done { faults, known, saved, errors })
}

/// Waits for all work; ends early only when a node ended by itself. The answer: what else was broken.
async fn watch(stage: &Stage, work: &mut JoinSet<Result<(), Broken>>, until: Duration) -> Result<Vec<Broken>, Broken> {
    let mut errors = Vec::new();
    let mut told = Duration::ZERO;
    loop {
        match tokio::time::timeout(WATCH, work.join_next()).await {
            Ok(None) => return Ok(errors),
            Ok(Some(Ok(Ok(())))) => {}
            Ok(Some(Ok(Err(error)))) => errors.push(error),
            Ok(Some(Err(panic))) => return Err(format!("driver: a task died: {panic}")),
            Err(_) => {}
        }
        if let Some(failure) = stage.nodes.failure() {
            return Err(failure);
        }
        let now = stage.recorder.now();
        if now >= told + Duration::from_secs(10) {
            told = now;
            let ((acked, _), left) = (stage.recorder.counts(), until.saturating_sub(now).as_secs());
            eprintln!("{} s: {acked} rows acked, {left} s of the plan left", now.as_secs());
        }
    }
}

/// Nothing is done to the cluster any more.
async fn heal(stage: &Stage) -> Result<(), Broken> {
    stage.proxies.links.heal();
    let wired = match &stage.wires {
        Some(wires) => wires.heal().await.map_err(|e| format!("driver: the network cannot be healed: {e}")),
        None => Ok(()),
    };
    for node in stage.nodes.voters() {
        stage.nodes.pause(node, false).await;
        for reason in ["the plan", "the rolling restart"] {
            drop(stage.nodes.start(node, reason).await); // a node that cannot start does not converge
        }
        if stage.can.disks {
            drop(stage.nodes.fill_disk(node, false)); // it was not full
        }
        drop(stage.nodes.set_clock(node, 0)); // one that cannot be set lied at no time
    }
    wired
}
