//! Appends several at once, and how long each takes until it is acked.
//!
//! Place: above openraft's door to a log, which every subject has. Invariant: an append's time runs from the call to the
//! moment when its appender heard that it is durable, so it is never told shorter than it was; what is still under way when
//! the time is up is waited for and counted.

use super::payload::Payloads;
use crate::cli::feed;
use crate::env::Clock;
use crate::raft::types::TypeConfig;
use hdrhistogram::Histogram;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

/// The first entry of a log that is measured.
pub const FIRST: u64 = 1;

/// What to append.
pub struct Work<'a> {
    /// The entries.
    pub payloads: &'a Payloads,
    /// Appends at once.
    pub in_flight: usize,
    /// No append begins after so long.
    pub time: Duration,
    /// Or after so many payload bytes.
    pub bytes: u64,
}

/// What came of it.
pub struct Driven {
    /// All acked.
    pub entries: u64,
    /// Until the last ack.
    pub seconds: f64,
    /// Microseconds from the append to its ack.
    pub latency: Histogram<u64>,
}

/// Appends, and tells `acked` each index in order; it answers whether to go on.
pub async fn drive<S: RaftLogStorage<TypeConfig>>(
    store: &mut S,
    clock: &dyn Clock,
    work: &Work<'_>,
    mut acked: impl FnMut(u64) -> bool,
) -> io::Result<Driven> {
    let start = clock.monotonic();
    let entries_max = work.bytes.div_ceil(work.payloads.bytes().max(1));
    let (mut next, mut flying, mut latency) = (FIRST, VecDeque::new(), feed::histogram());
    let mut going = true;
    loop {
        while going && flying.len() < work.in_flight {
            let at = clock.monotonic();
            if at.saturating_sub(start) >= work.time || next - FIRST >= entries_max {
                break;
            }
            let (done, durable) = TypeConfig::oneshot();
            store.append([work.payloads.entry(next)], IOFlushed::signal(done)).await?;
            flying.push_back((next, at, durable));
            next += 1;
        }
        let Some((index, at, durable)) = flying.pop_front() else { break };
        durable.await.map_err(|_| io::Error::other("the log dropped an append"))??;
        latency.saturating_record((clock.monotonic().saturating_sub(at)).as_micros() as u64);
        going &= acked(index);
    }
    let seconds = clock.monotonic().saturating_sub(start).as_secs_f64();
    Ok(Driven { entries: next - FIRST, seconds, latency })
}
