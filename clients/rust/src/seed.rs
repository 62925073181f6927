//! The client's one source of randomness: splitmix64 (Steele, Lea, Flood 2014), one stream a purpose.

use std::time::Duration;

/// A stream of pseudo-random numbers, fully given by its seed.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// Streams of one seed are apart: the number goes through a round of mixing first.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut mixed = Self(seed ^ stream.wrapping_mul(0xd1b5_4a32_d192_ed03));
        mixed.next();
        mixed
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `0..n`; 0 for an empty range.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % (n as u64).max(1)) as usize
    }

    /// Between half of `full` and all of it.
    pub fn jitter(&mut self, full: Duration) -> Duration {
        full / 2 + full.mul_f64((self.next() >> 11) as f64 / (1u64 << 54) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_between_half_and_all() {
        let mut rng = Rng::new(7, 1);
        let full = Duration::from_millis(100);
        for _ in 0..1000 {
            let drawn = rng.jitter(full);
            assert!(drawn >= full / 2, "{drawn:?}");
            assert!(drawn <= full, "{drawn:?}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_stream_and_another_stream_differs() {
        let draw = |seed, stream| Rng::new(seed, stream).next();
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
    }
}
