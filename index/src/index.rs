//! One space's index: the crate's front door.
//!
//! Place: what `node` calls. Any number of readers may search beside one appender and one builder; readers wait for
//! neither. Invariants: `same_log_same_graph`; `published_before_read`; `graph_tail_disjoint`.
//! Leaves out: which rows a recall may see, and where originals are kept; both are the caller's.

use crate::{
    build::{BATCH_MAX, Builder, batch_after},
    check::{self, Broken},
    code::Encoded,
    codec::{self, LoadError},
    epoch::Epoch,
    footprint::Footprint,
    forget::{NoSuchRow, Snapshot},
    graph::Graph,
    kernel::Kernels,
    nearest::Nearest,
    options::{Options, OptionsError},
    reindex::Generation,
    scan::{self, Cue, Hit, Scan},
    search::{self, Found, Readers, Search},
    vector::{Exact, Originals, VectorError},
    workers::Workers,
};
use bytes::Bytes;
use std::{
    io::{self, Write},
    ops::{ControlFlow, Range},
    sync::Mutex,
};

/// How far a build is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The graph after the last batch.
    pub epoch: Epoch,
    /// Rows pushed; those beyond the epoch are still to be built, or too few for a batch.
    pub rows: u32,
}

/// How many epochs so many rows make, cut into complete batches.
pub fn epochs_of(rows: u32) -> u64 {
    let ends = std::iter::successors(Some(batch_after(0).end), |&end| Some(batch_after(end).end));
    ends.take_while(|&end| end <= rows).count() as u64
}

/// One space's index. See the crate's guide for an example.
pub struct Index {
    graph: Graph,
    builder: Mutex<Builder>,
    readers: Readers,
}

impl Index {
    /// An empty index with the fastest kernels that this CPU has.
    pub fn new(options: Options) -> Result<Self, OptionsError> {
        Self::with_kernels(options, Kernels::detect())
    }

    /// An empty index with the given kernels; the graph is the same with any.
    pub fn with_kernels(options: Options, kernels: Kernels) -> Result<Self, OptionsError> {
        options.validate()?;
        let graph = Graph::new(options, kernels);
        Ok(Self { graph, builder: Mutex::new(Builder::new()), readers: Readers::default() })
    }

    /// What the index was made with.
    pub fn options(&self) -> &Options {
        &self.graph.options
    }

    /// The kernels in use, for traces.
    pub fn kernels(&self) -> &'static str {
        self.graph.codes.encoder.kernels.name
    }

    /// Encodes `vector` (`[f32; dim]`) and appends it as the next row, whose number it gives. The row is part of the
    /// tail from then on. One appender is expected; a second waits. An error appends nothing.
    pub fn push(&self, vector: &[f32]) -> Result<u32, VectorError> {
        self.graph.codes.push(vector)
    }

    /// What the index knows of a row's vector, little-endian: enough to push the row into another index of the same
    /// options, where it is the same row, long after the vector is gone. `None` where there is no such row.
    pub fn code(&self, row: u32) -> Option<Vec<u8>> {
        (row < self.rows()).then(|| self.graph.codes.export(row))
    }

    /// Appends a row by its code, as `push` does by its vector.
    pub fn push_code(&self, code: &[u8]) -> Result<u32, VectorError> {
        self.graph.codes.import(code)
    }

    /// Rows pushed so far.
    pub fn rows(&self) -> u32 {
        self.graph.codes.rows()
    }

    /// Forgets a row: it is in no snapshot after this, and the graph routes through it. False when it was forgotten
    /// before. Its place among the pushes is part of the input.
    pub fn forget(&self, row: u32) -> Result<bool, NoSuchRow> {
        self.graph.codes.between_pushes(|rows| match row < rows {
            true => Ok(self.graph.forgets.forget(row, rows)),
            false => Err(NoSuchRow { row, rows }),
        })
    }

    /// The forget number `at`, counted from 0: its row, and the rows that were pushed before it.
    pub fn forget_at(&self, at: u32) -> Option<(u32, u32)> {
        (at < self.graph.forgets.count()).then(|| self.graph.forgets.event(at))
    }

    /// What a reader that comes now may see. Stays good, whatever is pushed or forgotten later. Waits for nobody.
    pub fn now(&self) -> Snapshot {
        loop {
            let forgets = self.graph.forgets.count();
            let rows = self.rows();
            // No forget came between: both were so at one time.
            if forgets == self.graph.forgets.count() {
                return Snapshot { rows, forgets };
            }
        }
    }

    /// Whether `at` has the row: it was pushed before and not forgotten.
    pub fn lives(&self, row: u32, at: Snapshot) -> bool {
        row < at.rows.min(self.rows()) && self.graph.forgets.lives(row, at.forgets)
    }

    /// The next batch if all its rows are there. Batches are cut by row number alone.
    pub fn next_batch(&self) -> Option<Range<u32>> {
        let batch = batch_after(self.graph.epochs.now().epoch.rows);
        (batch.end <= self.rows()).then_some(batch)
    }

    /// Builds a batch and publishes its epoch: the next complete one, or a shorter one that begins where it would.
    /// The graph is a function of options, rows and batches. One builder is expected; a second waits.
    ///
    /// # Panics
    /// When the batch does not begin at the epoch's rows, is empty, longer than 8,192 rows or not all pushed; when a
    /// job panics twice. The index must not be built any further after the latter.
    pub fn build(&self, batch: Range<u32>, workers: &dyn Workers) -> Epoch {
        let mut builder = self.builder.lock().expect("no build goes on after one that panicked");
        let built = self.epoch().rows;
        let pushed = self.rows();
        assert!(batch.start == built, "a batch begins where the graph ends: at {built}, not {}", batch.start);
        assert!(!batch.is_empty() && batch.len() <= BATCH_MAX as usize, "a batch has 1 to {BATCH_MAX} rows");
        assert!(batch.end <= pushed, "a batch of rows that are pushed: up to {pushed}, not {}", batch.end);
        builder.build(&self.graph, batch, workers).epoch
    }

    /// Builds one complete batch after another and reports each epoch, until none is left or `report` breaks off. What was
    /// built stays; a later call goes on behind it.
    ///
    /// # Panics
    /// As `build`.
    pub fn build_all(&self, workers: &dyn Workers, report: &mut dyn FnMut(Progress) -> ControlFlow<()>) -> Epoch {
        while let Some(batch) = self.next_batch() {
            let epoch = self.build(batch, workers);
            if report(Progress { epoch, rows: self.rows() }).is_break() {
                break;
            }
        }
        self.epoch()
    }

    /// The published graph.
    pub fn epoch(&self) -> Epoch {
        self.graph.epochs.now().epoch
    }

    /// The epoch that the first `rows` rows make, whatever has been built beyond it: a function of the input, and so equal
    /// on all replicas. `None` while it is not built yet, and where an index that was opened knows later ones alone.
    pub fn epoch_within(&self, rows: u32) -> Option<Epoch> {
        self.graph.epochs.within(rows).filter(|epoch| batch_after(epoch.rows).end > rows)
    }

    /// Flips a bit of a row's first link in the base layer, as failing memory would, so that it leads to another row of
    /// the graph: for tests of who notices. False where no bit does.
    #[doc(hidden)]
    pub fn flip_bit(&self, row: u32) -> bool {
        let (layer, rows) = (&self.graph.layers[0], self.epoch().rows);
        let mut links: Vec<_> = layer.links(row).collect();
        let Some(first) = links.first_mut() else { return false };
        let other = (0..32).map(|bit| first.slot ^ 1 << bit).find(|&slot| slot < rows && slot != row);
        first.slot = other.unwrap_or(first.slot);
        layer.set_links(row, &links);
        other.is_some()
    }

    /// Encodes a query (`[f32; dim]`).
    pub fn cue(&self, vector: &[f32]) -> Result<Cue, VectorError> {
        let mut encoded = Encoded::default();
        self.graph.codes.encoder.encode(vector, &mut encoded)?;
        Ok(Cue { encoded, exact: Exact::new(vector, &self.graph.codes.encoder.kernels) })
    }

    /// Searches the graph approximately and the tail by scan: only rows of the snapshot `params.at` that pass the filter,
    /// best first. With `originals` the nearest are rescored by them.
    pub fn search(
        &self,
        cue: &Cue,
        params: Search,
        filter: &dyn Fn(u32) -> bool,
        originals: Option<&dyn Originals>,
    ) -> Found {
        let found = search::search(&self.graph, &self.readers, &[cue], params, filter, originals);
        found.into_iter().next().expect("an answer for each cue")
    }

    /// Several searches that take turns on this thread, so that one works while another waits for memory: the answers
    /// of `search`, one for each cue, in less time together and in more time each.
    pub fn search_many(
        &self,
        cues: &[Cue],
        params: Search,
        filter: &dyn Fn(u32) -> bool,
        originals: Option<&dyn Originals>,
    ) -> Vec<Found> {
        let cues: Vec<&Cue> = cues.iter().collect();
        search::search(&self.graph, &self.readers, &cues, params, filter, originals)
    }

    /// Hits best first, for as long as they are asked for: `params` says how many and how wide at first; each time they
    /// run out, a search twice as wide goes on. In the end every row of the snapshot that passes has come once.
    pub fn nearest<'a>(
        &'a self,
        cue: &'a Cue,
        params: Search,
        filter: &'a dyn Fn(u32) -> bool,
        originals: Option<&'a dyn Originals>,
    ) -> Nearest<'a> {
        let next = Search { k: params.k.max(1), ef: params.ef.max(params.k).max(1), ..params };
        let (known, at_hand) = (Vec::new(), Vec::new().into_iter());
        Nearest { index: self, cue, next, filter, originals, known, at_hand, exhausted: false }
    }

    /// Scans the codes of the snapshot's rows that pass: the `candidates` nearest by (distance, row), rescored, the `k`
    /// best of them. The same answer on every machine, whatever the graph.
    pub fn scan(
        &self,
        cue: &Cue,
        params: Scan,
        filter: &dyn Fn(u32) -> bool,
        originals: Option<&dyn Originals>,
    ) -> Vec<Hit> {
        let lives = |row: u32| self.graph.forgets.lives(row, params.at.forgets) && filter(row);
        let candidates = params.candidates.max(params.k);
        let near = scan::candidates(&self.graph, &cue.encoded.code(), 0..params.at.rows, candidates, &lives);
        scan::hits(&self.graph, cue, near, params.k, originals)
    }

    /// Begins a new generation: an index of its own for the rows that live in `at`. `Generation::catch_up` takes them over.
    ///
    /// # Panics
    /// When `at` is of the future.
    pub fn reindex(&self, at: Snapshot) -> Generation {
        let now = self.now();
        assert!(at.rows <= now.rows && at.forgets <= now.forgets, "a snapshot up to {now:?}, not {at:?}");
        Generation::new(self, at)
    }

    /// Without rows, with all else as it is here.
    pub(crate) fn empty_twin(&self) -> Self {
        let graph = Graph::new(self.graph.options, self.graph.codes.encoder.kernels);
        Self { graph, builder: Mutex::new(Builder::new()), readers: Readers::default() }
    }

    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Bytes that the rows take up, by part.
    pub fn footprint(&self) -> Footprint {
        Footprint::of(&self.graph)
    }

    /// Proves the graph's invariants and its digest. Builds wait meanwhile.
    pub fn check(&self) -> Result<(), Broken> {
        self.verify().1
    }

    /// The same, with the epoch that it was of.
    pub fn verify(&self) -> (Epoch, Result<(), Broken>) {
        let _no_build = self.builder.lock().expect("no check after a build that panicked");
        (self.epoch(), check::check(&self.graph))
    }

    /// Writes the graph, the codes of its rows and the forgets that it knows; the epoch that was written. Builds wait
    /// meanwhile, readers and pushes do not.
    pub fn save(&self, out: &mut dyn Write) -> io::Result<Epoch> {
        let _no_build = self.builder.lock().expect("no save after a build that panicked");
        codec::save(&self.graph, out)
    }

    /// Opens what `save` wrote: a mapped file (`Bytes::from_owner`), whose codes are then read from where they lie, or
    /// memory. What came after the saved graph is to be done anew, in its order: pushes from row `rows()` on, and forgets
    /// but the first `now().forgets`. Checksums are verified, the graph's invariants are not: that is `check`.
    pub fn open(file: &Bytes) -> Result<Self, LoadError> {
        let graph = codec::open(file, Kernels::detect())?;
        let mut builder = Builder::new();
        builder.recount(&graph);
        Ok(Self { graph, builder: Mutex::new(builder), readers: Readers::default() })
    }

    /// Hash of all that the digest knows of a row: number, codes, level, links. `None` beyond the graph. Beside a build
    /// it may be that of a list half merged.
    pub fn row_hash(&self, row: u32) -> Option<u64> {
        (row < self.epoch().rows).then(|| self.graph.row_hash(row))
    }
}
