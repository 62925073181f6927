//! The system's clocks; under madsim the same calls read its virtual time.
#![expect(clippy::disallowed_methods, reason = "the one place where production time enters")]

use super::{Clock, Rt};
use futures_util::future::BoxFuture;
use openraft::AsyncRuntime;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Monotonic time counts from `start`.
pub struct OsClock(Instant);

impl OsClock {
    /// A clock whose monotonic time is 0 now.
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for OsClock {
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    fn wall_ms(&self) -> u64 {
        // Before 1970 reads as 1970: the wall clock decides nothing.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(Rt::sleep(duration))
    }
}
