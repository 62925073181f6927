//! madsim: another network and another scheduler under the same node, tonic and hyper included.
//!
//! Its TCP retransmits, so loss shows as delay; delay and loss are set for all links at once. The disk is ours,
//! so that power loss exists here too.

use super::{Act, CALM_DELAY_MS, Hands};
use crate::cluster::Cluster;
use crate::run::{self, Run};
use crate::window::Windows;
use ::madsim::{net::NetSim, runtime::Handle, runtime::Runtime, task::NodeId, time::TimeHandle};
use engram_node::env::{Listener, Net, Tcp};
use engram_proto::transport::BoxIo;
use futures_util::future::BoxFuture;
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// The world's name.
pub const NAME: &str = "madsim";

/// The address of a node's port.
pub fn address(node: u64, port: u16) -> String {
    format!("10.0.0.{node}:{port}")
}

/// Virtual time.
pub fn now() -> Duration {
    TimeHandle::try_current().map_or(Duration::ZERO, |time| time.elapsed())
}

/// The network of production, but for connections of clients, which have a window.
#[derive(Default)]
struct Windowed(Windows);

impl Net for Windowed {
    fn bind(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let windows = self.0.clone();
        Box::pin(async move {
            if !Windows::has(&address) {
                return Tcp.bind(address).await;
            }
            let listener = TcpListener::bind(&address).await?;
            Ok(Box::new(Bound { listener, windows }) as Box<dyn Listener>)
        })
    }

    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<BoxIo>> {
        let windows = self.0.clone();
        Box::pin(async move {
            if !Windows::has(&address) {
                return Tcp.connect(address).await;
            }
            let stream = TcpStream::connect(&address).await?;
            let client = stream.local_addr()?;
            Ok(Box::new(TokioIo::new(windows.end(stream, true, client))) as BoxIo)
        })
    }
}

struct Bound {
    listener: TcpListener,
    windows: Windows,
}

impl Listener for Bound {
    fn accept(&self) -> BoxFuture<'_, io::Result<BoxIo>> {
        Box::pin(async {
            let (stream, client) = self.listener.accept().await?;
            Ok(Box::new(TokioIo::new(self.windows.end(stream, false, client))) as BoxIo)
        })
    }

    fn local_address(&self) -> io::Result<String> {
        Ok(self.listener.local_addr()?.to_string())
    }
}

struct Machines {
    nodes: BTreeMap<u64, NodeId>,
    cluster: Cluster,
}

impl Hands for Machines {
    fn act(&self, act: Act) {
        let network = NetSim::current();
        match act {
            Act::Crash { node, power } => {
                Handle::current().kill(self.nodes[&node]);
                self.cluster.crashed(node, power);
            }
            Act::Restart { node } => Handle::current().restart(self.nodes[&node]),
            Act::Pause { node, still: true } => Handle::current().pause(self.nodes[&node]),
            Act::Pause { node, still: false } => Handle::current().resume(self.nodes[&node]),
            Act::Passage { from, to, open: false } => network.clog_link(self.nodes[&from], self.nodes[&to]),
            Act::Passage { from, to, open: true } => network.unclog_link(self.nodes[&from], self.nodes[&to]),
            Act::Delay { max_ms, .. } => network.update_config(|config| {
                config.send_latency = Duration::from_millis(1)..Duration::from_millis(max_ms.max(2));
            }),
            Act::Loss { per_mille, .. } => network.update_config(|config| {
                config.packet_loss_rate = f64::from(per_mille) / 1000.0;
            }),
        }
    }
}

/// Runs to the end of the script, or to the first failure of the world itself.
pub fn run(run: Run) -> Result<(), String> {
    let mut config = ::madsim::Config::default();
    config.net.send_latency = Duration::from_millis(1)..Duration::from_millis(CALM_DELAY_MS);
    let seed = run.seed;
    let mut runtime = Runtime::with_seed_and_config(seed, config);
    runtime.set_time_limit(run.limit);
    tokio_seed::with_tokio_rng(seed, || runtime.block_on(machines(run)))
}

async fn machines(run: Run) -> Result<(), String> {
    let handle = Handle::current();
    let cluster = Cluster::new(&run, now, Arc::new(Windowed::default()));
    let mut nodes = BTreeMap::new();
    for node in 1..=run.nodes + run.spares {
        let lives = cluster.clone();
        let init = move || {
            let life = lives.life(node);
            let failures = lives.clone();
            async move {
                if let Err(error) = life.await {
                    failures.failed(node, error);
                }
            }
        };
        let ip = format!("10.0.0.{node}").parse().expect("an address");
        let machine = handle.create_node().name(format!("n{node}")).ip(ip).init(init).build();
        nodes.insert(node, machine.id());
    }
    let client = handle.create_node().name("client").ip("10.0.0.100".parse().expect("an address")).build();
    let hands = Arc::new(Machines { nodes, cluster: cluster.clone() });
    client.spawn(run::script(run, cluster, hands)).await.map_err(|e| e.to_string())?
}
