//! A node's clock over the world's virtual time: the wall clock may be wrong, the monotonic one may run fast.

use engram_node::env::{Clock, Rt};
use futures_util::future::BoxFuture;
use openraft::AsyncRuntime;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// 2026-01-01, so that wall times look like some.
const EPOCH_MS: i64 = 1_767_225_600_000;

/// How wrong a node's clocks are; changed while the node runs.
#[derive(Default)]
pub struct Skew {
    /// Milliseconds that the wall clock is ahead.
    pub wall_ms: AtomicI64,
    /// Parts in a million that monotonic time runs fast.
    pub drift_ppm: AtomicI64,
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
        let nanos = (self.now)().as_nanos() as i128;
        let drift = i128::from(self.skew.drift_ppm.load(Ordering::Relaxed));
        Duration::from_nanos((nanos + nanos * drift / 1_000_000).max(0) as u64)
    }

    fn wall_ms(&self) -> u64 {
        let skew = self.skew.wall_ms.load(Ordering::Relaxed);
        ((self.now)().as_millis() as i64 + EPOCH_MS + skew).max(0) as u64
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(Rt::sleep(duration))
    }
}
