//! The seam to the world, as a value: network, disk, clock, worker pool, seed.
//!
//! `node::run` takes an [`Env`]; production and both simulators call the same `run`. Only this folder names
//! sockets, files, threads or clocks, and only it (with the manifests) says `cfg(madsim)`.
//!
//! Leaves out: fault models, which the simulators bring with their own implementations.

pub mod disk;
mod os_clock;
mod os_disk;
mod pool;
pub mod process;
mod rt;
mod seed;
mod tcp;

pub use disk::{Disk, File, Open};
pub use os_clock::OsClock;
pub use os_disk::OsDisk;
pub use pool::{Job, Lane, Pool, Threads, run_on};
pub use rt::{Rt, seeded, timer};
pub use seed::Seed;
pub use tcp::Tcp;

use engram_proto::transport::{BoxIo, SharedTimer, World};
use futures_util::future::BoxFuture;
use openraft::AsyncRuntime;
use std::{io, num::NonZeroUsize, sync::Arc, time::Duration};

/// Byte streams to and from other hosts.
pub trait Net: Send + Sync + 'static {
    /// Listens on `host:port`; port 0 lets the world choose.
    fn bind(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>>;
    /// Opens a stream to `host:port`. Cancel safe.
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<BoxIo>>;
}

/// A bound address.
pub trait Listener: Send + Sync {
    /// The next stream. Cancel safe.
    fn accept(&self) -> BoxFuture<'_, io::Result<BoxIo>>;
    /// Where it listens, with the port that was chosen.
    fn local_address(&self) -> io::Result<String>;
}

/// Time, possibly wrong, as this node sees it.
pub trait Clock: Send + Sync + 'static {
    /// Since some fixed point in the past; never goes back.
    fn monotonic(&self) -> Duration;
    /// Milliseconds since the Unix epoch; may jump. Kept as data and shown to people: decides nothing.
    fn wall_ms(&self) -> u64;
    /// Ends after `duration` of monotonic time. Cancel safe.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// A node's world.
#[derive(Clone)]
pub struct Env {
    /// Byte streams.
    pub net: Arc<dyn Net>,
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// CPU work and blocking I/O.
    pub pool: Arc<dyn Pool>,
    /// The one source of randomness.
    pub seed: Seed,
    /// What the system says of this process, where it does: for metrics.
    pub process: fn() -> Option<process::Process>,
}

impl Env {
    /// This machine: TCP, files, the system's clocks, threads.
    pub fn os(workers: NonZeroUsize) -> io::Result<Self> {
        Ok(Self {
            net: Arc::new(Tcp),
            disk: Arc::new(OsDisk),
            clock: Arc::new(OsClock::start()),
            pool: Arc::new(Threads::start(workers)?),
            seed: Seed::from_os()?,
            process: process::process,
        })
    }

    /// What outgoing and incoming connections need.
    pub fn world(&self) -> Arc<dyn World> {
        Arc::new(NodeWorld { net: self.net.clone(), clock: self.clock.clone() })
    }
}

struct NodeWorld {
    net: Arc<dyn Net>,
    clock: Arc<dyn Clock>,
}

impl World for NodeWorld {
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<BoxIo>> {
        self.net.connect(address)
    }

    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        drop(Rt::spawn(task));
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.clock.sleep(duration)
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    fn timer(&self) -> SharedTimer {
        timer()
    }
}
