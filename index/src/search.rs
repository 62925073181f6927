//! The search: a walk of the graph and a scan of the tail, filtered, merged and rescored.
//!
//! Place: behind `Index::search`, beside a build that may be merging. Invariants: `graph_tail_disjoint`: one epoch is
//! taken at the start, the graph answers for rows below it and the tail for the others; no answer is at or above
//! `visible`, and none fails the filter, though the walk goes through such rows.
//! Leaves out: consistency levels; the caller chooses `visible`.

use crate::{
    code::{Code, Measure, Traverse},
    epoch::{Epoch, State},
    forget::Snapshot,
    graph::{Descent, Entries, Graph},
    kernel::Work,
    scan::{self, Cue, Hit},
    vector::Originals,
    walk::{Limits, WALKS, Walk},
};
use std::sync::{Mutex, MutexGuard};

/// What a recall asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Search {
    /// Hits wanted.
    pub k: usize,
    /// Width of the beam: more finds more and takes longer. At least `k` is used, and twice the width for inner products.
    pub ef: usize,
    /// Only the rows of this snapshot are looked at.
    pub at: Snapshot,
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

/// Sets of walks, for readers.
#[derive(Default)]
pub(crate) struct Readers(Mutex<Vec<Vec<Walk>>>);

impl Readers {
    /// Sets that are kept; more readers at once make their own and drop them.
    const KEPT: usize = 32;

    fn sets(&self) -> MutexGuard<'_, Vec<Vec<Walk>>> {
        self.0.lock().expect("nothing panics with the sets locked")
    }

    fn take(&self, walks: usize) -> Vec<Walk> {
        let mut set = self.sets().pop().unwrap_or_default();
        if set.len() < walks {
            set.resize_with(walks, Walk::default);
        }
        set
    }

    fn give_back(&self, walks: Vec<Walk>) {
        let mut sets = self.sets();
        if sets.len() < Self::KEPT {
            sets.push(walks);
        }
    }
}

/// Near rows by (distance, row).
type Near = Vec<(u32, u32)>;

/// Answers each cue as if it were alone; their walks take turns.
pub(crate) fn search(
    graph: &Graph,
    readers: &Readers,
    cues: &[&Cue],
    params: Search,
    filter: &dyn Fn(u32) -> bool,
    originals: Option<&dyn Originals>,
) -> Vec<Found> {
    let state = graph.epochs.now();
    // After the epoch: the rows of a graph are all there.
    let visible = params.at.rows.min(graph.codes.rows());
    let ef = params.ef.max(params.k);
    let tail = state.epoch.rows.min(visible)..visible;
    let tail_scanned = tail.len() as u32;
    // Read once: most indexes have no forgets, and their rows need not be asked.
    let forgets = params.at.forgets.min(graph.forgets.count());
    let lives = |row: u32| graph.forgets.lives(row, forgets) && filter(row);
    let passes: &dyn Fn(u32) -> bool = if forgets == 0 { filter } else { &lives };
    let near = match params.k {
        0 => vec![Near::new(); cues.len()],
        _ => graph.codes.encoder.kernels.enter(Walked { graph, readers, state: &state, cues, ef, visible, passes }),
    };
    let found = cues.iter().zip(near).map(|(cue, mut near)| {
        if params.k > 0 && tail_scanned > 0 && !engram_mutants::mutant!("tail_not_scanned") {
            let tail = tail.clone();
            let passes = if engram_mutants::mutant!("forget_missed_in_the_tail") { filter } else { passes };
            near.extend(scan::candidates(graph, &cue.encoded.code(), tail, ef.max(SCANNED_MIN), passes));
            near.sort_unstable();
        }
        Found { hits: scan::hits(graph, cue, near, params.k, originals), epoch: state.epoch, tail_scanned }
    });
    found.collect()
}

/// The nearest rows of the graph: by walks, or by a scan where so few rows pass that a walk would see more.
struct Walked<'a> {
    graph: &'a Graph,
    readers: &'a Readers,
    state: &'a State,
    cues: &'a [&'a Cue],
    ef: usize,
    visible: u32,
    passes: &'a dyn Fn(u32) -> bool,
}

impl Work for Walked<'_> {
    type Done = Vec<Near>;

    #[inline(always)]
    fn run(self) -> Vec<Near> {
        let Self { graph, readers, state, cues, ef, visible, passes } = self;
        let mut near = vec![Near::new(); cues.len()];
        let rows = state.epoch.rows;
        if rows == 0 || visible == 0 {
            return near;
        }
        let measure = graph.codes.encoder.search_measure();
        // The graph links what is near, and a long vector far away may have the greater inner product.
        let ef = if measure == Measure::Inner { ef.saturating_mul(2) } else { ef };
        let code = |at: usize| -> Code<'_> { cues[at].encoded.code() };
        let mut set = readers.take(cues.len().min(WALKS));
        let walks = &mut set[..cues.len().min(WALKS)];
        // Who asks for more wants no cluster missed, and a large graph has more of them; a narrow beam in a small graph
        // would pay more for a wide descent than it finds.
        let width = (ef / 16).max(rows as usize >> 17).clamp(1, Entries::MOST);
        let how = Descent { measure, width, probes: cues.len() };
        let entries = graph.descend(state, walks, how, code, |_, _, _| ());
        // A walk sees some ten rows for each that its beam holds; seeing one costs some sixteen times scanning one.
        let limits = Limits { ef, seen_max: ef.saturating_mul(32).saturating_add(rows as usize / 32) };
        let view = graph.view(state, 0, Traverse::Both, measure);
        let start = |at: usize| (code(at), entries[at]);
        let passes = if engram_mutants::mutant!("forget_missed_in_the_graph") { &(|_: u32| true) } else { passes };
        let answers = |row| row < visible && passes(row);
        let mut cut_short = Vec::new();
        view.run(walks, &limits, cues.len(), start, answers, |done| match done.cut_short {
            true => cut_short.push(done.job),
            false => near[done.job].extend(done.beam.found()),
        });
        readers.give_back(set);
        for at in cut_short {
            near[at] = scan::candidates(graph, &code(at), 0..rows.min(visible), ef.max(SCANNED_MIN), passes);
        }
        near
    }
}
