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
    graph::Graph,
    kernel::Kernels,
    options::{Options, OptionsError},
    scan::{self, Cue, Hit},
    search::{self, Found, Readers, Search},
    vector::{Exact, Originals, VectorError},
    workers::Workers,
};
use std::{
    io::{self, Read, Write},
    ops::Range,
    sync::Mutex,
};

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

    /// Rows pushed so far.
    pub fn rows(&self) -> u32 {
        self.graph.codes.rows()
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

    /// The published graph.
    pub fn epoch(&self) -> Epoch {
        self.graph.epochs.now().epoch
    }

    /// Encodes a query (`[f32; dim]`).
    pub fn cue(&self, vector: &[f32]) -> Result<Cue, VectorError> {
        let mut encoded = Encoded::default();
        self.graph.codes.encoder.encode(vector, &mut encoded)?;
        Ok(Cue { encoded, exact: Exact::new(vector, &self.graph.codes.encoder.kernels) })
    }

    /// Searches the graph approximately and the tail by scan: only rows below `params.visible` that pass the filter,
    /// best first. With `originals` the nearest are rescored by them.
    pub fn search(
        &self,
        cue: &Cue,
        params: Search,
        filter: &dyn Fn(u32) -> bool,
        originals: Option<&dyn Originals>,
    ) -> Found {
        search::search(&self.graph, &self.readers, cue, params, filter, originals)
    }

    /// Scans the codes of the rows of `range` that pass: the `candidates` nearest by (distance, row), rescored, the `k`
    /// best of them. The same answer on every machine, whatever the graph.
    pub fn scan(
        &self,
        cue: &Cue,
        range: Range<u32>,
        candidates: usize,
        k: usize,
        filter: &dyn Fn(u32) -> bool,
        originals: Option<&dyn Originals>,
    ) -> Vec<Hit> {
        let near = scan::candidates(&self.graph, &cue.encoded.code(), range, candidates.max(k), filter);
        scan::hits(&self.graph, cue, near, k, originals)
    }

    /// Proves the graph's invariants and its digest. Builds wait meanwhile.
    pub fn check(&self) -> Result<(), Broken> {
        let _no_build = self.builder.lock().expect("no check after a build that panicked");
        check::check(&self.graph)
    }

    /// Writes the graph and the codes of its rows; the epoch that was written. Builds wait meanwhile, readers and pushes
    /// do not.
    pub fn save(&self, out: &mut dyn Write) -> io::Result<Epoch> {
        let _no_build = self.builder.lock().expect("no save after a build that panicked");
        codec::save(&self.graph, out)
    }

    /// Reads what `save` wrote. The rows that were not in the graph are to be pushed anew: those from `rows()` on.
    /// Checksums are verified, the graph's invariants are not: that is `check`.
    pub fn load(input: &mut dyn Read) -> Result<Self, LoadError> {
        let graph = codec::load(input, Kernels::detect())?;
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
