//! Vectors made from a fixed seed: each a pure function of shape, size and row number.
//!
//! Place: for `--synthetic`. A cluster has a centre and one of a few bases of [`DIRECTIONS`] random directions; a row is
//! the centre, a random step along each direction, and a little noise everywhere. So the data have about as many
//! intrinsic dimensions as directions, whatever their coordinates, as embeddings of text have. Bases are shared so that
//! they stay in the cache: a million rows of 768 take seconds. Queries are further rows of the same kind.

use super::args::{Shape, Size};
use crate::cli::exit::Failure;
use half::f16;
use half::slice::HalfFloatSliceExt;

const SEED: u64 = 77;
/// Directions of a cluster.
const DIRECTIONS: usize = 20;
/// A step along a direction, beside a centre whose coordinates are of size 1.
const STEP: f32 = 0.22;
/// Noise of each coordinate.
const NOISE: f32 = 0.1;
/// Rows of a cluster, about.
const CLUSTER_ROWS: usize = 500;
/// Bases that the clusters share.
const BASES_MAX: usize = 64;
/// Times that a vector occurs among duplicates.
const COPIES: usize = 10;
/// As many as in the stored data.
const QUERIES: usize = 1000;
/// Rows that a thread makes at a time.
const BLOCK: usize = 1024;

/// The maker.
pub struct Made {
    size: Size,
    shape: Shape,
    clusters: usize,
    /// `[f32; bases × DIRECTIONS × dim]`
    bases: Vec<f32>,
}

impl Made {
    /// Nothing but the bases is made yet.
    pub fn new(size: Size, shape: Shape) -> Self {
        let clusters = size.rows / CLUSTER_ROWS + 1;
        let bases = if shape == Shape::Uniform { 0 } else { clusters.min(BASES_MAX) };
        let mut stream = Stream::new(1, 0);
        let bases = (0..bases * DIRECTIONS * size.dim).map(|_| stream.normal()).collect();
        Self { size, shape, clusters, bases }
    }

    /// What the data are like.
    pub fn intrinsic(&self) -> String {
        match self.shape {
            Shape::Uniform => format!("{}: every coordinate by itself", self.size.dim),
            Shape::Duplicates => {
                format!("about {DIRECTIONS} ({DIRECTIONS} directions a cluster), {COPIES} of each vector")
            }
            Shape::Clustered | Shape::Sorted => {
                format!(
                    "about {DIRECTIONS}: {DIRECTIONS} directions a cluster, {} clusters, noise of {NOISE}",
                    self.clusters
                )
            }
        }
    }

    /// All rows in their order, some at a time, to `take`; the threads change nothing but the time.
    pub fn rows(&self, threads: usize, mut take: impl FnMut(&[f16]) -> Result<(), Failure>) -> Result<(), Failure> {
        let dim = self.size.dim;
        let mut blocks = vec![vec![f16::ZERO; BLOCK * dim]; threads.max(1)];
        for first in (0..self.size.rows).step_by(BLOCK * blocks.len()) {
            std::thread::scope(|scope| {
                for (at, block) in blocks.iter_mut().enumerate() {
                    scope.spawn(move || self.block(first + at * BLOCK, block));
                }
            });
            for (at, block) in blocks.iter().enumerate() {
                let rows = self.size.rows.saturating_sub(first + at * BLOCK).min(BLOCK);
                take(&block[..rows * dim])?;
            }
        }
        Ok(())
    }

    /// The queries, rounded to half floats as the rows are: `[f32; queries × dim]`.
    pub fn queries(&self) -> Vec<f32> {
        let mut queries = vec![0.0; QUERIES * self.size.dim];
        for (at, query) in queries.chunks_mut(self.size.dim).enumerate() {
            let number = self.size.rows + at;
            self.vector(number, Stream::new(2, number).below(self.clusters), query);
            query.iter_mut().for_each(|value| *value = f16::from_f32(*value).to_f32());
        }
        queries
    }

    fn block(&self, first: usize, into: &mut [f16]) {
        let mut vector = vec![0.0; self.size.dim];
        for (row, out) in (first..self.size.rows).zip(into.chunks_mut(self.size.dim)) {
            let distinct = self.size.rows.div_ceil(COPIES);
            let number = if self.shape == Shape::Duplicates { row % distinct } else { row };
            let cluster = match self.shape {
                Shape::Sorted => (row as u64 * self.clusters as u64 / self.size.rows as u64) as usize,
                _ => Stream::new(2, number).below(self.clusters),
            };
            self.vector(number, cluster, &mut vector);
            out.convert_from_f32_slice(&vector);
        }
    }

    fn vector(&self, number: usize, cluster: usize, into: &mut [f32]) {
        let mut own = Stream::new(3, number);
        if self.shape == Shape::Uniform {
            return into.iter_mut().for_each(|value| *value = own.normal());
        }
        let mut centre = Stream::new(4, cluster);
        into.iter_mut().for_each(|value| *value = centre.normal() + NOISE * own.normal());
        let dim = self.size.dim;
        let base = cluster % (self.bases.len() / (DIRECTIONS * dim));
        for direction in self.bases[base * DIRECTIONS * dim..][..DIRECTIONS * dim].chunks(dim) {
            let step = STEP * own.normal();
            into.iter_mut().zip(direction).for_each(|(value, along)| *value += step * along);
        }
    }
}

/// A number from 0 to 1 for each row, by chance but always the same.
pub fn chance(row: usize) -> f64 {
    Stream::new(5, row).next() as f64 / u64::MAX as f64
}

/// A stream of random numbers for one purpose and one number.
struct Stream(u64);

impl Stream {
    fn new(purpose: u64, number: usize) -> Self {
        Self(mix(SEED ^ purpose << 56 ^ mix(number as u64 + 1)))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Near enough to a normal distribution of mean 0 and deviation 1: the sum of four even ones.
    fn normal(&mut self) -> f32 {
        let bits = self.next();
        let sum = [0, 16, 32, 48].map(|shift| (bits >> shift) as u16 as f32).iter().sum::<f32>();
        (sum / 65536.0 - 2.0) * 1.732
    }
}

/// Spreads a number over all 64 bits.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(shape: Shape, threads: usize) -> Vec<Vec<f16>> {
        let mut rows = Vec::new();
        let made = Made::new(Size { dim: 16, rows: 2500 }, shape);
        let done = made.rows(threads, |part| {
            rows.extend(part.chunks(16).map(<[f16]>::to_vec));
            Ok(())
        });
        done.expect("nothing refuses rows");
        rows
    }

    #[test]
    fn threads_change_nothing() {
        let rows = all(Shape::Clustered, 1);
        assert_eq!(rows.len(), 2500);
        assert_eq!(rows, all(Shape::Clustered, 3));
        assert_ne!(rows[0], rows[1]);
    }

    #[test]
    fn duplicates_come_ten_times() {
        let mut rows: Vec<Vec<u16>> =
            all(Shape::Duplicates, 2).iter().map(|row| row.iter().map(|half| half.to_bits()).collect()).collect();
        rows.sort_unstable();
        assert!(rows.chunk_by(|a, b| a == b).all(|same| same.len() == COPIES));
    }

    #[test]
    fn coordinates_are_of_size_one() {
        let rows = all(Shape::Uniform, 2);
        let values: Vec<f32> = rows.iter().flatten().map(|half| half.to_f32()).collect();
        let count = values.len() as f32;
        let mean = values.iter().sum::<f32>() / count;
        let square = values.iter().map(|value| value * value).sum::<f32>() / count;
        assert!(mean.abs() < 0.02 && (square - 1.0).abs() < 0.05, "{mean} {square}");
    }
}
