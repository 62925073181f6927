//! What the space holds at the end, against what was acked; and what recalls should have found.
//!
//! Invariant: each row of a session counts by its number, so that a lost and a doubled row do not hide each other.

use super::data::Data;
use super::probe::{K, Seen};
use super::stream::Streamed;
use crate::cli::exit::Failure;
use engram_client::{Client, Level, List};
use std::collections::BTreeMap;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(120);
/// Answers that are held against an exact search, which is of all rows that were there.
const EXACT_MAX: usize = 50;
/// Multiplications that are cheap enough for that.
const EXACT_COST_MAX: u64 = 40_000_000_000;

/// What is in the log.
pub struct Held {
    /// Acked rows that are not there.
    pub lost: u64,
    /// Rows over one a number.
    pub doubled: u64,
    /// Rows in all.
    pub listed: u64,
    /// Numbers of rows in the log's order.
    pub order: Vec<u64>,
}

/// Lists the space and compares.
pub async fn all(client: &Client, space: &str, streams: &[Streamed]) -> Result<Held, Failure> {
    let list = List { level: Level::Linearizable, deadline: DEADLINE, ..List::new(space) };
    let mut pages = client.list(list).await?;
    let mut rows = Vec::new();
    while let Some(page) = pages.next_page().await? {
        rows.extend(page.iter().map(|row| (row.session, row.sequence)));
    }
    Ok(compare(&rows, streams))
}

fn compare(rows: &[(u64, u64)], streams: &[Streamed]) -> Held {
    let mut held = Held { lost: 0, doubled: 0, listed: rows.len() as u64, order: Vec::with_capacity(rows.len()) };
    let by_session: BTreeMap<u64, &Streamed> = streams.iter().map(|stream| (stream.session, stream)).collect();
    let mut seen: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for &(session, sequence) in rows {
        let counts = seen.entry(session).or_default();
        let at = sequence as usize;
        counts.resize(counts.len().max(at + 1), 0);
        counts[at] += 1;
        held.doubled += u64::from(counts[at] > 1);
        held.order.push(by_session.get(&session).map_or(u64::MAX, |stream| stream.rows.of(sequence)));
    }
    for stream in streams {
        let there = seen.get(&stream.session).map_or(&[][..], Vec::as_slice);
        let found = there.iter().skip(1).take(stream.acked as usize).filter(|count| **count > 0).count();
        held.lost += stream.acked - found as u64;
    }
    held
}

/// Share of the nearest rows, of those that were there at each answer, that were among its hits; of some answers, spread
/// over the run. None: there are none, or it would take long. Blocking.
pub fn recall_at_10(data: &Data, order: &[u64], seen: &[Seen]) -> Option<f64> {
    let seen: Vec<&Seen> = seen.iter().filter(|seen| seen.rows > 0 && seen.rows <= order.len() as u64).collect();
    let picked: Vec<&Seen> = seen.iter().step_by(seen.len().div_ceil(EXACT_MAX).max(1)).copied().collect();
    let cost = picked.iter().map(|seen| seen.rows * data.dim as u64).sum::<u64>();
    if picked.is_empty() || cost > EXACT_COST_MAX || order.contains(&u64::MAX) {
        return None;
    }
    let last = picked.iter().map(|seen| seen.rows).max()?;
    let mut best: Vec<Vec<f32>> = vec![Vec::new(); picked.len()];
    let mut found: Vec<Vec<f32>> = vec![Vec::new(); picked.len()];
    for (place, number) in (0..last).zip(order) {
        let vector = data.vector(*number);
        let length = dot(&vector, &vector).sqrt();
        for (at, seen) in picked.iter().enumerate().filter(|(_, seen)| place < seen.rows) {
            let score = dot(&data.queries[seen.query], &vector) / length;
            keep(&mut best[at], score);
            if seen.hits.contains(&place) {
                found[at].push(score);
            }
        }
    }
    let (mut good, mut wanted) = (0, 0);
    for (best, found) in best.iter().zip(&found) {
        // As near as the last of the exact ones is as good: a tie, or what rounding to half floats makes of one.
        let least = best.last().copied().unwrap_or_default() - 1e-6;
        good += found.iter().filter(|score| **score >= least).count();
        wanted += best.len();
    }
    Some(good as f64 / wanted.max(1) as f64)
}

/// The best ten, best first.
fn keep(best: &mut Vec<f32>, score: f32) {
    if best.len() == K && best[K - 1] >= score {
        return;
    }
    let at = best.partition_point(|other| *other >= score);
    best.insert(at, score);
    best.truncate(K);
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, b) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let mut sums = [0.0f32; 16];
    for (a, b) in a.0.iter().zip(b.0) {
        (0..16).for_each(|at| sums[at] += a[at] * b[at]);
    }
    sums.iter().sum::<f32>() + a.1.iter().zip(b.1).map(|(a, b)| a * b).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::super::stream::Numbers;
    use super::*;
    use crate::cli::feed;

    fn stream(session: u64, acked: u64) -> Streamed {
        let rows = Numbers { first: session, step: 2 };
        Streamed { session, acked, in_time: acked, latency: feed::histogram(), slowed: 0, rows }
    }

    #[test]
    fn lost_and_doubled_rows_do_not_hide_each_other() {
        let held = compare(&[(1, 1), (2, 1), (1, 1), (1, 3)], &[stream(1, 3), stream(2, 1)]);
        assert_eq!((held.lost, held.doubled, held.listed), (1, 1, 4));
        assert_eq!(held.order, [1, 2, 1, 5]);
    }

    #[test]
    fn the_best_ten_are_kept_in_order() {
        let mut best = Vec::new();
        (0..40).for_each(|at| keep(&mut best, (at * 7 % 40) as f32));
        assert_eq!(best, [39.0, 38.0, 37.0, 36.0, 35.0, 34.0, 33.0, 32.0, 31.0, 30.0]);
    }
}
