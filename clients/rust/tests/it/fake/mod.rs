//! A fake cluster in one process: some addresses, one state, byte streams in memory, tokio's paused clock.
//!
//! It keeps the protocol's promises about sessions and breaks everything else on demand: connections, answers,
//! whole nodes.
#![expect(clippy::disallowed_methods, reason = "a test's world: tokio's clock and tasks, paused")]

mod service;

use engram_client::{AckStage, Client, Observation, SpaceConfig};
use engram_proto::Error;
use engram_proto::transport::{BoxIo, Routes, SharedTimer, World, serve_connection};
use engram_proto::wire::v1::FlowKind;
use engram_proto::wire::v1::cluster_server::ClusterServer;
use engram_proto::wire::v1::memory_server::MemoryServer;
use engram_proto::wire::v1::spaces_server::SpacesServer;
use futures_util::future::BoxFuture;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::{io, time::Duration};
use tokio::task::AbortHandle;
use tokio::time::Instant;

pub const SPACE: &str = "notes";
pub const NODES: [&str; 3] = ["a:1", "b:1", "c:1"];

/// A row in the fake log.
#[derive(Clone, Debug, PartialEq)]
pub struct Logged {
    pub session: u64,
    pub sequence: u64,
    pub observation: Observation,
}

/// What one node does wrong.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Dials fail.
    pub down: bool,
    /// What a dial takes.
    pub dial: Duration,
    /// Calls are accepted and never answered; what came is not looked at.
    pub mute: bool,
    /// Every call is answered with this.
    pub answer: Option<Error>,
    /// The connections break once so many rows came, before they are acked.
    pub break_after_rows: Option<u64>,
    /// The node falls mute once so many rows came, before they are acked.
    pub mute_after_rows: Option<u64>,
}

#[derive(Default)]
pub struct State {
    pub log: Vec<Logged>,
    /// Session to (connection, last sequence).
    pub sessions: BTreeMap<u64, (u64, u64)>,
    /// Expired sessions that are remembered, with their last sequence.
    pub tombstones: BTreeMap<u64, u64>,
    pub index: u64,
    pub faults: BTreeMap<String, Faults>,
    pub leader: String,
    pub spaces: Vec<SpaceConfig>,
    /// Rows to refuse with `Overloaded` before any more is taken.
    pub overload: u32,
    pub credit_rows: u32,
    /// What clients asked of the pace.
    pub flows: Vec<FlowKind>,
    pub batch_rows_seen: usize,
    pub largest_batch: usize,
    pub streams: usize,
    pub dials: u64,
    pub calls: Vec<(String, &'static str)>,
    /// Log index that recalls asked for.
    pub asked_index: Vec<u64>,
    /// Resumes that are answered late, after the client gave up on them.
    pub late_resumes: u32,
    connections: BTreeMap<String, Vec<AbortHandle>>,
}

/// The cluster; clones are the same one.
#[derive(Clone)]
pub struct Fake {
    state: Arc<Mutex<State>>,
    start: Instant,
}

impl Fake {
    pub fn new() -> Self {
        let state = State { leader: NODES[0].into(), index: 100, credit_rows: 64, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), start: Instant::now() }
    }

    pub fn client(&self) -> Client {
        self.client_with_seed(1)
    }

    pub fn client_with_seed(&self, seed: u64) -> Client {
        let endpoints = NODES.map(String::from).to_vec();
        Client::new(Arc::new(self.clone()), seed, endpoints).expect("endpoints are fine")
    }

    pub fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().expect("no panic while held"))
    }

    pub fn fault(&self, node: &str, faults: Faults) {
        self.with(|state| state.faults.insert(node.into(), faults));
    }

    pub fn fault_everywhere(&self, faults: Faults) {
        NODES.iter().for_each(|node| self.fault(node, faults.clone()));
    }

    /// Breaks the connections of a node.
    pub fn cut(&self, node: &str) {
        let cut = self.with(|state| state.connections.remove(node));
        cut.into_iter().flatten().for_each(|connection| connection.abort());
    }

    /// Lets time pass.
    pub async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    pub fn texts(&self) -> Vec<String> {
        self.with(|state| state.log.iter().map(|row| row.observation.text.clone()).collect())
    }

    pub fn routes(&self, node: &str) -> Routes {
        let service = service::Node { fake: self.clone(), address: node.into() };
        Routes::new(MemoryServer::new(service.clone()))
            .add_service(SpacesServer::new(service.clone()))
            .add_service(ClusterServer::new(service))
    }
}

impl World for Fake {
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<BoxIo>> {
        let this = self.clone();
        Box::pin(async move {
            this.with(|state| state.dials += 1);
            let Faults { down, dial, .. } = this.with(|state| state.faults(&address));
            tokio::time::sleep(dial).await;
            if down {
                return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused"));
            }
            let (near, far) = tokio::io::duplex(64 * 1024);
            let served = serve_connection(Arc::new(this.clone()), Box::new(TokioIo::new(far)), this.routes(&address));
            let task = tokio::spawn(async move { drop(served.await) });
            this.with(|state| state.connections.entry(address).or_default().push(task.abort_handle()));
            Ok(Box::new(TokioIo::new(near)) as BoxIo)
        })
    }

    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn timer(&self) -> SharedTimer {
        SharedTimer(Arc::new(TokioTimer::new()))
    }
}

impl State {
    pub fn faults(&self, node: &str) -> Faults {
        self.faults.get(node).cloned().unwrap_or_default()
    }

    /// All sessions expire; they are remembered or not.
    pub fn expire(&mut self, remembered: bool) {
        let gone = std::mem::take(&mut self.sessions);
        if remembered {
            self.tombstones.extend(gone.into_iter().map(|(session, (_, last))| (session, last)));
        }
    }

    pub fn next_index(&mut self) -> u64 {
        self.index += 1;
        self.index
    }

    /// The apply: repeats, gaps, refusals, one row after the other.
    pub fn apply(&mut self, session: u64, connection: u64, sequence: u64, row: Observation) -> Result<Applied, Error> {
        let Some(&(current, last)) = self.sessions.get(&session) else {
            let last = self.tombstones.get(&session).copied();
            return Err(Error::session_lost(format!("session {session} is gone"), last));
        };
        if current != connection {
            return Err(Error::new(engram_proto::Kind::Superseded, "a newer connection has the session"));
        }
        if sequence <= last {
            let known = self.log.iter().find(|logged| (logged.session, logged.sequence) == (session, sequence));
            assert_eq!(known.map(|logged| &logged.observation), Some(&row), "{sequence} with another payload");
            return Ok(Applied { log_index: self.index, repeat: true });
        }
        if sequence > last + 1 {
            return Err(Error::invalid(format!("gap: {sequence} after {last}")));
        }
        if self.overload > 0 {
            self.overload -= 1;
            return Err(Error::overloaded("no room", 40));
        }
        if row.text.starts_with("bad") {
            return Err(Error::invalid("a bad row"));
        }
        self.sessions.insert(session, (current, sequence));
        self.log.push(Logged { session, sequence, observation: row });
        Ok(Applied { log_index: self.next_index(), repeat: false })
    }
}

pub struct Applied {
    pub log_index: u64,
    pub repeat: bool,
}

pub fn row(text: impl Into<String>) -> Observation {
    engram_client::observation(text, &[1.0, 0.5])
}

pub const COMMITTED: AckStage = AckStage::Committed;
