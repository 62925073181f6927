//! Codes, layers and epochs together, and the descent that every search and insertion begins with.
//!
//! Place: read by `search`, `scan` and `check`, written by `build`. Invariants: `same_log_same_graph`;
//! `graph_tail_disjoint`: whoever reads takes one `State` first. Leaves out: locks; `index` holds them.

use crate::{
    code::{Code, Encoder, Measure, Traverse},
    codes::Codes,
    epoch::{Epochs, State},
    forget::Forgets,
    kernel::Kernels,
    layer::Layer,
    level::{LAYERS, level},
    options::Options,
    walk::{Limits, View, Walk},
};

/// The slot found on each level, from the top down; entry `LAYERS` is unused room above the top.
pub(crate) type Path = [u32; LAYERS + 1];

/// How probes go down.
#[derive(Clone, Copy)]
pub(crate) struct Descent {
    pub(crate) measure: Measure,
    /// Slots that a beam holds, at most [`Entries::MOST`].
    pub(crate) width: usize,
    pub(crate) probes: usize,
}

/// Slots that a walk starts at, nearest first.
#[derive(Clone, Copy)]
pub(crate) struct Entries {
    slots: [u32; Self::MOST],
    count: usize,
}

impl Entries {
    pub(crate) const MOST: usize = 8;

    /// Where the walk of the top starts.
    fn top() -> Self {
        Self::of(std::iter::once(0))
    }

    #[inline(always)]
    pub(crate) fn of(slots: impl Iterator<Item = u32>) -> Self {
        let mut entries = Self { slots: [0; Self::MOST], count: 0 };
        for slot in slots.take(Self::MOST) {
            entries.slots[entries.count] = slot;
            entries.count += 1;
        }
        entries
    }

    #[inline(always)]
    pub(crate) fn as_slice(&self) -> &[u32] {
        &self.slots[..self.count]
    }
}

pub(crate) struct Graph {
    pub(crate) options: Options,
    pub(crate) codes: Codes,
    /// The base first.
    pub(crate) layers: Vec<Layer>,
    pub(crate) forgets: Forgets,
    pub(crate) epochs: Epochs,
}

impl Graph {
    pub(crate) fn new(options: Options, kernels: Kernels) -> Self {
        let codes = Codes::new(Encoder::new(&options, kernels), options.metric);
        let words = codes.encoder.words();
        let degree = |level| if level == 0 { 2 * options.m } else { options.m };
        let layers = (0..LAYERS).map(|level| Layer::new(level, degree(level), words)).collect();
        Self { options, codes, layers, forgets: Forgets::new(), epochs: Epochs::new() }
    }

    pub(crate) fn view(&self, state: &State, level: usize, traverse: Traverse, measure: Measure) -> View<'_> {
        let fine = !self.codes.encoder.bits_tell();
        let traverse = if fine { Traverse::Fine } else { traverse };
        View { codes: &self.codes, layer: &self.layers[level], slots: state.slots[level], traverse, measure }
    }

    /// Walks each probe from the top down to level 1. `below` is told what each beam held: the level, the probe, and its
    /// slots there, nearest first. Returned is where each enters the base. The graph is not empty.
    #[inline(always)]
    pub(crate) fn descend<'p>(
        &self,
        state: &State,
        walks: &mut [Walk],
        how: Descent,
        probe: impl Fn(usize) -> Code<'p>,
        mut below: impl FnMut(usize, usize, &[u32]),
    ) -> Vec<Entries> {
        let Descent { measure, width, probes } = how;
        let mut entries = vec![Entries::top(); probes];
        let mut found = entries.clone();
        for level in (1..=state.top()).rev() {
            let limits = Limits { ef: width, seen_max: usize::MAX };
            let view = self.view(state, level, Traverse::Bits, measure);
            let start = |i: usize| (probe(i), entries[i]);
            view.run(
                walks,
                &limits,
                probes,
                start,
                |_| true,
                |done| {
                    let slots = Entries::of(done.beam.found().map(|(_, slot)| slot));
                    below(level, done.job, slots.as_slice());
                    found[done.job] = slots;
                },
            );
            for (entries, found) in entries.iter_mut().zip(&found) {
                *entries = Entries::of(found.as_slice().iter().map(|&slot| self.below(level, slot)));
            }
        }
        entries
    }

    /// The slot one level below `level` of the row in `slot`.
    fn below(&self, level: usize, slot: u32) -> u32 {
        self.layers[level - 1].slot(self.layers[level].row(slot))
    }

    /// Where a walk of `level` starts: at the row found a level above; at slot 0 of the top.
    pub(crate) fn entry(&self, state: &State, level: usize, path: &Path) -> u32 {
        if level >= state.top() {
            return 0;
        }
        self.below(level + 1, path[level + 1])
    }

    /// Hash of all that the digest knows of a row of the graph: number, codes, level, links.
    pub(crate) fn row_hash(&self, row: u32) -> u64 {
        let salt = self.options.salt;
        let links = self.layers[..=level(row, salt)].iter().map(|layer| layer.hash(layer.slot(row), salt));
        links.fold(self.codes.hash(row, salt), u64::wrapping_add)
    }
}
