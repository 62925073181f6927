//! Recall against rate, on one thread, as the peers' script measures it.
//!
//! Invariant: the same widths, the same counting of hits, the same interpolation as ann_peers.py, so that a ratio
//! compares like with like; a query's encoding is inside. Leaves out: more than one thread.

use super::data::Data;
use super::subject::{Reindexed, Subject, now};
use super::synthetic;
use super::truth::{self, Truth};
use crate::cli::exit::Failure;
use engram_index::Pool;
use serde::Serialize;
use std::num::NonZeroUsize;

const WIDTHS: [usize; 12] = [10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 400, 600];
/// Queries that warm a width up.
const WARM: usize = 50;
/// Queries asked one by one.
const SINGLES: usize = 300;
/// Queries that are answered by a scan.
const SCANS: usize = 200;
const SCAN_S_MAX: f64 = 10.0;

/// Width of the beam, recall@10, queries/s of all together, P99 of one at a time in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point(pub usize, pub f64, pub f64, pub f64);

/// A scan of all codes.
#[derive(Debug, Default, Serialize)]
pub struct Scan {
    /// Of one query on one thread.
    pub ms: f64,
    /// Among the ten nearest.
    pub recall: f64,
}

/// What a search is like after forgetting.
#[derive(Debug, Serialize)]
pub struct Forgotten {
    /// Rows that are gone.
    pub rows: usize,
    /// Against the exact neighbours among the others.
    pub curve: Vec<Point>,
    /// As for the whole.
    pub qps_at_95: Option<f64>,
    /// Forgotten rows among the hits: none may be.
    pub seen: usize,
    /// The others in an index of their own.
    pub reindexed: Reindexed,
}

/// Measures a point for each width.
pub fn curve(subject: &Subject, data: &Data, truth: &Truth, originals: bool) -> Result<Vec<Point>, Failure> {
    WIDTHS.iter().map(|&ef| point(subject, data, truth, ef, originals)).collect()
}

fn point(subject: &Subject, data: &Data, truth: &Truth, ef: usize, originals: bool) -> Result<Point, Failure> {
    for query in data.queries.chunks(data.dim).take(WARM) {
        subject.search(query, ef, originals)?;
    }
    let started = now();
    let found = subject.search_all(ef, originals)?;
    let rate = found.len() as f64 / started.elapsed().as_secs_f64();
    let mut each = Vec::with_capacity(SINGLES);
    for query in data.queries.chunks(data.dim).take(SINGLES) {
        let started = now();
        subject.search(query, ef, originals)?;
        each.push(started.elapsed().as_secs_f64() * 1e3);
    }
    let p99_ms = percentile(&mut each, 0.99);
    Ok(Point(ef, digits(recall(data, truth, &found), 4), rate.round(), digits(p99_ms, 3)))
}

/// Forgets a share of the rows, by chance, and measures what is found among the others.
pub fn forgotten(subject: &Subject, data: &Data, share: f64, threads: usize) -> Result<Forgotten, Failure> {
    let gone: Vec<bool> = (0..data.rows).map(|row| synthetic::chance(row) < share).collect();
    (0..data.rows as u32).filter(|&row| gone[row as usize]).try_for_each(|row| subject.forget(row))?;
    let truth = truth::exact(data, threads, &|row| !gone[row as usize])?;
    let curve = curve(subject, data, &truth, true)?;
    let hits = subject.search_all(WIDTHS[WIDTHS.len() - 1], true)?;
    let seen = hits.iter().flatten().filter(|&&row| gone[row as usize]).count();
    let rows = gone.iter().filter(|&&gone| gone).count();
    let pool = Pool::new(NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN));
    let reindexed = subject.reindexed(&pool, |found| digits(recall(data, &truth, found), 4))?;
    Ok(Forgotten { rows, qps_at_95: rate_at(&curve, 0.95), curve, seen, reindexed })
}

/// Queries/s where the curve passes a recall; none where it does not. Before the first point it is taken to be as fast
/// as there.
pub fn rate_at(curve: &[Point], wanted: f64) -> Option<f64> {
    let mut before = Point(0, 0.0, curve.first()?.2, 0.0);
    for &point in curve {
        if before.1 < wanted && wanted <= point.1 {
            let share = (wanted - before.1) / (point.1 - before.1);
            return Some((before.2 + share * (point.2 - before.2)).round_ties_even());
        }
        before = point;
    }
    None
}

/// Scans for some queries.
pub fn scan(subject: &Subject, data: &Data) -> Result<Scan, Failure> {
    let (mut found, started) = (Vec::new(), now());
    for query in data.queries.chunks(data.dim).take(SCANS) {
        found.push(subject.scan(query)?);
        if started.elapsed().as_secs_f64() > SCAN_S_MAX {
            break;
        }
    }
    let ms = started.elapsed().as_secs_f64() * 1e3 / found.len() as f64;
    Ok(Scan { ms, recall: digits(recall(data, &data.truth, &found), 4) })
}

fn recall(data: &Data, truth: &Truth, found: &[Vec<u32>]) -> f64 {
    let count = |(query, hits): (usize, &Vec<u32>)| truth.count(data, query, hits.iter().copied());
    found.iter().enumerate().map(count).sum::<usize>() as f64 / found.len() as f64 / 10.0
}

/// As numpy's: between the two nearest of the sorted values.
fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let at = share * (values.len() - 1) as f64;
    let (low, high) = (values[at as usize], values[(at.ceil()) as usize]);
    low + (high - low) * at.fract()
}

fn digits(value: f64, count: i32) -> f64 {
    (value * 10f64.powi(count)).round() / 10f64.powi(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_interpolated_where_the_recall_is_passed() {
        let curve = [Point(10, 0.9, 1000.0, 0.1), Point(16, 1.0, 500.0, 0.2)];
        assert_eq!(rate_at(&curve, 0.95), Some(750.0));
        assert_eq!(rate_at(&curve, 0.5), Some(1000.0));
        assert_eq!(rate_at(&curve[..1], 0.95), None);
        assert_eq!(rate_at(&[], 0.95), None);
    }

    #[test]
    fn a_percentile_lies_between_its_neighbours() {
        let mut values: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut values, 0.99), 99.0);
        assert_eq!(percentile(&mut [1.0, 2.0], 0.5), 1.5);
    }
}
