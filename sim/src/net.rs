//! A network whose every written byte is folded into the trace: a leak of entropy into the wire changes the hash. Its
//! connections break when the fault driver says so, in the middle of a write if there is one.

use crate::trace::Trace;
use crate::wear::Wear;
use engram_node::env::{Listener, Net};
use engram_proto::transport::BoxIo;
use futures_util::future::BoxFuture;
use hyper::rt::{Read, ReadBufCursor, Write};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use xxhash_rust::xxh3::xxh3_64;

/// Another network with its writes traced under a host's name.
pub struct Traced {
    inner: Arc<dyn Net>,
    host: String,
    trace: Trace,
    wear: Arc<Wear>,
}

impl Traced {
    /// Traces what `host` writes on `inner`.
    pub fn new(inner: Arc<dyn Net>, host: impl Into<String>, trace: Trace, wear: Arc<Wear>) -> Self {
        Self { inner, host: host.into(), trace, wear }
    }
}

impl Traced {
    fn parts(&self) -> (Arc<dyn Net>, String, Trace, Arc<Wear>) {
        (self.inner.clone(), self.host.clone(), self.trace.clone(), self.wear.clone())
    }
}

impl Net for Traced {
    fn bind(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let (inner, host, trace, wear) = self.parts();
        Box::pin(async move {
            let listener = inner.bind(address).await?;
            Ok(Box::new(TracedListener { listener, host, trace, wear }) as Box<dyn Listener>)
        })
    }

    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<BoxIo>> {
        let (inner, host, trace, wear) = self.parts();
        Box::pin(async move {
            let connected = inner.connect(address.clone()).await;
            let outcome = if connected.is_ok() { "connects to" } else { "cannot connect to" };
            trace.event(format_args!("{host} {outcome} {address}"));
            Ok(Box::new(TracedIo::new(connected?, host, trace, wear)) as BoxIo)
        })
    }
}

struct TracedListener {
    listener: Box<dyn Listener>,
    host: String,
    trace: Trace,
    wear: Arc<Wear>,
}

impl Listener for TracedListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<BoxIo>> {
        Box::pin(async {
            let io = self.listener.accept().await?;
            Ok(Box::new(TracedIo::new(io, self.host.clone(), self.trace.clone(), self.wear.clone())) as BoxIo)
        })
    }

    fn local_address(&self) -> io::Result<String> {
        self.listener.local_address()
    }
}

struct TracedIo {
    io: BoxIo,
    host: String,
    trace: Trace,
    wear: Arc<Wear>,
    /// Connections broken before this one was made.
    resets: u64,
    /// It was broken, and half a write went out.
    torn: bool,
}

impl TracedIo {
    fn new(io: BoxIo, host: String, trace: Trace, wear: Arc<Wear>) -> Self {
        let resets = wear.resets();
        Self { io, host, trace, wear, resets, torn: false }
    }

    fn broken(&self) -> bool {
        self.wear.resets() != self.resets
    }
}

fn reset<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
}

impl Read for TracedIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match self.broken() {
            true => reset(),
            false if self.wear.is_deaf(cx) => Poll::Pending,
            false => Pin::new(&mut *self.io).poll_read(cx, into),
        }
    }
}

impl Write for TracedIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let broken = self.broken();
        if broken && (self.torn || bytes.len() < 2) {
            return reset();
        }
        let bytes = if broken { &bytes[..bytes.len() / 2] } else { bytes };
        self.torn = broken;
        let written = Pin::new(&mut *self.io).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = written {
            let hash = xxh3_64(&bytes[..count]) as u32;
            self.trace.event(format_args!("{} writes {count} bytes #{hash:08x}", self.host));
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_shutdown(cx)
    }
}
