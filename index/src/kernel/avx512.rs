//! The AVX-512 set: bit counts by VPOPCNTDQ and integer products by VNNI.
//!
//! Place: behind `kernel::Kernels`. Invariant `twins_agree`: integers alone are summed here, so any order gives the same;
//! whatever sums floats is the AVX2 set's, as wider registers would ask for another order of sums.
//! `emulate-avx512.sh` runs its tests on an emulated CPU. Leaves out: checks of lengths, which `Kernels` makes.

use super::{Kernels, Rows, Target, Work, avx2, scalar};
use std::arch::x86_64::*;

/// Words of a register. The kernels for bits hold the query in up to four.
const LANES: usize = 8;

pub(super) const KERNELS: Kernels =
    Kernels { name: "avx512", target: Target::Avx512, hamming, hamming_run, ..avx2::KERNELS };

/// Ice Lake, Zen 4 and later.
pub(super) fn available() -> bool {
    avx2::available()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vpopcntdq")
        && is_x86_feature_detected!("avx512vnni")
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vpopcntdq,avx512vnni")]
#[target_feature(enable = "avx2,popcnt,lzcnt,bmi1,bmi2")]
pub(super) fn enter<W: Work>(work: W) -> W::Done {
    work.run()
}

#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn hamming(table: &Rows<u64>, query: &[u64], ids: &[u32], out: &mut [u32]) {
    match table.width().div_ceil(LANES) {
        1 => gather::<1>(table, query, ids, out),
        2 => gather::<2>(table, query, ids, out),
        3 => gather::<3>(table, query, ids, out),
        4 => gather::<4>(table, query, ids, out),
        _ => scalar::hamming(table, query, ids, out),
    }
}

#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn gather<const N: usize>(table: &Rows<u64>, query: &[u64], ids: &[u32], out: &mut [u32]) {
    let query = Query::<N>::new(query);
    let (eights, rest) = ids.as_chunks::<8>();
    let (out_eights, out_rest) = out.as_chunks_mut::<8>();
    for (ids, out) in eights.iter().zip(out_eights) {
        let mut sums = [_mm512_setzero_si512(); 8];
        for (sum, &id) in sums.iter_mut().zip(ids) {
            *sum = query.apart(table.get(id));
        }
        *out = totals(sums);
    }
    for (&id, out) in rest.iter().zip(out_rest) {
        *out = _mm512_reduce_add_epi64(query.apart(table.get(id))) as u32;
    }
}

#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn hamming_run(rows: &[u64], query: &[u64], out: &mut [u32]) {
    match query.len().div_ceil(LANES) {
        1 => run::<1>(rows, query, out),
        2 => run::<2>(rows, query, out),
        3 => run::<3>(rows, query, out),
        4 => run::<4>(rows, query, out),
        _ => scalar::hamming_run(rows, query, out),
    }
}

#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn run<const N: usize>(rows: &[u64], query: &[u64], out: &mut [u32]) {
    let width = query.len();
    let query = Query::<N>::new(query);
    let (out_eights, out_rest) = out.as_chunks_mut::<8>();
    let eights = rows.chunks_exact(8 * width);
    let rest = eights.remainder().chunks_exact(width);
    for (rows, out) in eights.zip(out_eights) {
        let mut sums = [_mm512_setzero_si512(); 8];
        for (sum, row) in sums.iter_mut().zip(rows.chunks_exact(width)) {
            *sum = query.apart(row);
        }
        *out = totals(sums);
    }
    for (row, out) in rest.zip(out_rest) {
        *out = _mm512_reduce_add_epi64(query.apart(row)) as u32;
    }
}

/// A query of up to `8 · N` words, more than `8 · (N - 1)`.
struct Query<const N: usize> {
    words: [__m512i; N],
    width: usize,
    /// Which lanes of the last register are words.
    last: __mmask8,
}

impl<const N: usize> Query<N> {
    #[target_feature(enable = "avx512f")]
    fn new(query: &[u64]) -> Self {
        let width = query.len();
        assert!(width > (N - 1) * LANES && width <= N * LANES);
        let last = u8::MAX >> (N * LANES - width);
        // SAFETY: registers before the last are full of words; a masked load touches the lanes of its mask alone.
        Self { words: unsafe { load(query, last) }, width, last }
    }

    /// Counts of the bits in which a row differs, in eight partial sums.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vpopcntdq")]
    fn apart(&self, row: &[u64]) -> __m512i {
        assert_eq!(row.len(), self.width);
        // SAFETY: as for the query, which is as wide.
        let row: [__m512i; N] = unsafe { load(row, self.last) };
        let count = |i: usize| _mm512_popcnt_epi64(_mm512_xor_si512(row[i], self.words[i]));
        (1..N).fold(count(0), |sum, i| _mm512_add_epi64(sum, count(i)))
    }
}

/// The words of a row. The caller vouches for `8 · (N - 1)` words and for those of the mask beyond.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load<const N: usize>(words: &[u64], last: __mmask8) -> [__m512i; N] {
    std::array::from_fn(|i| {
        let at: *const i64 = words.as_ptr().wrapping_add(i * LANES).cast();
        // SAFETY: the caller vouches for it.
        unsafe { if i + 1 < N { _mm512_loadu_si512(at.cast()) } else { _mm512_maskz_loadu_epi64(last, at) } }
    })
}

/// The totals of eight rows' partial sums: one tree of additions for all, where eight folds would cost thrice as much.
#[inline]
#[target_feature(enable = "avx512f")]
fn totals(rows: [__m512i; 8]) -> [u32; 8] {
    // Lanes of 128 bits: a partial sum of an even row and one of the odd row behind it.
    let pairs: [__m512i; 4] = std::array::from_fn(|i| {
        let (even, odd) = (rows[2 * i], rows[2 * i + 1]);
        _mm512_add_epi64(_mm512_unpacklo_epi64(even, odd), _mm512_unpackhi_epi64(even, odd))
    });
    let sums = lanes_folded(lanes_folded(pairs[0], pairs[1]), lanes_folded(pairs[2], pairs[3]));
    let mut out = [0; 8];
    // SAFETY: `out` holds 8 numbers of 32 bits.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm512_cvtepi64_epi32(sums)) }
    out
}

/// Adds each even lane of 128 bits to the odd one behind it: two of `a`, then two of `b`.
#[inline]
#[target_feature(enable = "avx512f")]
fn lanes_folded(a: __m512i, b: __m512i) -> __m512i {
    _mm512_add_epi64(_mm512_shuffle_i64x2::<0b10_00_10_00>(a, b), _mm512_shuffle_i64x2::<0b11_01_11_01>(a, b))
}

/// Four products with one vector.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn dots_narrow(a: &[u8], rows: [&[u8]; 4]) -> [i32; 4] {
    folded(a, rows, |sum, a, b| _mm512_dpbusd_epi32(sum, a, b))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn dots_wide(a: &[u8], rows: [&[u8]; 4]) -> [i32; 4] {
    folded(a, rows, |sum, a, b| _mm512_dpwssd_epi32(sum, a, b))
}

/// The sums of four rows are folded together, which at few dimensions is most of the work.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn folded(a: &[u8], rows: [&[u8]; 4], step: impl Fn(__m512i, __m512i, __m512i) -> __m512i) -> [i32; 4] {
    let mut sums = [_mm512_setzero_si512(); 4];
    let [b, c, d, e] = rows;
    let pairs = b.as_chunks::<64>().0.iter().zip(c.as_chunks::<64>().0);
    let pairs = pairs.zip(d.as_chunks::<64>().0.iter().zip(e.as_chunks::<64>().0));
    for (a, ((b, c), (d, e))) in a.as_chunks::<64>().0.iter().zip(pairs) {
        // SAFETY: a chunk holds 64 bytes.
        let a = unsafe { _mm512_loadu_si512(a.as_ptr().cast()) };
        for (sum, row) in sums.iter_mut().zip([b, c, d, e]) {
            // SAFETY: as above.
            let row = unsafe { _mm512_loadu_si512(row.as_ptr().cast()) };
            *sum = step(*sum, a, row);
        }
    }
    let pair = |a, b| _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (ab, cd) = (pair(sums[0], sums[1]), pair(sums[2], sums[3]));
    // Each lane of 128 bits: a part of each of the four sums.
    let all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    let half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64::<1>(all));
    avx2::lanes(_mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half)))
}

/// A wide code is two registers: one sum.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn dot_wide(a: &[u8], b: &[u8]) -> i32 {
    let mut sum = _mm512_setzero_si512();
    for (a, b) in a.as_chunks::<64>().0.iter().zip(b.as_chunks::<64>().0) {
        // SAFETY: both chunks hold 64 bytes.
        let (a, b) = unsafe { (_mm512_loadu_si512(a.as_ptr().cast()), _mm512_loadu_si512(b.as_ptr().cast())) };
        sum = _mm512_dpwssd_epi32(sum, a, b);
    }
    _mm512_reduce_add_epi32(sum)
}

/// `vpdpbusd` takes the second operand's bytes as signed: codes are at most 127. Nothing saturates. Four sums side by side, so
/// that one step need not wait for the one before.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn dot_narrow(a: &[u8], b: &[u8]) -> i32 {
    let mut sums = [_mm512_setzero_si512(); 4];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<256>(), b.as_chunks::<256>());
    let mut add = |at: usize, a: &[u8; 64], b: &[u8; 64]| {
        // SAFETY: both chunks hold 64 bytes.
        let (a, b) = unsafe { (_mm512_loadu_si512(a.as_ptr().cast()), _mm512_loadu_si512(b.as_ptr().cast())) };
        sums[at] = _mm512_dpbusd_epi32(sums[at], a, b);
    };
    for (a, b) in a.iter().zip(b) {
        for (at, (a, b)) in a.as_chunks::<64>().0.iter().zip(b.as_chunks::<64>().0).enumerate() {
            add(at, a, b);
        }
    }
    for (at, (a, b)) in a_rest.as_chunks::<64>().0.iter().zip(b_rest.as_chunks::<64>().0).enumerate() {
        add(at, a, b);
    }
    let [a, b, c, d] = sums;
    _mm512_reduce_add_epi32(_mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, d)))
}
