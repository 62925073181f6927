//! The nearest slots that a walk has found: a bounded queue ordered by (distance, slot).
//!
//! Place: inside a walk. It holds `ef` slots that may be answers and, between them, those that only lead on: a row
//! that the filter rejects is walked through, and is dropped once it lies behind the last of `ef` possible answers.
//! Without a filter it is the plain beam. Invariant `ties_by_slot`: slots rise with rows, so ties are by row.
//! Leaves out: which slots were seen (`walk`).

/// Key: distance << 32 | slot << 2 | answer << 1 | expanded.
#[derive(Default)]
pub(crate) struct Beam {
    keys: Vec<u64>,
    ef: usize,
    /// Of the keys, those that may be answers. Invariant: at most `ef`; if `ef`, the last key is one.
    answers: usize,
    /// Invariant: all keys before it are expanded.
    cursor: usize,
}

const EXPANDED: u64 = 1;
const ANSWER: u64 = 2;

impl Beam {
    pub(crate) fn begin(&mut self, ef: usize) {
        self.keys.clear();
        (self.ef, self.answers, self.cursor) = (ef.max(1), 0, 0);
    }

    /// Whether a slot at this distance would enter.
    #[inline(always)]
    pub(crate) fn takes(&self, distance: u32, slot: u32) -> bool {
        let key = u64::from(distance) << 32 | u64::from(slot) << 2;
        self.answers < self.ef || self.keys.last().is_none_or(|&last| key < last)
    }

    /// Puts in a slot that `takes` said yes to.
    #[inline(always)]
    pub(crate) fn put(&mut self, distance: u32, slot: u32, answer: bool) {
        let key = u64::from(distance) << 32 | u64::from(slot) << 2 | if answer { ANSWER } else { 0 };
        if answer {
            self.answers += 1;
            if self.answers > self.ef {
                self.shorten();
            }
        }
        let at = self.keys.partition_point(|&k| k < key);
        self.keys.insert(at, key);
        self.cursor = self.cursor.min(at);
        while self.answers == self.ef && self.keys.last().is_some_and(|&last| last & ANSWER == 0) {
            self.keys.pop();
        }
    }

    /// Drops the last answer.
    fn shorten(&mut self) {
        while let Some(last) = self.keys.pop() {
            if last & ANSWER != 0 {
                self.answers -= 1;
                return;
            }
        }
    }

    /// The distance that another slot must not exceed to enter.
    #[inline(always)]
    pub(crate) fn limit(&self) -> u32 {
        if self.answers < self.ef { u32::MAX } else { self.keys.last().map_or(u32::MAX, |key| (key >> 32) as u32) }
    }

    /// The nearest slot that was not yet expanded.
    #[inline(always)]
    pub(crate) fn expand_next(&mut self) -> Option<u32> {
        while let Some(key) = self.keys.get_mut(self.cursor) {
            self.cursor += 1;
            if *key & EXPANDED == 0 {
                *key |= EXPANDED;
                return Some((*key as u32) >> 2);
            }
        }
        None
    }

    /// The possible answers as (distance, slot), nearest first.
    pub(crate) fn found(&self) -> impl Iterator<Item = (u32, u32)> {
        let answers = self.keys.iter().filter(|&key| key & ANSWER != 0);
        answers.map(|key| ((key >> 32) as u32, (*key as u32) >> 2))
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
            prop_assert!(left.len() <= beam.keys.len());
            prop_assert!(beam.keys.iter().all(|key| key & EXPANDED != 0));
        }
    }
}
