//! A seeded randomised Hadamard rotation for every dimension, without padding 768 to 1,024.
//!
//! Place: first step of `code`. The dimension is padded to a multiple of 64 and seen as blocks of 2^k. A round is:
//! random signs; a Hadamard transform of each block; the Householder reflection `I - (2/n) 11ᵀ` across the n
//! blocks (for 768 = 3 × 256 its entries are 1/3 and -2/3). A reflection across many blocks moves little of each, so
//! with more than three the coordinates are dealt out to other blocks between rounds. Every step keeps the norm.
//!
//! Invariant `twins_agree`: each output is made by the same f32 operations on the same operands in scalar and
//! SIMD code; nothing is fused, sums have one order. Leaves out: learning anything from the data.

use crate::hash::mix;

const LANES: usize = 32;
const FEW_BLOCKS: usize = 3;

pub(crate) struct Rotation {
    /// The dimension, padded to a multiple of 64.
    pub(crate) padded: usize,
    block: usize,
    /// A round's signs, times `1/sqrt(block)`.
    signs: Vec<Vec<f32>>,
}

impl Rotation {
    pub(crate) fn new(dim: usize, salt: u64) -> Self {
        let padded = dim.next_multiple_of(64);
        let block = 1 << padded.trailing_zeros();
        let rounds = if padded / block <= FEW_BLOCKS { 2 } else { 3 };
        let unit = 1.0 / (block as f32).sqrt();
        let sign = |round: usize, i: usize| mix(salt ^ mix((round << 16 | i) as u64)) & 1 == 0;
        let signs = |round| (0..padded).map(|i| if sign(round, i) { unit } else { -unit }).collect();
        Self { padded, block, signs: (0..rounds).map(signs).collect() }
    }

    /// Multiplies `x` (`[f32; padded]`) by `scale` and rotates it. `hadamard` multiplies each value of a block by
    /// the scale, then by its sign, and transforms the block.
    #[inline(always)]
    pub(crate) fn apply(&self, x: &mut [f32], scale: f32, hadamard: impl Fn(&mut [f32], &[f32], f32)) {
        let mut scale = scale;
        for signs in &self.signs {
            for (block, signs) in x.chunks_exact_mut(self.block).zip(signs.chunks_exact(self.block)) {
                hadamard(block, signs, scale);
            }
            scale = 1.0;
            self.reflect(x);
            self.deal(x);
        }
    }

    /// Each new block takes its coordinates from all the old ones in turn.
    fn deal(&self, x: &mut [f32]) {
        let blocks = self.padded / self.block;
        if blocks > FEW_BLOCKS {
            let old = x.to_vec();
            for (new, block) in x.chunks_exact_mut(self.block).enumerate() {
                block.iter_mut().zip(old[new..].iter().step_by(blocks)).for_each(|(v, old)| *v = *old);
            }
        }
    }

    #[inline(always)]
    fn reflect(&self, x: &mut [f32]) {
        let blocks = self.padded / self.block;
        if blocks == 1 {
            return;
        }
        let share = 2.0 / blocks as f32;
        for at in (0..self.block).step_by(8) {
            let mut sum = [0.0f32; 8];
            for part in x.chunks_exact(self.block) {
                for (sum, v) in sum.iter_mut().zip(&part[at..at + 8]) {
                    *sum += v;
                }
            }
            for part in x.chunks_exact_mut(self.block) {
                for (v, sum) in part[at..at + 8].iter_mut().zip(&sum) {
                    *v -= sum * share;
                }
            }
        }
    }
}

/// Σ x² in 32 partial sums, folded as a tree: one order, and one that SIMD code can follow.
#[inline(always)]
pub(crate) fn square_norm(x: &[f32]) -> f32 {
    sum_of(x, x, |a, b| a * b)
}

/// Σ of `term(a, b)` over two equally long slices of any length, in the order of `square_norm`.
#[inline(always)]
pub(crate) fn sum_of(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (parts_a, parts_b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let (rest_a, rest_b) = (parts_a.remainder(), parts_b.remainder());
    for (a, b) in parts_a.zip(parts_b) {
        for lane in 0..LANES {
            sums[lane] += term(a[lane], b[lane]);
        }
    }
    for (sum, (a, b)) in sums.iter_mut().zip(rest_a.iter().zip(rest_b)) {
        *sum += term(*a, *b);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}
