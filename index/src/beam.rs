//! The nearest slots that a walk has found: a bounded queue ordered by (distance, slot).
//!
//! Place: inside a walk. It holds `ef` slots that may be answers and, between them, those that only lead on: a row
//! that the filter rejects is walked through, and is dropped once it lies behind the last of `ef` possible answers.
//! Without a filter it is the plain beam. Invariant `ties_by_slot`: slots rise with rows, so ties are by row.
//! Leaves out: which slots were seen (`walk`).

/// Keys of a step of `put`: a register of AVX-512, two of AVX2.
const LANES: usize = 8;

/// A key is distance << 32 | slot << 2 | answer << 1 | expanded, with its highest bit flipped: CPUs compare signed numbers.
pub(crate) struct Beam {
    /// `BEFORE`, the keys in rising order, and `AFTER` up to the end of a step.
    keys: Vec<i64>,
    /// Keys that are held.
    len: usize,
    ef: usize,
    /// Of the keys, those that may be answers. Invariant: at most `ef`; if `ef`, the last key is one.
    answers: usize,
    /// Invariant: all keys before it are expanded.
    cursor: usize,
}

const EXPANDED: i64 = 1;
const ANSWER: i64 = 2;
const BEFORE: i64 = i64::MIN;
const AFTER: i64 = i64::MAX;

#[inline(always)]
fn key(distance: u32, slot: u32) -> i64 {
    (u64::from(distance) << 32 | u64::from(slot) << 2) as i64 ^ i64::MIN
}

#[inline(always)]
fn slot(key: i64) -> u32 {
    key as u32 >> 2
}

#[inline(always)]
fn distance(key: i64) -> u32 {
    ((key ^ i64::MIN) >> 32) as u32
}

/// Moves the keys of a step behind the first one, which the step before ends with; whether the key's place is here.
#[inline(always)]
fn step(keys: &mut [i64], key: i64) -> bool {
    let keys: &mut [i64; LANES + 1] = keys.try_into().expect("a step and the key before it");
    let (before, here): ([i64; LANES], [i64; LANES]) =
        (*keys.first_chunk().expect("fits"), *keys.last_chunk().expect("fits"));
    let mut moved = [0; LANES];
    for lane in 0..LANES {
        moved[lane] = before[lane].max(here[lane].min(key));
    }
    *keys.last_chunk_mut().expect("fits") = moved;
    // Or equal: the least key is `BEFORE`.
    before[0] <= key
}

impl Default for Beam {
    fn default() -> Self {
        Self { keys: vec![BEFORE], len: 0, ef: 1, answers: 0, cursor: 0 }
    }
}

impl Beam {
    pub(crate) fn begin(&mut self, ef: usize) {
        self.keys[1..=self.len].fill(AFTER);
        (self.len, self.ef, self.answers, self.cursor) = (0, ef.max(1), 0, 0);
    }

    /// The last key, `BEFORE` if there is none.
    #[inline(always)]
    fn last(&self) -> i64 {
        self.keys[self.len]
    }

    #[inline(always)]
    fn drop_last(&mut self) {
        self.keys[self.len] = AFTER;
        self.len -= 1;
    }

    /// Whether a slot at this distance would enter.
    #[inline(always)]
    pub(crate) fn takes(&self, distance: u32, slot: u32) -> bool {
        self.answers < self.ef || key(distance, slot) < self.last()
    }

    /// Puts in a slot that `takes` said yes to.
    #[inline(always)]
    pub(crate) fn put(&mut self, distance: u32, slot: u32, answer: bool) {
        let key = key(distance, slot) | if answer { ANSWER } else { 0 };
        if answer {
            self.answers += 1;
            if self.answers > self.ef {
                self.shorten();
            }
        }
        self.insert(key);
        while self.answers == self.ef && self.len > 0 && self.last() & ANSWER == 0 {
            self.drop_last();
        }
    }

    /// Puts a key in its place and moves the greater ones by one: from the last step down to the one that has the place, each
    /// number becomes the middle one of itself, the one before it, and the key. A search for the place would branch where
    /// nobody can guess, and moving the rest would be a call.
    #[inline(always)]
    fn insert(&mut self, key: i64) {
        let mut from = self.len / LANES * LANES;
        if self.keys.len() < from + LANES + 1 {
            self.keys.resize(from + LANES + 1, AFTER);
        }
        self.len += 1;
        while !step(&mut self.keys[from..=from + LANES], key) {
            from -= LANES;
        }
        // Not later than the place; what lies between was expanded.
        self.cursor = self.cursor.min(from);
    }

    /// Drops the last answer, and what lies behind it.
    fn shorten(&mut self) {
        while self.len > 0 {
            let answer = self.last() & ANSWER != 0;
            self.drop_last();
            if answer {
                self.answers -= 1;
                return;
            }
        }
    }

    /// The distance that another slot must not exceed to enter.
    #[inline(always)]
    pub(crate) fn limit(&self) -> u32 {
        if self.answers < self.ef { u32::MAX } else { distance(self.last()) }
    }

    /// The nearest slot that was not yet expanded.
    #[inline(always)]
    pub(crate) fn expand_next(&mut self) -> Option<u32> {
        while let Some(key) = self.keys[1..=self.len].get_mut(self.cursor) {
            self.cursor += 1;
            if *key & EXPANDED == 0 {
                *key |= EXPANDED;
                return Some(slot(*key));
            }
        }
        None
    }

    /// The possible answers as (distance, slot), nearest first.
    pub(crate) fn found(&self) -> impl Iterator<Item = (u32, u32)> {
        let answers = self.keys[1..=self.len].iter().filter(|&key| key & ANSWER != 0);
        answers.map(|&key| (distance(key), slot(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_beam_holds_the_nearest_answers_and_what_lies_before_the_last(
            offers in prop::collection::vec((0u32..20, any::<bool>()), 0..60), ef in 1usize..9
        ) {
            let mut beam = Beam::default();
            beam.begin(ef);
            let mut all = Vec::new();
            for (slot, &(distance, answer)) in offers.iter().enumerate() {
                let slot = slot as u32;
                all.push((distance, slot, answer));
                if beam.takes(distance, slot) {
                    beam.put(distance, slot, answer);
                }
                if slot.is_multiple_of(3) {
                    beam.expand_next();
                }
            }
            all.sort_unstable();
            let nearest: Vec<_> = all.iter().filter(|o| o.2).take(ef).map(|o| (o.0, o.1)).collect();
            prop_assert_eq!(beam.found().collect::<Vec<_>>(), nearest);
            let mut left = Vec::new();
            while let Some(slot) = beam.expand_next() {
                left.push(slot);
            }
            prop_assert!(left.len() <= beam.len);
            prop_assert!(beam.keys[1..=beam.len].iter().all(|key| key & EXPANDED != 0));
        }
    }
}
