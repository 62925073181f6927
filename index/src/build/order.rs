//! Step 1 of a batch: its rows in the order of their paths through the upper layers.
//!
//! Place: before `choose`, whose chunks are then neighbours: they read the same memory, and each other's rows are
//! likely candidates. Invariant: ties are by row. Leaves out: the base, which is walked once, in `choose`.

use super::{Part, chunk};
use crate::{
    graph::{Descent, Entries, Path},
    kernel::Work,
    workers::collect,
};
use std::ops::Range;

/// A row of the batch with its path.
#[derive(Clone, Copy)]
pub(super) struct Member {
    pub(super) row: u32,
    pub(super) path: Path,
}

/// Beam of the descent. A beam of one misses whole clusters once there are thousands of them: of a million rows in 2,001
/// clusters, recall@10 ended at .969 with 1 and at .988 with 8, which costs a tenth of the build; 4 cost a fiftieth.
fn width(rows: u32) -> usize {
    (rows >> 15).clamp(4, Entries::MOST as u32) as usize
}

pub(super) fn by_path(part: &Part, batch: Range<u32>) -> Vec<Member> {
    let size = chunk(batch.len());
    let parts = collect(part.workers, batch.len().div_ceil(size), size, |at| {
        let from = batch.start + (at * size) as u32;
        let rows = from..batch.end.min(from + size as u32);
        let paths = part.graph.codes.encoder.kernels.enter(Paths { part, rows: rows.clone() });
        rows.zip(paths).map(|(row, path)| Member { row, path }).collect::<Vec<_>>()
    });
    let mut members: Vec<Member> = parts.into_iter().flatten().collect();
    members.sort_unstable_by(|a, b| a.path.iter().rev().cmp(b.path.iter().rev()).then(a.row.cmp(&b.row)));
    members
}

/// Rows that go down together.
struct Paths<'a> {
    part: &'a Part<'a>,
    rows: Range<u32>,
}

impl Work for Paths<'_> {
    type Done = Vec<Path>;

    #[inline(always)]
    fn run(self) -> Vec<Path> {
        let Self { part, rows } = self;
        let mut paths = vec![Path::default(); rows.len()];
        if part.frozen.epoch.rows > 0 {
            let (graph, measure) = (part.graph, part.graph.codes.encoder.build_measure());
            let probe = |i: usize| graph.codes.code(rows.start + i as u32);
            let how = Descent { measure, width: width(part.frozen.epoch.rows), probes: paths.len() };
            let mut walks = part.scratch.take();
            graph.descend(part.frozen, &mut walks, how, probe, |level, i, slots| paths[i][level] = slots[0]);
            part.scratch.give_back(walks);
        }
        paths
    }
}
