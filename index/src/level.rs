//! The layer up to which a row reaches: a hash of its number and the space's salt.
//!
//! Place: between a row and its layers. Invariant `same_log_same_graph`: no shared generator, no float
//! logarithm. Leaves out: a parameter; one row in sixteen of a layer reaches the next, which suits `m` from 8 to 64.

use crate::hash::mix;

/// The highest layer. 16⁵ rows are a million, so the top layer of a billion rows still has but a thousand.
pub(crate) const LEVEL_MAX: usize = 5;
/// The base and the layers above it.
pub(crate) const LAYERS: usize = LEVEL_MAX + 1;

/// P(level ≥ l) = 16^-l.
#[inline]
pub(crate) fn level(row: u32, salt: u64) -> usize {
    (mix(salt ^ mix(u64::from(row))).trailing_zeros() as usize / 4).min(LEVEL_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_in_sixteen_reaches_the_next_layer() {
        let reached = |l| (0..160_000).filter(|&row| level(row, 3) >= l).count();
        assert!((9_500..10_500).contains(&reached(1)), "{}", reached(1));
        assert!((540..710).contains(&reached(2)), "{}", reached(2));
    }
}
