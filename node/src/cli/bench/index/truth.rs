//! Exact neighbours, by comparing each query with each row.
//!
//! Place: for made data, for a part of stored data, and for what is left after forgetting. Invariant: a row's score does
//! not depend on the rows beside it or on threads, so equal vectors have equal scores to the bit; ties go by row.
//! Leaves out: speed beyond what plain loops give; a million rows of 768 dimensions take about a minute on two cores.

use super::data::{Data, NEIGHBOURS};
use crate::cli::exit::Failure;
use engram_index::Metric;

/// Rows that are widened at a time; a multiple of [`ABREAST`].
const BLOCK: usize = 64;
/// Rows that are compared with a query at once, so that the query's numbers are loaded once for them.
const ABREAST: usize = 4;
/// Sums that a product is added up in; fills vector registers.
const LANES: usize = 8;

/// The exact neighbours of each query.
#[derive(Default)]
pub struct Truth {
    /// Nearest first.
    pub rows: Vec<Vec<u32>>,
    /// The score of the tenth of each query: a hit of that score is as good. Empty where it is not known.
    pub bars: Vec<f32>,
}

impl Truth {
    /// How many of ten hits are true: among the ten nearest, or as near as the tenth, which matters where rows are equal.
    pub fn count(&self, data: &Data, query: usize, hits: impl Iterator<Item = u32>) -> usize {
        let nearest = &self.rows[query];
        let nearest = &nearest[..nearest.len().min(10)];
        let as_near = |row: u32| {
            let Some(bar) = self.bars.get(query) else { return false };
            let mut vector = vec![0.0; data.dim];
            let cue = &data.queries[query * data.dim..][..data.dim];
            data.read(row as usize, &mut vector).is_ok()
                && score(data.metric, sums(cue, [&vector])[0], square(&vector)) >= *bar
        };
        hits.take(10).filter(|row| nearest.contains(row) || as_near(*row)).count()
    }
}

/// The nearest of the rows that `living` lets through.
pub fn exact(data: &Data, threads: usize, living: &(dyn Fn(u32) -> bool + Sync)) -> Result<Truth, Failure> {
    let each = data.rows.div_ceil(threads).next_multiple_of(BLOCK);
    let parts: Vec<Result<Vec<Best>, Failure>> = std::thread::scope(|scope| {
        let range = |at: usize| at * each..((at + 1) * each).min(data.rows);
        let started: Vec<_> = (0..threads).map(|at| scope.spawn(move || part(data, range(at), living))).collect();
        started.into_iter().map(|thread| thread.join().expect("a comparison does not panic")).collect()
    });
    let mut best = vec![Best::default(); data.query_count()];
    for part in parts {
        best.iter_mut().zip(part?).for_each(|(best, part)| best.0.extend(part.0));
    }
    let mut truth = Truth::default();
    for mut best in best {
        best.cut();
        truth.bars.push(best.0.get(9).map_or(f32::NEG_INFINITY, |near| near.0));
        truth.rows.push(best.0.iter().map(|near| near.1).collect());
    }
    Ok(truth)
}

fn part(data: &Data, rows: std::ops::Range<usize>, living: &dyn Fn(u32) -> bool) -> Result<Vec<Best>, Failure> {
    let dim = data.dim;
    let mut best = vec![Best::default(); data.query_count()];
    let mut block = vec![0.0; BLOCK * dim];
    let mut squares = [0.0; BLOCK];
    for first in rows.clone().step_by(BLOCK) {
        let count = BLOCK.min(rows.end - first);
        for ((row, into), squared) in (first..first + count).zip(block.chunks_mut(dim)).zip(&mut squares) {
            data.read(row, into)?;
            *squared = square(into);
        }
        for (query, best) in data.queries.chunks(dim).zip(&mut best) {
            for (at, four) in block.chunks(ABREAST * dim).enumerate().take(count.div_ceil(ABREAST)) {
                let rows: [&[f32]; ABREAST] = std::array::from_fn(|i| &four[i * dim..][..dim]);
                for (product, at) in sums(query, rows).into_iter().zip(at * ABREAST..count) {
                    let (score, row) = (score(data.metric, product, squares[at]), (first + at) as u32);
                    if score > best.1 && living(row) {
                        best.add(score, row);
                    }
                }
            }
        }
    }
    Ok(best)
}

/// The nearest so far, and a score that others must pass.
#[derive(Clone)]
struct Best(Vec<(f32, u32)>, f32);

impl Default for Best {
    fn default() -> Self {
        Self(Vec::new(), f32::NEG_INFINITY)
    }
}

impl Best {
    /// Rows come in their order, so one that only equals the last of the kept comes too late.
    fn add(&mut self, score: f32, row: u32) {
        self.0.push((score, row));
        if self.0.len() == 2 * NEIGHBOURS {
            self.cut();
            self.1 = self.0[NEIGHBOURS - 1].0;
        }
    }

    fn cut(&mut self) {
        self.0.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        self.0.truncate(NEIGHBOURS);
    }
}

/// What orders rows by nearness to one query, more is nearer; of the inner product and the row's square.
fn score(metric: Metric, product: f32, square: f32) -> f32 {
    match metric {
        Metric::Dot => product,
        Metric::Cosine => product / square.sqrt(),
        Metric::L2 => 2.0 * product - square,
    }
}

fn square(row: &[f32]) -> f32 {
    sums(row, [row])[0]
}

/// Inner products of one vector with `N` others, each added up in the same order whatever `N`.
fn sums<const N: usize>(query: &[f32], rows: [&[f32]; N]) -> [f32; N] {
    let mut sums = [[0.0f32; LANES]; N];
    let whole = query.len() / LANES * LANES;
    for at in (0..whole).step_by(LANES) {
        let query = &query[at..at + LANES];
        for (sums, row) in sums.iter_mut().zip(rows) {
            let row = &row[at..at + LANES];
            (0..LANES).for_each(|lane| sums[lane] += query[lane] * row[lane]);
        }
    }
    std::array::from_fn(|i| {
        let rest: f32 = query[whole..].iter().zip(&rows[i][whole..]).map(|(a, b)| a * b).sum();
        sums[i].iter().sum::<f32>() + rest
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_order_as_the_metric_says_and_do_not_depend_on_company() {
        let row = |at: usize| (0..19).map(|i| ((i * 7 + at * 5) % 11) as f32 - 5.0).collect::<Vec<f32>>();
        let (query, rows) = (row(3), [row(0), row(1), row(2), row(4)]);
        let abreast = rows.each_ref().map(Vec::as_slice);
        let together = sums(&query, abreast);
        for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
            let nearest = score(metric, square(&query), square(&query));
            for (at, one) in abreast.iter().enumerate() {
                assert_eq!(sums(&query, [one])[0].to_bits(), together[at].to_bits());
                let score = score(metric, together[at], square(one));
                assert!(metric == Metric::Dot || score <= nearest, "{metric:?}");
            }
        }
    }

    #[test]
    fn the_best_are_kept_by_score_and_row() {
        let mut best = Best::default();
        for row in 0..1000u32 {
            let score = (row % 10) as f32;
            if score > best.1 {
                best.add(score, row);
            }
        }
        best.cut();
        let rows: Vec<u32> = best.0.iter().map(|near| near.1).collect();
        assert_eq!(rows, (0..100).map(|i| i * 10 + 9).collect::<Vec<u32>>());
    }
}
