//! Data, workers and truth that the integration tests share.
//!
//! Place: included by each test file. Leaves out: randomness; everything is a hash of its place.
#![allow(dead_code, reason = "each test file uses a part")]

use engram_index::{Cue, Epoch, Index, Metric, Options, Originals, Search, Snapshot, Workers};
use std::ops::ControlFlow;

pub fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// About normal: the sum of four uniform numbers.
pub fn normal(seed: u64) -> f32 {
    let part = |i: u32| f32::from((mix(seed) >> (16 * i)) as u16) / 65536.0 - 0.5;
    (0..4).map(part).sum::<f32>() * 1.7
}

pub struct Data {
    pub dim: usize,
    pub flat: Vec<f32>,
}

impl Data {
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.flat.chunks_exact(self.dim)
    }

    pub fn row(&self, row: usize) -> &[f32] {
        &self.flat[row * self.dim..][..self.dim]
    }

    pub fn len(&self) -> usize {
        self.flat.len() / self.dim
    }

    fn of(rows: usize, dim: usize, value: impl Fn(usize, usize) -> f32) -> Self {
        let flat = (0..rows * dim).map(|i| value(i / dim, i % dim)).collect();
        Self { dim, flat }
    }

    pub fn uniform(rows: usize, dim: usize, seed: u64) -> Self {
        Self::of(rows, dim, |row, i| normal(seed << 40 ^ (row * 8192 + i) as u64))
    }

    /// Centres far apart, rows near one of them on a few directions of its own.
    pub fn clustered(rows: usize, dim: usize, centres: usize, seed: u64) -> Self {
        let pick = |row: usize| mix(seed ^ row as u64) as usize % centres;
        Self::clusters(rows, dim, seed, pick)
    }

    /// The rows of one centre after another.
    pub fn sorted(rows: usize, dim: usize, centres: usize, seed: u64) -> Self {
        Self::clusters(rows, dim, seed, |row| row * centres / rows)
    }

    fn clusters(rows: usize, dim: usize, seed: u64, pick: impl Fn(usize) -> usize) -> Self {
        const DIRECTIONS: usize = 12;
        let at = |kind: u64, a: usize, b: usize| normal(seed << 48 ^ kind << 44 ^ (a as u64) << 14 ^ b as u64);
        Self::of(rows, dim, |row, i| {
            let centre = pick(row);
            let along = |d: usize| at(2, row, d) * at(3, centre * DIRECTIONS + d, i);
            at(1, centre, i) + 0.25 * (0..DIRECTIONS).map(along).sum::<f32>()
        })
    }

    /// Each distinct vector `times` times, spread over the rows.
    pub fn repeated(rows: usize, dim: usize, times: usize, seed: u64) -> Self {
        let distinct = Self::uniform(rows / times, dim, seed);
        let source = |row: usize| mix(seed ^ row as u64) as usize % distinct.len();
        Self::of(rows, dim, |row, i| distinct.row(source(row))[i])
    }

    pub fn equal(rows: usize, dim: usize) -> Self {
        Self::of(rows, dim, |_, i| normal(i as u64))
    }

    /// Lengths from a quarter to four.
    pub fn scaled(mut self, seed: u64) -> Self {
        for (row, x) in self.flat.chunks_exact_mut(self.dim).enumerate() {
            let length = 2f32.powf(normal(seed << 32 ^ row as u64));
            x.iter_mut().for_each(|v| *v *= length);
        }
        self
    }
}

impl Originals for Data {
    fn vector(&self, row: u32, into: &mut [f32]) -> bool {
        into.copy_from_slice(self.row(row as usize));
        true
    }
}

pub struct Reversed;

impl Workers for Reversed {
    fn run(&self, jobs: usize, _rows: usize, job: &(dyn Fn(usize) + Sync)) {
        (0..jobs).rev().for_each(job);
    }
}

pub struct Threads(pub usize);

impl Workers for Threads {
    fn run(&self, jobs: usize, _rows: usize, job: &(dyn Fn(usize) + Sync)) {
        let next = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..self.0 {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        if at >= jobs {
                            return;
                        }
                        job(at);
                    }
                });
            }
        });
    }
}

/// All rows pushed, all complete batches built.
pub fn filled(options: Options, data: &Data, workers: &dyn Workers) -> Index {
    let index = Index::new(options).expect("good options");
    fill(&index, data, workers);
    index
}

pub fn fill(index: &Index, data: &Data, workers: &dyn Workers) {
    for (row, x) in data.rows().enumerate() {
        assert_eq!(index.push(x), Ok(row as u32));
    }
    build_all(index, workers);
}

pub fn build_all(index: &Index, workers: &dyn Workers) -> Epoch {
    index.build_all(workers, &mut |_| ControlFlow::Continue(()))
}

pub fn exact(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    match metric {
        Metric::Dot => dot(a, b),
        Metric::Cosine => dot(a, b) / (dot(a, a) * dot(b, b)).sqrt(),
        Metric::L2 => -a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>(),
    }
}

/// The score of the k-th best of the rows that pass.
pub fn kth_best(metric: Metric, data: &Data, query: &[f32], k: usize, pass: impl Fn(u32) -> bool) -> f64 {
    let rows = data.rows().enumerate().filter(|(row, _)| pass(*row as u32));
    let mut scores: Vec<f64> = rows.map(|(_, x)| exact(metric, query, x)).collect();
    scores.sort_unstable_by(|a, b| b.total_cmp(a));
    scores.get(k - 1).or(scores.last()).copied().unwrap_or(f64::INFINITY)
}

/// Share of the true `k` best found; equals count as one another.
pub fn recall(
    index: &Index,
    data: &Data,
    queries: &Data,
    params: Search,
    originals: bool,
    pass: &dyn Fn(u32) -> bool,
) -> f64 {
    let metric = index.options().metric;
    let (mut found, mut wanted) = (0, 0);
    for query in queries.rows() {
        let visible = |row: u32| index.lives(row, params.at) && pass(row);
        let least = kth_best(metric, data, query, params.k, visible);
        let cue = index.cue(query).expect("a good query");
        let answer = index.search(&cue, params, pass, originals.then_some(data as &dyn Originals));
        assert!(answer.hits.iter().all(|hit| visible(hit.row)));
        let mut rows: Vec<u32> = answer.hits.iter().map(|hit| hit.row).collect();
        rows.sort_unstable();
        assert!(rows.windows(2).all(|pair| pair[0] != pair[1]), "no row twice");
        let good = |row: &&u32| exact(metric, query, data.row(**row as usize)) >= least - 1e-6 * least.abs();
        found += rows.iter().filter(good).count();
        wanted += params.k.min((0..data.len() as u32).filter(|&row| visible(row)).count());
    }
    found as f64 / (wanted as f64).max(1.0)
}

/// The first `rows` rows, whatever was forgotten of them by now.
pub fn first(rows: u32) -> Snapshot {
    Snapshot { rows, ..Snapshot::LATEST }
}

pub fn everything(_: u32) -> bool {
    true
}

pub fn cue(index: &Index, x: &[f32]) -> Cue {
    index.cue(x).expect("a good query")
}

impl Data {
    /// The last `count` rows alone.
    pub fn last(self, count: usize) -> Self {
        let from = self.flat.len() - count * self.dim;
        Self { dim: self.dim, flat: self.flat[from..].to_vec() }
    }
}
