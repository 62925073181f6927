//! Visited configurations of the search, in one flat vector with a hard limit.
//!
//! A configuration is a base (which events are passed, which open operations are done, what the register holds) and
//! how many operations of each unknown class were used up. A configuration that is visited already with the same
//! base and no more used up makes the new one superfluous: whatever can follow the new one can follow the old one.
//!
//! Invariants: equality is decided on the words themselves, never on a hash; the vectors never outgrow the limit.
//!
//! Leaves out: what the words mean.

/// What became of a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visit {
    /// Not seen before: remembered now.
    New,
    /// Seen, with the same or fewer unknowns used.
    Seen,
    /// The limit is reached.
    Full,
}

const NONE: u32 = u32::MAX;

/// The set of visited configurations. Layout of a record: base words, next record of the same base, number of
/// used classes, then one word (class << 32 | used) for each.
#[derive(Debug)]
pub(crate) struct Memo {
    base_words: usize,
    words_max: usize,
    words: Vec<u64>,
    /// Open addressing: offset of the first record of a base, in words.
    table: Vec<u32>,
    bases: usize,
}

impl Memo {
    /// An empty set for bases of `base_words` words that uses at most `memory_bytes`.
    pub fn new(base_words: usize, memory_bytes: usize) -> Self {
        let words_max = (memory_bytes / 8 / 2).min(NONE as usize - 1);
        Self { base_words, words_max, words: Vec::new(), table: vec![NONE; 64], bases: 0 }
    }

    /// Remembers a configuration, unless one that makes it superfluous is known.
    pub fn visit(&mut self, base: &[u64], used: &[u64]) -> Visit {
        debug_assert_eq!(base.len(), self.base_words);
        let place = self.place(base);
        let first = self.table[place];
        let mut record = first;
        while record != NONE {
            if covers(self.used(record), used) {
                return Visit::Seen;
            }
            record = self.words[record as usize + self.base_words] as u32;
        }
        if self.words.len() + self.base_words + 2 + used.len() > self.words_max {
            return Visit::Full;
        }
        let offset = self.words.len() as u32;
        self.words.extend_from_slice(base);
        self.words.push(u64::from(first));
        self.words.push(used.len() as u64);
        self.words.extend_from_slice(used);
        self.table[place] = offset;
        if first == NONE {
            self.bases += 1;
            if self.bases * 2 > self.table.len() {
                self.grow();
            }
        }
        Visit::New
    }

    fn used(&self, record: u32) -> &[u64] {
        let count = record as usize + self.base_words + 1;
        &self.words[count + 1..count + 1 + self.words[count] as usize]
    }

    /// The table's entry for a base: its first record or the empty entry where it belongs.
    fn place(&self, base: &[u64]) -> usize {
        let mask = self.table.len() - 1;
        let mut place = hash(base) as usize & mask;
        loop {
            let record = self.table[place];
            if record == NONE || self.words[record as usize..record as usize + self.base_words] == *base {
                return place;
            }
            place = (place + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let old = std::mem::take(&mut self.table);
        self.table = vec![NONE; old.len() * 2];
        for record in old.into_iter().filter(|record| *record != NONE) {
            let base = &self.words[record as usize..record as usize + self.base_words];
            let place = self.place(base);
            self.table[place] = record;
        }
    }
}

/// Whether `old` used no more of any class than `new`; both ascend by class.
fn covers(old: &[u64], new: &[u64]) -> bool {
    let mut rest = new.iter();
    old.iter().all(|mine| rest.by_ref().find(|word| *word >> 32 == mine >> 32).is_some_and(|theirs| mine <= theirs))
}

fn hash(words: &[u64]) -> u64 {
    let mut hash = 0x9e37_79b9_7f4a_7c15_u64;
    for word in words {
        hash = (hash ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 32;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(class: u64, used: u64) -> u64 {
        class << 32 | used
    }

    #[test]
    fn fewer_used_unknowns_cover_more_and_never_the_reverse() {
        let mut memo = Memo::new(1, 1 << 20);
        assert_eq!(memo.visit(&[7], &[word(1, 2)]), Visit::New);
        assert_eq!(memo.visit(&[7], &[word(1, 2), word(3, 1)]), Visit::Seen);
        assert_eq!(memo.visit(&[7], &[word(3, 1)]), Visit::New);
        assert_eq!(memo.visit(&[7], &[word(1, 1)]), Visit::New);
        assert_eq!(memo.visit(&[7], &[word(0, 1), word(1, 1)]), Visit::Seen);
        assert_eq!(memo.visit(&[8], &[word(1, 2)]), Visit::New);
    }

    #[test]
    fn a_full_memo_says_so_and_keeps_its_size() {
        let mut memo = Memo::new(2, 4096);
        let visits: Vec<Visit> = (0..1000).map(|word| memo.visit(&[word, word], &[])).collect();
        assert!(visits.contains(&Visit::Full));
        assert!(memo.words.len() <= 256);
        assert_eq!(memo.visit(&[0, 0], &[]), Visit::Seen);
    }

    #[test]
    fn every_base_is_found_again_after_growth() {
        let mut memo = Memo::new(1, 1 << 24);
        assert!((0..50_000).all(|word| memo.visit(&[word * 64], &[]) == Visit::New));
        assert!((0..50_000).all(|word| memo.visit(&[word * 64], &[]) == Visit::Seen));
    }
}
