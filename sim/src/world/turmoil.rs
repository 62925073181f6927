//! turmoil: real tonic and hyper on simulated TCP, in one thread, on virtual time.
//!
//! Not modelled here: retransmission (a lost segment stalls its stream until a deadline drops the connection) and
//! duplication. turmoil needs the whole simulation to crash a host, so acts wait for the step loop.

use super::{Act, CALM_DELAY_MS, Hands};
use crate::cluster::Cluster;
use crate::run::{self, Run};
use crate::window::Windows;
use engram_node::env::{Listener, Net};
use engram_proto::transport::BoxIo;
use futures_util::future::BoxFuture;
use hyper_util::rt::TokioIo;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std_clock::Simulated;
use turmoil::net::{TcpListener, TcpStream};

/// The world's name.
pub const NAME: &str = "turmoil";

/// The address of a node's port.
pub fn address(node: u64, port: u16) -> String {
    format!("{}:{port}", host(node))
}

fn host(node: u64) -> String {
    format!("n{node}")
}

/// Connections of clients have a window.
#[derive(Default)]
struct Tcp(Windows);

impl Net for Tcp {
    fn bind(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let windows = self.0.clone();
        Box::pin(async move {
            let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            let port = port.ok_or_else(|| io::Error::other(format!("no port in {address}")))?;
            let listener = TcpListener::bind(("0.0.0.0", port)).await?;
            Ok(Box::new(Bound { listener, address, windows }) as Box<dyn Listener>)
        })
    }

    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<BoxIo>> {
        let windows = self.0.clone();
        Box::pin(async move {
            let stream = TcpStream::connect(&*address).await?;
            let client = stream.local_addr()?;
            Ok(match Windows::has(&address) {
                true => Box::new(TokioIo::new(windows.end(stream, true, client))) as BoxIo,
                false => Box::new(TokioIo::new(stream)),
            })
        })
    }
}

struct Bound {
    listener: TcpListener,
    address: String,
    windows: Windows,
}

impl Listener for Bound {
    fn accept(&self) -> BoxFuture<'_, io::Result<BoxIo>> {
        Box::pin(async {
            let (stream, client) = self.listener.accept().await?;
            Ok(match Windows::has(&self.address) {
                true => Box::new(TokioIo::new(self.windows.end(stream, false, client))) as BoxIo,
                false => Box::new(TokioIo::new(stream)),
            })
        })
    }

    fn local_address(&self) -> io::Result<String> {
        Ok(self.address.clone())
    }
}

#[derive(Clone, Default)]
struct Queue(Arc<Mutex<Vec<Act>>>);

impl Hands for Queue {
    fn act(&self, act: Act) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(act);
    }
}

/// Virtual time after the last step, in nanoseconds, and whether a step is under way. One run a process at a time.
static LAST_STEP: AtomicU64 = AtomicU64::new(0);
static STEPPING: AtomicBool = AtomicBool::new(false);

/// Virtual time. Between steps, while turmoil crashes or bounces a host, its own answer would compare the clocks of
/// two runtimes and hold real time: then it is the time of the last step.
pub fn now() -> Duration {
    match STEPPING.load(Ordering::Relaxed) {
        true => turmoil::sim_elapsed().unwrap_or_default(),
        false => Duration::from_nanos(LAST_STEP.load(Ordering::Relaxed)),
    }
}

/// Runs to the end of the script, or to the first failure of the world itself.
pub fn run(run: Run) -> Result<(), String> {
    let clocks = Simulated::begin();
    let mut sim = turmoil::Builder::new()
        .rng_seed(run.seed)
        .simulation_duration(run.limit)
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(CALM_DELAY_MS))
        .tcp_capacity(65_536)
        .enable_random_order()
        .build();
    let cluster = Cluster::new(&run, now, Arc::new(Tcp::default()));
    for node in 1..=run.nodes + run.spares {
        let cluster = cluster.clone();
        sim.host(host(node), move || {
            let life = cluster.life(node);
            async move { life.await.map_err(Into::into) }
        });
    }
    LAST_STEP.store(0, Ordering::Relaxed);
    let queue = Queue::default();
    let (script, hands) = (run::script(run, cluster.clone(), Arc::new(queue.clone())), queue.clone());
    sim.client("client", async move { script.await.map_err(Into::into) });
    loop {
        STEPPING.store(true, Ordering::Relaxed);
        let stepped = sim.step();
        STEPPING.store(false, Ordering::Relaxed);
        match stepped {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => return Err(error.to_string()),
        }
        LAST_STEP.store(sim.elapsed().as_nanos() as u64, Ordering::Relaxed);
        clocks.at(sim.elapsed());
        let acts = std::mem::take(&mut *hands.0.lock().unwrap_or_else(PoisonError::into_inner));
        for act in acts {
            perform(&mut sim, &cluster, act);
        }
    }
}

fn perform(sim: &mut turmoil::Sim<'_>, cluster: &Cluster, act: Act) {
    match act {
        Act::Crash { node, power } => {
            sim.crash(host(node));
            cluster.crashed(node, power);
        }
        Act::Restart { node } => sim.bounce(host(node)),
        // `World::supports` says that this world cannot.
        Act::Pause { .. } => {}
        Act::Passage { from, to, open: false } => sim.partition_oneway(host(from), host(to)),
        Act::Passage { from, to, open: true } => sim.repair_oneway(host(from), host(to)),
        Act::Delay { a, b, max_ms } => {
            sim.set_link_max_message_latency(host(a), host(b), Duration::from_millis(max_ms.max(1)));
        }
        Act::Loss { a, b, per_mille } => sim.set_link_fail_rate(host(a), host(b), f64::from(per_mille) / 1000.0),
    }
}
