//! The twins against each other, bit for bit, at random and at awkward lengths.
//!
//! Place: tests of `kernel`. Every set that this CPU has against the scalar one. Invariant `twins_agree`.
//! Leaves out: whole builds with each set (`tests/determinism`); sets that this CPU lacks.

use super::*;
use proptest::prelude::*;

fn value() -> impl Strategy<Value = f32> {
    prop_oneof![8 => -1.0f32..1.0, 1 => -1e20f32..1e20, 1 => Just(0.0), 1 => Just(-0.0), 1 => Just(1e-40)]
}

fn bits_of(x: &[f32]) -> Vec<u32> {
    x.iter().map(|v| v.to_bits()).collect()
}

/// 0, 1, a lane more or less, and anything up to 200.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(7),
        Just(8),
        Just(9),
        Just(31),
        Just(32),
        Just(33),
        Just(63),
        Just(65),
        0usize..200
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn float_sums_agree_at_any_length(a in length().prop_flat_map(|n| prop::collection::vec((value(), value()), n))) {
        let slow = Kernels::SCALAR;
        let (a, b): (Vec<f32>, Vec<f32>) = a.into_iter().unzip();
        for fast in Kernels::all() {
            prop_assert_eq!(fast.norm(&a).to_bits(), slow.norm(&a).to_bits());
            prop_assert_eq!(fast.product(&a, &b).to_bits(), slow.product(&a, &b).to_bits());
            prop_assert_eq!(fast.square_distance(&a, &b).to_bits(), slow.square_distance(&a, &b).to_bits());
        }
    }

    #[test]
    fn rotations_and_codes_agree(blocks in 1usize..20, seed: u64, x in prop::collection::vec(value(), 64..65)) {
        let rotation = Rotation::new(blocks * 64, seed);
        let mut plain: Vec<f32> = x.iter().cycle().take(rotation.padded).copied().collect();
        plain.iter_mut().enumerate().for_each(|(i, v)| *v *= 1.0 + i as f32 / 512.0);
        let coded = |kernels: Kernels| {
            let mut turned = plain.clone();
            kernels.rotate(&rotation, &mut turned, 0.37);
            let (mut bits, mut fine, mut wide) = (vec![9; blocks], vec![9; blocks * 64], vec![9; blocks * 128]);
            kernels.signs(&turned, &mut bits);
            kernels.narrow(&turned, 90.0, &mut fine);
            kernels.wide(&turned, 3000.0, &mut wide);
            (bits_of(&turned), bits, fine, wide)
        };
        let expected = coded(Kernels::SCALAR);
        for fast in Kernels::all() {
            prop_assert_eq!(&coded(fast), &expected, "{}", fast.name);
        }
    }

    #[test]
    fn integer_distances_agree(words in prop_oneof![Just(1), Just(6), Just(12), 0usize..70], count in 0usize..30, seed: u64) {
        let word = |i: usize| crate::hash::mix(seed ^ i as u64);
        let rows = Rows::new(words);
        let flat: Vec<u64> = (0..words * 30).map(word).collect();
        (0..30).for_each(|row| rows.push(&flat[row * words..][..words]));
        let query: Vec<u64> = (0..words).map(|i| word(i + 9000)).collect();
        let ids: Vec<u32> = (0..count).map(|i| word(i) as u32 % 30).collect();
        let narrow = |from: usize| (0..words * 64).map(|i| word(from + i) as u8 & 127).collect::<Vec<u8>>();
        let wide = |from: usize| (0..64).flat_map(|i| ((word(from + i) as i16) >> 3).to_le_bytes()).collect::<Vec<u8>>();
        let measured = |kernels: Kernels| {
            let (mut gathered, mut run) = (vec![1; count], vec![1; count]);
            kernels.hamming(&rows, &query, &ids, &mut gathered);
            if words > 0 {
                kernels.hamming_run(&flat[..count * words], &query, &mut run);
            }
            let rows = [7, 11, 13, 17].map(narrow);
            let dots = kernels.dots_narrow(&narrow(0), rows.each_ref().map(Vec::as_slice));
            assert_eq!(dots, rows.each_ref().map(|row| kernels.dot_narrow(&narrow(0), row)));
            let rows = [7, 11, 13, 17].map(wide);
            let wides = kernels.dots_wide(&wide(0), rows.each_ref().map(Vec::as_slice));
            assert_eq!(wides, rows.each_ref().map(|row| kernels.dot_wide(&wide(0), row)));
            (gathered, run, dots, wides)
        };
        let expected = measured(Kernels::SCALAR);
        for fast in Kernels::all() {
            prop_assert_eq!(&measured(fast), &expected, "{}", fast.name);
        }
    }
}

/// A machine that is there to test a set says so: else the set's tests pass by its absence.
#[test]
fn the_set_that_the_machine_is_to_have_is_there() {
    let expected = std::env::var("ENGRAM_KERNELS_EXPECTED").unwrap_or_else(|_| "scalar".into());
    assert!(Kernels::all().iter().any(|kernels| kernels.name == expected), "this CPU has no {expected} set");
}

#[test]
fn the_largest_codes_do_not_overflow() {
    for kernels in Kernels::all() {
        assert_eq!(kernels.dot_narrow(&[127; 4096], &[127; 4096]), 4096 * 127 * 127);
        assert_eq!(kernels.dots_narrow(&[127; 4096], [&[127; 4096]; 4]), [4096 * 127 * 127; 4]);
        let least: Vec<u8> = (-4096i16).to_le_bytes().repeat(64);
        assert_eq!(kernels.dot_wide(&least, &least), 64 << 24);
        assert_eq!(kernels.dots_wide(&least, [&least[..]; 4]), [64 << 24; 4]);
    }
}

/// Rows at the end of an allocation of exactly their size: tools that watch memory see a read beyond it.
#[test]
fn all_bits_differ_at_every_width() {
    for words in 1..=64 {
        let (rows, query) = (vec![u64::MAX; words * 11], vec![0; words]);
        for kernels in Kernels::all() {
            let mut out = [0; 11];
            kernels.hamming_run(&rows, &query, &mut out);
            assert_eq!(out, [64 * words as u32; 11], "{} at {words} words", kernels.name);
        }
    }
}

#[test]
fn a_rotation_keeps_norms_and_spreads_a_single_coordinate() {
    for dim in [2, 63, 64, 65, 300, 384, 768, 1000, 1984, 4096] {
        let rotation = Rotation::new(dim, 5);
        for hot in [0, dim / 2, dim - 1] {
            let mut x = vec![0.0; rotation.padded];
            x[hot] = 3.0;
            Kernels::detect().rotate(&rotation, &mut x, 1.0 / 3.0);
            let norm = Kernels::SCALAR.norm(&x);
            assert!((norm - 1.0).abs() < 1e-4, "{dim}: {norm}");
            let largest = x.iter().fold(0.0f32, |most, v| most.max(v.abs()));
            assert!(largest * (rotation.padded as f32).sqrt() < 7.0, "{dim}: {largest} of one coordinate is left");
        }
    }
}
