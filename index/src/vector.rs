//! Vectors at the door, and their exact scores.
//!
//! Place: before `code`, which only sees vectors that passed here, and after `search`, which rescores by originals.
//! Invariant `one_score`: a score is computed in one order without fused multiply-add, so all machines agree.
//! Leaves out: 16-bit floats; the caller's store widens them.

use crate::{kernel::Kernels, options::Metric};
use thiserror::Error;

/// A vector that cannot be encoded. Nothing was appended. Remedy: correct the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VectorError {
    /// Another number of coordinates than the space has.
    #[error("{given} coordinates where the space has {expected}")]
    Length {
        /// Coordinates of the vector.
        given: usize,
        /// Coordinates of the space.
        expected: usize,
    },
    /// A coordinate is NaN or infinite.
    #[error("coordinate {at} is NaN or infinite")]
    NotFinite {
        /// The first such coordinate.
        at: usize,
    },
    /// All coordinates are zero: the cosine is not defined.
    #[error("all coordinates are zero: a cosine needs a direction")]
    Zero,
    /// The norm is beyond the fixed scale of dot and L2 spaces (some two million at least).
    #[error("the norm is beyond the scale of a dot or L2 space: scale the vectors down")]
    TooLong,
    /// A code that was made with other options, or is none.
    #[error("a code of {given} bytes where the space's have {expected}")]
    CodeLength {
        /// Bytes of the code.
        given: usize,
        /// Bytes of this space's codes.
        expected: usize,
    },
    /// The index holds as many rows as it can number.
    #[error("the index is full at {rows} rows")]
    Full {
        /// Rows that it holds.
        rows: u32,
    },
}

/// f16 or f32 originals for the last rescoring, kept by the caller's store.
pub trait Originals {
    /// Writes the vector of `row` (`[f32; dim]`) into `into`; false when it is not to be had.
    fn vector(&self, row: u32, into: &mut [f32]) -> bool;
}

/// Length and finiteness, the same for every metric.
pub(crate) fn check(vector: &[f32], dim: usize) -> Result<(), VectorError> {
    if vector.len() != dim {
        return Err(VectorError::Length { given: vector.len(), expected: dim });
    }
    // A look at all of them takes several at a time, a look for the first one cannot: it is for the refusal.
    if vector.iter().fold(true, |finite, v| finite & v.is_finite()) {
        return Ok(());
    }
    let at = vector.iter().position(|v| !v.is_finite()).expect("one is not finite");
    Err(VectorError::NotFinite { at })
}

/// A vector with its squared norm.
#[derive(Clone, Debug)]
pub(crate) struct Exact {
    pub(crate) vector: Vec<f32>,
    square: f32,
}

impl Exact {
    pub(crate) fn new(vector: &[f32], kernels: &Kernels) -> Self {
        Self { vector: vector.to_vec(), square: kernels.norm(vector) }
    }

    /// The metric's value of the pair; `None` where f32 cannot hold what it takes.
    pub(crate) fn score(&self, other: &[f32], metric: Metric, kernels: &Kernels) -> Option<f32> {
        let score = match metric {
            Metric::L2 => -kernels.square_distance(&self.vector, other),
            Metric::Dot => kernels.product(&self.vector, other),
            Metric::Cosine => {
                let squares = f64::from(self.square) * f64::from(kernels.norm(other));
                (f64::from(kernels.product(&self.vector, other)) / squares.sqrt()) as f32
            }
        };
        score.is_finite().then_some(score)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_what_the_metric_says() {
        let kernels = Kernels::detect();
        let exact = Exact::new(&[3.0, 4.0], &kernels);
        let score = |metric, other: &[f32]| exact.score(other, metric, &kernels);
        assert_eq!(score(Metric::Dot, &[1.0, -1.0]), Some(-1.0));
        assert_eq!(score(Metric::L2, &[0.0, 0.0]), Some(-25.0));
        assert_eq!(score(Metric::Cosine, &[30.0, 40.0]), Some(1.0));
        assert_eq!(score(Metric::Cosine, &[0.0, 0.0]), None);
        assert_eq!(score(Metric::Dot, &[f32::MAX, f32::MAX]), None);
    }

    #[test]
    fn the_first_bad_coordinate_is_named() {
        assert_eq!(check(&[1.0, 2.0], 2), Ok(()));
        assert_eq!(check(&[1.0], 2), Err(VectorError::Length { given: 1, expected: 2 }));
        assert_eq!(check(&[1.0, f32::NAN, f32::INFINITY], 3), Err(VectorError::NotFinite { at: 1 }));
    }
}
