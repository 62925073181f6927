//! What the node counts about itself, and its form for Prometheus.
//!
//! Place: rooms of the corridor count in [`Meters`]; `/metrics` reads those and the node. Every family is declared once,
//! in [`families`], and docs/operations/metrics.md is made from that. Counting decides nothing: a run is the same without.

mod families;
mod histogram;
mod render;
mod text;

pub use histogram::{Histogram, Unit};
pub use render::render;

use engram_proto::query::ReadLevel;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Reads by level, as the label says it.
pub const LEVELS: [&str; 5] = ["eventual", "bounded", "at_least", "linearizable", "at_index"];

/// Counters of the rooms that have no other home for theirs. Cheap to clone; clones are one.
#[derive(Clone)]
pub struct Meters(Arc<Counts>);

/// See `families` for what each means.
pub struct Counts {
    /// Rows of proposed entries.
    pub entry_rows: Histogram,
    /// From an entry's proposal to its outcome.
    pub proposals: Histogram,
    /// Entries without a good outcome.
    pub proposals_failed: AtomicU64,
    /// From a confirmed log index to its being applied here.
    pub visibility: Histogram,
    /// Rows of built batches.
    pub batch_rows: Histogram,
    /// How long a batch took.
    pub batches: Histogram,
    /// Segments and manifests that were found damaged.
    pub own_files_damaged: AtomicU64,
    recalls: [Histogram; LEVELS.len()],
    recalls_failed: AtomicU64,
}

impl Default for Meters {
    fn default() -> Self {
        let times = || Histogram::new(Unit::Seconds);
        let rows = || Histogram::new(Unit::Rows);
        Self(Arc::new(Counts {
            entry_rows: rows(),
            proposals: times(),
            proposals_failed: AtomicU64::new(0),
            visibility: times(),
            batch_rows: rows(),
            batches: times(),
            own_files_damaged: AtomicU64::new(0),
            recalls: std::array::from_fn(|_| times()),
            recalls_failed: AtomicU64::new(0),
        }))
    }
}

impl std::ops::Deref for Meters {
    type Target = Counts;

    fn deref(&self) -> &Counts {
        &self.0
    }
}

impl Counts {
    /// A recall at `level`, or of the past, was answered or refused after so long.
    pub fn recalled(&self, level: ReadLevel, past: bool, took: std::time::Duration, answered: bool) {
        if !answered {
            self.recalls_failed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let at = match level {
            _ if past => 4,
            ReadLevel::Eventual => 0,
            ReadLevel::Bounded { .. } => 1,
            ReadLevel::AtLeast { .. } => 2,
            ReadLevel::Linearizable => 3,
        };
        self.recalls[at].time(took);
    }
}
