//! A door for `benches/queue`, which measures admission alone.
//!
//! Place: beside the crate's front door, hidden from its guide. What goes in is made by the real session door, and goes
//! through the real admission. Leaves out: any promise; it changes as admission does.

use crate::admission::Admission;
use crate::config::AdmissionConfig;
use crate::session::{Door, Sequenced};
use engram_proto::observation::Shape;
use engram_proto::wire::v1::{Metric, Observation, ObserveBatch, Precision, Priority};
use tokio::sync::mpsc;

/// Chunks of one row each.
pub struct Maker(Door, u64);

/// A chunk that may be put.
pub struct Item(Sequenced);

/// Lanes with permits.
pub struct Queue(Admission);

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

    /// Admits to the high, normal or low lane; false: refused, and the item is gone.
    pub fn put(&self, item: Item, lane: usize) -> bool {
        let priority = [Priority::High, Priority::Normal, Priority::Low][lane % 3];
        self.0.admit(item.0, priority).is_ok()
    }

    /// The next, its permit given back.
    pub fn take(&self) -> Option<Item> {
        let (chunk, permit) = self.0.pop()?.into_parts();
        drop(permit);
        Some(Item(chunk))
    }

    /// Rows under permit.
    pub fn depth(&self) -> usize {
        self.0.depth().iter().sum()
    }
}
