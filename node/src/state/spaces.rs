//! A space in memory: its rows, its index (codes, tail and graph), and the conversion between the two.

use super::rows::Rows;
use engram_index::{Index, Options, Originals, Snapshot};
use engram_proto::filter;
use engram_proto::observation::{Shape, load};
use engram_proto::wire::v1::{Filter, Metric, SpaceConfig};
use std::sync::{PoisonError, RwLock};

/// Spaces that may exist at once; part of the format, as every cap that apply checks.
pub const SPACES_MAX: usize = 10_000;

/// One space. Rows and index are appended to by apply alone; the graph is built by the indexer alone.
pub struct Space {
    /// The log index of its creation.
    pub id: u64,
    /// Complete: defaults filled in before it was logged.
    pub config: SpaceConfig,
    /// What embeddings must look like.
    pub shape: Shape,
    /// Payloads.
    pub rows: Rows,
    /// Codes, graph, and who is forgotten.
    pub index: Index,
    /// After each log index that forgot rows: how many forgets there were. Rising; written by apply alone.
    forgets: RwLock<Vec<(u64, u32)>>,
}

impl Space {
    /// An empty space. The error says which option the index refuses.
    pub fn new(id: u64, config: SpaceConfig) -> Result<Self, String> {
        let metric = match config.metric() {
            Metric::Unspecified | Metric::Cosine => engram_index::Metric::Cosine,
            Metric::Dot => engram_index::Metric::Dot,
            Metric::L2 => engram_index::Metric::L2,
        };
        let mut options = Options::new(config.dim as usize, metric, id);
        options.m = config.m as usize;
        options.ef_construction = config.ef_construction as usize;
        let index = Index::new(options).map_err(|e| e.to_string())?;
        let shape = Shape::of(&config);
        Ok(Self { id, config, shape, rows: Rows::default(), index, forgets: RwLock::default() })
    }

    /// Forgets the rows that are there and were not forgotten before; how many. Called by apply alone, in log order.
    pub fn forget(&self, log_index: u64, rows: &[u32]) -> u32 {
        let forgotten = rows.iter().filter(|&&row| self.index.forget(row) == Ok(true)).count() as u32;
        if forgotten > 0 {
            let mut forgets = self.forgets.write().unwrap_or_else(PoisonError::into_inner);
            let now = (log_index, self.index.now().forgets);
            match forgets.last_mut().filter(|last| last.0 == log_index) {
                Some(last) => *last = now,
                None => forgets.push(now),
            }
        }
        forgotten
    }

    /// Whether a filter means the row; with none, every row is meant.
    pub fn means(&self, row: u32, filter: Option<&Filter>) -> bool {
        filter.is_none_or(|filter| {
            let row = self.rows.get(row);
            row.is_some_and(|row| filter::matches(filter, row.record.time_ms, &row.record.metadata))
        })
    }

    /// What a reader saw at a log index that is applied.
    pub fn as_of(&self, log_index: u64) -> Snapshot {
        let rows = partition(self.rows.len(), |row| self.rows.get(row).is_some_and(|row| row.log_index <= log_index));
        let forgets = self.forgets.read().unwrap_or_else(PoisonError::into_inner);
        let passed = forgets.partition_point(|forget| forget.0 <= log_index);
        let forgets = passed.checked_sub(1).map_or(0, |last| forgets[last].1);
        Snapshot { rows, forgets }
    }

    /// Each of the first `count` forgets: row, rows before it, log index.
    pub fn forgets(&self, count: u32) -> Vec<(u32, u32, u64)> {
        let marks = self.forgets.read().unwrap_or_else(PoisonError::into_inner);
        let mut marks = marks.iter();
        let mut mark = marks.next();
        let forget = |at: u32| {
            while mark.is_some_and(|mark| mark.1 <= at) {
                mark = marks.next();
            }
            let (row, rows) = self.index.forget_at(at)?;
            Some((row, rows, mark?.0))
        };
        (0..count).map_while(forget).collect()
    }
}

/// The first row of `count` for which `below` is false; it is true for all rows before.
fn partition(count: u32, below: impl Fn(u32) -> bool) -> u32 {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        match below(middle) {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    low
}

/// The rows' stored embeddings, for the last rescoring.
impl Originals for Space {
    fn vector(&self, row: u32, into: &mut [f32]) -> bool {
        self.rows.get(row).is_some_and(|row| load(&row.record.embedding, self.shape.precision, into))
    }
}
