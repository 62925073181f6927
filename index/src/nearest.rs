//! Hits one by one, best first, for as long as somebody asks.
//!
//! Place: over `search`, behind `Index::nearest`. Each time the hits at hand run out, a wider search takes their place and
//! leaves out what was given before; widths double, so that all searches together cost about twice the last one. Every
//! row that may be seen comes at last, each once: when a search gives fewer hits than it was asked for, no more are left.
//! Invariant `answer_within_snapshot`. Leaves out: order across widths: a wider search may find a row that is nearer
//! than one already given.

use crate::{
    index::Index,
    scan::{Cue, Hit},
    search::Search,
    vector::Originals,
};
use std::vec;

/// Hits of a growing search. See [`Index::nearest`].
pub struct Nearest<'a> {
    pub(crate) index: &'a Index,
    pub(crate) cue: &'a Cue,
    /// The search to come.
    pub(crate) next: Search,
    pub(crate) filter: &'a dyn Fn(u32) -> bool,
    pub(crate) originals: Option<&'a dyn Originals>,
    /// Rows that were given or are at hand, sorted.
    pub(crate) known: Vec<u32>,
    pub(crate) at_hand: vec::IntoIter<Hit>,
    pub(crate) exhausted: bool,
}

impl Nearest<'_> {
    fn widen(&mut self) {
        let mut hits = self.index.search(self.cue, self.next, self.filter, self.originals).hits;
        self.exhausted = hits.len() < self.next.k;
        hits.retain(|hit| self.known.binary_search(&hit.row).is_err());
        self.known.extend(hits.iter().map(|hit| hit.row));
        self.known.sort_unstable();
        self.at_hand = hits.into_iter();
        self.next.k = self.next.k.saturating_mul(2);
        self.next.ef = self.next.ef.saturating_mul(2);
    }
}

impl Iterator for Nearest<'_> {
    type Item = Hit;

    fn next(&mut self) -> Option<Hit> {
        loop {
            if let Some(hit) = self.at_hand.next() {
                return Some(hit);
            }
            if self.exhausted {
                return None;
            }
            self.widen();
        }
    }
}
