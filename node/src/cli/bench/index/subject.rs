//! The index as the bench drives it.
//!
//! Place: the only file that builds and searches; the others measure. Rows are encoded by the pool too, as one job beside
//! those of the build, so that a rate has the encoding inside and all threads have work. Invariant: what is pushed, and
//! when, is of no effect on the graph; the batches are cut by row number.

use super::args::Batch;
use super::data::Data;
use crate::cli::exit::Failure;
use engram_index::{Cue, Hit, Index, Options, Originals, Search, Workers};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Queries that are handed over together.
const TOGETHER: usize = 64;
/// Candidates of a scan that originals rescore.
const SCANNED: usize = 200;

/// An index and its rows.
pub struct Subject<'a> {
    index: Index,
    data: &'a Data,
    feed: Mutex<Feed>,
    forgotten: Vec<bool>,
}

/// The appender's state.
#[derive(Default)]
struct Feed {
    vector: Vec<f32>,
    encoding: Duration,
    failed: Option<Failure>,
}

/// Bytes of an index by what they hold.
pub type Parts = Vec<(&'static str, u64)>;

/// How saving and loading went.
#[derive(Debug, Default, serde::Serialize)]
pub struct Saved {
    /// Length of the file.
    pub bytes: u64,
    /// Into memory.
    pub save_s: f64,
    /// The same as a rate.
    pub save_mb_per_s: f64,
    /// From memory, checksums verified.
    pub load_s: f64,
    /// The same as a rate.
    pub load_mb_per_s: f64,
}

impl<'a> Subject<'a> {
    /// An empty one.
    pub fn new(options: Options, data: &'a Data) -> Result<Self, Failure> {
        let index = Index::new(options).map_err(|e| Failure::input(format!("bench index: {e}")))?;
        let feed = Mutex::new(Feed { vector: vec![0.0; data.dim], ..Feed::default() });
        Ok(Self { index, data, feed, forgotten: Vec::new() })
    }

    /// Pushes and builds rows until `rows` are in the graph, in batches of a kind; the last is cut short.
    pub fn build(&self, rows: u32, cut: Batch, workers: &dyn Workers) -> Result<(), Failure> {
        while self.built() < rows {
            let Some(batch) = self.next(rows, cut) else {
                self.push_while(self.index.rows() + 1, || true);
                self.fault()?;
                continue;
            };
            // The next batch is an eighth longer at most.
            let ahead = rows.min(batch.end + (batch.len() + batch.len() / 8) as u32 + 8);
            self.index.build(batch, &Feeding { subject: self, until: ahead, workers });
            self.fault()?;
        }
        Ok(())
    }

    /// The batch to build, once its rows are there.
    fn next(&self, rows: u32, cut: Batch) -> Option<Range<u32>> {
        let (built, pushed) = (self.built(), self.index.rows());
        match cut {
            Batch::Auto if pushed < rows => self.index.next_batch(),
            Batch::Auto => Some(self.index.next_batch().unwrap_or(built..rows)),
            Batch::Rows(count) => Some(built..rows.min(built + count)).filter(|batch| batch.end <= pushed),
        }
    }

    /// Pushes rows up to number `until`, for as long as `go_on` says.
    fn push_while(&self, until: u32, go_on: impl Fn() -> bool) {
        let mut feed = self.feed.lock().expect("an appender does not panic");
        while feed.failed.is_none() && self.index.rows() < until && go_on() {
            let row = self.index.rows();
            let pushed = self.data.read(row as usize, &mut feed.vector).and_then(|()| {
                let started = now();
                let pushed = self.index.push(&feed.vector);
                feed.encoding += started.elapsed();
                pushed.map_err(|e| Failure::input(format!("row {row} of {}: {e}; correct the data", self.data.name)))
            });
            feed.failed = pushed.err();
        }
    }

    fn fault(&self) -> Result<(), Failure> {
        self.feed.lock().expect("an appender does not panic").failed.take().map_or(Ok(()), Err)
    }

    /// Rows in the graph.
    pub fn built(&self) -> u32 {
        self.index.epoch().rows
    }

    /// Of the graph.
    pub fn digest(&self) -> String {
        format!("{:016x}", self.index.epoch().digest)
    }

    /// The instructions in use.
    pub fn kernels(&self) -> &'static str {
        self.index.kernels()
    }

    /// Seconds of one thread that encoding the rows took so far.
    pub fn encoding_s(&self) -> f64 {
        self.feed.lock().expect("an appender does not panic").encoding.as_secs_f64()
    }

    /// Bytes by part.
    pub fn parts(&self) -> Result<Parts, Failure> {
        let mut file = Counted(0);
        self.index.save(&mut file).map_err(|e| Failure::failed(format!("saving to nowhere: {e}")))?;
        Ok(vec![("file", file.0)])
    }

    /// `ok`, or what is wrong with the graph.
    pub fn check(&self) -> String {
        self.index.check().map_or_else(|broken| broken.to_string(), |()| "ok".to_string())
    }

    /// Saves to memory and loads again; the digest must come back.
    pub fn save_and_load(&self) -> Result<Saved, Failure> {
        let wrong = |e: &dyn std::fmt::Display| Failure::failed(format!("the saved index does not load: {e}"));
        let started = now();
        let mut file = Vec::new();
        self.index.save(&mut file).map_err(|e| wrong(&e))?;
        let save_s = started.elapsed().as_secs_f64();
        let started = now();
        let loaded = Index::load(&mut file.as_slice()).map_err(|e| wrong(&e))?;
        let load_s = started.elapsed().as_secs_f64();
        if loaded.epoch() != self.index.epoch() {
            return Err(wrong(&"it has another digest; this is a defect, report it"));
        }
        let rate = |seconds: f64| (file.len() as f64 / 1e6 / seconds).round();
        Ok(Saved { bytes: file.len() as u64, save_s, save_mb_per_s: rate(save_s), load_s, load_mb_per_s: rate(load_s) })
    }

    /// The rows nearest to one query, by a beam of `ef`; the query's encoding is inside.
    pub fn search(&self, query: &[f32], ef: usize, originals: bool) -> Result<Vec<u32>, Failure> {
        let cue = self.cue(query)?;
        let found = self.index.search(&cue, self.params(ef), &|row| self.lives(row), self.originals(originals));
        Ok(rows(&found.hits))
    }

    /// The same for all queries, on one thread.
    pub fn search_all(&self, ef: usize, originals: bool) -> Result<Vec<Vec<u32>>, Failure> {
        let mut all = Vec::with_capacity(self.data.query_count());
        for queries in self.data.queries.chunks(TOGETHER * self.data.dim) {
            for query in queries.chunks(self.data.dim) {
                all.push(self.search(query, ef, originals)?);
            }
        }
        Ok(all)
    }

    /// The rows nearest to one query, by looking at all codes.
    pub fn scan(&self, query: &[f32]) -> Result<Vec<u32>, Failure> {
        let (cue, all) = (self.cue(query)?, 0..self.index.rows());
        let hits = self.index.scan(&cue, all, SCANNED, 10, &|row| self.lives(row), self.originals(true));
        Ok(rows(&hits))
    }

    /// Forgets rows.
    pub fn forget(&mut self, row: u32) {
        self.forgotten.resize(self.data.rows, false);
        self.forgotten[row as usize] = true;
    }

    fn lives(&self, row: u32) -> bool {
        self.forgotten.is_empty() || !self.forgotten[row as usize]
    }

    fn cue(&self, query: &[f32]) -> Result<Cue, Failure> {
        self.index.cue(query).map_err(|e| Failure::input(format!("a query of {}: {e}", self.data.name)))
    }

    fn params(&self, ef: usize) -> Search {
        Search { k: 10, ef, visible: u32::MAX }
    }

    fn originals(&self, wanted: bool) -> Option<&dyn Originals> {
        wanted.then_some(self.data as &dyn Originals)
    }
}

fn rows(hits: &[Hit]) -> Vec<u32> {
    hits.iter().map(|hit| hit.row).collect()
}

/// A pool that pushes rows while it builds others.
struct Feeding<'a> {
    subject: &'a Subject<'a>,
    until: u32,
    workers: &'a dyn Workers,
}

impl Workers for Feeding<'_> {
    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        if self.subject.index.rows() >= self.until {
            return self.workers.run(jobs, job);
        }
        let begun = AtomicUsize::new(0);
        self.workers.run(jobs + 1, &|at| match at {
            // For as long as the others have work; the build's next step goes on with it.
            0 => self.subject.push_while(self.until, || begun.load(Ordering::Relaxed) < jobs),
            at => {
                begun.fetch_add(1, Ordering::Relaxed);
                job(at - 1);
            }
        });
    }
}

/// Counts what is written.
struct Counted(u64);

impl std::io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The bench's clock.
#[expect(clippy::disallowed_methods, reason = "a bench measures with the system's clock")]
pub fn now() -> Instant {
    Instant::now()
}
