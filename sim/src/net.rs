//! A network whose every written byte is folded into the trace: a leak of entropy into the wire changes the hash.

use crate::trace::Trace;
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
}

impl Traced {
    /// Traces what `host` writes on `inner`.
    pub fn new(inner: Arc<dyn Net>, host: impl Into<String>, trace: Trace) -> Self {
        Self { inner, host: host.into(), trace }
    }
}

impl Net for Traced {
    fn bind(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let (inner, host, trace) = (self.inner.clone(), self.host.clone(), self.trace.clone());
        Box::pin(async move {
            let listener = inner.bind(address).await?;
            Ok(Box::new(TracedListener { listener, host, trace }) as Box<dyn Listener>)
        })
    }

    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<BoxIo>> {
        let (inner, host, trace) = (self.inner.clone(), self.host.clone(), self.trace.clone());
        Box::pin(async move {
            let connected = inner.connect(address.clone()).await;
            let outcome = if connected.is_ok() { "connects to" } else { "cannot connect to" };
            trace.event(format_args!("{host} {outcome} {address}"));
            Ok(Box::new(TracedIo { io: connected?, host, trace }) as BoxIo)
        })
    }
}

struct TracedListener {
    listener: Box<dyn Listener>,
    host: String,
    trace: Trace,
}

impl Listener for TracedListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<BoxIo>> {
        Box::pin(async {
            let io = self.listener.accept().await?;
            Ok(Box::new(TracedIo { io, host: self.host.clone(), trace: self.trace.clone() }) as BoxIo)
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
}

impl Read for TracedIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_read(cx, into)
    }
}

impl Write for TracedIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
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
