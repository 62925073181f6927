//! Spans of what callers trace: admission, log, apply, index and recalls, for a collector of OpenTelemetry.
//!
//! Place: beside the corridor. A call whose `traceparent` says "sampled" is followed through this node; its chunks carry trace
//! and span id in the log, so every node that applies and builds them adds its own spans. Without an endpoint nothing is
//! recorded and nothing enters the log. What is recorded waits in a bounded queue: over it spans are counted and
//! dropped, and no work ever waits for them. Nothing here decides anything.
//!
//! Leaves out: the way to the collector (`export`); metrics and logs by OTLP.

pub mod export;

use crate::env::{Clock, Seed};
use engram_proto::transport::{TRACEPARENT, TraceParent};
use rand::{Rng, rngs::StdRng};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Spans that wait for the collector, at most.
const QUEUE_MAX: usize = 8192;
/// Runs of rows that wait for the index, at most.
const UNINDEXED_MAX: usize = 4096;
/// A span's error until it is told how it ended.
const UNTOLD: &str = "not taken, or the stream ended before the outcome was told";

/// A span of somebody: where another one hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    trace: [u8; 16],
    span: [u8; 8],
}

impl Context {
    /// As a chunk of the log has it.
    pub fn to_wire(self) -> bytes::Bytes {
        [&self.trace[..], &self.span].concat().into()
    }

    fn from_wire(wire: &[u8]) -> Option<Self> {
        let (trace, span) = wire.split_at_checked(16)?;
        Some(Self { trace: trace.try_into().ok()?, span: span.try_into().ok()? })
    }
}

/// What an attribute says.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Words.
    Text(String),
    /// A number.
    Number(u64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}
impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

/// A span with its end. Times are of the monotonic clock.
#[derive(Debug)]
struct Done {
    own: Context,
    parent: [u8; 8],
    name: &'static str,
    /// Of a call from outside.
    server: bool,
    begun: Duration,
    ended: Duration,
    attributes: Vec<(&'static str, Value)>,
    error: Option<String>,
}

/// Rows that were applied under a trace, as the state machine tells them.
pub struct Traced {
    /// The chunk's.
    pub trace: bytes::Bytes,
    /// The space's id.
    pub space: u64,
    /// The space's rows after the chunk.
    pub rows: u32,
}

struct Unindexed {
    parent: Context,
    space: u64,
    rows: u32,
    applied: Duration,
}

/// The spans of one node. Cheap to clone; clones are one. The default records nothing.
#[derive(Clone, Default)]
pub struct Spans(Option<Arc<Shared>>);

struct Shared {
    clock: Arc<dyn Clock>,
    rng: Mutex<StdRng>,
    queue: Mutex<VecDeque<Done>>,
    unindexed: Mutex<VecDeque<Unindexed>>,
    /// The log's end when this life began: what is applied up to there is of an earlier one.
    recovered: u64,
    sent: AtomicU64,
    dropped: AtomicU64,
}

impl Spans {
    /// Records for a collector, on a node whose log ends at `recovered`.
    pub fn new(clock: Arc<dyn Clock>, seed: Seed, recovered: u64) -> Self {
        let rng = Mutex::new(seed.stream("spans"));
        let (queue, unindexed) = Default::default();
        let (sent, dropped) = Default::default();
        Self(Some(Arc::new(Shared { clock, rng, queue, unindexed, recovered, sent, dropped })))
    }

    /// The caller's span, by the headers of its call.
    pub fn caller(&self, headers: &http::HeaderMap) -> Option<Context> {
        self.sampled(headers.get(TRACEPARENT)?.to_str().ok()?)
    }

    /// The caller's span, by the `traceparent` of a message; where it has none, the stream's.
    pub fn of_message(&self, traceparent: &str, stream: Option<Context>) -> Option<Context> {
        if traceparent.is_empty() { stream } else { self.sampled(traceparent) }
    }

    fn sampled(&self, traceparent: &str) -> Option<Context> {
        self.0.as_ref()?;
        let parent = TraceParent::parse(traceparent)?;
        parent.sampled.then_some(Context { trace: parent.trace, span: parent.span })
    }

    /// Begins a span of a call from outside; it ends with its drop.
    pub fn begin(&self, name: &'static str, caller: Option<Context>) -> Option<Span> {
        let (shared, caller) = (self.0.as_ref()?, caller?);
        let done =
            Done { server: true, error: Some(UNTOLD.into()), ..shared.of(name, caller, shared.clock.monotonic()) };
        Some(Span { shared: shared.clone(), done })
    }

    /// Notes the rows of an entry that was applied: a span now, and one more once the index has them.
    pub fn applied(&self, log_index: u64, begun: Duration, traced: Vec<Traced>) {
        let Some(shared) = self.0.as_ref().filter(|shared| log_index > shared.recovered) else { return };
        for Traced { trace, space, rows } in traced {
            let Some(parent) = Context::from_wire(&trace) else { continue };
            let mut done = shared.of("apply", parent, begun);
            done.attributes = vec![("engram.log_index", log_index.into()), ("engram.space_id", space.into())];
            let (own, applied) = (done.own, shared.clock.monotonic());
            shared.push(done);
            let mut unindexed = hold(&shared.unindexed);
            if unindexed.len() == UNINDEXED_MAX {
                unindexed.pop_front();
                shared.dropped.fetch_add(1, Ordering::Relaxed);
            }
            unindexed.push_back(Unindexed { parent: own, space, rows, applied });
        }
    }

    /// Notes that the graph of a space has so many rows.
    pub fn indexed(&self, space: u64, rows: u32, epoch: u64) {
        let Some(shared) = &self.0 else { return };
        let mut built = Vec::new();
        hold(&shared.unindexed).retain(|waiting| {
            let done = waiting.space == space && waiting.rows <= rows;
            if done {
                built.push((waiting.parent, waiting.applied));
            }
            !done
        });
        for (parent, applied) in built {
            let mut done = shared.of("index", parent, applied);
            done.attributes = vec![("engram.space_id", space.into()), ("engram.epoch", epoch.into())];
            shared.push(done);
        }
    }

    /// (sent, dropped) so far.
    pub fn counts(&self) -> (u64, u64) {
        let read = |of: &AtomicU64| of.load(Ordering::Relaxed);
        self.0.as_ref().map_or((0, 0), |shared| (read(&shared.sent), read(&shared.dropped)))
    }
}

impl Shared {
    /// A span that ends when it is pushed.
    fn of(&self, name: &'static str, parent: Context, begun: Duration) -> Done {
        let span = hold(&self.rng).next_u64().max(1).to_be_bytes();
        let own = Context { trace: parent.trace, span };
        Done { own, parent: parent.span, name, server: false, begun, ended: begun, attributes: Vec::new(), error: None }
    }

    fn push(&self, mut done: Done) {
        done.ended = self.clock.monotonic();
        let trace = u128::from_be_bytes(done.own.trace);
        let took_us = done.ended.saturating_sub(done.begun).as_micros() as u64;
        tracing::debug!(trace_id = format_args!("{trace:032x}"), name = done.name, took_us, error = done.error, "span");
        let mut queue = hold(&self.queue);
        match queue.len() < QUEUE_MAX {
            true => queue.push_back(done),
            false => drop(self.dropped.fetch_add(1, Ordering::Relaxed)),
        }
    }
}

/// A span of a call that is going on; its drop is its end.
pub struct Span {
    shared: Arc<Shared>,
    done: Done,
}

impl Span {
    /// Where others hang.
    pub fn context(&self) -> Context {
        self.done.own
    }

    /// Says something about it.
    pub fn note(&mut self, name: &'static str, value: impl Into<Value>) {
        self.done.attributes.push((name, value.into()));
    }

    /// Says how it went.
    pub fn told(&mut self, error: Option<String>) {
        self.done.error = error;
    }

    /// A part of it that has begun then, and ends now.
    pub fn part(&self, name: &'static str, begun: Duration, error: Option<String>) {
        self.shared.push(Done { error, ..self.shared.of(name, self.done.own, begun) });
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let (own, parent) = (self.done.own, self.done.parent);
        let (attributes, error) = (std::mem::take(&mut self.done.attributes), self.done.error.take());
        let Done { name, server, begun, ended, .. } = self.done;
        self.shared.push(Done { own, parent, name, server, begun, ended, attributes, error });
    }
}

fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_has_trace_and_span() {
        let context = Context { trace: [7; 16], span: [9; 8] };
        assert_eq!(Context::from_wire(&context.to_wire()), Some(context));
        assert_eq!((Context::from_wire(&[1; 23]), Context::from_wire(&[1; 25])), (None, None));
    }
}
