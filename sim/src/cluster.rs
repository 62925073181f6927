//! The nodes of a run: what survives a crash (disk, skew), and what each life gets new (pool, seed).

use crate::clock::{SimClock, Skew};
use crate::disk::SimDisk;
use crate::net::Traced;
use crate::observe::Observer;
use crate::pool::SimPool;
use crate::run::Run;
use crate::trace::Trace;
use crate::world::address;
use engram_node::Config;
use engram_node::config::{IntegrityConfig, RaftConfig, WalConfig};
use engram_node::env::{Env, Net, Seed};
use engram_node::probe::Probe;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Where nodes listen for clients.
pub const CLIENT_PORT: u16 = 7600;
/// Where nodes listen for each other.
pub const PEER_PORT: u16 = 7700;

/// Cheap to clone.
#[derive(Clone)]
pub struct Cluster(Arc<Shared>);

struct Shared {
    seed: u64,
    now: fn() -> Duration,
    net: Arc<dyn Net>,
    trace: Trace,
    observer: Observer,
    disks: BTreeMap<u64, SimDisk>,
    skews: BTreeMap<u64, Arc<Skew>>,
    lives: Mutex<BTreeMap<u64, u64>>,
    /// Doors into the nodes that run.
    probes: Mutex<BTreeMap<u64, Probe>>,
    failure: Mutex<Option<String>>,
}

impl Cluster {
    /// Nodes `1..=run.nodes` on a world's time and network.
    pub fn new(run: &Run, now: fn() -> Duration, net: Arc<dyn Net>) -> Self {
        let nodes = 1..=run.nodes;
        let disk = |node: u64| (node, SimDisk::new(Seed(run.seed).0 ^ node.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        Self(Arc::new(Shared {
            seed: run.seed,
            now,
            net,
            trace: run.trace.clone(),
            observer: run.observer.clone(),
            disks: nodes.clone().map(disk).collect(),
            skews: nodes.map(|node| (node, Arc::default())).collect(),
            lives: Mutex::default(),
            probes: Mutex::default(),
            failure: Mutex::default(),
        }))
    }

    /// The nodes.
    pub fn nodes(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.disks.keys().copied()
    }

    /// Where clients reach them.
    pub fn endpoints(&self) -> Vec<String> {
        self.nodes().map(|node| address(node, CLIENT_PORT)).collect()
    }

    fn env(&self, host: String, seed: u64, disk: &SimDisk, skew: Arc<Skew>) -> Env {
        let shared = &self.0;
        Env {
            net: Arc::new(Traced::new(shared.net.clone(), host, shared.trace.clone())),
            disk: Arc::new(disk.clone()),
            clock: Arc::new(SimClock::new(shared.now, skew)),
            pool: Arc::new(SimPool::new(Seed(seed))),
            seed: Seed(seed),
        }
    }

    /// A client's world, on the client's host.
    pub fn client_env(&self, seed: u64) -> Env {
        self.env("client".into(), seed, &SimDisk::new(seed), Arc::default())
    }

    /// One life of a node: from its start to its crash, or to its own end, which is a failure.
    pub fn life(&self, node: u64) -> impl Future<Output = Result<(), String>> + Send + use<> {
        let life = {
            let mut lives = self.0.lives.lock().unwrap_or_else(PoisonError::into_inner);
            let life = lives.entry(node).or_default();
            *life += 1;
            *life
        };
        self.0.observer.restarted(node);
        self.0.trace.event(format_args!("n{node} begins life {life}"));
        let seed = self.0.seed.wrapping_mul(1_000_003) ^ (node << 32) ^ life;
        let env = self.env(format!("n{node}"), seed, &self.0.disks[&node], self.0.skews[&node].clone());
        let (config, cluster) = (config(node), self.clone());
        async move {
            let door = |probe| drop(cluster.probes().insert(node, probe));
            let ended = engram_node::run_with(env, config, std::future::pending(), door).await;
            Err(format!("node {node} stopped by itself: {ended:?}"))
        }
    }

    fn probes(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Probe>> {
        self.0.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Flips a bit of a node's memory. One that does not run, or has built nothing, is spared.
    pub fn flip_bit(&self, node: u64, draw: u64) {
        let flipped = self.probes().get(&node).and_then(|probe| probe.flip_bit(draw));
        self.0.trace.event(format_args!("n{node} has a bit flipped: (space, row) {flipped:?}"));
    }

    /// The process of a node is dead.
    pub fn crashed(&self, node: u64, power: bool) {
        self.probes().remove(&node);
        self.0.trace.event(format_args!("n{node} {}", if power { "loses power" } else { "crashes" }));
        match power {
            true => self.0.disks[&node].power_loss(),
            false => self.0.disks[&node].crash(),
        }
    }

    /// Sets a node's wall clock ahead, or behind.
    pub fn skew(&self, node: u64, offset_ms: i64) {
        self.0.trace.event(format_args!("n{node} has its clock off by {offset_ms} ms"));
        self.0.skews[&node].wall_ms.store(offset_ms, Ordering::Relaxed);
    }

    /// A node ended by itself, in a world that does not say so.
    pub fn failed(&self, _node: u64, error: String) {
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    /// The first node that ended by itself.
    pub fn failure(&self) -> Option<String> {
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Small files and frequent snapshots, so that a short run rolls segments, purges and installs.
fn config(node: u64) -> Config {
    let mut config = Config::new(node, format!("/n{node}"));
    config.listen = format!("0.0.0.0:{CLIENT_PORT}");
    config.peer_listen = format!("0.0.0.0:{PEER_PORT}");
    config.insecure_listen = true;
    config.raft = RaftConfig { snapshot_bytes: 48 << 10, keep_entries: 50, ..RaftConfig::default() };
    config.wal = WalConfig { segment_bytes: 128 << 10, cache_bytes: 64 << 10 };
    config.integrity = IntegrityConfig { round_s: 3 };
    config
}
