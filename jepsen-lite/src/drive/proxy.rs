//! The proxies: each node is known, to others and to clients, by addresses of the driver.
//!
//! A node listens on two ports of its own; what it advertises are two ports of the driver that stay while it comes and
//! goes. Each connection is carried over the two ways between its ends (`link`). Clients' ways are never cut, slow or lossy;
//! `reset` breaks their connections like any other. A connection whose maker cannot be told is closed at once.

use crate::drive::link::{CLIENTS, Links, carry, connected};
use crate::drive::nodes::Processes;
use crate::drive::{who, wires};
use engram_chaos::rng::Rng;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};

/// How often a connection that is not made yet is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Which of a node's doors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// For clients.
    Clients,
    /// For other nodes.
    Peers,
}

/// What all proxies of a run share.
pub struct Proxies {
    /// The ways.
    pub links: Links,
    /// Who runs.
    pub processes: Processes,
    seed: u64,
    connections: AtomicU64,
}

impl Proxies {
    /// None yet.
    pub fn new(seed: u64, processes: Processes) -> Arc<Self> {
        Arc::new(Self { links: Links::default(), processes, seed, connections: AtomicU64::new(0) })
    }

    /// A door of `node` at `outer`, where port 0 is any; the node itself listens at `inner`. The answer is what is advertised.
    pub async fn open(
        self: &Arc<Self>,
        node: u64,
        door: Door,
        (outer, inner): (SocketAddr, SocketAddr),
    ) -> std::io::Result<SocketAddr> {
        let listener = TcpListener::bind(outer).await?;
        let outer = listener.local_addr()?;
        let proxies = self.clone();
        tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, source)) => {
                        tokio::spawn(proxies.clone().serve(node, door, inner, stream, (source, outer)));
                    }
                    // Out of descriptors, or gone before it was taken; the next may be well.
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        });
        Ok(outer)
    }

    async fn serve(
        self: Arc<Self>,
        to: u64,
        door: Door,
        inner: SocketAddr,
        stream: TcpStream,
        ends: (SocketAddr, SocketAddr),
    ) {
        let from = match door {
            Door::Clients => CLIENTS,
            Door::Peers => {
                let (SocketAddr::V4(source), SocketAddr::V4(target)) = ends else { return };
                // In a namespace of its own a node has an address of its own; on loopback the kernel tells whose socket it is.
                let node = wires::node_at(ends.0.ip());
                match node.or_else(|| who::connected(source, target, &self.processes.running())) {
                    Some(node) => node,
                    None => return,
                }
            }
        };
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        let draws = |way: &str| Rng::stream(self.seed, &format!("{way} {number}"));
        let (mut there, mut back) = (self.links.way(from, to), self.links.way(to, from));
        let (mut resets, mut resets_from) = (self.links.resets(to), self.links.resets(from));
        let dialled = async {
            connected(&mut there, &mut back, &mut draws("connect")).await;
            let upstream = TcpStream::connect(inner).await?;
            upstream.set_nodelay(true)?;
            stream.set_nodelay(true).map(|()| upstream)
        };
        let upstream = tokio::select! {
            biased; // a reset wins over a connection that could still be made
            _ = resets.changed() => return abort(&stream),
            _ = resets_from.changed() => return abort(&stream),
            () = given_up(&stream) => return abort(&stream),
            dialled = dialled => match dialled {
                Ok(upstream) => upstream,
                Err(_) => return abort(&stream),
            },
        };
        let ((ours_read, ours_write), (theirs_read, theirs_write)) = (split(&stream), split(&upstream));
        let out = carry(ours_read, theirs_write, there, draws("there"));
        let answers = carry(theirs_read, ours_write, back, draws("back"));
        let broken = tokio::select! {
            biased; // a reset wins over bytes that could still pass
            _ = resets.changed() => true,
            _ = resets_from.changed() => true,
            done = async { tokio::try_join!(out, answers) } => done.is_err(),
        };
        if broken {
            // Where one end broke, the other learns it at once.
            abort(&stream);
            abort(&upstream);
        }
    }
}

/// Ends when whoever connected has closed the connection again: what a closed way has held back of it never was.
async fn given_up(stream: &TcpStream) {
    loop {
        tokio::time::sleep(LOOK).await;
        // What was sent stays unread, so readiness alone would not let this task sleep.
        let ready = tokio::time::timeout(Duration::ZERO, stream.ready(Interest::READABLE)).await;
        if ready.is_ok_and(|ready| ready.is_ok_and(|ready| ready.is_read_closed())) {
            return;
        }
    }
}

/// Both halves of a borrowed stream.
fn split(stream: &TcpStream) -> (Half<'_>, Half<'_>) {
    (Half(stream), Half(stream))
}

/// The end of the connection is an error for whoever has the other end, not the end of the bytes.
fn abort(stream: &TcpStream) {
    // Refused by a socket that is gone already, which is what was wanted.
    let _ = stream.set_zero_linger();
}

/// One way of a borrowed stream.
struct Half<'s>(&'s TcpStream);

mod half {
    //! Reading and writing through a shared reference, so that the stream can be aborted by whoever holds it.
    use super::Half;
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll, ready};
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    impl AsyncRead for Half<'_> {
        fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            loop {
                ready!(self.0.poll_read_ready(cx))?;
                match self.0.try_read(into.initialize_unfilled()) {
                    Ok(length) => {
                        into.advance(length);
                        return Poll::Ready(Ok(()));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
        }
    }

    impl AsyncWrite for Half<'_> {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            loop {
                ready!(self.0.poll_write_ready(cx))?;
                match self.0.try_write(bytes) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    done => return Poll::Ready(done),
                }
            }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            let closed = rustix::net::shutdown(self.0, rustix::net::Shutdown::Write);
            // The other end may have broken the connection before.
            Poll::Ready(closed.or(Ok(())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::nodes;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_secs(5);
    const NOT_YET: Duration = Duration::from_millis(50);

    /// A node 2 that answers each byte with itself, and a proxy before it; this process is node 1.
    async fn echo(door: Door) -> (Arc<Proxies>, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let inner = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        let processes = Processes::default();
        processes.started(1, std::process::id());
        let proxies = Proxies::new(7, processes);
        let outer = proxies.open(2, door, (nodes::LOOPBACK, inner)).await.expect("a port");
        (proxies, outer)
    }

    async fn answer(stream: &mut TcpStream) -> std::io::Result<u8> {
        stream.write_all(b"x").await?;
        timeout(SOON, stream.read_u8()).await.expect("an answer or an error in time")
    }

    #[tokio::test]
    async fn one_way_that_is_closed_holds_the_answers_and_lets_the_question_through() {
        let (proxies, outer) = echo(Door::Peers).await;
        let mut stream = TcpStream::connect(outer).await.expect("listening");
        assert_eq!(answer(&mut stream).await.expect("open"), b'x');
        proxies.links.set(2, 1, |way| way.closed = true);
        stream.write_all(b"y").await.expect("room");
        assert!(timeout(NOT_YET, stream.read_u8()).await.is_err(), "an answer passed a closed way");
        proxies.links.heal();
        assert_eq!(stream.read_u8().await.expect("held, not lost"), b'y');
    }

    #[tokio::test]
    async fn clients_pass_where_nodes_are_cut_off_and_a_reset_breaks_both() {
        for (door, cut) in [(Door::Peers, true), (Door::Clients, false)] {
            let (proxies, outer) = echo(door).await;
            proxies.links.set(1, 2, |way| way.closed = true);
            let mut stream = TcpStream::connect(outer).await.expect("listening");
            stream.write_all(b"y").await.expect("room");
            assert_eq!(timeout(NOT_YET * 4, stream.read_u8()).await.is_err(), cut, "{door:?}");
            proxies.links.heal();
            if cut {
                assert_eq!(stream.read_u8().await.expect("the connection is made"), b'y');
            }
            proxies.links.reset(2);
            assert!(answer(&mut stream).await.is_err(), "{door:?} outlives a reset");
        }
    }

    #[tokio::test]
    async fn what_was_given_up_before_the_way_opened_never_arrives() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let processes = Processes::default();
        processes.started(1, std::process::id());
        let proxies = Proxies::new(7, processes);
        let inner = listener.local_addr().expect("bound");
        let outer = proxies.open(2, Door::Peers, (nodes::LOOPBACK, inner)).await.expect("a port");
        proxies.links.set(1, 2, |way| way.closed = true);
        let mut stream = TcpStream::connect(outer).await.expect("listening");
        stream.write_all(b"late").await.expect("room");
        tokio::time::sleep(NOT_YET).await;
        drop(stream);
        tokio::time::sleep(LOOK * 4).await;
        proxies.links.heal();
        assert!(timeout(LOOK * 4, listener.accept()).await.is_err(), "a connection was made for nobody");
    }

    #[tokio::test]
    async fn a_connection_of_nobody_we_know_is_closed() {
        let (proxies, outer) = echo(Door::Peers).await;
        proxies.processes.started(1, 1);
        let mut stream = TcpStream::connect(outer).await.expect("listening");
        assert!(answer(&mut stream).await.is_err());
    }
}
