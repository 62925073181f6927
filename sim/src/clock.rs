//! A node's clock over the world's virtual time: the wall clock may be wrong, the monotonic one may run fast or slow.

use engram_node::env::{Clock, Rt};
use futures_util::future::BoxFuture;
use openraft::AsyncRuntime;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// 2026-01-01, so that wall times look like some.
const EPOCH_MS: i64 = 1_767_225_600_000;

/// How wrong a node's clocks are; changed while the node runs.
#[derive(Default)]
pub struct Skew {
    /// Milliseconds that the wall clock is ahead.
    pub wall_ms: AtomicI64,
    drift: Mutex<Drift>,
}

/// The monotonic clock read `base` at the world's time `since`, and has run `ppm` parts in a million fast from there.
#[derive(Default)]
struct Drift {
    since: Duration,
    base: Duration,
    ppm: i64,
}

impl Drift {
    fn at(&self, now: Duration) -> Duration {
        let passed = now.saturating_sub(self.since).as_nanos() as i128;
        self.base + Duration::from_nanos((passed + passed * i128::from(self.ppm) / 1_000_000).max(0) as u64)
    }
}

impl Skew {
    /// From the world's time `now` on, the monotonic clock runs so many parts in a million fast; it never jumps.
    pub fn drift(&self, now: Duration, ppm: i64) {
        let mut drift = self.drift.lock().unwrap_or_else(PoisonError::into_inner);
        *drift = Drift { since: now, base: drift.at(now), ppm };
    }
}

/// A node's clock.
pub struct SimClock {
    now: fn() -> Duration,
    skew: Arc<Skew>,
}

impl SimClock {
    /// Over the world's time `now`.
    pub fn new(now: fn() -> Duration, skew: Arc<Skew>) -> Self {
        Self { now, skew }
    }
}

impl Clock for SimClock {
    fn monotonic(&self) -> Duration {
        self.skew.drift.lock().unwrap_or_else(PoisonError::into_inner).at((self.now)())
    }

    fn wall_ms(&self) -> u64 {
        let skew = self.skew.wall_ms.load(Ordering::Relaxed);
        ((self.now)().as_millis() as i64 + EPOCH_MS + skew).max(0) as u64
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(Rt::sleep(duration))
    }
}
