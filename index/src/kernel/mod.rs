//! SIMD kernels chosen once at run time, and the tables they read: all unsafe code of the crate is below here.
//!
//! Place: under everything that measures. A kernel set is a value, so that a test can run a whole build with
//! either and compare digests. Kernels take many rows a call where they can: the indirect call is then paid once
//! a hop, not once a distance.
//!
//! Invariant `twins_agree`: every set gives the same bits as `kernel_scalar`, which is the definition.
//! Leaves out: NEON, which would be one more file, one more constant, and one more line in `Kernels::all`.
#![expect(unsafe_code, reason = "SIMD and memory that grows under readers; each block says why it is sound")]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod memory;

use crate::{kernel_scalar as scalar, rotate::Rotation};
pub(crate) use memory::{Lists, ROWS_MAX, Rows};

type Hamming = unsafe fn(&Rows<u64>, &[u64], &[u32], &mut [u32]);

/// For which CPU `enter` compiles the code around the kernels.
#[derive(Clone, Copy)]
enum Target {
    Any,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// What `Kernels::enter` does. `run` must be `#[inline(always)]`, and so must what it calls, down to the kernels: what is
/// not inlined is compiled for any CPU. A closure cannot be told so: a large one is a function of its own, which cost 6 % of a build
/// at 128 dimensions.
pub(crate) trait Work {
    /// The result.
    type Done;
    fn run(self) -> Self::Done;
}

/// A set of kernels. All sets give the same bits.
#[derive(Clone, Copy)]
pub struct Kernels {
    /// For traces and status pages.
    pub name: &'static str,
    target: Target,
    norm: unsafe fn(&[f32]) -> f32,
    rotate: unsafe fn(&Rotation, &mut [f32], f32),
    signs: unsafe fn(&[f32], &mut [u64]),
    narrow: unsafe fn(&[f32], f32, &mut [u8]),
    wide: unsafe fn(&[f32], f32, &mut [u8]),
    hamming: Hamming,
    hamming_run: unsafe fn(&[u64], &[u64], &mut [u32]),
    product: unsafe fn(&[f32], &[f32]) -> f32,
    square_distance: unsafe fn(&[f32], &[f32]) -> f32,
}

impl Kernels {
    /// Plain Rust, for every machine.
    pub const SCALAR: Self = Self {
        name: "scalar",
        target: Target::Any,
        norm: scalar::norm,
        rotate: scalar::rotate,
        signs: scalar::signs,
        narrow: scalar::narrow,
        wide: scalar::wide,
        hamming: scalar::hamming,
        hamming_run: scalar::hamming_run,
        product: scalar::product,
        square_distance: scalar::square_distance,
    };

    /// Every set that this CPU has, the fastest first.
    pub fn all() -> Vec<Self> {
        let mut sets = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            sets.extend(avx512::available().then_some(avx512::KERNELS));
            sets.extend(avx2::available().then_some(avx2::KERNELS));
        }
        sets.push(Self::SCALAR);
        sets
    }

    /// The fastest set that this CPU has.
    pub fn detect() -> Self {
        Self::all()[0]
    }

    /// Does `work`, compiled for this set's CPU: bit counts and shifts then are single instructions, and the kernels below
    /// are no calls. Of no effect on what it computes.
    #[inline]
    pub(crate) fn enter<W: Work>(&self, work: W) -> W::Done {
        match self.target {
            Target::Any => work.run(),
            // SAFETY: only a set that `all` gave has this target; it found the instructions.
            #[cfg(target_arch = "x86_64")]
            Target::Avx2 => unsafe { avx2::enter(work) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Target::Avx512 => unsafe { avx512::enter(work) },
        }
    }

    /// Σ x².
    #[inline]
    pub(crate) fn norm(&self, x: &[f32]) -> f32 {
        // SAFETY: `all` found the instructions of this set; any slice will do.
        unsafe { (self.norm)(x) }
    }

    /// `x` is `[f32; padded]`.
    #[inline]
    pub(crate) fn rotate(&self, rotation: &Rotation, x: &mut [f32], scale: f32) {
        assert_eq!(x.len(), rotation.padded);
        // SAFETY: `all` found the instructions; the length is a multiple of 64.
        unsafe { (self.rotate)(rotation, x, scale) }
    }

    #[inline]
    pub(crate) fn signs(&self, x: &[f32], bits: &mut [u64]) {
        assert_eq!(x.len(), bits.len() * 64);
        // SAFETY: `all` found the instructions; the lengths agree.
        unsafe { (self.signs)(x, bits) }
    }

    #[inline]
    pub(crate) fn narrow(&self, x: &[f32], scale: f32, fine: &mut [u8]) {
        assert!(x.len().is_multiple_of(64) && fine.len() == x.len());
        // SAFETY: `all` found the instructions; the lengths agree.
        unsafe { (self.narrow)(x, scale, fine) }
    }

    #[inline]
    pub(crate) fn wide(&self, x: &[f32], scale: f32, fine: &mut [u8]) {
        assert!(x.len().is_multiple_of(64) && fine.len() == 2 * x.len());
        // SAFETY: `all` found the instructions; the lengths agree.
        unsafe { (self.wide)(x, scale, fine) }
    }

    /// Hamming distances of the table's rows `ids` from `query` into `out`, one for each id.
    #[inline]
    pub(crate) fn hamming(&self, table: &Rows<u64>, query: &[u64], ids: &[u32], out: &mut [u32]) {
        // SAFETY: `all` found the instructions; the kernels index with checks.
        unsafe { (self.hamming)(table, query, ids, out) }
    }

    /// Hamming distances of consecutive rows from `query` into `out`.
    #[inline]
    pub(crate) fn hamming_run(&self, rows: &[u64], query: &[u64], out: &mut [u32]) {
        // SAFETY: `all` found the instructions; the kernels index with checks.
        unsafe { (self.hamming_run)(rows, query, out) }
    }

    /// Not behind a pointer as the others: inlined where the code around was compiled for this CPU (`enter`), because at
    /// few dimensions a call costs as much as the product.
    #[inline(always)]
    pub(crate) fn dot_narrow(&self, a: &[u8], b: &[u8]) -> i32 {
        assert!(a.len() == b.len() && a.len().is_multiple_of(64));
        match self.target {
            Target::Any => scalar::dot_narrow(a, b),
            // SAFETY: only a set that `all` gave has this target; the lengths agree.
            #[cfg(target_arch = "x86_64")]
            Target::Avx2 => unsafe { avx2::dot_narrow(a, b) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Target::Avx512 => unsafe { avx512::dot_narrow(a, b) },
        }
    }

    /// `dot_narrow` with four rows; inlined as it is.
    #[inline(always)]
    pub(crate) fn dots_narrow(&self, a: &[u8], rows: [&[u8]; 4]) -> [i32; 4] {
        let [b, c, d, e] = rows;
        let same = b.len() == a.len() && c.len() == a.len() && d.len() == a.len() && e.len() == a.len();
        assert!(same && a.len().is_multiple_of(64));
        match self.target {
            Target::Any => rows.map(|row| scalar::dot_narrow(a, row)),
            // SAFETY: only a set that `all` gave has this target; the lengths agree.
            #[cfg(target_arch = "x86_64")]
            Target::Avx2 => unsafe { avx2::dots_narrow(a, rows) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Target::Avx512 => unsafe { avx512::dots_narrow(a, rows) },
        }
    }

    /// As `dots_narrow`.
    #[inline(always)]
    pub(crate) fn dots_wide(&self, a: &[u8], rows: [&[u8]; 4]) -> [i32; 4] {
        let [b, c, d, e] = rows;
        let same = b.len() == a.len() && c.len() == a.len() && d.len() == a.len() && e.len() == a.len();
        assert!(same && a.len().is_multiple_of(64));
        match self.target {
            Target::Any => rows.map(|row| scalar::dot_wide(a, row)),
            // SAFETY: only a set that `all` gave has this target; the lengths agree.
            #[cfg(target_arch = "x86_64")]
            Target::Avx2 => unsafe { avx2::dots_wide(a, rows) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Target::Avx512 => unsafe { avx512::dots_wide(a, rows) },
        }
    }

    /// As `dot_narrow`.
    #[inline(always)]
    pub(crate) fn dot_wide(&self, a: &[u8], b: &[u8]) -> i32 {
        assert!(a.len() == b.len() && a.len().is_multiple_of(64));
        match self.target {
            Target::Any => scalar::dot_wide(a, b),
            // SAFETY: only a set that `all` gave has this target; the lengths agree.
            #[cfg(target_arch = "x86_64")]
            Target::Avx2 => unsafe { avx2::dot_wide(a, b) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Target::Avx512 => unsafe { avx512::dot_wide(a, b) },
        }
    }

    #[inline]
    pub(crate) fn product(&self, a: &[f32], b: &[f32]) -> f32 {
        // SAFETY: `all` found the instructions; any slices will do.
        unsafe { (self.product)(a, b) }
    }

    #[inline]
    pub(crate) fn square_distance(&self, a: &[f32], b: &[f32]) -> f32 {
        // SAFETY: `all` found the instructions; any slices will do.
        unsafe { (self.square_distance)(a, b) }
    }
}

#[cfg(test)]
mod tests;
