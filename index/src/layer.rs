//! One layer of the graph: its members and their links.
//!
//! Place: between the codes and whoever walks or links. A layer numbers its members in slots: in the base a slot is a
//! row, above it the rank among the rows that reach the layer. Upper layers keep a copy of their members' bits, one
//! fifteenth more, so that a descent reads dense memory.
//!
//! Invariants: `links_are_whole`, a link is one atomic number, so a reader beside a merge sees old and new links in any
//! mix and nothing else; a list has no holes. Leaves out: which links are good (`build`).

use crate::{
    hash::fold,
    kernel::{Lists, Rows},
};
use std::sync::atomic::{AtomicU32, Ordering};

/// A link as stored: 0 for none, else the slot plus one and the tree mark.
const TREE: u32 = 1 << 31;

/// A link to a slot of the same layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) slot: u32,
    /// Part of the spanning tree, and never pruned: to the parent where the slot is smaller, else to a child.
    pub(crate) tree: bool,
}

impl Link {
    #[inline(always)]
    fn stored(self) -> u32 {
        (self.slot + 1) | if self.tree { TREE } else { 0 }
    }

    #[inline(always)]
    fn read(stored: u32) -> Option<Self> {
        (stored & !TREE).checked_sub(1).map(|slot| Self { slot, tree: stored & TREE != 0 })
    }
}

pub(crate) struct Layer {
    pub(crate) level: usize,
    /// Most links of a slot.
    pub(crate) degree: usize,
    links: Lists,
    /// Rising; unused in the base, where slot = row.
    rows: Rows<u32>,
    /// Unused in the base, which is walked by the table of all bits.
    pub(crate) bits: Rows<u64>,
}

impl Layer {
    pub(crate) fn new(level: usize, degree: usize, words: usize) -> Self {
        Self { level, degree, links: Lists::new(degree), rows: Rows::new(1), bits: Rows::new(words) }
    }

    /// Adds a member above the base.
    pub(crate) fn enter(&self, row: u32, bits: &[u64]) {
        self.bits.push(bits);
        self.rows.push(&[row]);
    }

    #[inline(always)]
    pub(crate) fn row(&self, slot: u32) -> u32 {
        if self.level == 0 { slot } else { self.rows.get(slot)[0] }
    }

    /// The slot of a row that is a member, or where it would be.
    pub(crate) fn slot(&self, row: u32) -> u32 {
        if self.level == 0 { row } else { self.rows.partition(|member| member[0] < row) }
    }

    #[inline(always)]
    pub(crate) fn stored(&self, slot: u32) -> &[AtomicU32] {
        self.links.get(slot)
    }

    /// The slots of the links, as walks read them.
    #[inline(always)]
    pub(crate) fn targets(&self, slot: u32) -> impl Iterator<Item = u32> {
        let stored = self.stored(slot).iter().map(|link| link.load(Ordering::Relaxed) & !TREE);
        stored.take_while(|&stored| stored != 0).map(|stored| stored - 1)
    }

    pub(crate) fn links(&self, slot: u32) -> impl Iterator<Item = Link> {
        self.stored(slot).iter().map_while(|link| Link::read(link.load(Ordering::Relaxed)))
    }

    /// Replaces a slot's links. One writer at a time; readers may see any mix of old and new.
    pub(crate) fn set_links(&self, slot: u32, links: &[Link]) {
        let stored = self.stored(slot);
        assert!(links.len() <= stored.len(), "a list holds `degree` links");
        for (at, place) in stored.iter().enumerate() {
            place.store(links.get(at).map_or(0, |link| link.stored()), Ordering::Relaxed);
        }
    }

    pub(crate) fn prefetch_links(&self, slot: u32) {
        self.links.prefetch(slot);
    }

    /// The links as stored, unused places included, for a file.
    pub(crate) fn raw(&self, slot: u32) -> impl Iterator<Item = u32> {
        self.stored(slot).iter().map(|link| link.load(Ordering::Relaxed))
    }

    /// Writes links as `raw` gave them; false, and nothing more, at one beyond `slots`.
    pub(crate) fn restore(&self, slot: u32, links: impl Iterator<Item = u32>, slots: u32) -> bool {
        self.stored(slot).iter().zip(links).all(|(place, link)| {
            let good = (link & !TREE) <= slots;
            if good {
                place.store(link, Ordering::Relaxed);
            }
            good
        })
    }

    /// Hash of a slot's links, for the digest.
    pub(crate) fn hash(&self, slot: u32, salt: u64) -> u64 {
        self.hash_of(slot, salt, self.links(slot))
    }

    pub(crate) fn hash_of(&self, slot: u32, salt: u64, links: impl Iterator<Item = Link>) -> u64 {
        let seed = salt ^ (self.level as u64 + 1) << 32 ^ u64::from(slot);
        match engram_mutants::mutant!("digest_without_links") {
            true => seed,
            false => fold(seed, links.map(|link| u64::from(link.stored()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_it_was_written_and_ends_at_the_first_hole() {
        let layer = Layer::new(1, 4, 1);
        let link = |slot, tree| Link { slot, tree };
        let links = [link(0, true), link(7, false), link((1 << 30) - 2, true)];
        layer.set_links(3, &links);
        assert_eq!(layer.links(3).collect::<Vec<_>>(), links);
        assert_eq!(layer.targets(3).collect::<Vec<_>>(), [0, 7, (1 << 30) - 2]);
        assert_ne!(layer.hash(3, 1), layer.hash_of(3, 1, links[..2].iter().copied()));
        layer.set_links(3, &links[..1]);
        assert_eq!(layer.links(3).count(), 1);
    }

    #[test]
    fn a_slot_is_the_rank_of_its_row() {
        let layer = Layer::new(1, 4, 1);
        for row in [3, 8, 9, 20] {
            layer.enter(row, &[0]);
        }
        assert_eq!((layer.slot(3), layer.slot(9), layer.slot(20)), (0, 2, 3));
        assert_eq!((layer.row(1), layer.slot(10)), (8, 3));
    }
}
