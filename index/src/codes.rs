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

    /// Of tables that hold equally many rows.
    pub(crate) fn of(encoder: Encoder, bits: Rows<u64>, fine: Rows<u8>, weights: Rows<u32>) -> Self {
        assert!(bits.len() == fine.len() && fine.len() == weights.len(), "a row has all its parts");
        Self { encoder, bits, fine, weights, next: Mutex::default() }
    }

    /// Encodes and appends; the row's number.
    pub(crate) fn push(&self, vector: &[f32]) -> Result<u32, VectorError> {
        let mut next = self.next.lock().expect("an encoder does not panic");
        self.encoder.encode(vector, &mut next)?;
        self.append(&next.code())
    }

    /// Appends a row that was encoded for equal options.
    pub(crate) fn take_over(&self, code: &Code) -> Result<u32, VectorError> {
        let _one_at_a_time = self.next.lock().expect("an encoder does not panic");
        self.append(code)
    }

    /// A row's code as bytes: bits, fine code, weight; little-endian.
    pub(crate) fn export(&self, row: u32) -> Vec<u8> {
        let code = self.code(row);
        let weight = self.weights.get(row).iter().flat_map(|part| part.to_le_bytes());
        code.bits.iter().flat_map(|word| word.to_le_bytes()).chain(code.fine.iter().copied()).chain(weight).collect()
    }

    /// Appends a row that `export` wrote.
    pub(crate) fn import(&self, bytes: &[u8]) -> Result<u32, VectorError> {
        let (words, fine) = (self.bits.width() * size_of::<u64>(), self.fine.width());
        let expected = words + fine + self.weight_bytes();
        if bytes.len() != expected {
            return Err(VectorError::CodeLength { given: bytes.len(), expected });
        }
        let (bits, rest) = bytes.split_at(words);
        let (fine, weight) = rest.split_at(fine);
        let bits: Vec<u64> = bits.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let mut parts = weight.as_chunks::<4>().0.iter().map(|part| u32::from_le_bytes(*part));
        let mut part = || parts.next().unwrap_or_default();
        let (square, shift) = (part(), part() as i32);
        let gain = u64::from(part()) | u64::from(part()) << 32;
        self.take_over(&Code { bits: &bits, fine, weight: Weight { square, shift, gain } })
    }

    /// Does something between two pushes; it is told the rows so far.
    pub(crate) fn between_pushes<R>(&self, work: impl FnOnce(u32) -> R) -> R {
        let _no_push = self.next.lock().expect("an encoder does not panic");
        work(self.rows())
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

    fn push_weight(&self, weight: &Weight) {
        let Weight { square, shift, gain } = *weight;
        let weight = [square, shift as u32, gain as u32, (gain >> 32) as u32];
        self.weights.push(&weight[..self.weights.width()]);
    }

    /// Fine codes of the rows below `rows`, in runs of at most `count`.
    pub(crate) fn fine_runs(&self, rows: u32, count: u32) -> impl Iterator<Item = &[u8]> {
        self.fine.runs(rows, count)
    }

    /// Weights as stored, likewise.
    pub(crate) fn weight_runs(&self, rows: u32, count: u32) -> impl Iterator<Item = &[u32]> {
        self.weights.runs(rows, count)
    }

    /// Bytes of a row's weight.
    pub(crate) fn weight_bytes(&self) -> usize {
        self.weights.width() * size_of::<u32>()
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

    /// The same of four rows.
    #[inline(always)]
    pub(crate) fn distances(&self, measure: Measure, code: &Code, rows: [u32; 4]) -> [u32; 4] {
        let [a, b, c, d] = rows;
        self.encoder.distances(measure, code, &[self.fine(a), self.fine(b), self.fine(c), self.fine(d)])
    }

    /// Hash of the row's number and codes, for the digest.
    pub(crate) fn hash(&self, row: u32, salt: u64) -> u64 {
        let code = self.code(row);
        let fine = code.fine.as_chunks::<8>().0.iter().map(|part| u64::from_le_bytes(*part));
        let weight = self.weights.get(row).iter().map(|&part| u64::from(part));
        fold(salt ^ u64::from(row), code.bits.iter().copied().chain(fine).chain(weight))
    }
}
