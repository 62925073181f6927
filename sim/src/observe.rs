//! What the nodes say of themselves, as records: their `tracing` events, with virtual time.
//!
//! Production logs the same events. The trace takes each one; the invariants look at each one.

use crate::invariants::{Invariants, Violation};
use crate::trace::Trace;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// What a node says of a message that is for another disk than its own.
const ANOTHER_DISK: &str = "this data directory is not the one that joined the cluster as this node";

/// One event of one node.
#[derive(Clone, Debug)]
pub struct Record {
    /// Virtual time.
    pub at: Duration,
    /// The node, if the event names one.
    pub node: Option<u64>,
    /// What happened.
    pub message: String,
    /// The rest, by name.
    pub fields: BTreeMap<&'static str, String>,
}

impl Record {
    /// A field as a number.
    pub fn number(&self, field: &str) -> Option<u64> {
        self.fields.get(field)?.parse().ok()
    }

    /// A field as text; empty when it is not there.
    pub fn text(&self, field: &str) -> &str {
        self.fields.get(field).map_or("", String::as_str)
    }
}

/// The layer between the nodes' events, the trace and the invariants.
#[derive(Clone)]
pub struct Observer {
    trace: Trace,
    invariants: Arc<Mutex<Invariants>>,
    /// Nodes with a bit flipped in the memory that they have, until they say that they have found it.
    flipped: Arc<Mutex<BTreeSet<u64>>>,
    /// Nodes whose disk was emptied and that have met a message for the disk before.
    refused: Arc<Mutex<BTreeSet<u64>>>,
    /// The state's digest after each log index, as nodes applied it.
    digests: Arc<Mutex<BTreeMap<u64, String>>>,
}

impl Observer {
    /// Writes to `trace`.
    pub fn new(trace: Trace) -> Self {
        let (invariants, flipped, refused, digests) = Default::default();
        Self { trace, invariants, flipped, refused, digests }
    }

    /// The first violation so far.
    pub fn violation(&self) -> Option<Violation> {
        self.invariants.lock().unwrap_or_else(PoisonError::into_inner).violation().cloned()
    }

    /// Tells the invariants that a node starts a new life.
    pub fn restarted(&self, node: u64) {
        self.invariants.lock().unwrap_or_else(PoisonError::into_inner).restarted(node);
        self.flipped.lock().unwrap_or_else(PoisonError::into_inner).remove(&node);
    }

    /// Tells the invariants that a node's disk is empty from now on.
    pub fn wiped(&self, node: u64) {
        self.invariants.lock().unwrap_or_else(PoisonError::into_inner).wiped(node);
    }

    /// Whether a node has met a message for another disk than its own.
    pub fn was_refused(&self, node: u64) -> bool {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).contains(&node)
    }

    /// The state's digest by log index. Nodes do not differ: `committed_immutable`.
    pub fn digests(&self) -> BTreeMap<u64, String> {
        self.digests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A node whose memory is damaged, and that has not said so (`flip_is_found`).
    pub fn unfound(&self) -> Option<u64> {
        self.flipped.lock().unwrap_or_else(PoisonError::into_inner).first().copied()
    }
}

struct Fields<'a>(&'a mut Record);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.0.message = value,
            "node" => self.0.node = value.parse().ok(),
            name => drop(self.0.fields.insert(name, value)),
        }
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_string());
    }
}

impl<S: Subscriber> Layer<S> for Observer {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target().starts_with("engram") && *metadata.level() <= Level::DEBUG
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut record = Record { at: self.trace.now(), node: None, message: String::new(), fields: BTreeMap::new() };
        event.record(&mut Fields(&mut record));
        let fields: Vec<String> = record.fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.trace.event(format_args!("n{} {} {}", record.node.unwrap_or(0), record.message, fields.join(" ")));
        if let ("applied", Some(index)) = (&*record.message, record.number("index")) {
            let digest = record.text("digest").to_string();
            self.digests.lock().unwrap_or_else(PoisonError::into_inner).insert(index, digest);
        }
        if let Some(node) = record.node {
            let mut flipped = self.flipped.lock().unwrap_or_else(PoisonError::into_inner);
            match &*record.message {
                "a bit flips" => drop(flipped.insert(node)),
                // The last one takes the place of the memory that the bit is in.
                "memory is damaged" | "snapshot installed" => drop(flipped.remove(&node)),
                ANOTHER_DISK => drop(self.refused.lock().unwrap_or_else(PoisonError::into_inner).insert(node)),
                _ => {}
            }
        }
        self.invariants.lock().unwrap_or_else(PoisonError::into_inner).observe(&record);
    }
}
