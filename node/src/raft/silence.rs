//! A member that does not answer: when its connection is given up, and what the log says of it.
//!
//! The log hears of it once, and once when the member answers again: each call would say the same anew.
//! Leaves out: the connection (`super::net`).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// A connection on which calls waited for so long, one after the other, and nothing was answered, is dropped. One that is
/// late behind a segment which TCP sends again is not: to begin anew would take longer, over a slow network each time.
const MAX: Duration = Duration::from_millis(400);

/// As one connection sees it.
#[derive(Debug)]
pub struct Silence {
    node: u64,
    member: u64,
    /// How long calls waited since the last answer, or since the connection was dropped.
    waited_ms: AtomicU64,
    told: AtomicBool,
}

impl Silence {
    /// Between this node and a member; nothing is known yet.
    pub fn new(node: u64, member: u64) -> Self {
        Self { node, member, waited_ms: AtomicU64::new(0), told: AtomicBool::new(false) }
    }

    /// A call was answered.
    pub fn ended(&self) {
        self.waited_ms.store(0, Ordering::Relaxed);
        if self.told.swap(false, Ordering::Relaxed) {
            tracing::info!(node = self.node, member = self.member, "a member answers again");
        }
    }

    /// A call had no answer within `limit`; whether the connection is to be dropped.
    pub fn lasts(&self, limit: Duration, reason: &str) -> bool {
        let limit_ms = limit.as_millis() as u64;
        let waited_ms = self.waited_ms.fetch_add(limit_ms, Ordering::Relaxed) + limit_ms;
        let drop = u128::from(waited_ms) >= MAX.as_millis();
        if drop {
            self.waited_ms.store(0, Ordering::Relaxed);
            self.tell(reason);
        }
        drop
    }

    /// There is no connection.
    pub fn tell(&self, reason: &str) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(node = self.node, member = self.member, reason, "a member does not answer");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_outs_in_a_row_drop_a_connection_and_each_answer_begins_anew() {
        let (silence, beat) = (Silence::new(1, 2), Duration::from_millis(200));
        assert!(!silence.lasts(beat, "first"));
        silence.ended();
        assert!(!silence.lasts(beat, "after an answer") && silence.lasts(beat, "in a row"));
        assert!(silence.told.load(Ordering::Relaxed));
        assert!(!silence.lasts(beat, "a new connection") && silence.lasts(beat, "no better"));
        silence.ended();
        assert!(!silence.told.load(Ordering::Relaxed));
        assert!(silence.lasts(Duration::from_secs(1), "a long call"));
    }
}
