//! When each message is due, and what an ack's time is counted from.
//!
//! Invariant: with a rate, time counts from when a row was due, not from when there was room for it: a node that stalls
//! is charged for what it kept from being sent (coordinated omission). Without one it counts from the sending.
#![expect(clippy::disallowed_methods, reason = "a command measures with the system's clock")]

use super::probe::Probe;
use crate::cli::feed;
use hdrhistogram::Histogram;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// A schedule.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The first is due now.
    pub start: Instant,
    /// Nothing is due from now on.
    pub until: Instant,
    /// Between two; none: as soon as there is room.
    pub every: Option<Duration>,
}

impl Pace {
    /// Waits until the `number`th is due, from 0; none is after the end. Cancel safe.
    pub async fn due(&self, number: u32) -> Option<Instant> {
        let now = Instant::now();
        let due = self.every.map_or(now, |every| self.start + every.mul_f64(number.into()));
        if due.max(now) >= self.until {
            return None;
        }
        if due > now {
            tokio::time::sleep_until(due.into()).await;
        }
        Some(due)
    }

    /// What a message's time counts from, once there is room.
    pub fn counted_from(&self, due: Instant) -> Instant {
        if self.every.is_some() { due } else { Instant::now() }
    }
}

/// A stream's acks, and when what they are of was due.
pub struct Acks {
    until: Instant,
    /// Last sequence of a message, and when it was due.
    sent: VecDeque<(u64, Instant)>,
    /// The highest.
    pub acked: u64,
    /// Acked before the end of the schedule.
    pub in_time: u64,
    /// Microseconds, a row each.
    pub latency: Histogram<u64>,
    probes: mpsc::Sender<Probe>,
}

impl Acks {
    /// Of a stream whose acks may be probed.
    pub fn new(pace: &Pace, probes: mpsc::Sender<Probe>) -> Self {
        let (sent, latency) = (VecDeque::new(), feed::histogram());
        Self { until: pace.until, sent, acked: 0, in_time: 0, latency, probes }
    }

    /// The rows after those before, up to `last`, are on their way; once each.
    pub fn sent(&mut self, last: u64, counted_from: Instant) {
        self.sent.push_back((last, counted_from));
    }

    /// Everything up to `last` is acked; `row` is the number of the row `last`.
    pub fn acked(&mut self, last: u64, log_index: u64, row: u64) {
        let now = Instant::now();
        let mut from = self.acked + 1;
        while let Some(&(end, due)) = self.sent.front() {
            let upto = end.min(last);
            if from <= upto {
                let micros = now.saturating_duration_since(due).as_micros() as u64;
                self.latency.saturating_record_n(micros, upto - from + 1);
                from = upto + 1;
            }
            if end > last {
                break;
            }
            self.sent.pop_front();
        }
        if now <= self.until {
            self.in_time += last.saturating_sub(self.acked);
            // Full: another probe is under way, and one at a time is enough.
            drop(self.probes.try_send(Probe { row, log_index, acked: now }));
        }
        self.acked = self.acked.max(last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ack_counts_each_row_once_from_when_it_was_due() {
        let start = Instant::now();
        let pace = Pace { start, until: start + Duration::from_secs(60), every: Some(Duration::from_secs(1)) };
        let mut acks = Acks::new(&pace, mpsc::channel(1).0);
        acks.sent(10, start);
        acks.sent(20, start + Duration::from_secs(30));
        acks.acked(4, 1, 0);
        acks.acked(15, 2, 0);
        acks.acked(15, 2, 0);
        assert_eq!((acks.acked, acks.in_time, acks.latency.len()), (15, 15, 15));
        acks.acked(20, 3, 0);
        assert_eq!((acks.acked, acks.latency.len(), acks.sent.len()), (20, 20, 0));
    }
}
