//! The search: a walk of the graph and a scan of the tail, filtered, merged and rescored.
//!
//! Place: behind `Index::search`, beside a build that may be merging. Invariants: `graph_tail_disjoint`: one epoch is
//! taken at the start, the graph answers for rows below it and the tail for the others; no answer is at or above
//! `visible`, and none fails the filter, though the walk goes through such rows.
//! Leaves out: consistency levels; the caller chooses `visible`.

use crate::{
    code::{Code, Traverse},
    epoch::{Epoch, State},
    graph::{Graph, Path},
    scan::{self, Cue, Hit},
    vector::Originals,
    walk::{Limits, Walk},
};
use std::sync::Mutex;

/// What a recall asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Search {
    /// Hits wanted.
    pub k: usize,
    /// Width of the beam: more finds more and takes longer. At least `k` is used.
    pub ef: usize,
    /// Only rows below it are looked at; `u32::MAX` for all.
    pub visible: u32,
}

/// The answer to a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// At most `k`, best first; equals by row.
    pub hits: Vec<Hit>,
    /// The graph that was walked.
    pub epoch: Epoch,
    /// Rows that were scanned because they are not in that graph.
    pub tail_scanned: u32,
}

/// Candidates of a scan that stands in for a walk, or looks through the tail, at least.
const SCANNED_MIN: usize = 256;

/// Sets of one walk, for readers.
#[derive(Default)]
pub(crate) struct Readers(Mutex<Vec<Vec<Walk>>>);

impl Readers {
    /// Sets that are kept; more readers at once make their own and drop them.
    const KEPT: usize = 32;

    #[inline(always)]
    fn with<R>(&self, work: impl FnOnce(&mut [Walk]) -> R) -> R {
        let lock = || self.0.lock().expect("nothing panics with the sets locked");
        let mut walks = lock().pop().unwrap_or_else(|| Walk::set(1));
        let result = work(&mut walks);
        let mut kept = lock();
        if kept.len() < Self::KEPT {
            kept.push(walks);
        }
        result
    }
}

pub(crate) fn search(
    graph: &Graph,
    readers: &Readers,
    cue: &Cue,
    params: Search,
    filter: &dyn Fn(u32) -> bool,
    originals: Option<&dyn Originals>,
) -> Found {
    let state = graph.epochs.now();
    // After the epoch: the rows of a graph are all there.
    let visible = params.visible.min(graph.codes.rows());
    let ef = params.ef.max(params.k);
    let tail = state.epoch.rows.min(visible)..visible;
    let tail_scanned = tail.len() as u32;
    let code = cue.encoded.code();
    let mut near = Vec::new();
    if params.k > 0 {
        let kernels = &graph.codes.encoder.kernels;
        near = kernels.enter(|| walked(graph, readers, &state, &code, ef, visible, filter));
        near.extend(scan::candidates(graph, &code, tail, ef.max(SCANNED_MIN), filter));
        near.sort_unstable();
    }
    Found { hits: scan::hits(graph, cue, near, params.k, originals), epoch: state.epoch, tail_scanned }
}

/// The nearest rows of the graph: by a walk, or by a scan where so few rows pass that a walk would see more.
#[inline(always)]
fn walked(
    graph: &Graph,
    readers: &Readers,
    state: &State,
    code: &Code,
    ef: usize,
    visible: u32,
    filter: &dyn Fn(u32) -> bool,
) -> Vec<(u32, u32)> {
    let rows = state.epoch.rows;
    if rows == 0 || visible == 0 {
        return Vec::new();
    }
    let measure = graph.codes.encoder.search_measure();
    let mut near = Vec::new();
    let mut cut_short = false;
    readers.with(|walks| {
        let mut path = [Path::default()];
        graph.descend(state, walks, measure, |_| *code, &mut path);
        // A walk sees some ten rows for each that its beam holds; seeing one costs some sixteen times scanning one.
        let limits = Limits { ef, seen_max: ef.saturating_mul(32).saturating_add(rows as usize / 32) };
        let view = graph.view(state, 0, Traverse::Both, measure);
        let start = |_| (*code, graph.entry(state, 0, &path[0]));
        let answers = |row| row < visible && filter(row);
        view.run(walks, &limits, 1, start, answers, |done| {
            near.extend(done.beam.found());
            cut_short = done.cut_short;
        });
    });
    if cut_short {
        near = scan::candidates(graph, code, 0..rows.min(visible), ef.max(SCANNED_MIN), filter);
    }
    near
}
