//! Step 2 of a batch: candidates and pruned links for each row of a layer.
//!
//! Place: between `order` and `tree`. Candidates are what a walk of the frozen layer found, and the nearest of the rows
//! that stand near in the batch's order, which no walk can find yet. Both are measured by fine codes and pruned by the
//! HNSW heuristic. Invariants: `integers_decide`; ties by (distance, slot).
//! Leaves out: links back (`merge`); reachability (`tree`).

use super::{self as build, Part, order::Member};
use crate::{
    code::{Code, Measure, Traverse},
    codes::Codes,
    graph::{Entries, Graph},
    kernel::Work,
    layer::Layer,
    walk::{Done, Limits},
    workers::collect,
};
use std::ops::Range;

/// Rows of the batch on each side, in its order, among which candidates are sought: by bits, by fine codes.
const WINDOW_BITS: usize = 256;
const WINDOW_FINE: usize = 64;
/// Candidates that the window gives.
const WINDOW_BEST: usize = 16;
/// Smaller slots, nearest first, one of which becomes the parent.
const PARENTS: usize = 32;
/// Rows to prefetch ahead of a distance: all at once would flush the first-level cache.
const AHEAD: usize = 6;

/// What a row of the batch links to.
pub(super) struct Chosen {
    pub(super) slot: u32,
    /// Nearest first.
    pub(super) links: Vec<u32>,
    /// Nearest first.
    pub(super) parents: Vec<u32>,
}

/// A candidate: distance << 32 | slot. One number, because many are sorted.
pub(super) type Near = u64;

#[inline(always)]
pub(super) fn slot(near: Near) -> u32 {
    near as u32
}

#[inline(always)]
pub(super) fn distance(near: Near) -> u32 {
    (near >> 32) as u32
}

pub(super) fn choose(part: &Part, layer: &Layer, members: &[Member]) -> Vec<Chosen> {
    let window = Window::new(part.graph, layer, members);
    let size = build::chunk(members.len());
    let parts = collect(part.workers, members.len().div_ceil(size), size, |at| {
        let from = at * size;
        let members = &members[from..members.len().min(from + size)];
        part.graph.codes.encoder.kernels.enter(Chunk { part, layer, members, from, window: &window })
    });
    parts.into_iter().flatten().collect()
}

/// Neighbours in the batch's order, the first of which stands at `from`.
struct Chunk<'a> {
    part: &'a Part<'a>,
    layer: &'a Layer,
    members: &'a [Member],
    from: usize,
    window: &'a Window,
}

impl Work for Chunk<'_> {
    type Done = Vec<Chosen>;

    #[inline(always)]
    fn run(self) -> Vec<Chosen> {
        chosen(&self)
    }
}

/// Three passes over the rows of a chunk, each of which keeps its own memory warm: window, walks, pruning.
#[inline(always)]
fn chosen(chunk: &Chunk) -> Vec<Chosen> {
    let &Chunk { part, layer, members: chunk, from, window } = chunk;
    let (graph, codes) = (part.graph, &part.graph.codes);
    let measure = codes.encoder.build_measure();
    // Each row has as much room as it can need: one piece of memory for all.
    let room = window.room() + graph.options.ef_construction;
    let (mut near, mut count): (Vec<Near>, Vec<usize>) = (vec![0; chunk.len() * room], vec![0; chunk.len()]);
    let mut keys = Vec::new();
    for (i, near) in near.chunks_exact_mut(room).enumerate() {
        count[i] = window.nearest(from + i, graph, &mut keys, near);
    }
    if part.frozen.slots[layer.level] > 0 {
        let entry = |i: usize| graph.entry(part.frozen, layer.level, &chunk[i].path);
        let start = |i: usize| (codes.code(chunk[i].row), Entries::of(std::iter::once(entry(i))));
        let limits = Limits { ef: graph.options.ef_construction, seen_max: usize::MAX };
        let view = graph.view(part.frozen, layer.level, Traverse::Bits, measure);
        let done = |done: Done| {
            for (_, slot) in done.beam.found() {
                near[done.job * room + count[done.job]] = Near::from(slot);
                count[done.job] += 1;
            }
        };
        let mut walks = part.scratch.take();
        view.run(&mut walks, &limits, chunk.len(), start, |_| true, done);
        part.scratch.give_back(walks);
    }
    // Loops, not closures: these are compiled for the kernels' CPU.
    let mut chosen = Vec::with_capacity(chunk.len());
    for (i, near) in near.chunks_exact_mut(room).enumerate() {
        let (slot, mut near) = (window.slots[from + i], &mut near[..count[i]]);
        let others = if measure == Measure::Angle && window.is_wide() {
            window.around(from + i, WINDOW_FINE).len() - 1
        } else {
            0
        };
        fill_in(codes, layer, measure, &codes.fine(chunk[i].row), near);
        if others > WINDOW_BEST {
            // The nearest end up right before what the walk found.
            near[..others].select_nth_unstable_by(others - WINDOW_BEST, |a, b| b.cmp(a));
            near = &mut near[others - WINDOW_BEST..];
        }
        near.sort_unstable();
        let links = prune(codes, layer, measure, near, graph.options.m);
        let mut parents = Vec::with_capacity(PARENTS);
        parents.extend(near.iter().map(|&near| self::slot(near)).filter(|&other| other < slot).take(PARENTS));
        chosen.push(Chosen { slot, links, parents });
    }
    chosen
}

/// The batch's members of a layer in their order.
struct Window {
    slots: Vec<u32>,
    /// Their bits in one piece; empty where bits do not tell.
    bits: Vec<u64>,
}

impl Window {
    fn new(graph: &Graph, layer: &Layer, members: &[Member]) -> Self {
        let slots = members.iter().map(|member| layer.slot(member.row)).collect();
        let mut bits = Vec::new();
        if graph.codes.encoder.bits_tell() {
            bits.reserve(members.len() * graph.codes.encoder.words());
            members.iter().for_each(|member| bits.extend_from_slice(graph.codes.bits.get(member.row)));
        }
        Self { slots, bits }
    }

    fn around(&self, at: usize, reach: usize) -> Range<usize> {
        at.saturating_sub(reach)..self.slots.len().min(at + reach + 1)
    }

    /// Whether `nearest` gives whatever is near in the order: there are no bits to choose by, or few rows.
    fn gives_all(&self) -> bool {
        self.bits.is_empty() || self.slots.len() <= WINDOW_FINE
    }

    /// Rows that `nearest` gives at most.
    fn room(&self) -> usize {
        if self.gives_all() { 2 * WINDOW_FINE } else { WINDOW_BEST }
    }

    /// Whether there are more rows than candidates are wanted, and no bits that chose among them. (Lengths differ in dot
    /// and L2 spaces; there the far ones are of use, and all stay: recall@10 of inner products .89 without, .95 with.)
    fn is_wide(&self) -> bool {
        self.bits.is_empty() && self.slots.len() > WINDOW_FINE
    }

    /// Gives the nearest rows around `at`, without itself: `WINDOW_BEST` by bits, or all of a smaller window. Their
    /// distances are left open. Returned is how many they are.
    #[inline(always)]
    fn nearest(&self, at: usize, graph: &Graph, keys: &mut Vec<Near>, near: &mut [Near]) -> usize {
        let mut give = |found: usize, slot: u32| {
            near[found] = Near::from(slot);
            found + 1
        };
        if self.gives_all() {
            let others = self.around(at, WINDOW_FINE).filter(|&other| other != at);
            return others.fold(0, |found, other| give(found, self.slots[other]));
        }
        let range = self.around(at, WINDOW_BITS);
        let words = graph.codes.encoder.words();
        let mut apart = [0; 2 * WINDOW_BITS + 1];
        let apart = &mut apart[..range.len()];
        let bits = |rows: Range<usize>| &self.bits[rows.start * words..rows.end * words];
        graph.codes.encoder.kernels.hamming_run(bits(range.clone()), bits(at..at + 1), apart);
        keys.clear();
        let others = apart.iter().zip(range).filter(|(_, other)| *other != at);
        keys.extend(others.map(|(&apart, other)| Near::from(apart) << 32 | Near::from(self.slots[other])));
        if keys.len() > WINDOW_BEST {
            keys.select_nth_unstable(WINDOW_BEST - 1);
            keys.truncate(WINDOW_BEST);
        }
        keys.iter().fold(0, |found, &key| give(found, slot(key)))
    }
}

/// Fills in the fine distances.
#[inline(always)]
pub(super) fn fill_in(codes: &Codes, layer: &Layer, measure: Measure, code: &Code, near: &mut [Near]) {
    let ahead = |&near: &Near| codes.prefetch_fine(layer.row(slot(near)));
    let measured = |near: Near, distance: u32| Near::from(distance) << 32 | Near::from(slot(near));
    near.iter().take(AHEAD).for_each(ahead);
    let mut at = 0;
    let row = |near: Near| layer.row(slot(near));
    while let Some(&[a, b, c, d]) = near.get(at..at + 4) {
        let found = codes.distances(measure, code, [row(a), row(b), row(c), row(d)]);
        for (near, found) in near[at..at + 4].iter_mut().zip(found) {
            *near = measured(*near, found);
        }
        at += 4;
        near[at..].iter().skip(AHEAD - 4).take(4).for_each(ahead);
    }
    for near in &mut near[at..] {
        *near = measured(*near, codes.distance(measure, code, row(*near)));
    }
}

/// The HNSW heuristic, nearest first: a candidate stays if it is no nearer to one that stayed than to the row, and is not
/// the equal of one; so a row with many equals keeps links to others. Of those that pass, `limit` stay.
#[inline(always)]
pub(super) fn prune(codes: &Codes, layer: &Layer, measure: Measure, near: &[Near], limit: usize) -> Vec<u32> {
    let mut kept: Vec<u32> = Vec::with_capacity(limit);
    for &near in near {
        if kept.len() >= limit {
            break;
        }
        if stands_out(codes, layer, measure, distance(near), slot(near), &kept) {
            kept.push(slot(near));
        }
    }
    kept
}

/// Whether a candidate is no nearer to any of `kept` than `distance`, and the equal of none.
#[inline(always)]
pub(super) fn stands_out(
    codes: &Codes,
    layer: &Layer,
    measure: Measure,
    distance: u32,
    slot: u32,
    kept: &[u32],
) -> bool {
    let (code, least) = (codes.fine(layer.row(slot)), distance.max(1));
    let (fours, rest) = kept.as_chunks::<4>();
    let row = |slot| layer.row(slot);
    for &[a, b, c, d] in fours {
        let [a, b, c, d] = codes.distances(measure, &code, [row(a), row(b), row(c), row(d)]);
        if a.min(b).min(c.min(d)) < least {
            return false;
        }
    }
    rest.iter().all(|&other| codes.distance(measure, &code, layer.row(other)) >= least)
}
