//! Nodes inside this process, a raw stream, and the command as a child process.

use engram_client::{Client, Level, List, NodeAddress, Observation, Row, SpaceConfig, Timing, observation};
use engram_node::env::Env;
use engram_node::{Config, RunError};
use engram_proto::transport::Channel;
use engram_proto::wire::v1::memory_client::MemoryClient;
use engram_proto::wire::v1::{
    FlowControl, FlowKind, ObserveBatch, ObserveRequest, ObserveResponse, OpenSession, ResumeSession, SessionOpened,
    observe_request, observe_response,
};
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tonic::{Status, Streaming};

pub const SPACE: &str = "notes";
const DEADLINE: Duration = Duration::from_secs(20);

/// Loopback addresses that nobody has, each given once. They are below the ports that outgoing connections are given: one of
/// those could take an address before its node starts, or while it is down.
pub fn free_addresses(count: usize) -> Vec<String> {
    const PORTS: u32 = 10_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(617);
    let port = || 10_000 + first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % PORTS;
    let free = |address: &String| std::net::TcpListener::bind(address).is_ok();
    std::iter::repeat_with(port).map(|port| format!("127.0.0.1:{port}")).filter(free).take(count).collect()
}

/// A quick node with its data in `dir`.
pub fn config(node: u64, dir: &Path) -> Config {
    let mut config = Config::new(node, dir.join(format!("node-{node}")));
    let addresses = free_addresses(2);
    (config.listen, config.peer_listen) = (addresses[0].clone(), addresses[1].clone());
    config.index_workers = 1;
    config.wal.segment_bytes = 1 << 20;
    (config.raft.heartbeat_ms, config.raft.election_min_ms, config.raft.election_max_ms) = (50, 300, 600);
    config
}

pub fn env() -> Env {
    Env::os(std::num::NonZeroUsize::MIN).expect("threads start")
}

/// A node in this process.
pub struct Running {
    pub config: Config,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), RunError>>,
}

impl Running {
    pub fn start(env: Env, config: Config) -> Self {
        let (stop, stopped) = oneshot::channel();
        let stopped = async move { drop(stopped.await) };
        let task = tokio::spawn(engram_node::run(env, config.clone(), stopped));
        Self { config, stop, task }
    }

    pub fn address(&self) -> NodeAddress {
        NodeAddress {
            node: self.config.node_id,
            client_address: self.config.listen.clone(),
            peer_address: self.config.peer_listen.clone(),
        }
    }

    /// Asks it to stop and gives what `run` gave.
    pub async fn stop(self) -> Result<(), RunError> {
        // A node that ended by itself is told apart below.
        let _ = self.stop.send(());
        tokio::time::timeout(DEADLINE, self.task).await.expect("stops in time").expect("no panic")
    }
}

/// Polls until it is so.
pub async fn until<T>(what: &str, mut so: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = so().await {
            return value;
        }
        assert!(Instant::now() < until, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The answer to `GET /metrics`, head included.
pub async fn scrape(address: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connects");
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    answer
}

pub fn client<'a>(nodes: impl IntoIterator<Item = &'a Running>) -> Client {
    let timing = Timing { backoff_max: Duration::from_millis(200), ..Timing::default() };
    let addresses = nodes.into_iter().map(|node| node.config.listen.clone());
    Client::connect(addresses).expect("endpoints").with_timing(timing)
}

pub async fn ready(client: &Client, node: &Running) {
    let on = client.on(&node.config.listen);
    until("a node is ready", async || on.status().await.ok().filter(|s| s.not_ready_reason.is_empty())).await;
}

/// A cluster of nodes 1 to `count`, with the space `notes` of two dimensions.
pub async fn cluster(count: u64, dir: &Path) -> (Vec<Running>, Client) {
    cluster_of((1..=count).map(|node| config(node, dir))).await
}

/// The same, of nodes that are configured so.
pub async fn cluster_of(configs: impl Iterator<Item = Config>) -> (Vec<Running>, Client) {
    let nodes: Vec<Running> = configs.map(|config| Running::start(env(), config)).collect();
    let client = client(&nodes);
    for node in &nodes {
        let on = client.on(&node.config.listen);
        let answers = async || {
            assert!(!node.task.is_finished(), "{} ended by itself", node.config.listen);
            on.status().await.ok()
        };
        until("a node answers", answers).await;
    }
    let addresses = nodes.iter().map(Running::address).collect();
    client.on(&nodes[0].config.listen).init(addresses).await.expect("blank nodes make a cluster");
    for node in &nodes {
        ready(&client, node).await;
    }
    let space = SpaceConfig { name: SPACE.into(), dim: 2, ..SpaceConfig::default() };
    client.create_space(space).await.expect("a new space");
    (nodes, client)
}

/// A cluster of one, and its address for clients.
pub async fn one_node(dir: &tempfile::TempDir) -> (Running, String) {
    let (mut nodes, _) = cluster(1, dir.path()).await;
    let node = nodes.remove(0);
    let address = node.config.listen.clone();
    (node, address)
}

/// All that is acked, whoever wrote it: a session's level knows this client's own writes alone.
pub async fn rows(client: &Client) -> Vec<Row> {
    let list = List { level: Level::Linearizable, ..List::new(SPACE) };
    client.list_all(list).await.expect("listed").rows
}

pub fn texts(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|row| row.observation.clone().unwrap_or_default().text).collect()
}

pub fn note(text: &str) -> Observation {
    observation(text, &[0.6, 0.8])
}

/// An observe stream without any help from the client library.
pub struct Raw {
    out: mpsc::Sender<ObserveRequest>,
    answers: Streaming<ObserveResponse>,
    pub opened: SessionOpened,
}

impl Raw {
    pub async fn open(address: &str, space: &str) -> Result<Self, Status> {
        Self::open_as(address, OpenSession { space: space.into(), ..OpenSession::default() }).await
    }

    pub async fn open_as(address: &str, open: OpenSession) -> Result<Self, Status> {
        Self::begin(address, observe_request::Message::Open(open)).await
    }

    pub async fn resume(address: &str, opened: &SessionOpened) -> Result<Self, Status> {
        let (session, incarnation) = (opened.session, opened.incarnation);
        let resume = ResumeSession { session, incarnation, ..ResumeSession::default() };
        Self::begin(address, observe_request::Message::Resume(resume)).await
    }

    async fn begin(address: &str, first: observe_request::Message) -> Result<Self, Status> {
        let world = Arc::new(engram_client::Tcp::current().expect("a runtime"));
        let channel = Channel::new(world, address, Duration::from_secs(2));
        let origin = channel.origin();
        let (out, mut requests) = mpsc::channel(16);
        out.try_send(ObserveRequest { message: Some(first) }).expect("room");
        let requests = futures_util::stream::poll_fn(move |cx| requests.poll_recv(cx));
        let mut answers = MemoryClient::with_origin(channel, origin).observe_stream(requests).await?.into_inner();
        match answers.message().await?.and_then(|answer| answer.message) {
            Some(observe_response::Message::Opened(opened)) => Ok(Self { out, answers, opened }),
            other => panic!("not opened: {other:?}"),
        }
    }

    /// Sends a message. A stream that has ended takes none: its status, which comes next, says why.
    pub async fn tell(&self, message: observe_request::Message) {
        let _ = self.out.send(ObserveRequest { message: Some(message) }).await;
    }

    /// Asks for another pace of the stream.
    pub async fn flow(&self, kind: FlowKind) {
        self.tell(observe_request::Message::Flow(FlowControl { kind: kind.into(), ..FlowControl::default() })).await;
    }

    /// The next answer.
    pub async fn next(&mut self) -> Result<Said, Status> {
        let answer = tokio::time::timeout(DEADLINE, self.answers.message()).await.expect("an answer in time")?;
        Ok(answer.and_then(|answer| answer.message).expect("the stream ended without a status"))
    }

    /// Sends rows from a sequence on, and gives the next answer that is no flow control.
    pub async fn ask(&mut self, first_sequence: u64, observations: Vec<Observation>) -> Result<Said, Status> {
        self.tell(observe_request::Message::Batch(ObserveBatch { first_sequence, observations })).await;
        loop {
            match self.next().await? {
                observe_response::Message::Flow(_) => {}
                said => return Ok(said),
            }
        }
    }
}

pub type Said = observe_response::Message;

/// Runs the command to its end.
pub async fn engram(args: &[&str]) -> (i32, String, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_engram"));
    command.args(args).env_remove("ENGRAM_ENDPOINTS").kill_on_drop(true);
    let done = tokio::time::timeout(3 * DEADLINE, command.output()).await.expect("the command ends in time");
    let Output { status, stdout, stderr } = done.expect("the command starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code().expect("not killed"), text(stdout), text(stderr))
}
