//! What the graph knows of a vector: bits to traverse, finer steps to prune and rescore, and how far two codes are apart.
//!
//! Place: from a checked vector to integers. After normalising and rotating, a coordinate is near N(0, 1/d), so one
//! fixed scale over ±4 σ serves every data set: nothing is trained, and a code never changes when more rows come.
//! A coordinate is a bit (its sign) and 7 bits, or 13 where there are at most 64 coordinates to hold all precision.
//!
//! Distances are integers. Cosine: squared L2 of the codes. L2 and dot: a row is the integer vector `gain · code`,
//! `gain` the vector's norm by its code's, in units of 2^-36; its squares and products are exact in 128 bits and are
//! then squeezed, monotonously, into 32. Invariants: `integers_decide`, `twins_agree`.
//! Leaves out: order and storage of rows (`codes`).

use crate::{
    kernel::Kernels,
    options::{Metric, Options},
    rotate::Rotation,
    vector::{self, VectorError},
};

const SIGMAS: f32 = 4.0;
/// Below this many (padded) coordinates bits say too little to traverse by.
const BITS_FROM: usize = 256;
/// A gain of 1.0.
const GAIN_ONE: f64 = (1u64 << 36) as f64;
/// With it a squared distance stays below 2^127.
const GAIN_MAX: f64 = (1u64 << 50) as f64;

/// How far apart two codes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Squared L2 of the codes: for unit vectors, the angle.
    Angle,
    /// Squared L2 of `gain · code`.
    Euclid,
    /// Falls as the inner product of `gain · code` rises.
    Inner,
}

/// By which codes a layer is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traverse {
    /// Hamming distance.
    Bits,
    /// Fine distance.
    Fine,
    /// The fine distance of those rows alone whose Hamming distance does not rule them out.
    Both,
}

/// What a distance needs besides the code.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weight {
    /// Σ of the squared steps: as stored for `Angle`, around zero for the others.
    pub(crate) square: u32,
    /// What turns a product of stored steps into one of steps around zero.
    pub(crate) shift: i32,
    pub(crate) gain: u64,
}

/// One encoded vector, borrowed.
#[derive(Clone, Copy, Default)]
pub(crate) struct Code<'a> {
    pub(crate) bits: &'a [u64],
    pub(crate) fine: &'a [u8],
    pub(crate) weight: Weight,
}

/// One encoded vector, owned; the buffers of an encoding.
#[derive(Clone, Debug, Default)]
pub(crate) struct Encoded {
    pub(crate) bits: Vec<u64>,
    pub(crate) fine: Vec<u8>,
    pub(crate) weight: Weight,
    turned: Vec<f32>,
}

impl Encoded {
    pub(crate) fn code(&self) -> Code<'_> {
        Code { bits: &self.bits, fine: &self.fine, weight: self.weight }
    }
}

pub(crate) struct Encoder {
    pub(crate) kernels: Kernels,
    dim: usize,
    metric: Metric,
    rotation: Rotation,
    wide: bool,
    scale: f32,
    /// By Hamming distance: a fine distance that hardly any pair so far apart falls below.
    pub(crate) floor: Vec<u32>,
}

impl Encoder {
    pub(crate) fn new(options: &Options, kernels: Kernels) -> Self {
        let rotation = Rotation::new(options.dim, options.salt);
        let (padded, wide) = (rotation.padded, rotation.padded <= 64);
        let scale = if wide { 4095.0 } else { 63.5 } / SIGMAS * (padded as f32).sqrt();
        let floor = (0..=padded).map(|hamming| floor(hamming, padded, scale)).collect();
        Self { kernels, dim: options.dim, metric: options.metric, rotation, wide, scale, floor }
    }

    /// 64-bit words of the bits.
    pub(crate) fn words(&self) -> usize {
        self.rotation.padded / 64
    }

    /// Bytes of the fine code.
    pub(crate) fn fine_bytes(&self) -> usize {
        self.rotation.padded * if self.wide { 2 } else { 1 }
    }

    /// How rows are compared to build.
    pub(crate) fn build_measure(&self) -> Measure {
        match self.metric {
            Metric::Cosine => Measure::Angle,
            Metric::Dot | Metric::L2 => Measure::Euclid,
        }
    }

    /// How a cue is compared to rows.
    pub(crate) fn search_measure(&self) -> Measure {
        match self.metric {
            Metric::Cosine => Measure::Angle,
            Metric::Dot => Measure::Inner,
            Metric::L2 => Measure::Euclid,
        }
    }

    /// Whether Hamming distances mean anything: for angles, with bits enough.
    pub(crate) fn bits_tell(&self) -> bool {
        self.metric == Metric::Cosine && self.rotation.padded >= BITS_FROM
    }

    /// Encodes `vector` into `out`, reusing its memory.
    pub(crate) fn encode(&self, vector: &[f32], out: &mut Encoded) -> Result<(), VectorError> {
        vector::check(vector, self.dim)?;
        out.turned.clear();
        out.turned.extend_from_slice(vector);
        out.turned.resize(self.rotation.padded, 0.0);
        let (norm, unit) = self.measure(&mut out.turned);
        if norm == 0.0 && self.metric == Metric::Cosine {
            return Err(VectorError::Zero);
        }
        self.kernels.rotate(&self.rotation, &mut out.turned, unit);
        out.bits.resize(self.words(), 0);
        out.fine.resize(self.fine_bytes(), 0);
        self.kernels.signs(&out.turned, &mut out.bits);
        match self.wide {
            true => self.kernels.wide(&out.turned, self.scale, &mut out.fine),
            false => self.kernels.narrow(&out.turned, self.scale, &mut out.fine),
        }
        out.weight = self.weight(&out.fine, norm)?;
        Ok(())
    }

    /// Norm, and what to multiply by to get a unit vector. Where the squares leave the range of f32, the vector is
    /// first scaled by a power of two.
    fn measure(&self, x: &mut [f32]) -> (f64, f32) {
        let square = self.kernels.norm(x);
        if (1e-30..1e30).contains(&square) {
            return (f64::from(square).sqrt(), 1.0 / square.sqrt());
        }
        let largest = x.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        if largest == 0.0 {
            return (0.0, 0.0);
        }
        let (power, back) =
            if largest < 1.0 { (2f32.powi(100), 2f64.powi(-100)) } else { (2f32.powi(-100), 2f64.powi(100)) };
        x.iter_mut().for_each(|v| *v *= power);
        let square = self.kernels.norm(x);
        if square == 0.0 { (0.0, 0.0) } else { (f64::from(square).sqrt() * back, 1.0 / square.sqrt()) }
    }

    fn weight(&self, fine: &[u8], norm: f64) -> Result<Weight, VectorError> {
        let (square, shift) = self.square(fine);
        if self.metric == Metric::Cosine {
            return Ok(Weight { square, shift, gain: 0 });
        }
        let gain = if square == 0 { 0.0 } else { (norm / f64::from(square).sqrt() * GAIN_ONE).round() };
        if gain >= GAIN_MAX {
            return Err(VectorError::TooLong);
        }
        Ok(Weight { square, shift, gain: gain as u64 })
    }

    /// Whether a code that comes from a file could come from `encode`, as far as distances rely on it.
    pub(crate) fn admits(&self, code: &Code) -> bool {
        let steps = match self.wide {
            true => code.fine.as_chunks::<2>().0.iter().all(|&v| (-4096..4096).contains(&i16::from_le_bytes(v))),
            false => code.fine.iter().all(|&v| v < 128),
        };
        let gain = code.weight.gain < GAIN_MAX as u64 && (self.metric != Metric::Cosine || code.weight.gain == 0);
        steps && gain && (code.weight.square, code.weight.shift) == self.square(code.fine)
    }

    /// Square and shift of a weight.
    fn square(&self, fine: &[u8]) -> (u32, i32) {
        let square = self.dot(fine, fine);
        if self.metric == Metric::Cosine {
            return (square as u32, 0);
        }
        let shift =
            if self.wide { 0 } else { 64 * fine.iter().map(|&v| i32::from(v)).sum::<i32>() - 2048 * fine.len() as i32 };
        ((square - 2 * shift).max(0) as u32, shift)
    }

    #[inline(always)]
    fn dot(&self, a: &[u8], b: &[u8]) -> i32 {
        if self.wide { self.kernels.dot_wide(a, b) } else { self.kernels.dot_narrow(a, b) }
    }

    /// How far apart two codes are; smaller is nearer.
    #[inline(always)]
    pub(crate) fn distance(&self, measure: Measure, a: &Code, b: &Code) -> u32 {
        self.apart(measure, a, b, self.dot(a.fine, b.fine))
    }

    /// The same of four at once, which costs less than four times one.
    #[inline(always)]
    pub(crate) fn distances(&self, measure: Measure, a: &Code, rows: &[Code; 4]) -> [u32; 4] {
        // Written out: an array's `map` is compiled for any CPU, and is called.
        let [b, c, d, e] = rows;
        let rows = [b.fine, c.fine, d.fine, e.fine];
        let dots =
            if self.wide { self.kernels.dots_wide(a.fine, rows) } else { self.kernels.dots_narrow(a.fine, rows) };
        let apart = |b: &Code, dot: i32| self.apart(measure, a, b, dot);
        [apart(b, dots[0]), apart(c, dots[1]), apart(d, dots[2]), apart(e, dots[3])]
    }

    #[inline(always)]
    fn apart(&self, measure: Measure, a: &Code, b: &Code, dot: i32) -> u32 {
        match measure {
            Measure::Angle => a.weight.square.wrapping_add(b.weight.square).wrapping_sub((2 * dot) as u32),
            Measure::Euclid => euclid(&a.weight, &b.weight, dot),
            Measure::Inner => inner(&a.weight, &b.weight, dot),
        }
    }

    /// The metric's value as the codes know it.
    pub(crate) fn score(&self, distance: u32) -> f32 {
        let unit = GAIN_ONE * GAIN_ONE;
        match self.search_measure() {
            Measure::Angle => {
                let scale = f64::from(self.scale);
                (1.0 - f64::from(distance) / (2.0 * scale * scale)) as f32
            }
            Measure::Euclid => (-unsqueeze(distance) / unit) as f32,
            Measure::Inner if distance <= MIDDLE => (unsqueeze(MIDDLE - distance) / unit) as f32,
            Measure::Inner => (-unsqueeze(distance - MIDDLE) / unit) as f32,
        }
    }
}

/// Two unit vectors at angle θ differ in θ/π of their signs, with a binomial spread; their narrow codes are
/// `2 scale² (1 - cos θ)` apart. The floor assumes a Hamming distance too high by half a deviation: by a whole one a search took
/// 7 to 30 % longer and found no more; by none it found less (recall@10 on WordNet, 384 dimensions, at ef 48: .956, .956, .949).
/// Own arithmetic: the cosines of two platforms' libraries may differ.
fn floor(hamming: usize, dims: usize, scale: f32) -> u32 {
    const DEVIATIONS: f64 = 0.5;
    let (h, d) = (hamming as f64, dims as f64);
    let likely = (h - DEVIATIONS * (h * (d - h) / d).sqrt()).max(0.0);
    let half = likely / d * std::f64::consts::FRAC_PI_2;
    let (mut sine, mut term) = (0.0, half);
    for n in 1..12 {
        sine += term;
        term *= -half * half / f64::from(2 * n * (2 * n + 1));
    }
    (4.0 * f64::from(scale) * f64::from(scale) * sine * sine) as u32
}

/// |a|² + |b|² - 2ab of the integer vectors `gain · code`: exact, never negative.
#[inline]
fn euclid(a: &Weight, b: &Weight, dot: i32) -> u32 {
    let square = |w: &Weight| u128::from(w.gain) * u128::from(w.gain) * u128::from(w.square);
    let squares = (square(a) + square(b)) as i128;
    let twice = 2 * product(a, b, dot);
    debug_assert!(squares >= twice, "a square is not negative");
    squeeze((squares - twice).unsigned_abs())
}

const MIDDLE: u32 = 1 << 31;

#[inline]
fn inner(a: &Weight, b: &Weight, dot: i32) -> u32 {
    let product = product(a, b, dot);
    let size = squeeze(product.unsigned_abs());
    if product < 0 { MIDDLE + size } else { MIDDLE - size }
}

#[inline]
fn product(a: &Weight, b: &Weight, dot: i32) -> i128 {
    let dot = i64::from(dot) - i64::from(a.shift) - i64::from(b.shift);
    i128::from(a.gain) * i128::from(b.gain) * i128::from(dot)
}

/// The 24 leading bits and their place: monotonous, below 2^30.
#[inline]
fn squeeze(x: u128) -> u32 {
    let places = (128 - x.leading_zeros()).saturating_sub(24);
    (places << 23) + (x >> places) as u32
}

fn unsqueeze(key: u32) -> f64 {
    let places = (key >> 23).saturating_sub(1);
    f64::from(key - (places << 23)) * 2f64.powi(places as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(encoder: &Encoder, x: &[f32]) -> Encoded {
        let mut out = Encoded::default();
        encoder.encode(x, &mut out).expect("a good vector");
        out
    }

    fn encoder(dim: usize, metric: Metric) -> Encoder {
        Encoder::new(&Options::new(dim, metric, 3), Kernels::detect())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn squeezing_keeps_the_order(a: u128, b: u128, places in 0u32..128) {
            let (a, b) = (a >> 1 >> (places / 2), b >> 1 >> places);
            prop_assert!(a > b || squeeze(a) <= squeeze(b));
            prop_assert!(squeeze(a) < 1 << 30);
            prop_assert!((unsqueeze(squeeze(a)) / (a as f64).max(1.0) - 1.0).abs() < 1e-6 || a == 0);
        }

        #[test]
        fn scores_of_codes_are_near_the_exact_ones(
            dim in prop_oneof![2usize..70, Just(128), Just(384), Just(768)], seed: u64, length in -8i32..12
        ) {
            let value = |i: usize| (crate::hash::mix(seed ^ i as u64) as i32 as f32) / 2e9;
            let a: Vec<f32> = (0..dim).map(|i| value(i) * 2f32.powi(length)).collect();
            let b: Vec<f32> = (0..dim).map(|i| (value(i) + value(i + 5000)) * 2f32.powi(length)).collect();
            let kernels = Kernels::SCALAR;
            let norms = f64::from(kernels.norm(&a)).sqrt() * f64::from(kernels.norm(&b)).sqrt();
            prop_assume!(norms > 0.0);
            for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
                let encoder = encoder(dim, metric);
                let (x, y) = (encoded(&encoder, &a), encoded(&encoder, &b));
                let distance = encoder.distance(encoder.search_measure(), &x.code(), &y.code());
                let exact = vector::Exact::new(&a, &kernels).score(&b, metric, &kernels).expect("moderate");
                let unit = if metric == Metric::Cosine { 1.0 } else { norms + f64::from(kernels.norm(&a) + kernels.norm(&b)) };
                let error = f64::from(encoder.score(distance) - exact).abs() / unit;
                prop_assert!(error < 0.03, "{metric:?} {dim}: {error}");
            }
        }
    }

    #[test]
    fn equal_vectors_are_no_distance_apart() {
        for dim in [2, 64, 65, 384] {
            for metric in [Metric::Cosine, Metric::L2] {
                let encoder = encoder(dim, metric);
                let x: Vec<f32> = (0..dim).map(|i| i as f32 - 7.5).collect();
                let a = encoded(&encoder, &x);
                assert_eq!(encoder.distance(encoder.search_measure(), &a.code(), &a.code()), 0);
            }
        }
    }

    #[test]
    fn a_cosine_does_not_see_the_length_even_at_the_ends_of_the_range() {
        let encoder = encoder(48, Metric::Cosine);
        let x: Vec<f32> = (0..48).map(|i| (i as f32 * 0.7).sin()).collect();
        let plain = encoded(&encoder, &x);
        for power in [-120, -90, -60, 60, 90, 120] {
            let scaled: Vec<f32> = x.iter().map(|v| v * 2f32.powi(power)).collect();
            let code = encoded(&encoder, &scaled);
            assert!(encoder.distance(Measure::Angle, &plain.code(), &code.code()) < 2000, "2^{power}");
        }
    }

    #[test]
    fn zero_and_overlong_vectors_are_refused_where_they_cannot_be_told() {
        let mut out = Encoded::default();
        assert_eq!(encoder(9, Metric::Cosine).encode(&[0.0; 9], &mut out), Err(VectorError::Zero));
        assert_eq!(encoder(9, Metric::L2).encode(&[0.0; 9], &mut out), Ok(()));
        assert_eq!(encoder(9, Metric::Dot).encode(&[1e30; 9], &mut out), Err(VectorError::TooLong));
        assert_eq!(encoder(9, Metric::L2).encode(&[f32::MAX; 9], &mut out), Err(VectorError::TooLong));
        assert_eq!(encoder(100, Metric::L2).encode(&[1e5; 100], &mut out), Ok(()));
    }
}
