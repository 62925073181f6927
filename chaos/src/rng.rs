//! The generator of plans: splitmix64, written out here so that equal seeds give equal plans forever.
//!
//! Invariant `equal_seed_equal_plan` rests on this file; its first numbers are pinned by a test.

/// A stream of numbers.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The stream called `name` of this seed; streams of different names are unrelated.
    pub fn stream(seed: u64, name: &str) -> Self {
        let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        let mut rng = Rng(name.bytes().fold(0xcbf2_9ce4_8422_2325, fold));
        Rng(rng.draw() ^ seed)
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        let span = u128::from(high.max(low) - low) + 1;
        low + ((u128::from(self.draw()) * span) >> 64) as u64
    }

    /// Yes, once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.between(1, times) == 1
    }

    /// `count` different numbers from 1 to `nodes`, ascending.
    pub fn nodes(&mut self, nodes: u64, count: u64) -> Vec<u64> {
        let mut all: Vec<u64> = (1..=nodes).collect();
        while all.len() as u64 > count {
            let at = self.between(0, all.len() as u64 - 1) as usize;
            all.remove(at);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_numbers_never_change() {
        let mut rng = Rng(0);
        assert_eq!([rng.draw(), rng.draw()], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }

    #[test]
    fn between_gives_both_ends_and_nothing_outside() {
        let mut rng = Rng::stream(1, "test");
        let drawn: Vec<u64> = (0..1000).map(|_| rng.between(3, 5)).collect();
        assert!(
            [3, 4, 5].iter().all(|value| drawn.contains(value)) && drawn.iter().all(|value| (3..=5).contains(value))
        );
        assert_eq!(rng.between(9, 9), 9);
        rng.between(0, u64::MAX);
    }
}
