//! The index as the bench drives it.
//!
//! Place: the only file that builds and searches; the others measure. Rows are encoded by the pool too, as one job beside
//! those of the build, so that a rate has the encoding inside and all threads have work. Invariant: what is pushed, and
//! when, is of no effect on the graph; the batches are cut by row number.

use super::args::Batch;
use super::data::Data;
use crate::cli::exit::Failure;
use bytes::Bytes;
use engram_index::{Cue, Footprint, Hit, Index, Options, Originals, Pool, Scan, Search, Snapshot, Workers};
use std::num::NonZeroUsize;
use std::ops::{ControlFlow, Range};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Queries that are handed over together.
const TOGETHER: usize = 64;
/// Candidates of a scan that originals rescore.
const SCANNED: usize = 200;
/// Width of the searches of a further generation.
const REINDEXED_EF: usize = 64;

/// An index and its rows.
pub struct Subject<'a> {
    index: Index,
    data: &'a Data,
    feed: Mutex<Feed>,
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

/// A further generation: the index of the rows that are not forgotten.
#[derive(Debug, serde::Serialize)]
pub struct Reindexed {
    /// Its rows.
    pub rows: u32,
    /// Milliseconds that taking their codes over took.
    pub copy_ms: f64,
    /// Seconds that the graph took, on all threads.
    pub build_s: f64,
    /// Bytes of the index that it was made of, and its own.
    pub bytes: (u64, u64),
    /// Milliseconds of a recall that scans all of it, as before it is built.
    pub scan_ms: f64,
    /// Among the ten nearest, by a beam of 64.
    pub recall: f64,
}

impl<'a> Subject<'a> {
    /// An empty one.
    pub fn new(options: Options, data: &'a Data) -> Result<Self, Failure> {
        let index = Index::new(options).map_err(|e| Failure::input(format!("bench index: {e}")))?;
        let feed = Mutex::new(Feed { vector: vec![0.0; data.dim], ..Feed::default() });
        Ok(Self { index, data, feed })
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
    pub fn parts(&self) -> Parts {
        let Footprint { bits, fine, weights, links, upper, forgets } = self.index.footprint();
        let parts = [("bits", bits), ("fine", fine), ("weights", weights), ("links", links), ("upper", upper)];
        parts.into_iter().chain([("forgets", forgets)]).collect()
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
        let file = Bytes::from(file);
        let started = now();
        let loaded = Index::open(&file).map_err(|e| wrong(&e))?;
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
        let found = self.index.search(&cue, params(ef), &|_| true, self.originals(originals));
        Ok(rows(&found.hits))
    }

    /// The same for all queries, on one thread, some of them together.
    pub fn search_all(&self, ef: usize, originals: bool) -> Result<Vec<Vec<u32>>, Failure> {
        let mut all = Vec::with_capacity(self.data.query_count());
        for queries in self.data.queries.chunks(TOGETHER * self.data.dim) {
            let cues = queries.chunks(self.data.dim).map(|query| self.cue(query));
            let cues = cues.collect::<Result<Vec<Cue>, Failure>>()?;
            let found = self.index.search_many(&cues, params(ef), &|_| true, self.originals(originals));
            all.extend(found.iter().map(|found| rows(&found.hits)));
        }
        Ok(all)
    }

    /// The rows nearest to one query, by looking at all codes.
    pub fn scan(&self, query: &[f32]) -> Result<Vec<u32>, Failure> {
        let params = Scan { k: 10, candidates: SCANNED, at: Snapshot::LATEST };
        let hits = self.index.scan(&self.cue(query)?, params, &|_| true, self.originals(true));
        Ok(rows(&hits))
    }

    /// Forgets a row.
    pub fn forget(&self, row: u32) -> Result<(), Failure> {
        self.index.forget(row).map(drop).map_err(|e| Failure::failed(e.to_string()))
    }

    /// Makes a further generation of the rows that are left; `recall` judges what is found in it.
    pub fn reindexed(&self, workers: &dyn Workers, recall: impl Fn(&[Vec<u32>]) -> f64) -> Result<Reindexed, Failure> {
        let begun = now();
        let mut next = self.index.reindex(self.index.now());
        next.catch_up(&self.index, self.index.now());
        let (index, kept) = next.finish();
        let copy_ms = begun.elapsed().as_secs_f64() * 1e3;
        let originals = Kept(self.data, &kept);
        let search = |query: &[f32]| {
            let found = index.search(&self.cue(query)?, params(REINDEXED_EF), &|_| true, Some(&originals));
            Ok(found.hits.iter().map(|hit| kept[hit.row as usize]).collect())
        };
        let all = || self.data.queries.chunks(self.data.dim).map(search).collect::<Result<Vec<Vec<u32>>, Failure>>();
        let begun = now();
        let scan_ms = all().map(|all| begun.elapsed().as_secs_f64() * 1e3 / all.len() as f64)?;
        let begun = now();
        index.build_all(workers, &mut |_| ControlFlow::Continue(()));
        let build_s = begun.elapsed().as_secs_f64();
        let bytes = (self.index.footprint().total(), index.footprint().total());
        Ok(Reindexed { rows: index.rows(), copy_ms, build_s, bytes, scan_ms, recall: recall(&all()?) })
    }

    fn cue(&self, query: &[f32]) -> Result<Cue, Failure> {
        self.index.cue(query).map_err(|e| Failure::input(format!("a query of {}: {e}", self.data.name)))
    }

    fn originals(&self, wanted: bool) -> Option<&dyn Originals> {
        wanted.then_some(self.data as &dyn Originals)
    }
}

/// The originals of rows that were kept.
struct Kept<'a>(&'a Data, &'a [u32]);

impl Originals for Kept<'_> {
    fn vector(&self, row: u32, into: &mut [f32]) -> bool {
        self.0.vector(self.1[row as usize], into)
    }
}

fn params(ef: usize) -> Search {
    Search { k: 10, ef, at: Snapshot::LATEST }
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
    fn run(&self, jobs: usize, rows: usize, job: &(dyn Fn(usize) + Sync)) {
        if self.subject.index.rows() >= self.until {
            return self.workers.run(jobs, rows, job);
        }
        let begun = AtomicUsize::new(0);
        self.workers.run(jobs + 1, rows, &|at| match at {
            // For as long as the others have work; the build's next step goes on with it.
            0 => self.subject.push_while(self.until, || begun.load(Ordering::Relaxed) < jobs),
            at => {
                begun.fetch_add(1, Ordering::Relaxed);
                job(at - 1);
            }
        });
    }
}

/// A pool of so many threads.
pub fn pool(threads: usize) -> Pool {
    Pool::new(NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN))
}

/// The bench's clock.
#[expect(clippy::disallowed_methods, reason = "a bench measures with the system's clock")]
pub fn now() -> Instant {
    Instant::now()
}
