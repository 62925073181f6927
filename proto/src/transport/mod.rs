//! HTTP/2 and gRPC over any byte stream: real TCP, or a simulator's.
//!
//! tonic comes without its `transport` feature; hyper's connection builders run on what [`World`] gives.
//! Both ends of the wire use this: the server, its peers, the clients.
//!
//! Leaves out: TLS, which wraps the stream before it gets here.

mod channel;
mod opening;
mod serve;
mod trace;

pub use channel::Channel;
pub use serve::{HEADER_READ_TIMEOUT, Routes, STREAMS_MAX, serve_connection};
pub use trace::{TRACEPARENT, TraceParent};

use futures_util::future::BoxFuture;
use std::{future::Future, io, pin::Pin, sync::Arc, time::Duration};

/// A byte stream as hyper reads and writes it.
pub trait Io: hyper::rt::Read + hyper::rt::Write + Unpin + Send {}
impl<T: hyper::rt::Read + hyper::rt::Write + Unpin + Send> Io for T {}
/// Any byte stream.
pub type BoxIo = Box<dyn Io>;

/// What a connection needs of its world.
pub trait World: Send + Sync + 'static {
    /// Opens a byte stream to `host:port`. Cancel safe: a dropped future leaves no stream open.
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<BoxIo>>;
    /// Runs a task on this world's runtime; in a simulation it dies with the node that spawned it.
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>);
    /// Ends after `duration` of this world's monotonic time.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
    /// Monotonic time since some fixed point in the past.
    fn monotonic(&self) -> Duration;
    /// hyper's timer over the same time.
    fn timer(&self) -> SharedTimer;
}

/// Ends early with `None` when `duration` has passed first.
pub async fn timeout<T>(world: &dyn World, duration: Duration, work: impl Future<Output = T>) -> Option<T> {
    let work = std::pin::pin!(work);
    match futures_util::future::select(work, world.sleep(duration)).await {
        futures_util::future::Either::Left((value, _)) => Some(value),
        futures_util::future::Either::Right(((), _)) => None,
    }
}

/// hyper's timer as a value.
#[derive(Clone)]
pub struct SharedTimer(pub Arc<dyn hyper::rt::Timer + Send + Sync>);

impl hyper::rt::Timer for SharedTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.0.sleep(duration)
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.0.sleep_until(deadline)
    }

    fn now(&self) -> std::time::Instant {
        self.0.now()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn hyper::rt::Sleep>>, deadline: std::time::Instant) {
        self.0.reset(sleep, deadline);
    }
}

/// hyper's executor on a [`World`].
#[derive(Clone)]
struct Exec(Arc<dyn World>);

impl<F> hyper::rt::Executor<F> for Exec
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        let task = async move { drop(task.await) };
        self.0.spawn("http", Box::pin(task));
    }
}

/// Pings an idle connection this often, and drops it when no answer comes.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// HTTP/2 flow-control windows: a stream of 500-row batches must not stall on the default 64 KiB.
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
