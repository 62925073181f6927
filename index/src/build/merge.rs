//! Step 4 of a batch: its rows' links are written, and the links back from their targets.
//!
//! Place: last step of a layer, the only writer of links. Targets are cut into spans, each span is one job, and within
//! it sources come in rising order, so no order of jobs can be seen in the graph. A list fills up to its degree before
//! it is pruned: one pruning pays for many links back.
//!
//! Invariants: `job_is_pure`, a job computes all its lists before it writes the first, and writes to no slot of
//! another; `tree_spans`, marked links are kept first. Leaves out: refilling a pruned list.

use super::{
    Part,
    choose::{Chosen, Near, distance, fill_in, slot, stands_out},
    chunk,
};
use crate::{
    kernel::Work,
    layer::{Layer, Link},
    workers::collect,
};
use std::ops::Range;

/// A link back, by (target, source), with the tree mark.
type Back = (u32, u32, bool);

/// Rows of the batch for each span that its targets are cut into, and the most spans.
const ROWS_PER_SPAN: usize = 32;
const SPANS_MAX: usize = 256;

/// Writes the links of a batch; what the rows' hashes grew by. `next` is the first slot after the batch.
pub(super) fn link(part: &Part, layer: &Layer, next: u32, chosen: &[Chosen]) -> u64 {
    let size = chunk(chosen.len());
    let chunks: Vec<&[Chosen]> = chosen.chunks(size).collect();
    let written = collect(part.workers, chunks.len(), size, |at| forward(part, layer, chunks[at]));
    let sum = written.iter().fold(0u64, |sum, (grown, _)| sum.wrapping_add(*grown));
    let backs: Vec<Vec<Back>> = written.into_iter().map(|(_, back)| back).collect();
    let spans = (chosen.len() / ROWS_PER_SPAN).clamp(1, SPANS_MAX);
    let width = next.div_ceil(spans as u32);
    let merged = collect(part.workers, spans, chosen.len() / spans, |at| {
        let from = at as u32 * width;
        let span = from..from.saturating_add(width);
        part.graph.codes.encoder.kernels.enter(Merge { part, layer, span, backs: &backs })
    });
    merged.iter().fold(sum, |sum, grown| sum.wrapping_add(*grown))
}

/// Writes the rows' own links. Gives what the hashes grew by, codes included, and the links back, sorted.
fn forward(part: &Part, layer: &Layer, chunk: &[Chosen]) -> (u64, Vec<Back>) {
    let salt = part.graph.options.salt;
    let (mut grown, mut back) = (0u64, Vec::new());
    let lists: Vec<Vec<Link>> = chunk.iter().map(|row| own_links(layer, row)).collect();
    for (row, links) in chunk.iter().zip(&lists) {
        back.extend(links.iter().map(|link| (link.slot, row.slot, link.tree)));
        grown = grown.wrapping_add(layer.hash_of(row.slot, salt, links.iter().copied()));
        if layer.level == 0 {
            grown = grown.wrapping_add(part.graph.codes.hash(row.slot, salt));
        }
    }
    back.sort_unstable();
    for (row, links) in chunk.iter().zip(&lists) {
        layer.set_links(row.slot, links);
    }
    (grown, back)
}

/// The chosen links with the parent's among them.
fn own_links(layer: &Layer, row: &Chosen) -> Vec<Link> {
    let parent = row.parents.first().copied();
    let mut links: Vec<Link> =
        row.links.iter().map(|&slot| Link { slot, tree: Some(slot) == parent }).take(layer.degree).collect();
    if let Some(slot) = parent.filter(|parent| !row.links.contains(parent)) {
        if links.len() == layer.degree {
            links.pop();
        }
        links.push(Link { slot, tree: true });
    }
    links
}

/// The links back to a span of targets.
struct Merge<'a> {
    part: &'a Part<'a>,
    layer: &'a Layer,
    span: Range<u32>,
    backs: &'a [Vec<Back>],
}

impl Work for Merge<'_> {
    type Done = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        merge_span(&self)
    }
}

#[inline(always)]
fn merge_span(merge: &Merge) -> u64 {
    let Merge { part, layer, span, backs } = merge;
    let mut pairs: Vec<Back> = Vec::new();
    for back in *backs {
        let start = back.partition_point(|pair| pair.0 < span.start);
        pairs.extend(back[start..].iter().take_while(|pair| pair.0 < span.end));
    }
    pairs.sort_unstable();
    let salt = part.graph.options.salt;
    let mut grown = 0u64;
    let mut lists = Vec::new();
    for group in pairs.chunk_by(|a, b| a.0 == b.0) {
        let target = group[0].0;
        let links = merged(part, layer, target, group);
        grown = grown.wrapping_add(layer.hash_of(target, salt, links.iter().copied()));
        grown = grown.wrapping_sub(layer.hash(target, salt));
        lists.push((target, links));
    }
    lists.iter().for_each(|(target, links)| layer.set_links(*target, links));
    grown
}

/// A target's links with those back to the sources of `group`; pruned when they do not fit.
#[inline(always)]
fn merged(part: &Part, layer: &Layer, target: u32, group: &[Back]) -> Vec<Link> {
    let mut links = Vec::with_capacity(layer.degree + group.len());
    links.extend(layer.links(target));
    for &(_, slot, tree) in group {
        match links.iter_mut().find(|link| link.slot == slot) {
            Some(link) => link.tree |= tree,
            None => links.push(Link { slot, tree }),
        }
    }
    if links.len() <= layer.degree {
        return links;
    }
    pruned(part, layer, target, &links)
}

/// The links that stay of a list that is too long: the marked ones in any case, though they keep others away only where
/// the heuristic would keep them too. Else the children of a row among near equals would cut it off from all others.
#[inline(always)]
fn pruned(part: &Part, layer: &Layer, target: u32, links: &[Link]) -> Vec<Link> {
    let codes = &part.graph.codes;
    let measure = codes.encoder.build_measure();
    let mut near: Vec<Near> = links.iter().map(|link| Near::from(link.slot)).collect();
    fill_in(codes, layer, measure, &codes.fine(layer.row(target)), &mut near);
    // The mark lies below the slot, and so decides no order.
    near.iter_mut().zip(links).for_each(|(near, link)| *near += Near::from(link.slot) + Near::from(link.tree));
    near.sort_unstable();
    let mut room = layer.degree - links.iter().filter(|link| link.tree).count();
    let (mut stay, mut kept) = (Vec::with_capacity(layer.degree), Vec::with_capacity(layer.degree));
    for near in near {
        let (slot, tree) = (slot(near) >> 1, near & 1 != 0);
        let good = (tree || room > 0) && stands_out(codes, layer, measure, distance(near), slot, &kept);
        if good {
            kept.push(slot);
        }
        if good || (tree && !engram_mutants::mutant!("tree_link_pruned")) {
            stay.push(Link { slot, tree });
            room -= usize::from(!tree);
        }
    }
    stay
}
