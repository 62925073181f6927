//! The codes of all rows, append-only.
//!
//! Place: between `push` and everything that measures. Invariants: `rows_never_move`; `published_before_read`: a row
//! counts from the moment that all its parts are there. Leaves out: the originals; the caller's store has them.

use crate::{
    code::{Code, Encoded, Encoder, Measure, Weight},
    hash::fold,
    kernel::{ROWS_MAX, Rows},
    options::Metric,
    vector::VectorError,
};
use std::sync::Mutex;

pub(crate) struct Codes {
    pub(crate) encoder: Encoder,
    pub(crate) bits: Rows<u64>,
    fine: Rows<u8>,
    /// One number (square) for angles, else four (square, shift, gain).
    weights: Rows<u32>,
    /// The appender's buffers.
    next: Mutex<Encoded>,
}

impl Codes {
    pub(crate) fn new(encoder: Encoder, metric: Metric) -> Self {
        let (words, bytes) = (encoder.words(), encoder.fine_bytes());
        let weights = Rows::new(if metric == Metric::Cosine { 1 } else { 4 });
        Self { encoder, bits: Rows::new(words), fine: Rows::new(bytes), weights, next: Mutex::default() }
    }

    /// Encodes and appends; the row's number.
    pub(crate) fn push(&self, vector: &[f32]) -> Result<u32, VectorError> {
        let mut next = self.next.lock().expect("an encoder does not panic");
        self.encoder.encode(vector, &mut next)?;
        self.append(&next.code())
    }

    /// The weights come last: their length is the number of complete rows.
    fn append(&self, code: &Code) -> Result<u32, VectorError> {
        let row = self.rows();
        if row == ROWS_MAX {
            return Err(VectorError::Full { rows: row });
        }
        self.bits.push(code.bits);
        self.fine.push(code.fine);
        self.push_weight(&code.weight);
        Ok(row)
    }

    /// Appends a part of a row from a file that holds them apart: bits.
    pub(crate) fn restore_bits(&self, bits: &[u64]) {
        self.bits.push(bits);
    }

    /// Fine code.
    pub(crate) fn restore_fine(&self, fine: &[u8]) {
        self.fine.push(fine);
    }

    /// Weight, which completes the row; false, and nothing appended, where it does not fit the fine code.
    pub(crate) fn restore_weight(&self, weight: Weight) -> bool {
        let good = self.encoder.admits(&Code { bits: &[], fine: self.fine.get(self.rows()), weight });
        if good {
            self.push_weight(&weight);
        }
        good
    }

    fn push_weight(&self, weight: &Weight) {
        let Weight { square, shift, gain } = *weight;
        let weight = [square, shift as u32, gain as u32, (gain >> 32) as u32];
        self.weights.push(&weight[..self.weights.width()]);
    }

    /// Complete rows.
    #[inline]
    pub(crate) fn rows(&self) -> u32 {
        self.weights.len()
    }

    #[inline(always)]
    fn weight(&self, row: u32) -> Weight {
        match *self.weights.get(row) {
            [square] => Weight { square, shift: 0, gain: 0 },
            [square, shift, low, high] => {
                Weight { square, shift: shift as i32, gain: u64::from(high) << 32 | u64::from(low) }
            }
            _ => unreachable!("a weight is one number or four"),
        }
    }

    /// Without the bits, which no fine distance reads.
    #[inline(always)]
    pub(crate) fn fine(&self, row: u32) -> Code<'_> {
        Code { bits: &[], fine: self.fine.get(row), weight: self.weight(row) }
    }

    #[inline]
    pub(crate) fn code(&self, row: u32) -> Code<'_> {
        Code { bits: self.bits.get(row), ..self.fine(row) }
    }

    #[inline(always)]
    pub(crate) fn prefetch_fine(&self, row: u32) {
        self.fine.prefetch(row);
        self.weights.prefetch(row);
    }

    #[inline(always)]
    pub(crate) fn distance(&self, measure: Measure, code: &Code, row: u32) -> u32 {
        self.encoder.distance(measure, code, &self.fine(row))
    }

    /// Hash of the row's number and codes, for the digest.
    pub(crate) fn hash(&self, row: u32, salt: u64) -> u64 {
        let code = self.code(row);
        let fine = code.fine.as_chunks::<8>().0.iter().map(|part| u64::from_le_bytes(*part));
        let weight = self.weights.get(row).iter().map(|&part| u64::from(part));
        fold(salt ^ u64::from(row), code.bits.iter().copied().chain(fine).chain(weight))
    }
}
