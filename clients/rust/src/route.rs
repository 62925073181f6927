//! Where to go next: the leader hint, or the endpoints in turn, with jittered exponential backoff.
//!
//! A pinned route knows one address and follows nothing.

use crate::{pool::Pool, seed::Rng, timing::RETRY_AFTER_MAX};
use engram_proto::transport::Channel;
use engram_proto::{Error, Kind};
use http::HeaderValue;
use std::{sync::Arc, time::Duration};

/// Hints followed in a row; then the endpoints are tried in turn again.
const HINTS_IN_A_ROW_MAX: u32 = 3;

/// What the route is for: writes prefer the leader, reads spread over the endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Read,
    Write,
}

pub(crate) struct Route {
    pool: Arc<Pool>,
    pin: Option<Arc<str>>,
    trace: Option<HeaderValue>,
    rng: Rng,
    cursor: usize,
    hint: Option<String>,
    hints_in_a_row: u32,
    failures: u32,
    last: String,
}

impl Route {
    pub fn new(pool: Arc<Pool>, pin: Option<Arc<str>>, trace: Option<HeaderValue>, purpose: Purpose) -> Self {
        let (number, mut rng) = pool.operation();
        let count = pool.endpoints.len();
        let (cursor, hint) = match purpose {
            Purpose::Read => ((number % count as u64) as usize, None),
            Purpose::Write => (rng.below(count), pool.leader()),
        };
        Self { pool, pin, trace, rng, cursor, hint, hints_in_a_row: 0, failures: 0, last: String::new() }
    }

    /// The channel to try now.
    pub fn next(&mut self) -> Channel {
        let address = match (&self.pin, self.hint.take()) {
            (Some(pin), _) => pin.to_string(),
            (None, Some(hint)) => {
                self.hints_in_a_row += 1;
                hint
            }
            (None, None) => {
                self.hints_in_a_row = 0;
                self.cursor = (self.cursor + 1) % self.pool.endpoints.len();
                self.pool.endpoints[self.cursor].clone()
            }
        };
        self.last = address;
        self.pool.channel(&self.last).traced(self.trace.clone())
    }

    /// A connection that another route made.
    pub fn connected(&mut self, address: &str) {
        self.hint = None;
        self.last = address.to_string();
    }

    /// The last address tried.
    pub fn last(&self) -> &str {
        &self.last
    }

    /// A hint that came with good news: where to go if this connection breaks.
    pub fn prefer(&mut self, leader_address: &str) {
        let hint = self.pool.hint(leader_address);
        if hint.as_deref() != Some(&self.last) {
            self.hint = hint;
        }
    }

    /// Progress: the next failure counts as the first one.
    pub fn progressed(&mut self) {
        (self.failures, self.hints_in_a_row) = (0, 0);
    }

    /// Takes note of a failure; the answer is how long to wait before the next attempt.
    pub fn failed(&mut self, error: &Error) -> Duration {
        self.pool.forget(&self.last);
        let mut at_once = false;
        if let Some(hint) = self.pool.hint(&error.0.leader_address)
            && hint != self.last
            && self.hints_in_a_row < HINTS_IN_A_ROW_MAX
        {
            at_once = self.failures == 0 && error.kind() == Kind::NotLeader;
            self.hint = Some(hint);
        }
        let timing = self.pool.timing;
        let doubled = timing.backoff_min.saturating_mul(1 << self.failures.min(16));
        let backoff = self.rng.jitter(doubled.min(timing.backoff_max));
        self.failures = self.failures.saturating_add(1);
        let asked = Duration::from_millis(error.0.retry_after_ms.into()).min(RETRY_AFTER_MAX);
        match at_once && self.pin.is_none() {
            true => asked,
            false => backoff.max(asked),
        }
    }
}
