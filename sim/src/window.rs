//! How much a connection holds that was written and not yet read: TCP's receive window, which neither world has.
//!
//! Invariant `window_is_kept`: of each way of a client's connection at most [`WINDOW_BYTES`] are unread; whoever writes more
//! waits, so a client that reads nothing is felt by the node. Bytes that a link loses stay unread, as the stream is stuck.
//! Leaves out: the connections of nodes among each other, where nobody stops reading.

use crate::cluster::CLIENT_PORT;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Of each way.
const WINDOW_BYTES: usize = 64 << 10;

/// One way of a connection.
#[derive(Default)]
struct Way {
    unread: usize,
    /// The reader is gone: what is written meets the connection's end.
    closed: bool,
    writer: Option<Waker>,
}

type Shared = Arc<Mutex<Way>>;

fn lock(way: &Shared) -> MutexGuard<'_, Way> {
    way.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An end that waits for the other: whether it dialled, and the ways to the dialled side and back.
struct Half {
    dialled: bool,
    ways: [Shared; 2],
}

/// The connections of a run whose other end has not been seen yet, by the client's address. Cheap to clone.
#[derive(Clone, Default)]
pub struct Windows(Arc<Mutex<BTreeMap<SocketAddr, Half>>>);

impl Windows {
    /// Whether connections to this address have a window.
    pub fn has(address: &str) -> bool {
        address.rsplit_once(':').is_some_and(|(_, port)| port == CLIENT_PORT.to_string())
    }

    /// One end of the connection from `client`.
    pub fn end<S>(&self, stream: S, dialled: bool, client: SocketAddr) -> Windowed<S> {
        let mut halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ways = match halves.remove(&client) {
            Some(half) if half.dialled != dialled => half.ways,
            // The first of the two.
            _ => {
                let ways = [Shared::default(), Shared::default()];
                halves.insert(client, Half { dialled, ways: ways.clone() });
                ways
            }
        };
        let [up, down] = ways;
        let (sends, receives) = if dialled { (up, down) } else { (down, up) };
        Windowed { stream, sends, receives, dirty: false, windows: self.clone(), client }
    }
}

/// One end of a connection with a window.
pub struct Windowed<S> {
    stream: S,
    sends: Shared,
    receives: Shared,
    /// Something was written since the last flush: madsim sends a packet at each flush, even an empty one.
    dirty: bool,
    windows: Windows,
    client: SocketAddr,
}

impl<S: AsyncRead + Unpin> AsyncRead for Windowed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        let mut way = lock(&self.receives);
        way.unread = way.unread.saturating_sub(into.filled().len() - before);
        way.writer.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Windowed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let room = {
            let mut way = lock(&self.sends);
            let room = if way.closed { usize::MAX } else { WINDOW_BYTES.saturating_sub(way.unread) };
            if room == 0 {
                way.writer = Some(cx.waker().clone());
            }
            room
        };
        if room == 0 {
            // What fills the window is on its way, whether or not the writer has asked for that: else nobody could read it.
            ready!(self.as_mut().poll_flush(cx))?;
            return Poll::Pending;
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &bytes[..bytes.len().min(room)]))?;
        lock(&self.sends).unread += written;
        self.dirty = true;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match std::mem::take(&mut self.dirty) {
            true => Pin::new(&mut self.stream).poll_flush(cx),
            false => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S> Drop for Windowed<S> {
    fn drop(&mut self) {
        // Where the other end was never seen it must not be taken for the first of the next connection from that address.
        let mut halves = self.windows.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = |half: &Half| half.ways.iter().any(|way| Arc::ptr_eq(way, &self.sends));
        if halves.get(&self.client).is_some_and(mine) {
            halves.remove(&self.client);
        }
        drop(halves);
        let mut way = lock(&self.receives);
        way.closed = true;
        way.writer.take().into_iter().for_each(Waker::wake);
    }
}
