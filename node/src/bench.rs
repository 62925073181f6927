//! A door for `benches/queue`, which measures admission alone.
//!
//! Place: beside the crate's front door, hidden from its guide. What goes in is made by the real session door, and goes
//! through the real admission. Leaves out: any promise; it changes as admission does.

use crate::admission::{Admission, Feed};
use crate::config::AdmissionConfig;
use crate::session::{Door, Sequenced};
use engram_proto::observation::Shape;
use engram_proto::wire::v1::{Metric, Observation, ObserveBatch, Precision, Priority};
use std::ops::ControlFlow;
use tokio::sync::mpsc;

/// Chunks of one row each.
pub struct Maker(Door, u64);

/// A chunk that may be put.
pub struct Item(Sequenced);

/// Lanes with permits.
pub struct Queue(Admission);

/// One stream in each lane.
pub struct Producer<'a>(&'a Admission, [Feed; 3]);

impl Default for Maker {
    fn default() -> Self {
        let shape = Shape { dim: 2, precision: Precision::F16, metric: Metric::Cosine };
        // Nobody is told of an outcome: nothing here settles.
        Self(Door::new(1, 1, 0, shape, mpsc::channel(1).0), 1)
    }
}

impl Maker {
    /// The next chunk of its session.
    pub fn item(&mut self) -> Item {
        let embedding = [1.0f32, 0.5].iter().flat_map(|v| v.to_le_bytes()).collect();
        let row = Observation { text: "memory".into(), embedding, ..Observation::default() };
        let (mut chunks, _) = self.0.sequence(ObserveBatch { first_sequence: self.1, observations: vec![row] });
        self.1 += 1;
        Item(chunks.pop().expect("a good row in its turn"))
    }
}

impl Item {
    /// Its number in its session.
    pub fn sequence(&self) -> u64 {
        self.0.first_sequence()
    }
}

impl Queue {
    /// Lanes of `rows` rows each.
    pub fn new(rows: usize) -> Self {
        let (high_rows, normal_rows, low_rows) = (rows, rows, rows);
        let config = AdmissionConfig {
            high_rows,
            normal_rows,
            low_rows,
            bytes: usize::MAX / 1001,
            ..AdmissionConfig::default()
        };
        Self(Admission::new(1, &config))
    }

    /// Streams that put.
    pub fn producer(&self) -> Producer<'_> {
        Producer(&self.0, [Priority::High, Priority::Normal, Priority::Low].map(|lane| self.0.feed(lane)))
    }

    /// The next, its permit given back.
    pub fn take(&self) -> Option<Item> {
        let mut next = None;
        self.0.turn(|admitted| {
            next = Some(admitted);
            ControlFlow::Break(())
        });
        let (chunk, permit) = next?.into_parts();
        drop(permit);
        Some(Item(chunk))
    }

    /// Rows under permit.
    pub fn depth(&self) -> usize {
        self.0.depth().iter().sum()
    }
}

impl Producer<'_> {
    /// Admits to the high, normal or low lane; false: refused, and the item is gone.
    pub fn put(&self, item: Item, lane: usize) -> bool {
        self.0.admit(&self.1[lane % 3], item.0).is_ok()
    }
}
