//! The scan: the codes of the rows that a predicate lets through, the nearest by (distance, row), rescored.
//!
//! Place: for the tail, for `at_index`, for strict filters, and as the oracle of tests. Invariant `one_answer`: a
//! function of cue, range, counts, filter and originals, the same on every machine at every time; the graph is not
//! looked at. Leaves out: early ends; every row of the range is measured.

use crate::{
    code::{Code, Encoded},
    forget::Snapshot,
    graph::Graph,
    kernel::Work,
    vector::{Exact, Originals},
};
use std::ops::Range;

/// A query, encoded. Good for one space, and for all indexes of equal options.
#[derive(Clone, Debug)]
pub struct Cue {
    pub(crate) encoded: Encoded,
    pub(crate) exact: Exact,
}

/// A row that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// The row's number.
    pub row: u32,
    /// How far its code is from the cue's: an integer without unit, comparable within one space.
    pub distance: u32,
    /// The metric's value: cosine similarity, inner product or negative squared L2 distance; of the originals where
    /// they were given and could be read, else as the codes know it.
    pub score: f32,
}

/// What a scan is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Hits wanted.
    pub k: usize,
    /// Rows by code that are rescored for them; at least `k` are taken.
    pub candidates: usize,
    /// Only the rows of this snapshot are looked at.
    pub at: Snapshot,
}

/// Of `k` hits asked for, the rows whose originals are looked at: fixed, because answers depend on it.
pub(crate) fn rescored(k: usize) -> usize {
    (2 * k).max(k + 40)
}

/// The `candidates` nearest rows of `range` that pass, by fine distance: sorted (distance, row).
pub(crate) fn candidates(
    graph: &Graph,
    cue: &Code,
    range: Range<u32>,
    candidates: usize,
    filter: &dyn Fn(u32) -> bool,
) -> Vec<(u32, u32)> {
    let range = range.start.min(graph.codes.rows())..range.end.min(graph.codes.rows());
    if candidates == 0 || range.is_empty() {
        return Vec::new();
    }
    let mut best = Best::new(candidates, range.len());
    let (codes, measure) = (&graph.codes, graph.codes.encoder.search_measure());
    if codes.encoder.bits_tell() {
        by_bits(graph, cue, range, &mut best, filter);
        best.near.iter().for_each(|near| codes.prefetch_fine(near.1));
        best.near.iter_mut().for_each(|near| near.0 = codes.distance(measure, cue, near.1));
        best.near.sort_unstable();
    } else {
        codes.encoder.kernels.enter(ByFine { graph, cue, range, best: &mut best, filter });
    }
    best.near
}

/// Offers every row of a range by its fine distance.
struct ByFine<'a> {
    graph: &'a Graph,
    cue: &'a Code<'a>,
    range: Range<u32>,
    best: &'a mut Best,
    filter: &'a dyn Fn(u32) -> bool,
}

impl Work for ByFine<'_> {
    type Done = ();

    #[inline(always)]
    fn run(self) {
        let Self { graph, cue, range, best, filter } = self;
        let (codes, measure) = (&graph.codes, graph.codes.encoder.search_measure());
        let mut row = range.start;
        while range.end - row >= 4 {
            let four = [row, row + 1, row + 2, row + 3];
            for (distance, row) in codes.distances(measure, cue, four).into_iter().zip(four) {
                best.offer(distance, row, filter);
            }
            row += 4;
        }
        for row in row..range.end {
            best.offer(codes.distance(measure, cue, row), row, filter);
        }
        best.finish();
    }
}

fn by_bits(graph: &Graph, cue: &Code, range: Range<u32>, best: &mut Best, filter: &dyn Fn(u32) -> bool) {
    const BLOCK: usize = 256;
    let mut distances = [0; BLOCK];
    let (bits, mut row) = (&graph.codes.bits, range.start);
    while row < range.end {
        let run = bits.run(row, (range.end - row).min(BLOCK as u32));
        let rows = run.len() / bits.width();
        graph.codes.encoder.kernels.hamming_run(run, cue.bits, &mut distances[..rows]);
        for (at, &distance) in distances[..rows].iter().enumerate() {
            best.offer(distance, row + at as u32, filter);
        }
        row += rows as u32;
    }
    best.finish();
}

/// The nearest so far, of rows that come in rising order.
struct Best {
    most: usize,
    near: Vec<(u32, u32)>,
    /// A row at this distance or farther is behind `most` others. Equals lose: they come later.
    limit: u64,
}

impl Best {
    fn new(most: usize, rows: usize) -> Self {
        Self { most, near: Vec::with_capacity(most.saturating_mul(2).min(rows)), limit: u64::MAX }
    }

    #[inline(always)]
    fn offer(&mut self, distance: u32, row: u32, filter: &dyn Fn(u32) -> bool) {
        if u64::from(distance) < self.limit && filter(row) {
            self.near.push((distance, row));
            if self.near.len() >= 2 * self.most {
                self.shrink();
            }
        }
    }

    fn shrink(&mut self) {
        if self.near.len() > self.most {
            self.near.select_nth_unstable(self.most - 1);
            self.near.truncate(self.most);
            self.limit = u64::from(self.near[self.most - 1].0);
        }
    }

    fn finish(&mut self) {
        self.shrink();
        self.near.sort_unstable();
    }
}

/// Turns (distance, row), nearest first, into the `k` best hits, by the originals where there are any.
pub(crate) fn hits(
    graph: &Graph,
    cue: &Cue,
    mut near: Vec<(u32, u32)>,
    k: usize,
    originals: Option<&dyn Originals>,
) -> Vec<Hit> {
    near.truncate(if originals.is_some() { rescored(k) } else { k });
    let encoder = &graph.codes.encoder;
    let by_code = |&(distance, row): &(u32, u32)| Hit { row, distance, score: encoder.score(distance) };
    let mut hits: Vec<Hit> = near.iter().map(by_code).collect();
    if let Some(originals) = originals {
        let mut vector = vec![0.0; graph.options.dim];
        for hit in &mut hits {
            if originals.vector(hit.row, &mut vector) {
                let score = cue.exact.score(&vector, graph.options.metric, &encoder.kernels);
                hit.score = score.unwrap_or(hit.score);
            }
        }
        hits.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.row.cmp(&b.row)));
        hits.truncate(k);
    }
    hits
}
