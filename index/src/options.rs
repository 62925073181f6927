//! What a space fixes once and for all: dimension, metric, degree, effort and salt.
//!
//! Place: the argument of `Index::new`. Invariant `same_log_same_graph`: every field decides the graph, so every
//! replica must be given the same; what must not decide it (kernels, workers) is no field.
//! Leaves out: parameters of a search, which each recall chooses for itself.

use thiserror::Error;

/// Fewest dimensions of a vector.
pub const DIM_MIN: usize = 2;
/// Most dimensions of a vector.
pub const DIM_MAX: usize = 4096;
/// Fewest links that a row makes.
pub const M_MIN: usize = 4;
/// Most links that a row makes; a list in the base holds twice as many.
pub const M_MAX: usize = 64;
/// Widest beam of a build.
pub const EF_CONSTRUCTION_MAX: usize = 1024;

/// How nearness is measured, and what a hit's `score` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Cosine similarity, -1 to 1. A zero vector has none and is refused.
    Cosine,
    /// Inner product.
    Dot,
    /// Negative squared Euclidean distance.
    L2,
}

/// What decides a space's graph besides its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Coordinates of a vector, 2 to 4,096.
    pub dim: usize,
    /// How nearness is measured.
    pub metric: Metric,
    /// Links that a row makes when it comes, 4 to 64; twice as many fit in the base.
    pub m: usize,
    /// Rows that an insertion's beam holds, `m` to 1,024.
    pub ef_construction: usize,
    /// Seeds the rotation and the levels.
    pub salt: u64,
}

impl Options {
    /// The measured defaults: `m` 16, and `ef_construction` 64, or 40 for a cosine of fewer than 256 dimensions, whose
    /// rows are found by their fine codes and not by bits.
    pub fn new(dim: usize, metric: Metric, salt: u64) -> Self {
        let ef_construction = if metric == Metric::Cosine && dim < 256 { 40 } else { 64 };
        Self { dim, metric, m: 16, ef_construction, salt }
    }

    /// Checks each field against its range.
    pub fn validate(&self) -> Result<(), OptionsError> {
        if !(DIM_MIN..=DIM_MAX).contains(&self.dim) {
            return Err(OptionsError::Dim(self.dim));
        }
        if !(M_MIN..=M_MAX).contains(&self.m) {
            return Err(OptionsError::M(self.m));
        }
        if !(self.m..=EF_CONSTRUCTION_MAX).contains(&self.ef_construction) {
            return Err(OptionsError::EfConstruction { given: self.ef_construction, m: self.m });
        }
        Ok(())
    }
}

/// An option outside its range. Remedy: correct the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OptionsError {
    /// The dimension.
    #[error("dimension {0}: give 2 to 4096")]
    Dim(usize),
    /// The links a row makes.
    #[error("m {0}: give 4 to 64")]
    M(usize),
    /// The beam of a build.
    #[error("ef_construction {given}: give {m} (m) to 1024")]
    EfConstruction {
        /// What was asked for.
        given: usize,
        /// The least it may be.
        m: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_outside_their_ranges_are_refused_by_name() {
        let good = Options::new(384, Metric::Cosine, 1);
        assert_eq!(good.validate(), Ok(()));
        for dim in [0, 1, 4097] {
            assert_eq!(Options { dim, ..good }.validate(), Err(OptionsError::Dim(dim)));
        }
        for m in [0, 3, 65] {
            assert_eq!(Options { m, ..good }.validate(), Err(OptionsError::M(m)));
        }
        for given in [0, 15, 1025] {
            let refused = Options { ef_construction: given, ..good }.validate();
            assert_eq!(refused, Err(OptionsError::EfConstruction { given, m: 16 }));
        }
    }
}
