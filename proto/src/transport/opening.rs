//! The first bytes of a connection, watched until they say which HTTP it speaks.
//!
//! hyper-util waits for them without a limit of its own; [`super::serve_connection`] drops a connection that is still
//! undecided when its time is up. From there on the limits of the HTTP in question hold.

use super::BoxIo;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

/// What HTTP/2 begins with; anything else is HTTP/1.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A byte stream, and how much of the preface it has given.
pub(super) struct Opening {
    io: BoxIo,
    seen: usize,
    decided: Arc<AtomicBool>,
}

impl Opening {
    /// The stream, and whether its HTTP is known yet.
    pub fn watch(io: BoxIo) -> (Self, Arc<AtomicBool>) {
        let decided = Arc::new(AtomicBool::new(false));
        (Self { io, seen: 0, decided: decided.clone() }, decided)
    }
}

impl Read for Opening {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if self.decided.load(Ordering::Relaxed) {
            return Pin::new(&mut self.io).poll_read(cx, into);
        }
        let mut bytes = [0; PREFACE.len()];
        let room = (PREFACE.len() - self.seen).min(into.remaining());
        let mut some = ReadBuf::new(&mut bytes[..room]);
        ready!(Pin::new(&mut self.io).poll_read(cx, some.unfilled()))?;
        let expected = &PREFACE[self.seen..];
        self.seen += some.filled().len();
        if !expected.starts_with(some.filled()) || self.seen == PREFACE.len() {
            self.decided.store(true, Ordering::Relaxed);
        }
        into.put_slice(some.filled());
        Poll::Ready(Ok(()))
    }
}

impl Write for Opening {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, parts)
    }
}
