//! A door for `benches/kernels`, which measures the kernels one by one.
//!
//! Place: beside the crate's front door, hidden from its guide. Leaves out: any promise; it changes as the kernels do.

use crate::{
    Kernels, Metric, Options,
    code::{Encoded, Encoder},
    kernel::Rows,
};

/// Rows of bits, as the index keeps them.
pub struct Bits(Rows<u64>);

impl Bits {
    /// A table of the rows that `words` holds one after another.
    pub fn new(width: usize, words: &[u64]) -> Self {
        let rows = Rows::new(width);
        words.chunks_exact(width).for_each(|row| rows.push(row));
        Self(rows)
    }

    /// Hamming distances of the rows `ids` from `query` into `out`.
    pub fn gather(&self, kernels: &Kernels, query: &[u64], ids: &[u32], out: &mut [u32]) {
        kernels.hamming(&self.0, query, ids, out);
    }
}

/// Hamming distances of consecutive rows from `query` into `out`.
pub fn hamming_run(kernels: &Kernels, rows: &[u64], query: &[u64], out: &mut [u32]) {
    kernels.hamming_run(rows, query, out);
}

/// Dot product of two narrow codes.
pub fn dot_narrow(kernels: &Kernels, a: &[u8], b: &[u8]) -> i32 {
    kernels.dot_narrow(a, b)
}

/// An encoder with its buffers.
pub struct Encoding {
    encoder: Encoder,
    out: Encoded,
}

impl Encoding {
    /// For cosine, as most spaces have it.
    pub fn new(dim: usize, kernels: Kernels) -> Self {
        Self { encoder: Encoder::new(&Options::new(dim, Metric::Cosine, 7), kernels), out: Encoded::default() }
    }

    /// Encodes one vector of nonzero length; the first word of its bits.
    pub fn encode(&mut self, vector: &[f32]) -> u64 {
        self.encoder.encode(vector, &mut self.out).expect("a vector that is not zero");
        self.out.bits[0]
    }
}
