//! The scalar twin of every kernel: the definition that the SIMD code must equal bit for bit.
//!
//! Place: behind `kernel::Kernels::SCALAR`, for machines without AVX2 and for tests.
//! Invariant `twins_agree`. Leaves out: checks of lengths, which `Kernels` makes for both twins.

use crate::{
    kernel::Rows,
    rotate::{Rotation, square_norm, sum_of},
};

pub(crate) fn norm(x: &[f32]) -> f32 {
    square_norm(x)
}

pub(crate) fn rotate(rotation: &Rotation, x: &mut [f32], scale: f32) {
    rotation.apply(x, scale, hadamard);
}

fn hadamard(x: &mut [f32], signs: &[f32], scale: f32) {
    for (v, sign) in x.iter_mut().zip(signs) {
        *v = (*v * scale) * sign;
    }
    let mut half = 1;
    while half < x.len() {
        for pair in x.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            for (a, b) in low.iter_mut().zip(high) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
}

/// One bit a coordinate: whether its sign is plus.
pub(crate) fn signs(x: &[f32], bits: &mut [u64]) {
    bits.fill(0);
    for (i, v) in x.iter().enumerate() {
        bits[i / 64] |= u64::from(v.is_sign_positive()) << (i % 64);
    }
}

/// One byte in 0..=127 a coordinate: `x · scale`, rounded, around 64.
pub(crate) fn narrow(x: &[f32], scale: f32, fine: &mut [u8]) {
    for (fine, v) in fine.iter_mut().zip(x) {
        *fine = (v * scale + 64.5).clamp(0.0, 127.0) as u8;
    }
}

/// Two bytes (little-endian) in -4096..=4095 a coordinate: `x · scale`, rounded.
pub(crate) fn wide(x: &[f32], scale: f32, fine: &mut [u8]) {
    for (fine, v) in fine.as_chunks_mut::<2>().0.iter_mut().zip(x) {
        let step = (v * scale + 4096.5).clamp(0.0, 8191.0) as i16;
        *fine = (step - 4096).to_le_bytes();
    }
}

/// Hamming distances of the table's rows `ids` from `query`.
#[inline(always)]
pub(crate) fn hamming(table: &Rows<u64>, query: &[u64], ids: &[u32], out: &mut [u32]) {
    for (&id, out) in ids.iter().zip(out) {
        *out = apart(table.get(id), query);
    }
}

/// Hamming distances of consecutive rows from `query`.
#[inline(always)]
pub(crate) fn hamming_run(rows: &[u64], query: &[u64], out: &mut [u32]) {
    for (row, out) in rows.chunks_exact(query.len()).zip(out) {
        *out = apart(row, query);
    }
}

#[inline(always)]
fn apart(a: &[u64], b: &[u64]) -> u32 {
    a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum()
}

/// Dot product of two narrow codes; below 2^27 at 4,096 dimensions.
pub(crate) fn dot_narrow(a: &[u8], b: &[u8]) -> i32 {
    a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
}

/// Dot product of two wide codes of 64 coordinates; within ±2^30.
pub(crate) fn dot_wide(a: &[u8], b: &[u8]) -> i32 {
    let pairs = a.as_chunks::<2>().0.iter().zip(b.as_chunks::<2>().0);
    pairs.map(|(&a, &b)| i32::from(i16::from_le_bytes(a)) * i32::from(i16::from_le_bytes(b))).sum()
}

pub(crate) fn product(a: &[f32], b: &[f32]) -> f32 {
    sum_of(a, b, |a, b| a * b)
}

pub(crate) fn square_distance(a: &[f32], b: &[f32]) -> f32 {
    sum_of(a, b, |a, b| (a - b) * (a - b))
}
