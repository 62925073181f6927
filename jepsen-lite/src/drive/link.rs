//! The links of a run: what may be set on each way from one node to another, and how bytes pass it.
//!
//! A way is open or closed, slow, and lossy. Closed: bytes are held, none is lost, and they go on when it opens, as TCP
//! resends what a dead cable swallowed; a new connection waits for both ways. Slow: every piece that is read takes a
//! drawn time, and none overtakes. Lossy: the share is that of packets of 1,448 bytes. A lost one is sent again, which
//! costs its piece, and all behind it, what it costs in Linux: 200 ms if it is the last of what was sent, and a round
//! trip if others follow, whose acks tell of the gap. So loss never breaks a connection here.
//!
//! Invariant `bytes_in_order`: whatever is set, a way delivers what was sent, in order, until the connection ends.
//!
//! Leaves out: reordering and doubled packets, which TCP hides from both ends.

use engram_chaos::rng::Rng;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// Bytes of a packet's load on Ethernet.
const PACKET_BYTES: usize = 1448;
/// Linux waits so long before it sends a packet again the first time.
const RESEND: Duration = Duration::from_millis(200);
/// The least that it takes to tell of a gap.
const ROUND_TRIP_MIN: Duration = Duration::from_millis(1);
/// Bytes of a piece, and pieces that one way of a connection holds; then the sender feels it.
const PIECE_BYTES: usize = 16 << 10;
const PIECES: usize = 64;

/// The clients' end of a link.
pub const CLIENTS: u64 = 0;

/// What is set on a way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// No byte passes.
    pub closed: bool,
    /// The shortest and the longest delay, in milliseconds.
    pub delay_ms: (u64, u64),
    /// Of a thousand packets, how many are lost.
    pub lost_per_mille: u32,
}

impl Setting {
    /// How long a piece of so many bytes is on its way.
    fn delay(&self, bytes: usize, rng: &mut Rng) -> Duration {
        let (min, max) = self.delay_ms;
        let mut delay = Duration::from_micros(if max == 0 { 0 } else { rng.between(min * 1000, max * 1000) });
        let mut lost = || self.lost_per_mille > 0 && rng.between(1, 1000) <= self.lost_per_mille.into();
        let before = (1..bytes.div_ceil(PACKET_BYTES)).filter(|_| lost()).count();
        if lost() {
            delay += RESEND;
        } else if before > 0 {
            // Gaps of one window are told of together.
            delay += Duration::from_millis(2 * max).max(ROUND_TRIP_MIN);
        }
        delay
    }
}

/// All ways of a run; each is as it should be until it is set.
#[derive(Default)]
pub struct Links {
    ways: Mutex<BTreeMap<(u64, u64), watch::Sender<Setting>>>,
    resets: Mutex<BTreeMap<u64, watch::Sender<u64>>>,
}

impl Links {
    /// The way from one end to the other, to look at and to wait for.
    pub fn way(&self, from: u64, to: u64) -> watch::Receiver<Setting> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner).entry((from, to)).or_default().subscribe()
    }

    /// Changes what is set on a way.
    pub fn set(&self, from: u64, to: u64, change: impl FnOnce(&mut Setting)) {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner).entry((from, to)).or_default().send_modify(change);
    }

    /// Everything is as it should be.
    pub fn heal(&self) {
        let ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        ways.values().for_each(|way| way.send_modify(|setting| *setting = Setting::default()));
    }

    /// Breaks every open connection of a node.
    pub fn reset(&self, node: u64) {
        self.resets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(node)
            .or_default()
            .send_modify(|count| *count += 1);
    }

    /// Changes when a node's connections are to break.
    pub fn resets(&self, node: u64) -> watch::Receiver<u64> {
        self.resets.lock().unwrap_or_else(PoisonError::into_inner).entry(node).or_default().subscribe()
    }
}

/// Waits until a way is open.
pub async fn opened(way: &mut watch::Receiver<Setting>) {
    // The sender lives as long as the run; its end opens every way.
    let _ = way.wait_for(|setting| !setting.closed).await;
}

/// What a new connection waits for: both ways open, and the time there and back.
pub async fn connected(there: &mut watch::Receiver<Setting>, back: &mut watch::Receiver<Setting>, rng: &mut Rng) {
    for way in [there, back] {
        opened(way).await;
        let delay = way.borrow().delay(1, rng);
        if delay > Duration::ZERO {
            sleep_until(Instant::now() + delay).await;
        }
    }
}

/// Carries one way of a connection until it ends; an end of the bytes is carried as well.
pub async fn carry<R, W>(mut from: R, mut to: W, mut way: watch::Receiver<Setting>, mut rng: Rng) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (pieces, mut on_the_way) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES);
    let settings = way.clone();
    let take = async move {
        let mut due = Instant::now();
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let length = from.read(&mut piece).await?;
            piece.truncate(length);
            due = due.max(Instant::now() + settings.borrow().delay(length, &mut rng));
            if length == 0 || pieces.send((due, piece)).await.is_err() {
                return Ok(());
            }
        }
    };
    let give = async move {
        while let Some((due, piece)) = on_the_way.recv().await {
            if due > Instant::now() {
                sleep_until(due).await;
            }
            opened(&mut way).await;
            to.write_all(&piece).await?;
        }
        opened(&mut way).await;
        to.shutdown().await
    };
    let (taken, given): (io::Result<()>, io::Result<()>) = tokio::join!(take, give);
    taken.and(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rng() -> Rng {
        Rng::stream(7, "test")
    }

    #[tokio::test]
    async fn a_closed_way_holds_bytes_and_an_open_one_lets_them_go_in_order() {
        let links = Links::default();
        links.set(1, 2, |setting| setting.closed = true);
        let (mut sender, from) = tokio::io::duplex(64);
        let (to, mut receiver) = tokio::io::duplex(64);
        let carried = tokio::task::spawn(carry(from, to, links.way(1, 2), rng()));
        sender.write_all(b"one").await.expect("room");
        let mut read = [0; 6];
        let early = tokio::time::timeout(Duration::from_millis(50), receiver.read(&mut read)).await;
        assert!(early.is_err(), "a byte passed a closed way");
        sender.write_all(b"two").await.expect("room");
        links.heal();
        receiver.read_exact(&mut read).await.expect("both come");
        assert_eq!(&read, b"onetwo");
        drop(sender);
        assert_eq!(receiver.read(&mut read).await.expect("the end comes"), 0);
        carried.await.expect("no panic").expect("no error");
    }

    #[tokio::test]
    async fn a_slow_way_takes_its_time_and_the_other_way_does_not() {
        let links = Links::default();
        links.set(1, 2, |setting| setting.delay_ms = (40, 60));
        for ((from, to), least, most) in [((1, 2), 40, 2000), ((2, 1), 0, 39)] {
            let (mut sender, one) = tokio::io::duplex(64);
            let (two, mut receiver) = tokio::io::duplex(64);
            drop(tokio::task::spawn(carry(one, two, links.way(from, to), rng())));
            let began = Instant::now();
            sender.write_all(b"x").await.expect("room");
            receiver.read_exact(&mut [0; 1]).await.expect("it comes");
            let took = began.elapsed().as_millis();
            assert!((least..=most).contains(&took), "{from} to {to} took {took} ms");
        }
    }

    #[test]
    fn loss_costs_resends_in_proportion() {
        let setting = Setting { lost_per_mille: 100, ..Setting::default() };
        let mut rng = rng();
        let all: Duration = (0..1000).map(|_| setting.delay(PACKET_BYTES, &mut rng)).sum();
        assert!((60..=140).contains(&(all.as_millis() / RESEND.as_millis())), "{all:?} for a tenth of a thousand");
        assert_eq!(Setting::default().delay(PIECE_BYTES, &mut rng), Duration::ZERO);
    }
}
