//! The nodes of a run: what survives a crash (disk, skew), and what each life gets new (pool, seed).

use crate::clock::{SimClock, Skew};
use crate::disk::{POWER_OFF, SYNC_FAILED, SimDisk};
use crate::net::Traced;
use crate::observe::Observer;
use crate::pool::SimPool;
use crate::run::Run;
use crate::trace::Trace;
use crate::wear::Wear;
use crate::world::address;
use engram_chaos::Lie;
use engram_client::NodeAddress;
use engram_node::Config;
use engram_node::config::{AdmissionConfig, IntegrityConfig, RaftConfig, WalConfig};
use engram_node::env::disk::read_all;
use engram_node::env::{Disk, Open};
use engram_node::env::{Env, Net, Seed};
use engram_node::probe::Probe;
use engram_node::state::records::Hash;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::{Path, PathBuf};
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
    wears: BTreeMap<u64, Arc<Wear>>,
    /// The nodes after these are spares: idle until they are started the first time.
    voters: u64,
    /// The nodes that replaced voters, by the voter's number.
    replaced: Mutex<BTreeMap<u64, u64>>,
    /// The voters whose place is being filled.
    lost: Mutex<BTreeSet<u64>>,
    lives: Mutex<BTreeMap<u64, u64>>,
    /// Doors into the nodes that run.
    probes: Mutex<BTreeMap<u64, Probe>>,
    /// What nodes had in their logs when the power of a disk that had lied went.
    told: Mutex<BTreeMap<u64, u64>>,
    /// Nodes that refuse their disks.
    refusals: Mutex<BTreeSet<u64>>,
    failure: Mutex<Option<String>>,
}

impl Cluster {
    /// Nodes `1..=run.nodes` on a world's time and network.
    pub fn new(run: &Run, now: fn() -> Duration, net: Arc<dyn Net>) -> Self {
        let nodes = 1..=run.nodes + run.spares;
        let disk = |node: u64| (node, SimDisk::new(Seed(run.seed).0 ^ node.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        Self(Arc::new(Shared {
            seed: run.seed,
            now,
            net,
            trace: run.trace.clone(),
            observer: run.observer.clone(),
            disks: nodes.clone().map(disk).collect(),
            skews: nodes.clone().map(|node| (node, Arc::default())).collect(),
            wears: nodes.map(|node| (node, Arc::default())).collect(),
            voters: run.nodes,
            replaced: Mutex::default(),
            lost: Mutex::default(),
            lives: Mutex::default(),
            probes: Mutex::default(),
            told: Mutex::default(),
            refusals: Mutex::default(),
            failure: Mutex::default(),
        }))
    }

    /// The voters of now: those of the beginning, or what replaced them.
    pub fn nodes(&self) -> impl Iterator<Item = u64> + '_ {
        (1..=self.0.voters).map(|voter| self.current(voter))
    }

    /// The node that is in the place of a voter of the beginning; of any other id itself.
    pub fn current(&self, voter: u64) -> u64 {
        self.0.replaced.lock().unwrap_or_else(PoisonError::into_inner).get(&voter).copied().unwrap_or(voter)
    }

    /// The node in the place of a voter is lost, and will be replaced; which. `None`, and no fault: the one before it in that
    /// place is being replaced yet, and two lost disks of one place are one too many.
    pub fn begin_replacing(&self, voter: u64) -> Option<u64> {
        let begun = self.0.lost.lock().unwrap_or_else(PoisonError::into_inner).insert(voter);
        let node = self.current(voter);
        if !begun {
            self.0.trace.event(format_args!("n{node} is spared: it is being replaced"));
        }
        begun.then_some(node)
    }

    /// From now on another node is in the place of a voter; the same one, if nothing was lost.
    pub fn replaced(&self, voter: u64, node: u64) {
        self.0.trace.event(format_args!("n{node} is in the place of n{}", self.current(voter)));
        self.0.replaced.lock().unwrap_or_else(PoisonError::into_inner).insert(voter, node);
        self.0.lost.lock().unwrap_or_else(PoisonError::into_inner).remove(&voter);
    }

    /// Where a node is.
    pub fn address(&self, node: u64) -> NodeAddress {
        let (client_address, peer_address) = (address(node, CLIENT_PORT), address(node, PEER_PORT));
        NodeAddress { node, client_address, peer_address }
    }

    /// Where clients reach them.
    pub fn endpoints(&self) -> Vec<String> {
        self.nodes().map(|node| address(node, CLIENT_PORT)).collect()
    }

    fn env(&self, host: String, seed: u64, disk: &SimDisk, skew: Arc<Skew>, wear: Arc<Wear>) -> Env {
        let shared = &self.0;
        Env {
            net: Arc::new(Traced::new(shared.net.clone(), host, shared.trace.clone(), wear.clone())),
            disk: Arc::new(disk.clone()),
            clock: Arc::new(SimClock::new(shared.now, skew)),
            pool: Arc::new(SimPool::new(Seed(seed), shared.now, wear)),
            seed: Seed(seed),
            process: || None,
        }
    }

    /// A client's world, on the client's host.
    pub fn client_env(&self, seed: u64) -> Env {
        self.worn_client_env(seed).0
    }

    /// The same, and what turns at its connections alone.
    pub fn worn_client_env(&self, seed: u64) -> (Env, Arc<Wear>) {
        let wear = Arc::<Wear>::default();
        (self.env("client".into(), seed, &SimDisk::new(seed), Arc::default(), wear.clone()), wear)
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
        let (skew, wear) = (self.0.skews[&node].clone(), self.wear(node).clone());
        let env = self.env(format!("n{node}"), seed, &self.0.disks[&node], skew, wear);
        let (config, cluster, idle) = (config(node), self.clone(), node > self.0.voters && life == 1);
        async move {
            if idle {
                return std::future::pending().await;
            }
            let door = |probe| cluster.entered(node, probe);
            let ended = engram_node::run_with(env, config, std::future::pending(), door).await;
            let why = format!("node {node} stopped by itself: {ended:?}");
            // Whoever was told of a failed sync must stop, and say that this is why.
            let disk = &cluster.0.disks[&node];
            // Whoever was lied to must stop or not start, and say which file is wrong.
            if disk.has_lied() && why.contains(&format!("/n{node}/")) && !why.contains("panicked") {
                cluster.0.trace.event(format_args!("n{node} refuses its disk: {why}"));
                cluster.refusals().insert(node);
                return std::future::pending().await;
            }
            let failed = disk.sync_failed() && why.contains(SYNC_FAILED);
            if failed || disk.power_is_off() && why.contains(POWER_OFF) {
                cluster.0.trace.event(format_args!("n{node} stopped, as its disk failed"));
                return std::future::pending().await;
            }
            Err(why)
        }
    }

    /// A node has read its disk, and runs.
    fn entered(&self, node: u64, probe: Probe) {
        let told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner).remove(&node);
        if let Some(told) = told.filter(|told| probe.flushed() < *told) {
            let (node, has) = (probe.node(), probe.flushed());
            self.failed(node, format!("lie_is_found: node {node} had log index {told}, and starts with {has}"));
        }
        self.probes().insert(node, probe);
    }

    /// A node's disk lies, now or soon.
    pub fn lie(&self, node: u64, lie: Lie, draw: u64) {
        self.0.trace.event(format_args!("n{node} has a disk that lies: {}", lie.describe()));
        self.0.disks[&node].lie(lie, Path::new(&format!("/n{node}")), draw);
    }

    /// A node's disk.
    pub fn disk(&self, node: u64) -> &SimDisk {
        &self.0.disks[&node]
    }

    /// What a node has in its log now it must have when it starts again, or refuse.
    pub fn must_keep_its_log(&self, node: u64) {
        if let Some(probe) = self.probes().get(&node) {
            self.0.told.lock().unwrap_or_else(PoisonError::into_inner).insert(node, probe.flushed());
        }
    }

    /// Whether a node has read its disk, and runs.
    pub fn runs(&self, node: u64) -> bool {
        self.probes().contains_key(&node)
    }

    /// Whether a node has stopped, or not started, because of what its disk told it.
    pub fn refuses(&self, node: u64) -> bool {
        self.refusals().contains(&node)
    }

    fn refusals(&self) -> std::sync::MutexGuard<'_, BTreeSet<u64>> {
        self.0.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn probes(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Probe>> {
        self.0.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Flips a bit of a node's memory. One that does not run, or has built nothing, is spared.
    pub fn flip_bit(&self, node: u64, draw: u64) {
        let flipped = self.probes().get(&node).and_then(|probe| probe.flip_bit(draw));
        self.0.trace.event(format_args!("n{node} has a bit flipped: (space, row) {flipped:?}"));
    }

    /// Flips a bit of one of a node's record files, if it has one.
    pub fn rot(&self, node: u64, draw: u64) {
        let disk = &self.0.disks[&node];
        let files = disk.files(&records(node));
        let Some(file) = files.get(draw as usize % files.len().max(1)) else { return };
        let length = disk.open(file, Open::Read).and_then(|open| open.len()).unwrap_or(0);
        let offset = (draw >> 32) % length.max(1);
        let flipped = disk.flip(file, offset);
        self.0.trace.event(format_args!("n{node} has a bit flipped at {offset} of {}: {flipped:?}", file.display()));
    }

    /// A record file of a node whose bytes are not what its name says.
    pub fn rotten(&self, node: u64) -> Option<String> {
        let disk = &self.0.disks[&node];
        let files = disk.files(&records(node)).into_iter();
        let sound = |path: &Path| {
            let bytes = read_all(disk, path, u64::MAX).unwrap_or_default();
            path.file_stem().is_none_or(|name| name.to_string_lossy() == Hash::of(&bytes).to_string())
        };
        let mut rotten = files.filter(|path| path.extension().is_some_and(|end| end == "rec") && !sound(path));
        rotten.next().map(|path| path.display().to_string())
    }

    /// A node whose memory is damaged, and that has not said so (`flip_is_found`).
    pub fn unfound(&self) -> Option<u64> {
        self.0.observer.unfound()
    }

    /// A node's knobs.
    pub fn wear(&self, node: u64) -> &Arc<Wear> {
        &self.0.wears[&node]
    }

    /// A node's next sync fails.
    pub fn fail_next_sync(&self, node: u64) {
        self.0.trace.event(format_args!("n{node} will have a sync fail"));
        self.0.disks[&node].fail_next_sync();
    }

    /// The power of a node is about to go: its disk is the first to know.
    pub fn power_fails_soon(&self, node: u64) {
        self.0.disks[&node].fail_power_soon();
    }

    /// Whether a node's disk has met the end of power.
    pub fn power_is_off(&self, node: u64) -> bool {
        self.0.disks[&node].power_is_off()
    }

    /// A node's disk takes no more bytes, or as many as it could before.
    pub fn fill_disk(&self, node: u64, full: bool) {
        self.0.trace.event(format_args!("n{node} has {} disk", if full { "a full" } else { "room on its" }));
        self.0.disks[&node].fill(full);
    }

    /// A node's monotonic clock runs so many parts in a million fast.
    pub fn drift(&self, node: u64, ppm: i64) {
        self.0.trace.event(format_args!("n{node} has its clock run {ppm} ppm fast"));
        self.0.skews[&node].drift((self.0.now)(), ppm);
    }

    /// A node's disk will be empty after the next loss of power.
    pub fn wipe(&self, node: u64) {
        self.0.trace.event(format_args!("n{node} will lose its disk"));
        self.0.disks[&node].wipe_at_power_loss();
    }

    /// Whether a node with a disk that was emptied has met a message for the one before.
    pub fn was_refused(&self, node: u64) -> bool {
        self.0.observer.was_refused(node)
    }

    /// The process of a node is dead.
    pub fn crashed(&self, node: u64, power: bool) {
        self.probes().remove(&node);
        self.refusals().remove(&node);
        self.0.trace.event(format_args!("n{node} {}", if power { "loses power" } else { "crashes" }));
        match power {
            true if self.0.disks[&node].power_loss() => self.0.observer.wiped(node),
            true => {}
            false => self.0.disks[&node].crash(),
        }
    }

    /// Something that is done to a node, for the trace.
    pub fn trace(&self, text: impl std::fmt::Display) {
        self.0.trace.event(text);
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

/// Where a node's record files are.
fn records(node: u64) -> PathBuf {
    Path::new(&format!("/n{node}")).join("records")
}

/// Small files and frequent snapshots, so that a short run rolls segments, purges and installs.
fn config(node: u64) -> Config {
    let mut config = Config::new(node, format!("/n{node}"));
    config.listen = format!("0.0.0.0:{CLIENT_PORT}");
    config.peer_listen = format!("0.0.0.0:{PEER_PORT}");
    config.insecure_listen = true;
    config.raft = RaftConfig { snapshot_bytes: 48 << 10, keep_entries: 50, ..RaftConfig::default() };
    config.wal = WalConfig { segment_bytes: 128 << 10, cache_bytes: 64 << 10 };
    // So that bursts come to the limits.
    config.admission =
        AdmissionConfig { high_rows: 400, normal_rows: 800, low_rows: 400, ..AdmissionConfig::default() };
    config.integrity = IntegrityConfig { round_s: 3 };
    // The client of names erases some at a time.
    config.reindex_rows = 8;
    config
}
