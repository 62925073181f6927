//! A space in memory: its rows, its index (codes, tail and graph), its clients' names for rows, and who is forgotten.
//!
//! Invariant `one_row_a_name`: of the rows that have an id, the last one alone can be living.

use super::rows::{Row, Rows};
use engram_index::{Index, Options, Originals, Snapshot};
use engram_proto::error::Error;
use engram_proto::filter;
use engram_proto::observation::{Shape, load, payload_hash};
use engram_proto::wire::log::{ForgetRows, Record};
use engram_proto::wire::v1::{Filter, Metric, SpaceConfig};
use std::collections::BTreeMap;
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
    /// The last row of each id, forgotten or not. Written by apply alone.
    ids: RwLock<BTreeMap<String, u32>>,
}

/// Where a row comes from.
#[derive(Clone, Copy)]
pub struct Origin {
    /// The log index of its entry.
    pub log_index: u64,
    /// The entry's log time.
    pub stamp_ms: u64,
    /// Whose it is.
    pub session: u64,
    /// Its number there.
    pub sequence: u64,
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
        Ok(Self { id, config, shape, rows: Rows::default(), index, forgets: RwLock::default(), ids: RwLock::default() })
    }

    /// Appends a row and gives its number; the one that had its id lives on. Called by apply alone, in log order.
    pub fn push(&self, origin: Origin, record: Record) -> Result<u32, Error> {
        let mut vector = vec![0.0; self.shape.dim];
        if !load(&record.embedding, self.shape.precision, &mut vector) {
            return Err(Error::invalid("stored embedding has another length than the space's"));
        }
        let coded = self.index.push(&vector).map_err(|e| Error::invalid(e.to_string()))?;
        let previous = match record.id.is_empty() {
            true => None,
            false => self.ids.write().unwrap_or_else(PoisonError::into_inner).insert(record.id.clone(), coded),
        };
        let Origin { log_index, stamp_ms, session, sequence } = origin;
        let payload_hash = payload_hash(&record);
        let row = self.rows.push(Row { log_index, stamp_ms, session, sequence, payload_hash, previous, record });
        // The index numbers rows as we do and has the smaller range.
        assert_eq!(row, Some(coded), "rows and codes go together");
        Ok(coded)
    }

    /// Forgets what the command names, where it is there and was not forgotten before; how many rows. Called by apply
    /// alone, in log order.
    pub fn forget(&self, log_index: u64, named: &ForgetRows) -> u32 {
        let by_id = {
            let ids = self.ids.read().unwrap_or_else(PoisonError::into_inner);
            named.ids.iter().filter_map(|id| ids.get(id).copied()).collect::<Vec<u32>>()
        };
        let range = named.from..named.until.min(self.rows.len());
        let rows = named.rows.iter().copied().chain(by_id).chain(range);
        let forgotten = rows.filter(|&row| self.index.forget(row) == Ok(true)).count() as u32;
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

    /// The row that a snapshot has under an id.
    pub fn named(&self, id: &str, at: Snapshot) -> Option<u32> {
        let mut next = self.ids.read().unwrap_or_else(PoisonError::into_inner).get(id).copied();
        while let Some(row) = next {
            if self.index.lives(row, at) {
                return Some(row);
            }
            next = self.rows.get(row)?.previous;
        }
        None
    }

    /// How many rows, from the first on, were committed at this log time or before.
    pub fn until(&self, stamp_ms: u64) -> u32 {
        partition(self.rows.len(), |row| self.rows.get(row).is_some_and(|row| row.stamp_ms <= stamp_ms))
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
