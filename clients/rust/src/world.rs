//! The real world: TCP and time of a tokio runtime. The only file that names sockets or clocks.

use engram_proto::Error;
use engram_proto::transport::{BoxIo, SharedTimer, World};
use futures_util::future::BoxFuture;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{io, sync::Arc, time::Duration};
use tokio::{net::TcpStream, runtime::Handle, time::Instant};

/// TCP on one tokio runtime, with its I/O and time drivers on.
#[derive(Clone, Debug)]
pub struct Tcp {
    runtime: Handle,
    start: Instant,
}

impl Tcp {
    /// On the runtime that the caller runs in. Errors: `Invalid` outside of one.
    pub fn current() -> Result<Self, Error> {
        let outside = |_| Error::invalid("no tokio runtime here; connect from inside of one");
        Ok(Self { runtime: Handle::try_current().map_err(outside)?, start: Instant::now() })
    }
}

impl World for Tcp {
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<BoxIo>> {
        Box::pin(async move {
            let stream = TcpStream::connect(&address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(TokioIo::new(stream)) as BoxIo)
        })
    }

    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        self.runtime.spawn(task);
    }

    #[expect(clippy::disallowed_methods, reason = "this is the world that the seam stands for")]
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
