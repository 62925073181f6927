//! The AVX2 set.
//!
//! Place: behind `kernel::Kernels`. Invariant `twins_agree`: same lanes, same order of sums, nothing fused, so the
//! bits are those of `kernel_scalar`. Leaves out: checks of lengths, which `Kernels` makes.

use super::{Kernels, Rotation, Rows, Target, Work, scalar};
use crate::rotate::{square_norm, sum_of};
use std::arch::x86_64::*;

pub(super) const KERNELS: Kernels = Kernels {
    name: "avx2",
    target: Target::Avx2,
    norm,
    rotate,
    signs,
    narrow,
    wide,
    hamming,
    hamming_run,
    product,
    square_distance,
};

pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("popcnt")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
}

#[target_feature(enable = "avx2,popcnt,lzcnt,bmi1,bmi2")]
pub(super) fn enter<W: Work>(work: W) -> W::Done {
    work.run()
}

#[target_feature(enable = "avx2")]
fn norm(x: &[f32]) -> f32 {
    square_norm(x)
}

#[target_feature(enable = "avx2")]
fn product(a: &[f32], b: &[f32]) -> f32 {
    sum_of(a, b, |a, b| a * b)
}

#[target_feature(enable = "avx2")]
fn square_distance(a: &[f32], b: &[f32]) -> f32 {
    sum_of(a, b, |a, b| (a - b) * (a - b))
}

#[target_feature(enable = "avx2")]
fn rotate(rotation: &Rotation, x: &mut [f32], scale: f32) {
    rotation.apply(x, scale, |block, signs, scale| hadamard(block, signs, scale));
}

/// Signs and stages 1, 2, 4 inside a register, 8, 16, 32 across eight registers, the rest in memory, two at a time:
/// a pass over memory costs more than what it adds.
#[target_feature(enable = "avx2")]
fn hadamard(x: &mut [f32], signs: &[f32], scale: f32) {
    let scale = _mm256_set1_ps(scale);
    for (part, signs) in x.as_chunks_mut::<64>().0.iter_mut().zip(signs.as_chunks::<64>().0) {
        let at = part.as_mut_ptr();
        let mut r: [__m256; 8] = [_mm256_setzero_ps(); 8];
        for (i, v) in r.iter_mut().enumerate() {
            // SAFETY: `part` and `signs` hold 64 floats.
            let (x, sign) = unsafe { (_mm256_loadu_ps(at.add(8 * i)), _mm256_loadu_ps(signs.as_ptr().add(8 * i))) };
            *v = butterflies_inside(_mm256_mul_ps(_mm256_mul_ps(x, scale), sign));
        }
        for half in [1, 2, 4] {
            for i in (0..8).filter(|i| i & half == 0) {
                (r[i], r[i + half]) = (_mm256_add_ps(r[i], r[i + half]), _mm256_sub_ps(r[i], r[i + half]));
            }
        }
        for (i, v) in r.into_iter().enumerate() {
            // SAFETY: `part` holds 64 floats.
            unsafe { _mm256_storeu_ps(at.add(8 * i), v) }
        }
    }
    let mut half = 64;
    while 2 * half < x.len() {
        x.chunks_exact_mut(4 * half).for_each(|part| two_stages(part, half));
        half *= 4;
    }
    if half < x.len() {
        let (low, high) = x.split_at_mut(half);
        for (a, b) in low.iter_mut().zip(high) {
            (*a, *b) = (*a + *b, *a - *b);
        }
    }
}

/// Stages `half` and `2 · half` of a part of `4 · half`.
#[target_feature(enable = "avx2")]
fn two_stages(part: &mut [f32], half: usize) {
    let (low, high) = part.split_at_mut(2 * half);
    let ((a, b), (c, d)) = (low.split_at_mut(half), high.split_at_mut(half));
    for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
        let (sum_low, rest_low, sum_high, rest_high) = (*a + *b, *a - *b, *c + *d, *c - *d);
        (*a, *b, *c, *d) = (sum_low + sum_high, rest_low + rest_high, sum_low - sum_high, rest_low - rest_high);
    }
}

/// `b + a` and `a + (-b)`: bit for bit the scalar `a + b` and `a - b`.
#[target_feature(enable = "avx2")]
fn butterflies_inside(v: __m256) -> __m256 {
    let n = -0.0;
    let swap = _mm256_permute_ps::<0b10_11_00_01>(v);
    let v = _mm256_add_ps(swap, _mm256_xor_ps(v, _mm256_setr_ps(0., n, 0., n, 0., n, 0., n)));
    let swap = _mm256_permute_ps::<0b01_00_11_10>(v);
    let v = _mm256_add_ps(swap, _mm256_xor_ps(v, _mm256_setr_ps(0., 0., n, n, 0., 0., n, n)));
    let swap = _mm256_permute2f128_ps::<1>(v, v);
    _mm256_add_ps(swap, _mm256_xor_ps(v, _mm256_setr_ps(0., 0., 0., 0., n, n, n, n)))
}

#[target_feature(enable = "avx2")]
fn signs(x: &[f32], bits: &mut [u64]) {
    for (part, word) in x.chunks_exact(64).zip(bits) {
        let mut minus = 0u64;
        for (i, eight) in part.chunks_exact(8).enumerate() {
            // SAFETY: `eight` holds 8 floats.
            let v = unsafe { _mm256_loadu_ps(eight.as_ptr()) };
            minus |= u64::from(_mm256_movemask_ps(v) as u8) << (8 * i);
        }
        *word = !minus;
    }
}

/// Eight coordinates as steps from 0 to `top`, `bias` being the step of zero plus a half.
#[target_feature(enable = "avx2")]
fn steps(x: &[f32], scale: __m256, bias: f32, top: f32) -> __m256i {
    debug_assert_eq!(x.len(), 8);
    // SAFETY: `x` holds 8 floats.
    let v = unsafe { _mm256_loadu_ps(x.as_ptr()) };
    let v = _mm256_add_ps(_mm256_mul_ps(v, scale), _mm256_set1_ps(bias));
    _mm256_cvttps_epi32(_mm256_min_ps(_mm256_max_ps(v, _mm256_setzero_ps()), _mm256_set1_ps(top)))
}

#[target_feature(enable = "avx2")]
fn narrow(x: &[f32], scale: f32, fine: &mut [u8]) {
    let scale = _mm256_set1_ps(scale);
    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for (x, fine) in x.chunks_exact(32).zip(fine.chunks_exact_mut(32)) {
        let q: [__m256i; 4] = std::array::from_fn(|i| steps(&x[8 * i..8 * i + 8], scale, 64.5, 127.0));
        let packed = _mm256_packus_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
        let packed = _mm256_permutevar8x32_epi32(packed, order);
        // SAFETY: `fine` holds 32 bytes.
        unsafe { _mm256_storeu_si256(fine.as_mut_ptr().cast(), packed) }
    }
}

#[target_feature(enable = "avx2")]
fn wide(x: &[f32], scale: f32, fine: &mut [u8]) {
    let (scale, middle) = (_mm256_set1_ps(scale), _mm256_set1_epi16(4096));
    for (x, fine) in x.chunks_exact(16).zip(fine.chunks_exact_mut(32)) {
        let q: [__m256i; 2] = std::array::from_fn(|i| steps(&x[8 * i..8 * i + 8], scale, 4096.5, 8191.0));
        let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(q[0], q[1]));
        // SAFETY: `fine` holds 32 bytes.
        unsafe { _mm256_storeu_si256(fine.as_mut_ptr().cast(), _mm256_sub_epi16(packed, middle)) }
    }
}

#[target_feature(enable = "avx2,popcnt,lzcnt,bmi1,bmi2")]
fn hamming(table: &Rows<u64>, query: &[u64], ids: &[u32], out: &mut [u32]) {
    match table.width() {
        4 => gather::<4>(table, query, ids, out),
        6 => gather::<6>(table, query, ids, out),
        8 => gather::<8>(table, query, ids, out),
        12 => gather::<12>(table, query, ids, out),
        16 => gather::<16>(table, query, ids, out),
        24 => gather::<24>(table, query, ids, out),
        _ => scalar::hamming(table, query, ids, out),
    }
}

/// One width at a time, so that the words of a row are counted without a loop.
#[target_feature(enable = "avx2,popcnt,lzcnt,bmi1,bmi2")]
fn gather<const W: usize>(table: &Rows<u64>, query: &[u64], ids: &[u32], out: &mut [u32]) {
    let query: &[u64; W] = query.try_into().expect("a query is as wide as its table");
    for (&id, out) in ids.iter().zip(out) {
        let row: &[u64; W] = table.get(id).try_into().expect("the width was matched");
        *out = (0..W).map(|i| (row[i] ^ query[i]).count_ones()).sum();
    }
}

#[target_feature(enable = "avx2,popcnt,lzcnt,bmi1,bmi2")]
fn hamming_run(rows: &[u64], query: &[u64], out: &mut [u32]) {
    match query.len() {
        4 => run::<4>(rows, query, out),
        6 => run::<6>(rows, query, out),
        8 => run::<8>(rows, query, out),
        12 => run::<12>(rows, query, out),
        16 => run::<16>(rows, query, out),
        24 => run::<24>(rows, query, out),
        _ => scalar::hamming_run(rows, query, out),
    }
}

#[target_feature(enable = "avx2,popcnt,lzcnt,bmi1,bmi2")]
fn run<const W: usize>(rows: &[u64], query: &[u64], out: &mut [u32]) {
    let query: &[u64; W] = query.try_into().expect("the width was matched");
    for (row, out) in rows.as_chunks::<W>().0.iter().zip(out) {
        *out = (0..W).map(|i| (row[i] ^ query[i]).count_ones()).sum();
    }
}

/// `maddubs` adds two products in i16: 2 · 127 · 127 = 32,258 fits; 8-bit codes would saturate.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn dot_narrow(a: &[u8], b: &[u8]) -> i32 {
    let ones = _mm256_set1_epi16(1);
    let mut sums = [_mm256_setzero_si256(); 2];
    for (a, b) in a.as_chunks::<64>().0.iter().zip(b.as_chunks::<64>().0) {
        for (half, sum) in sums.iter_mut().enumerate() {
            // SAFETY: both chunks hold 64 bytes.
            let (a, b) = unsafe {
                let a = _mm256_loadu_si256(a.as_ptr().add(32 * half).cast());
                (a, _mm256_loadu_si256(b.as_ptr().add(32 * half).cast()))
            };
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones));
        }
    }
    total(_mm256_add_epi32(sums[0], sums[1]))
}

/// Four products with one vector.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn dots_narrow(a: &[u8], rows: [&[u8]; 4]) -> [i32; 4] {
    let ones = _mm256_set1_epi16(1);
    folded(a, rows, |a, b| _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones))
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn dots_wide(a: &[u8], rows: [&[u8]; 4]) -> [i32; 4] {
    folded(a, rows, |a, b| _mm256_madd_epi16(a, b))
}

/// The sums of four rows are folded together.
#[inline]
#[target_feature(enable = "avx2")]
fn folded(a: &[u8], rows: [&[u8]; 4], product: impl Fn(__m256i, __m256i) -> __m256i) -> [i32; 4] {
    let mut sums = [_mm256_setzero_si256(); 4];
    let [b, c, d, e] = rows;
    let pairs = b.as_chunks::<32>().0.iter().zip(c.as_chunks::<32>().0);
    let pairs = pairs.zip(d.as_chunks::<32>().0.iter().zip(e.as_chunks::<32>().0));
    for (a, ((b, c), (d, e))) in a.as_chunks::<32>().0.iter().zip(pairs) {
        // SAFETY: a chunk holds 32 bytes.
        let a = unsafe { _mm256_loadu_si256(a.as_ptr().cast()) };
        for (sum, row) in sums.iter_mut().zip([b, c, d, e]) {
            // SAFETY: as above.
            let row = unsafe { _mm256_loadu_si256(row.as_ptr().cast()) };
            *sum = _mm256_add_epi32(*sum, product(a, row));
        }
    }
    let all = _mm256_hadd_epi32(_mm256_hadd_epi32(sums[0], sums[1]), _mm256_hadd_epi32(sums[2], sums[3]));
    lanes(_mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256::<1>(all)))
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn lanes(of: __m128i) -> [i32; 4] {
    let mut out = [0; 4];
    // SAFETY: `out` holds 16 bytes.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), of) }
    out
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn dot_wide(a: &[u8], b: &[u8]) -> i32 {
    let mut sum = _mm256_setzero_si256();
    for (a, b) in a.as_chunks::<32>().0.iter().zip(b.as_chunks::<32>().0) {
        // SAFETY: both chunks hold 32 bytes.
        let (a, b) = unsafe { (_mm256_loadu_si256(a.as_ptr().cast()), _mm256_loadu_si256(b.as_ptr().cast())) };
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
    }
    total(sum)
}

#[inline]
#[target_feature(enable = "avx2")]
fn total(sum: __m256i) -> i32 {
    let sum = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
    let sum = _mm_add_epi32(sum, _mm_shuffle_epi32::<0b01_00_11_10>(sum));
    let sum = _mm_add_epi32(sum, _mm_shuffle_epi32::<0b10_11_00_01>(sum));
    _mm_cvtsi128_si32(sum)
}
