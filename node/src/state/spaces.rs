//! A space in memory: its rows, its index (codes, tail and graph), its clients' names for rows, and who is forgotten.
//!
//! Invariant `one_row_a_name`: of the rows that have an id, the last one alone can be living.

use super::generation::{Beginning, Generation, Next};
use super::past::{Mark, Past};
use super::rows::{Row, Rows};
use super::segments::Segments;
use engram_index::{Index, Options, Originals, Snapshot};
use engram_mutants::mutant;
use engram_proto::error::Error;
use engram_proto::filter;
use engram_proto::observation::{Shape, load, payload_hash};
use engram_proto::wire::log::{ForgetRows, Record};
use engram_proto::wire::v1::{Filter, Metric, SpaceConfig};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Spaces that may exist at once; part of the format, as every cap that apply checks.
pub const SPACES_MAX: usize = 10_000;

/// One space, in one generation of its index. Rows and index are appended to by apply alone; the graph is built by the
/// indexer alone. With a new generation comes a new one of these, which shares all but the index with the one before.
pub struct Space {
    /// The log index of its creation.
    pub id: u64,
    /// Complete: defaults filled in before it was logged.
    pub config: SpaceConfig,
    /// What embeddings must look like.
    pub shape: Shape,
    /// Payloads.
    pub rows: Arc<Rows>,
    /// Codes, graph, and who is forgotten.
    pub index: Generation,
    /// The record files of the rows.
    pub segments: Arc<Segments>,
    /// When rows were forgotten, and how far back the space can be read.
    pub past: Arc<Past>,
    /// The last row of each id, forgotten or not. Written by apply alone.
    ids: Arc<RwLock<BTreeMap<String, u32>>>,
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
        Self::restored(id, config, None, Beginning::default())
    }

    /// A space without rows whose index began so, or was saved: pushes and forgets that the index knows are done to the rest
    /// alone.
    pub fn restored(id: u64, config: SpaceConfig, saved: Option<Index>, begun: Beginning) -> Result<Self, String> {
        let options = Self::options(id, &config);
        let index = match saved {
            Some(saved) if *saved.options() == options => saved,
            Some(_) => return Err("a graph of other options than the space's".into()),
            None => Index::new(options).map_err(|e| e.to_string())?,
        };
        let index = Generation::restored(index, begun);
        let (rows, segments, past, ids) = Default::default();
        Ok(Self { shape: Shape::of(&config), id, config, rows, index, segments, past, ids })
    }

    /// Begins the next generation of the index, which has no row that is erased.
    pub fn begin_next(&self) -> Next {
        self.index.begin_next(self.past.erased())
    }

    /// The space with that generation, begun by `begin_next` since the last row was erased. This one answers on as it did, but
    /// for rows that are erased meanwhile. Called by apply alone, in log order.
    pub fn reindexed(&self, next: Next) -> Self {
        let (id, config, shape) = (self.id, self.config.clone(), self.shape);
        let index = next.finish(&self.index, self.past.drop_first(self.past.erased()).unwrap_or_default());
        let (rows, segments) = (self.rows.clone(), self.segments.clone());
        Self { id, config, shape, rows, index, segments, past: self.past.clone(), ids: self.ids.clone() }
    }

    /// Rows of the index that no reader may see any more.
    pub fn dead(&self) -> u32 {
        self.past.erased() - self.index.forgets()
    }

    /// Whether a command that names the next generation makes one.
    pub fn is_due(&self, generation: u32) -> bool {
        generation == self.index.beginning().number + 1 && self.dead() > 0
    }

    fn options(id: u64, config: &SpaceConfig) -> Options {
        let metric = match config.metric() {
            Metric::Unspecified | Metric::Cosine => engram_index::Metric::Cosine,
            Metric::Dot => engram_index::Metric::Dot,
            Metric::L2 => engram_index::Metric::L2,
        };
        let mut options = Options::new(config.dim as usize, metric, id);
        options.m = config.m as usize;
        options.ef_construction = config.ef_construction as usize;
        options
    }

    /// The number of the next row, and whether a restored index has its code already.
    fn next(&self) -> Result<(u32, bool), Error> {
        let next = self.rows.len();
        match next < u32::MAX {
            true => Ok((next, self.index.has(next))),
            false => Err(Error::invalid("the space has used up its row numbers; go on in another")),
        }
    }

    /// Appends a row and gives its number; the one that had its id lives on. Called by apply alone, in log order.
    pub fn push(&self, origin: Origin, record: Record) -> Result<u32, Error> {
        let mut vector = vec![0.0; self.shape.dim];
        if !load(&record.embedding, self.shape.precision, &mut vector) {
            return Err(Error::invalid("stored embedding has another length than the space's"));
        }
        let coded = match self.next()? {
            (next, _) if self.index.dropped(next) => return Err(Error::invalid("a row that was dropped, whole")),
            (next, true) => next,
            (_, false) => self.index.push(&vector).map_err(|e| Error::invalid(e.to_string()))?,
        };
        let previous = match record.id.is_empty() {
            true => None,
            false => self.ids.write().unwrap_or_else(PoisonError::into_inner).insert(record.id.clone(), coded),
        };
        self.publish(coded, Row::new(origin, payload_hash(&record), previous, Some(record)));
        Ok(coded)
    }

    /// Appends a row that was erased, by what is left of it.
    pub fn push_erased(&self, origin: Origin, payload_hash: u64, code: &[u8]) -> Result<(), Error> {
        let coded = match self.next()? {
            (next, true) => next,
            (next, _) if self.index.dropped(next) => next,
            (_, false) => self.index.push_code(code).map_err(|e| Error::invalid(e.to_string()))?,
        };
        self.publish(coded, Row::new(origin, payload_hash, None, None));
        Ok(())
    }

    fn publish(&self, coded: u32, row: Row) {
        // There is a number left: `next` looked.
        assert_eq!(self.rows.push(row), Some(coded), "rows and codes go together");
    }

    /// Forgets what the command names, where it is there and was not forgotten before; how many rows. Called by apply
    /// alone, in log order.
    pub fn forget(&self, log_index: u64, stamp_ms: u64, named: &ForgetRows) -> u32 {
        let by_id = {
            let ids = self.ids.read().unwrap_or_else(PoisonError::into_inner);
            let skipped = usize::from(mutant!("first_forget_skipped"));
            named.ids.iter().skip(skipped).filter_map(|id| ids.get(id).copied()).collect::<Vec<u32>>()
        };
        let range = named.from..named.until.min(self.rows.len());
        let rows = named.rows.iter().copied().chain(by_id).chain(range);
        let forgotten = rows.filter(|&row| self.index.forget(row) == Ok(true)).count() as u32;
        if forgotten > 0 && !mutant!("forget_not_in_the_past") {
            self.past.note(Mark { log_index, stamp_ms, forgets: self.index.now().forgets });
        }
        forgotten
    }

    /// Begins the past at a log index: rows that were forgotten up to there are erased. How many. Called by apply alone, in
    /// log order.
    pub fn raise_floor(&self, log_index: u64) -> u32 {
        let erased = self.past.raise(log_index, |at| Some(self.index.forget_at(at)?.0));
        self.sweep();
        erased
    }

    /// Gives back the memory of what is erased, but for what a snapshot holds.
    pub fn sweep(&self) {
        self.past.sweep(|number| {
            let Some(record) = self.rows.get(number).and_then(Row::erase) else { return };
            let mut ids = self.ids.write().unwrap_or_else(PoisonError::into_inner);
            if ids.get(&record.id) == Some(&number) {
                ids.remove(&record.id);
            }
        });
    }

    /// The first log index whose state can be read.
    pub fn earliest(&self) -> u64 {
        self.past.floor().max(self.id)
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
            let matches = |record: &Record| filter::matches(filter, record.time_ms, &record.metadata);
            self.rows.get(row).and_then(|row| row.with(matches)).unwrap_or(false)
        })
    }

    /// What a reader saw at a log index that is applied.
    pub fn as_of(&self, log_index: u64) -> Snapshot {
        let log_index_max = log_index + if mutant!("past_sees_the_future") { 3 } else { 0 };
        let rows =
            partition(self.rows.len(), |row| self.rows.get(row).is_some_and(|row| row.log_index <= log_index_max));
        Snapshot { rows, forgets: self.past.forgets(log_index) }
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
        let load = |record: &Record| load(&record.embedding, self.shape.precision, into);
        self.rows.get(row).and_then(|row| row.with(load)).unwrap_or(false)
    }
}
