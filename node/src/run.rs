//! Wires the corridor; the order of start and stop.
//!
//! Start: directory lock, identity, log, state, consensus, listeners, tasks. Stop: admission closes, admitted
//! rows drain, another voter leads, streams are told to go elsewhere, consensus stops. Nothing is served while poisoned.
//! Invariant `no_task_dies_unseen`: a task that ends or panics while the node runs stops the node.

mod open;
#[cfg(test)]
mod refusals;

use crate::admin::Admin;
use crate::admission::Admission;
use crate::applied::{Elsewhere, Peers};
use crate::config::Config;
use crate::edge::{grpc, health, peer, status, ws};
use crate::env::{Env, Lane, Listener, Rt, run_on, seeded};
use crate::gate::Gate;
use crate::leader::{Leader, Leadership};
use crate::live::Live;
use crate::metrics::Meters;
use crate::node::{Connections, Node};
use crate::probe::Probe;
use crate::proposer::Proposer;
use crate::raft::net::Network;
use crate::raft::types::Raft;
use crate::spans::{Spans, export};
use crate::state::Machine;
use crate::{aging, erasure, indexer, integrity, watch};
use engram_proto::limits::{MESSAGE_BYTES_MAX, PEER_MESSAGE_BYTES_MAX};
use engram_proto::transport::{Routes, World, serve_connection};
use engram_proto::wire::peer::peer_server::PeerServer;
use engram_proto::wire::v1::{cluster_server::ClusterServer, memory_server::MemoryServer, spaces_server::SpacesServer};
use futures_util::FutureExt;
use open::{Opened, check, open, read_state};
use openraft::AsyncRuntime;
use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch as channel};
use tonic_health::server::HealthReporter;
use tower_layer::Layer;

/// Connections that may be open at once, on each of the two ports.
pub const CONNECTIONS_MAX: usize = 4096;
/// Between the wish to stop and the end of connections: time for a status on every stream.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Between two looks at what is left to drain.
const DRAIN_STEP: Duration = Duration::from_millis(10);

/// Why a node did not start, or stopped by itself. The message says what, where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A configuration value.
    #[error("configuration: {0}")]
    Config(String),
    /// The data directory.
    #[error("data directory: {0}")]
    Data(String),
    /// An address.
    #[error("{0}")]
    Listen(String),
    /// The log cannot be trusted any more.
    #[error("poisoned: {0}; the process must be started again, after a look at the disk")]
    Poisoned(String),
    /// A broken assumption.
    #[error("stopped: {0}")]
    Fatal(String),
}

/// Runs a node until `stop` ends or the node must stop by itself.
/// Cancel: dropping the future is a crash; what was acked stays durable.
pub async fn run(env: Env, config: Config, stop: impl Future<Output = ()>) -> Result<(), RunError> {
    run_with(env, config, stop, drop).await
}

/// The same for a simulator, which is given a door inside once the node runs.
#[doc(hidden)]
pub async fn run_with(
    env: Env,
    config: Config,
    stop: impl Future<Output = ()>,
    probe: impl FnOnce(Probe),
) -> Result<(), RunError> {
    let seed = env.seed.0;
    seeded(seed, start(env, config, stop, probe)).await
}

async fn start(
    env: Env,
    config: Config,
    stop: impl Future<Output = ()>,
    probe: impl FnOnce(Probe),
) -> Result<(), RunError> {
    config.validate().map_err(RunError::Config)?;
    let clients = bind(&env, "listen", &config.listen).await?;
    let peers = bind(&env, "peer_listen", &config.peer_listen).await?;
    let (opening_env, opening_config) = (env.clone(), config.clone());
    let opened = run_on(&*env.pool, Lane::Files, move || open(opening_env, &opening_config)).await;
    let opened = opened.ok_or_else(|| RunError::Fatal("the files lane stopped while opening".into()))??;
    let id = config.node_id;
    let world = env.world();
    let network = Network::new(opened.identity.clone(), world.clone());
    let raft_config = Arc::new(raft_config(&config).map_err(RunError::Config)?);
    let state = read_state(&env, &config, &network).await?;
    check(&opened.log, &state, &config)?;
    let spans = match config.telemetry.otlp_endpoint.is_empty() {
        true => Spans::default(),
        false => Spans::new(env.clock.clone(), env.seed, opened.log.flushed().map_or(0, |id| id.index)),
    };
    state.tell(spans);
    let raft = Raft::new(id, raft_config, network.clone(), opened.log.clone(), state.clone()).await;
    let raft = raft.map_err(|e| RunError::Fatal(e.to_string()))?;
    network.follow(&raft);
    let (stopping, stopped) = channel::channel(false);
    let node = assemble(&env, &config, (&opened, state), world, network, raft, stopped);
    let term = opened.log.vote().map_or(0, |vote| vote.leader_id.term);
    tracing::info!(node = id, term, listen = %config.listen, peer_listen = %config.peer_listen, "node started");
    probe(Probe(node.clone()));

    let mut tasks = Tasks::new();
    tasks.spawn("proposer", node.proposer.clone().run().map(|()| Ok(())));
    let (state, admission, meters) = (node.state.clone(), node.admission.clone(), node.meters.clone());
    tasks.spawn("indexer", indexer::run(id, env.clone(), state, admission, meters));
    let idle = Duration::from_secs(config.stream.session_idle_s);
    let sessions = node.live.clone().run(env.clone(), node.leadership.clone(), node.proposer.clone(), idle);
    tasks.spawn("sessions", sessions.map(|()| Ok(())));
    tasks.spawn("staleness", node.gate.clone().run().map(|()| Ok(())));
    tasks.spawn("elsewhere", node.elsewhere.clone().run().map(|()| Ok(())));
    let ages = aging::run(env.clone(), node.leadership.clone(), node.proposer.clone(), config.reindex_rows);
    tasks.spawn("aging", ages.map(|()| Ok(())));
    tasks.spawn("log", node.log.clone().tend().map(|()| Ok(())));
    tasks.spawn("watch", watch::run(node.clone()));
    tasks.spawn("erasure", erasure::run(node.clone()).map(|()| Ok(())));
    tasks.spawn("spans", export::run(node.clone()));
    tasks.spawn("integrity", integrity::run(node.clone()));
    let (open, mut closed) = mpsc::channel(1);
    let (closing, close) = channel::channel(false);
    let (routes, reporter) = client_routes(&node)?;
    tasks.spawn("health", health::run(node.clone(), reporter).map(|()| Ok(())));
    let (client_room, peer_room) = (node.connections.clients.clone(), node.connections.peers.clone());
    tasks.spawn("clients", serve((open.clone(), close.clone()), node.clone(), (clients, client_room), routes));
    tasks.spawn("peers", serve((open, close), node.clone(), (peers, peer_room), peer_routes(&node)));

    let poisoned = node.log.until_poisoned();
    let ended = tokio::select! {
        biased; // the reason to stop at once before the wish to stop well
        cause = poisoned => Err(RunError::Poisoned(cause.to_string())),
        fault = tasks.fault() => Err(RunError::Fatal(fault)),
        () = stop => Ok(()),
    };
    if ended.is_ok() {
        drain(&node).await;
        hand_over(&node).await;
    }
    stopping.send_replace(true);
    if ended.is_ok() {
        // Streams say where to go on; their last words must not lose a race against the end of their connection.
        env.clock.sleep(LAST_WORDS).await;
    }
    closing.send_replace(true);
    // Already stopped is stopped.
    drop(node.leadership.raft().shutdown().await);
    node.log.close().await;
    // Both ports are free again when this function returns.
    let None::<()> = closed.recv().await else { unreachable!("nothing is sent") };
    tracing::info!(node = id, "node stopped");
    ended
}

fn assemble(
    env: &Env,
    config: &Config,
    (opened, state): (&Opened, Machine),
    world: Arc<dyn World>,
    network: Network,
    raft: Raft,
    stopping: channel::Receiver<bool>,
) -> Arc<Node> {
    let id = config.node_id;
    let identity = opened.identity.clone();
    let admission = Admission::new(id, &config.admission);
    let leadership = Leadership::new(id, raft, network.clone(), state.clone(), env.clock.clone());
    let meters = Meters::default();
    let proposer = Proposer::new(leadership.clone(), admission.clone(), env.clock.clone(), meters.clone());
    let who = identity.clone();
    let incarnation = Arc::new(move || who.cluster().map_or(0, |cluster| cluster.incarnation));
    let deadline = Duration::from_millis(config.stream.read_deadline_ms.into());
    let gate = Gate::new(leadership.clone(), world.clone(), env.clock.clone(), incarnation, deadline, meters.clone());
    let room = || Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let elsewhere = Elsewhere::new(Peers::new(leadership.clone(), network.clone(), env.clock.clone()));
    let admin = Admin {
        env: env.clone(),
        identity: identity.clone(),
        leadership: leadership.clone(),
        network,
        world: world.clone(),
    };
    let spans = state.spans();
    Arc::new(Node {
        id,
        config: config.clone(),
        env: env.clone(),
        world,
        identity,
        log: opened.log.clone(),
        state,
        admission,
        proposer,
        leadership,
        gate,
        admin,
        live: Live::default(),
        elsewhere,
        meters,
        spans,
        connections: Connections { clients: room(), peers: room() },
        stopping,
    })
}

fn raft_config(config: &Config) -> Result<openraft::Config, String> {
    let raft = openraft::Config {
        cluster_name: config.cluster.clone(),
        heartbeat_interval: config.raft.heartbeat_ms,
        election_timeout_min: config.raft.election_min_ms,
        election_timeout_max: config.raft.election_max_ms,
        // By bytes applied, not by entries: `watch` asks for it.
        snapshot_policy: openraft::SnapshotPolicy::Never,
        // Purging is asked for by `watch` and `erasure`: openraft's own would go back behind what was asked for.
        max_in_snapshot_log_to_keep: u64::MAX,
        // The log gives fewer where their bytes are many; few a message would make a slow network a slow log.
        max_payload_entries: 256,
        // A member that is back is found out within this; nothing else is gained by waiting longer for one that is not.
        backoff: "200ms ..400ms".into(),
        enable_pre_vote: Some(true),
        // Followers may hold entries of this term that were sent before they were durable here, and are lost: a leader
        // that went on in its term would give their log ids to other entries.
        enable_leader_restore: Some(false),
        ..openraft::Config::default()
    };
    raft.validate().map_err(|e| e.to_string())
}

async fn bind(env: &Env, key: &str, address: &str) -> Result<Box<dyn Listener>, RunError> {
    env.net.bind(address.to_string()).await.map_err(|e| {
        let what = match e.kind() {
            io::ErrorKind::AddrInUse => "is in use by another process; stop that one, or choose another port".into(),
            _ => format!("cannot be listened on: {e}"),
        };
        RunError::Listen(format!("{key} {address} {what}"))
    })
}

fn client_routes(node: &Arc<Node>) -> Result<(axum::Router, HealthReporter), RunError> {
    let service = grpc::Service(node.clone());
    let memory = MemoryServer::new(service.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let grpc =
        Routes::new(memory).add_service(SpacesServer::new(service.clone())).add_service(ClusterServer::new(service));
    let (grpc, reporter) = health::add(grpc).map_err(RunError::Fatal)?;
    let routes = grpc.into_axum_router().merge(status::routes(node.clone())).merge(ws::routes(node.clone()));
    Ok((routes, reporter))
}

fn peer_routes(node: &Arc<Node>) -> axum::Router {
    let service = PeerServer::new(peer::PeerService(node.clone()))
        .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX);
    Routes::new(service).into_axum_router()
}

/// A connection's place among [`CONNECTIONS_MAX`]: free again when the last share is dropped.
#[derive(Clone)]
pub struct Slot(#[expect(dead_code, reason = "held for its drop")] Arc<OwnedSemaphorePermit>);

/// Ends when the node stops; `_open` outlives the listener, connections live until `close`.
async fn serve(
    (_open, close): (mpsc::Sender<()>, channel::Receiver<bool>),
    node: Arc<Node>,
    (listener, room): (Box<dyn Listener>, Arc<Semaphore>),
    routes: axum::Router,
) -> Result<(), String> {
    let mut stopping = node.stopping.clone();
    loop {
        let accepted = async {
            let slot = room.clone().acquire_owned().await.expect("never closed");
            (slot, listener.accept().await)
        };
        let accepted = tokio::select! {
            biased; // a stopping node takes no further connection
            _ = stopping.wait_for(|stop| *stop) => return Ok(()),
            accepted = accepted => accepted,
        };
        let (slot, io) = match accepted {
            (slot, Ok(io)) => (slot, io),
            (_, Err(error)) => {
                // A connection that was reset before it was accepted, or no descriptors: neither is for ever.
                tracing::warn!(node = node.id, %error, "a connection was not accepted");
                node.env.clock.sleep(DRAIN_STEP).await;
                continue;
            }
        };
        // A WebSocket outlives the HTTP connection that it came by, and takes a share of the slot with it.
        let slot = Slot(Arc::new(slot));
        let routes = axum::Extension(slot.clone()).layer(routes.clone());
        let (world, mut close) = (node.world.clone(), close.clone());
        let connection = async move {
            let _slot = slot;
            tokio::select! {
                biased; // answers first: a stopping node still says why
                ended = serve_connection(world, io, routes) => {
                    if let Err(error) = ended {
                        tracing::trace!(error, "connection ended");
                    }
                }
                _ = close.wait_for(|close| *close) => {}
            }
        };
        drop(Rt::spawn(connection));
    }
}

/// Takes nothing new and gives what was admitted its time to commit.
async fn drain(node: &Node) {
    node.admission.close();
    let deadline = node.env.clock.monotonic() + Duration::from_secs(node.config.stream.drain_s);
    while node.admission.depth() != [0; 3] && node.env.clock.monotonic() < deadline {
        node.env.clock.sleep(DRAIN_STEP).await;
    }
    let left: usize = node.admission.depth().iter().sum();
    tracing::info!(node = node.id, left, "drained");
}

/// A leader that stops lets another lead first, so that nobody waits for an election.
async fn hand_over(node: &Node) {
    if let Leader::Here { .. } = node.leadership.leader()
        && node.leadership.members().len() > 1
        && let Err(error) = node.admin.transfer(None).await
    {
        tracing::info!(node = node.id, %error, "leadership was not handed over");
    }
}

/// The node's own tasks.
struct Tasks {
    faults: mpsc::Receiver<String>,
    fault: mpsc::Sender<String>,
}

impl Tasks {
    fn new() -> Self {
        let (fault, faults) = mpsc::channel(16);
        Self { faults, fault }
    }

    /// Runs a task whose end, error or panic stops the node.
    fn spawn(&self, name: &'static str, task: impl Future<Output = Result<(), String>> + Send + 'static) {
        let fault = self.fault.clone();
        let watched = async move {
            let reason = match AssertUnwindSafe(task).catch_unwind().await {
                Ok(Ok(())) => "ended".to_string(),
                Ok(Err(error)) => error,
                Err(_) => "panicked".to_string(),
            };
            // Full: another fault stops the node already.
            drop(fault.try_send(format!("task {name}: {reason}")));
        };
        drop(Rt::spawn(watched));
    }

    async fn fault(&mut self) -> String {
        self.faults.recv().await.expect("self holds a sender")
    }
}
