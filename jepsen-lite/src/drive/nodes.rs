//! The nodes of a run: `engram serve` processes with a directory, a log and two addresses each.
//!
//! A node runs unless something holds it down (the plan's crash, a restart); it stands still while it is paused. What
//! a kill leaves is what the operating system held: a power loss of the plan is a kill, too, as no process can take the
//! page cache with it. The settings are small, so that minutes roll segments, take snapshots and purge.
//!
//! Invariant `no_node_stops`: a process that ends though nobody ended it broke a promise; `failure` says which.

use crate::drive::child;
use crate::drive::clock::Clocks;
use crate::drive::proxy::{Door, Proxies};
use crate::drive::wires::{self, Doors, Wires};
use engram_client::NodeAddress;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::process::Child;
use tokio::time::timeout;

/// How long a node may take to stop when it is asked to: it gives admitted rows 5 s.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// Bytes of a disk that can be filled.
pub const DISK_BYTES: u64 = 512 << 20;

/// The process of each node that runs.
#[derive(Clone, Default)]
pub struct Processes(Arc<Mutex<BTreeMap<u64, u32>>>);

impl Processes {
    fn hold(&self) -> MutexGuard<'_, BTreeMap<u64, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A process runs as this node.
    pub fn started(&self, node: u64, process: u32) {
        self.hold().insert(node, process);
    }

    /// Who runs, by number.
    pub fn running(&self) -> BTreeMap<u64, u32> {
        self.hold().clone()
    }
}

/// One node.
struct Node {
    address: NodeAddress,
    child: Option<Child>,
    /// Why it does not run.
    down: BTreeSet<&'static str>,
    paused: bool,
    binary: PathBuf,
    failure: Option<String>,
}

/// All nodes of a run, spares included.
pub struct Nodes {
    dir: PathBuf,
    voters: u64,
    processes: Processes,
    nodes: BTreeMap<u64, tokio::sync::Mutex<Node>>,
    addresses: BTreeMap<u64, NodeAddress>,
    /// Whether each has a disk of its own that can be filled.
    disks: bool,
    /// Where each has a network of its own.
    wires: Option<Arc<Wires>>,
    /// Where each has a wall clock that can lie.
    clocks: Option<Clocks>,
}

/// What the nodes of a run have of their own.
pub struct Means {
    /// Filesystems.
    pub disks: bool,
    /// Networks.
    pub wires: Option<Arc<Wires>>,
    /// Wall clocks.
    pub clocks: Option<Clocks>,
}

/// Any port of this machine alone.
pub const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

impl Nodes {
    /// Nodes 1 to `voters` and `spares` more, each behind two proxies, none started.
    pub async fn new(
        dir: &Path,
        (voters, spares): (u64, u64),
        binary: &Path,
        proxies: &Arc<Proxies>,
        Means { disks, wires, clocks }: Means,
    ) -> io::Result<Self> {
        let mut ports = free_ports();
        let (mut nodes, mut addresses) = (BTreeMap::new(), BTreeMap::new());
        for node in 1..=voters + spares {
            let mut port = || ports.next().ok_or(io::Error::from(io::ErrorKind::AddrInUse));
            let Doors { inner, outer } = match wires {
                Some(_) => wires::doors(node),
                None => Doors { inner: [port()?, port()?], outer: [LOOPBACK; 2] },
            };
            let [client, peer] = inner;
            let address = NodeAddress {
                node,
                client_address: proxies.open(node, Door::Clients, (outer[0], client)).await?.to_string(),
                peer_address: proxies.open(node, Door::Peers, (outer[1], peer)).await?.to_string(),
            };
            let data = dir.join(format!("node-{node}"));
            std::fs::create_dir_all(&data)?;
            clocks.as_ref().map_or(Ok(()), |clocks| clocks.set(node, 0))?;
            if disks && node <= voters {
                mount(&data)?;
            }
            std::fs::write(dir.join(format!("node-{node}.toml")), settings(node, &data, client, peer))?;
            addresses.insert(node, address.clone());
            let (down, binary) = (BTreeSet::from(["not started"]), binary.to_path_buf());
            let state = Node { address, child: None, down, paused: false, binary, failure: None };
            nodes.insert(node, tokio::sync::Mutex::new(state));
        }
        let processes = proxies.processes.clone();
        Ok(Self { dir: dir.to_path_buf(), voters, processes, nodes, addresses, disks, wires, clocks })
    }

    /// The nodes that are members from the first moment to the last.
    pub fn voters(&self) -> impl Iterator<Item = u64> + use<> {
        1..=self.voters
    }

    /// The nodes that the plan adds.
    pub fn spares(&self) -> impl Iterator<Item = u64> + use<> {
        self.voters + 1..=self.nodes.len() as u64
    }

    /// Where a node is, as others and clients know it.
    pub fn address(&self, node: u64) -> NodeAddress {
        self.addresses[&node].clone()
    }

    /// Where clients reach the voters.
    pub fn endpoints(&self) -> Vec<String> {
        self.voters().map(|node| self.address(node).client_address).collect()
    }

    /// Kills a node, and holds it down for this reason.
    pub async fn kill(&self, node: u64, reason: &'static str) {
        let mut state = self.nodes[&node].lock().await;
        state.down.insert(reason);
        self.end(&mut state).await;
    }

    /// Asks a node to stop, and holds it down for this reason. The error: it did not stop in time, and was killed.
    pub async fn stop(&self, node: u64, reason: &'static str) -> Result<(), String> {
        let mut state = self.nodes[&node].lock().await;
        state.down.insert(reason);
        let Some(child) = &mut state.child else { return Ok(()) };
        if let Some(pid) = child.id().and_then(|pid| Pid::from_raw(pid as i32)) {
            let _ = kill_process(pid, Signal::TERM); // ended by itself: told below
        }
        let ended = timeout(STOP_LIMIT, child.wait()).await;
        let verdict = match ended {
            Err(_) => Err(format!("stops_when_asked: node {node} still runs {STOP_LIMIT:?} after SIGTERM")),
            Ok(Ok(status)) if !status.success() => {
                Err(format!("stops_when_asked: node {node} ended with {status}: {}", self.last_words(node)))
            }
            Ok(_) => Ok(()),
        };
        if verdict.is_err() {
            let _ = child.kill().await; // ended, but not well
        }
        self.processes.hold().remove(&node);
        (state.child, state.paused) = (None, false);
        verdict
    }

    async fn end(&self, state: &mut Node) {
        if let Some(mut child) = state.child.take() {
            note_end(state, &mut child, &self.last_words(state.address.node));
            self.processes.hold().remove(&state.address.node);
            let _ = child.kill().await; // gone already, which is what was wanted
            state.paused = false;
        }
    }

    /// Lets a node run again as far as this reason goes; what else holds it down still does.
    pub async fn start(&self, node: u64, reason: &'static str) -> io::Result<()> {
        let mut state = self.nodes[&node].lock().await;
        state.down.remove(reason);
        if !state.down.is_empty() || state.child.is_some() {
            return Ok(());
        }
        let log: File = OpenOptions::new().create(true).append(true).open(self.log(node))?;
        let mut command = match &self.wires {
            Some(wires) => wires.within(node, &state.binary)?,
            None => child::command(&state.binary)?,
        };
        command.envs(self.clocks.iter().flat_map(|clocks| clocks.environment(node)));
        command.arg("serve").arg("--config").arg(self.dir.join(format!("node-{node}.toml")));
        let child = command.stdout(std::process::Stdio::null()).stderr(log).spawn()?;
        if let Some(pid) = child.id() {
            self.processes.started(node, pid);
        }
        state.child = Some(child);
        Ok(())
    }

    /// From its next start on a node is of this binary.
    pub async fn set_binary(&self, node: u64, binary: &Path) {
        self.nodes[&node].lock().await.binary = binary.to_path_buf();
    }

    /// Whether a node runs and nothing is done to it.
    pub async fn is_well(&self, node: u64) -> bool {
        let state = self.nodes[&node].lock().await;
        state.child.is_some() && !state.paused
    }

    /// Makes a node stand still, or go on.
    pub async fn pause(&self, node: u64, still: bool) {
        let mut state = self.nodes[&node].lock().await;
        let pid = state.child.as_ref().and_then(Child::id).and_then(|pid| Pid::from_raw(pid as i32));
        if let Some(pid) = pid {
            let signal = if still { Signal::STOP } else { Signal::CONT };
            state.paused = still && kill_process(pid, signal).is_ok();
            if !still {
                let _ = kill_process(pid, signal); // ended by itself: told by `failure`
            }
        }
    }

    /// Sets how far ahead a node's wall clock is.
    pub fn set_clock(&self, node: u64, offset_ms: i64) -> io::Result<()> {
        let Some(clocks) = &self.clocks else { return Ok(()) };
        clocks.set(node, offset_ms)?;
        match self.processes.running().get(&node) {
            Some(process) if !clocks.is_asked(*process) => {
                Err(io::Error::other("the server has not loaded libfaketime; is it linked statically?"))
            }
            _ => Ok(()),
        }
    }

    /// Fills a node's disk to the last byte, or makes room again.
    pub fn fill_disk(&self, node: u64, full: bool) -> io::Result<()> {
        let filler = self.dir.join(format!("node-{node}")).join("filler");
        if !full {
            return std::fs::remove_file(filler);
        }
        let mut file = File::create(filler)?;
        let piece = vec![0; 64 << 10];
        while file.write(&piece).is_ok_and(|written| written > 0) {}
        Ok(())
    }

    /// A node that ended though nobody ended it.
    pub fn failure(&self) -> Option<String> {
        for (node, state) in &self.nodes {
            // One that is being started or stopped is looked at the next time.
            let Ok(mut state) = state.try_lock() else { continue };
            if let Some(mut child) = state.child.take() {
                note_end(&mut state, &mut child, &self.last_words(*node));
                state.child = Some(child);
            }
            if let Some(failure) = &state.failure {
                return Some(failure.clone());
            }
        }
        None
    }

    /// Copies what is in memory to the run's directory, where it outlives the run.
    pub fn keep_data(&self) {
        if !self.disks {
            return;
        }
        for node in self.voters() {
            let data = self.dir.join(format!("node-{node}"));
            let copied = std::process::Command::new("cp").arg("-a").arg(&data).arg(self.kept(node)).status();
            if !copied.is_ok_and(|status| status.success()) {
                eprintln!("{} is not kept", data.display());
            }
        }
    }

    fn kept(&self, node: u64) -> PathBuf {
        self.dir.join(format!("node-{node}.kept"))
    }

    fn log(&self, node: u64) -> PathBuf {
        self.dir.join(format!("node-{node}.log"))
    }

    fn last_words(&self, node: u64) -> String {
        let text = std::fs::read_to_string(self.log(node)).unwrap_or_default();
        text.lines().last().unwrap_or("it logged nothing").to_string()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        if !self.disks {
            return;
        }
        // A filesystem that a process still uses is let go of by the kernel when it ends.
        for node in self.voters() {
            let data = self.dir.join(format!("node-{node}"));
            let _ = std::process::Command::new("umount").arg("--lazy").arg(&data).status();
            // What was kept takes the place of the empty directory that is left; without it that stays.
            if std::fs::remove_dir(&data).is_ok() {
                let _ = std::fs::rename(self.kept(node), &data);
            }
        }
    }
}

/// Ends all nodes and waits for it.
pub async fn end_all(nodes: &Nodes) {
    for node in nodes.addresses.keys() {
        nodes.kill(*node, "the run is over").await;
    }
}

fn note_end(state: &mut Node, child: &mut Child, last_words: &str) {
    if let Ok(Some(status)) = child.try_wait() {
        let node = state.address.node;
        state.failure.get_or_insert(format!("no_node_stops: node {node} ended by itself with {status}: {last_words}"));
    }
}

/// Whether filesystems in memory can be mounted here, each with a size of its own.
pub fn can_mount(dir: &Path) -> bool {
    let probe = dir.join("probe");
    let mounted = std::fs::create_dir_all(&probe).and_then(|()| mount(&probe)).is_ok();
    if mounted {
        let _ = std::process::Command::new("umount").arg(&probe).status();
    }
    let _ = std::fs::remove_dir(&probe); // empty, or busy and left alone
    mounted
}

fn mount(at: &Path) -> io::Result<()> {
    let mut command = std::process::Command::new("mount");
    command.args(["-t", "tmpfs", "-o", &format!("size={DISK_BYTES}"), "engram"]).arg(at);
    let done = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).status()?;
    if done.success() { Ok(()) } else { Err(io::Error::other(format!("mount of {}: {done}", at.display()))) }
}

/// Loopback addresses that are free now, and that no outgoing connection is given later.
pub fn free_ports() -> impl Iterator<Item = SocketAddr> {
    let first = 20_000 + (std::process::id() % 1_000) as u16 * 12;
    (first..32_700)
        .chain(20_000..first)
        .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
        .filter(|address| TcpListener::bind(address).is_ok())
}

fn settings(node: u64, data: &Path, client: SocketAddr, peer: SocketAddr) -> String {
    format!(
        "node_id = {node}\ndata_dir = {:?}\nlisten = \"{client}\"\npeer_listen = \"{peer}\"\n\
         insecure_listen = {}\nindex_workers = 1\n\
         [raft]\nsnapshot_bytes = {}\nkeep_entries = 200\n\
         [wal]\nsegment_bytes = {}\ncache_bytes = {}\n\
         [admission]\nhigh_rows = 2000\nnormal_rows = 4000\nlow_rows = 2000\n\
         [integrity]\nround_s = 3\n",
        data.display().to_string(),
        !client.ip().is_loopback(),
        512 << 10,
        1 << 20,
        256 << 10,
    )
}
