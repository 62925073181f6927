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

    /// Fills each probe's path with the slot nearest to it on each level, down to level 1. The graph is not empty.
    #[inline(always)]
    pub(crate) fn descend<'p>(
        &self,
        state: &State,
        walks: &mut [Walk],
        measure: Measure,
        probe: impl Fn(usize) -> Code<'p>,
        paths: &mut [Path],
    ) {
        let mut nearest = vec![0; paths.len()];
        for level in (1..=state.top()).rev() {
            let entry = |i: usize| self.entry(state, level, &paths[i]);
            let limits = Limits { ef: 1, seen_max: usize::MAX };
            let view = self.view(state, level, Traverse::Bits, measure);
            view.run(
                walks,
                &limits,
                paths.len(),
                |i| (probe(i), entry(i)),
                |_| true,
                |done| {
                    nearest[done.job] = done.beam.nearest().expect("the entry is in the beam");
                },
            );
            for (path, &slot) in paths.iter_mut().zip(&nearest) {
                path[level] = slot;
            }
        }
    }

    /// Where a walk of `level` starts: at the row found a level above; at slot 0 of the top.
    pub(crate) fn entry(&self, state: &State, level: usize, path: &Path) -> u32 {
        if level >= state.top() {
            return 0;
        }
        self.layers[level].slot(self.layers[level + 1].row(path[level + 1]))
    }

    /// Hash of all that the digest knows of a row of the graph: number, codes, level, links.
    pub(crate) fn row_hash(&self, row: u32) -> u64 {
        let salt = self.options.salt;
        let links = self.layers[..=level(row, salt)].iter().map(|layer| layer.hash(layer.slot(row), salt));
        links.fold(self.codes.hash(row, salt), u64::wrapping_add)
    }
}
