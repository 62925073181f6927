//! Hashing: levels, rotation signs and digests. Fixed for good, because a digest is part of the protocol.
//!
//! Place: a leaf, known to every module. Invariant `same_log_same_graph`: nothing here depends on the machine.
//! Leaves out: resistance to an adversary; a digest guards against faults, not against forgery.

/// Mixes 64 bits (splitmix64's finaliser).
#[inline]
pub(crate) fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Hash of a sequence of words. The words are folded in pairs that do not wait for one another, so that the
/// CPU works on several at once; the position of each is in its key.
#[inline]
pub(crate) fn fold(seed: u64, words: impl Iterator<Item = u64>) -> u64 {
    const STEP: u64 = 0xd1b5_4a32_d192_ed03;
    let (mut sum, mut key, mut held) = (0u64, mix(seed), None);
    for word in words {
        key = key.wrapping_add(STEP);
        match held.take() {
            None => held = Some(word ^ key),
            Some(first) => sum = sum.wrapping_add(product(first, word ^ key)),
        }
    }
    if let Some(first) = held {
        sum = sum.wrapping_add(product(first, !key));
    }
    mix(sum ^ key)
}

/// Both halves of the 128-bit product, so that no bit of either factor is lost.
#[inline]
fn product(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    (wide as u64) ^ ((wide >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fold_changes_with_every_word_its_place_and_the_length() {
        let words = [7, 0, 0, 9, 3];
        let whole = fold(1, words.into_iter());
        for at in 0..words.len() {
            let mut other = words;
            other[at] ^= 1 << 40;
            assert_ne!(whole, fold(1, other.into_iter()));
            assert_ne!(whole, fold(1, words[..at].iter().copied()));
        }
        assert_ne!(whole, fold(1, [0, 7, 0, 9, 3].into_iter()));
        assert_ne!(whole, fold(2, words.into_iter()));
    }
}
