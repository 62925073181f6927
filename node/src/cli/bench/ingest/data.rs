//! The rows of a run, each a pure function of its number, so that whoever must send one again can make it again.
//!
//! Place: read by the streams, the probes and the check at the end. Invariant: no two rows of a run are alike: from the
//! second time that a stored vector is used on, it gets a little noise from its number.

use super::args::Plan;
use crate::cli::bench::index::args::{Shape, Size};
use crate::cli::bench::index::synthetic::Made;
use crate::cli::exit::Failure;
use crate::cli::input;
use crate::cli::npy::Npy;
use engram_client::{Observation, observation};
use half::f16;
use half::slice::HalfFloatSliceExt;
use std::path::Path;

/// Made vectors, which are then streamed again and again.
const MADE_ROWS: usize = 50_000;
/// Noise of a repeated vector, as a share of its coordinates' size.
const NOISE: f32 = 0.2;

/// Vectors and texts.
pub struct Data {
    /// For the report.
    pub name: String,
    /// Coordinates.
    pub dim: usize,
    rows: u64,
    store: Store,
    /// `[f32; dim]` each, none of them a row.
    pub queries: Vec<Vec<f32>>,
}

enum Store {
    Stored {
        vectors: Npy,
        texts: Vec<String>,
    },
    /// `[f16; rows × dim]`
    Made(Vec<f16>),
}

impl Data {
    /// Opens or makes what the plan says.
    pub fn of(plan: &Plan) -> Result<Self, Failure> {
        match &plan.data {
            Some(dir) => Self::stored(dir),
            None => Self::made(plan.dim),
        }
    }

    fn stored(dir: &Path) -> Result<Self, Failure> {
        let (base, text) = (dir.join("base.f16.npy"), dir.join("base.txt"));
        let input::Source::Npy { vectors, texts, .. } = input::Source::npy(&base, &text)? else {
            return Err(Failure::input(format!("{}: no array", base.display())));
        };
        let queries = input::npy(&dir.join("query.f16.npy"))?;
        let queries: Vec<Vec<f32>> = (0..queries.rows()).map_while(|row| queries.row(row)).collect();
        let dim = vectors.row(0).map_or(0, |row| row.len());
        if dim == 0 || queries.first().is_none_or(|query| query.len() != dim) {
            return Err(Failure::input(format!("{}: rows and queries must be of one size, and some", dir.display())));
        }
        let (name, rows) = (dir.display().to_string(), vectors.rows() as u64);
        Ok(Self { name, dim, rows, store: Store::Stored { vectors, texts }, queries })
    }

    fn made(dim: usize) -> Result<Self, Failure> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let made = Made::new(Size { dim, rows: MADE_ROWS }, Shape::Clustered);
        let mut halves = Vec::with_capacity(MADE_ROWS * dim);
        made.rows(cores, |rows| {
            halves.extend_from_slice(rows);
            Ok(())
        })?;
        let queries = made.queries().chunks(dim).map(<[f32]>::to_vec).collect();
        let name = format!("synthetic {dim}x{MADE_ROWS} clustered");
        Ok(Self { name, dim, rows: MADE_ROWS as u64, store: Store::Made(halves), queries })
    }

    /// The vector of a row.
    pub fn vector(&self, number: u64) -> Vec<f32> {
        let at = (number % self.rows) as usize;
        let mut vector = match &self.store {
            Store::Stored { vectors, .. } => vectors.row(at).expect("below the number of rows"),
            Store::Made(halves) => {
                let mut vector = vec![0.0; self.dim];
                halves[at * self.dim..][..self.dim].convert_to_f32_slice(&mut vector);
                vector
            }
        };
        if number >= self.rows {
            let size = (vector.iter().map(|value| value * value).sum::<f32>() / self.dim as f32).sqrt();
            let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            for value in &mut vector {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                // The upper half of the state, as a number from -1 to 1.
                *value += NOISE * size * ((state >> 32) as i32 as f32 / 2_147_483_648.0);
            }
        }
        vector
    }

    /// The text of a row.
    pub fn text(&self, number: u64) -> String {
        match &self.store {
            Store::Stored { texts, .. } => texts[(number % self.rows) as usize].clone(),
            Store::Made(_) => format!("observation {number}"),
        }
    }

    /// The row as it is sent.
    pub fn observation(&self, number: u64) -> Observation {
        observation(self.text(number), &self.vector(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_can_be_made_again_and_none_is_like_another() {
        let halves = [1.0f32, 0.0, 0.0, 1.0].map(f16::from_f32).to_vec();
        let data = Data { name: String::new(), dim: 2, rows: 2, store: Store::Made(halves), queries: Vec::new() };
        assert_eq!((data.vector(0), data.vector(1)), (vec![1.0, 0.0], vec![0.0, 1.0]));
        assert_eq!(data.vector(7), data.vector(7));
        assert!(data.vector(2) != data.vector(0) && data.vector(4) != data.vector(2));
        assert!((data.vector(2)[0] - 1.0).abs() < 0.2);
    }
}
