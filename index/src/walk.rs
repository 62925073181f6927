//! Beam search of one layer; several walks take turns, so that a cache miss of one is hidden behind the work of others.
//!
//! Place: under `search` and `build`. A turn is one of three: *expand* reads the links of the nearest unexpanded slot,
//! marks those not seen and prefetches their codes; *measure* takes their distances, by bits or fine codes; *refine*
//! follows where bits only sift. With one walk the same code is the single-query path.
//!
//! Invariants: `walks_are_alone`, a result depends on layer, probe, entry and beam, never on companions;
//! `graph_tail_disjoint`, slots at or above `slots` (the epoch's) are not there, whatever a link says.
//! Leaves out: choosing entries, layer by layer (`graph`).

use crate::{
    beam::Beam,
    code::{Code, Measure, Traverse},
    codes::Codes,
    graph::Entries,
    layer::Layer,
    options::M_MAX,
};

/// Walks that take turns on one thread: enough to hide most of the latency, and so few that their marks of what they saw
/// stay in the nearest caches; 8 cost 3 to 10 % more.
pub(crate) const WALKS: usize = 5;

/// Links of a slot, at most.
const LINKS_MAX: usize = 2 * M_MAX;

/// The scratch of one walk, reused from job to job.
pub(crate) struct Walk {
    beam: Beam,
    job: Option<usize>,
    turn: Turn,
    seen: Vec<u64>,
    touched: Vec<u32>,
    /// Slots to be measured, the first `count`, and their distances. Arrays: they change at every turn, and a vector of
    /// another length is a call.
    todo: [u32; LINKS_MAX],
    distances: [u32; LINKS_MAX],
    count: usize,
}

impl Default for Walk {
    fn default() -> Self {
        let (beam, turn, seen, touched) = (Beam::default(), Turn::default(), Vec::new(), Vec::new());
        Self { beam, job: None, turn, seen, touched, todo: [0; LINKS_MAX], distances: [0; LINKS_MAX], count: 0 }
    }
}

#[derive(Default, Clone, Copy)]
enum Turn {
    Expand(u32),
    #[default]
    Measure,
    Refine,
}

impl Walk {
    #[inline(always)]
    fn begin(&mut self, job: usize, slots: u32, ef: usize, entries: &Entries) {
        for slot in self.touched.drain(..) {
            self.seen[slot as usize / 64] = 0;
        }
        self.seen.resize((slots as usize).div_ceil(64).max(self.seen.len()), 0);
        self.beam.begin(ef);
        (self.job, self.turn) = (Some(job), Turn::Measure);
        self.see(slots, entries.as_slice().iter().copied());
    }

    /// Puts the unseen of some links on the list, without a branch on whether a slot was seen: half of them were, and the
    /// CPU cannot guess which.
    #[inline(always)]
    fn see(&mut self, slots: u32, links: impl Iterator<Item = u32>) {
        let mut new = 0;
        for slot in links {
            if slot >= slots {
                continue;
            }
            let (word, bit) = (&mut self.seen[slot as usize / 64], 1 << (slot % 64));
            self.todo[new] = slot;
            new += usize::from(*word & bit == 0);
            *word |= bit;
        }
        self.count = new;
        self.touched.extend_from_slice(&self.todo[..new]);
    }
}

/// A layer as of an epoch, with the codes to walk it by.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) codes: &'a Codes,
    pub(crate) layer: &'a Layer,
    /// Slots of the epoch.
    pub(crate) slots: u32,
    pub(crate) traverse: Traverse,
    pub(crate) measure: Measure,
}

/// What walks of a run have in common.
pub(crate) struct Limits {
    /// Answers that a beam holds.
    pub(crate) ef: usize,
    /// Slots that a walk may see before it stops where it stands.
    pub(crate) seen_max: usize,
}

/// A finished walk.
pub(crate) struct Done<'a> {
    pub(crate) job: usize,
    pub(crate) beam: &'a Beam,
    /// It stopped at `seen_max`; nearer slots may be left.
    pub(crate) cut_short: bool,
}

impl View<'_> {
    /// Runs jobs `0..count`; `start` gives a job's probe and where it enters, `done` receives its beam.
    #[inline(always)]
    pub(crate) fn run<'p>(
        &self,
        walks: &mut [Walk],
        limits: &Limits,
        count: usize,
        start: impl Fn(usize) -> (Code<'p>, Entries),
        answers: impl Fn(u32) -> bool,
        mut done: impl FnMut(Done),
    ) {
        let mut probes = [Code::default(); WALKS];
        let mut next = 0;
        let mut begin = |walk: &mut Walk, probe: &mut Code<'p>| {
            walk.job = None;
            if next < count {
                let entries;
                (*probe, entries) = start(next);
                walk.begin(next, self.slots, limits.ef, &entries);
                next += 1;
            }
        };
        for (walk, probe) in walks.iter_mut().zip(&mut probes) {
            begin(walk, probe);
        }
        let mut busy = true;
        while busy {
            busy = false;
            for (walk, probe) in walks.iter_mut().zip(&mut probes) {
                let Some(job) = walk.job else { continue };
                busy = true;
                if !self.turn(walk, probe, &answers) {
                    continue;
                }
                let cut_short = walk.touched.len() > limits.seen_max;
                match walk.beam.expand_next() {
                    Some(slot) if !cut_short => {
                        self.layer.prefetch_links(slot);
                        walk.turn = Turn::Expand(slot);
                    }
                    left => {
                        done(Done { job, beam: &walk.beam, cut_short: cut_short && left.is_some() });
                        begin(walk, probe);
                    }
                }
            }
        }
    }

    /// One turn of a walk; true when its list is measured and put.
    #[inline(always)]
    fn turn(&self, walk: &mut Walk, probe: &Code, answers: &impl Fn(u32) -> bool) -> bool {
        match walk.turn {
            Turn::Expand(slot) => {
                walk.see(self.slots, self.layer.targets(slot));
                walk.todo[..walk.count].iter().for_each(|&slot| self.prefetch(slot));
                walk.turn = Turn::Measure;
                return false;
            }
            Turn::Measure if self.traverse == Traverse::Fine => self.refine(probe, walk),
            Turn::Measure => {
                self.hamming(probe, walk);
                if self.traverse == Traverse::Both {
                    self.sift(walk);
                    walk.turn = Turn::Refine;
                    return false;
                }
            }
            Turn::Refine => self.refine(probe, walk),
        }
        for at in 0..walk.count {
            let (slot, distance) = (walk.todo[at], walk.distances[at]);
            if walk.beam.takes(distance, slot) {
                walk.beam.put(distance, slot, answers(slot));
            }
        }
        true
    }

    #[inline(always)]
    fn prefetch(&self, slot: u32) {
        match self.traverse {
            Traverse::Fine => self.codes.prefetch_fine(self.layer.row(slot)),
            _ if self.layer.level == 0 => self.codes.bits.prefetch(slot),
            _ => self.layer.bits.prefetch(slot),
        }
    }

    #[inline(always)]
    fn hamming(&self, probe: &Code, walk: &mut Walk) {
        let bits = if self.layer.level == 0 { &self.codes.bits } else { &self.layer.bits };
        let (todo, distances) = (&walk.todo[..walk.count], &mut walk.distances[..walk.count]);
        self.codes.encoder.kernels.hamming(bits, probe.bits, todo, distances);
    }

    /// Keeps on the list the slots that their Hamming distance does not rule out.
    #[inline(always)]
    fn sift(&self, walk: &mut Walk) {
        let (floor, limit) = (&self.codes.encoder.floor, walk.beam.limit());
        let mut kept = 0;
        for at in 0..walk.count {
            let (slot, hamming) = (walk.todo[at], walk.distances[at]);
            if floor[hamming as usize] <= limit {
                walk.todo[kept] = slot;
                kept += 1;
                self.codes.prefetch_fine(self.layer.row(slot));
            }
        }
        walk.count = kept;
    }

    #[inline(always)]
    fn refine(&self, probe: &Code, walk: &mut Walk) {
        let (fours, rest) = walk.todo[..walk.count].as_chunks::<4>();
        let (out, out_rest) = walk.distances[..walk.count].as_chunks_mut::<4>();
        let row = |slot| self.layer.row(slot);
        for (&[a, b, c, d], out) in fours.iter().zip(out) {
            *out = self.codes.distances(self.measure, probe, [row(a), row(b), row(c), row(d)]);
        }
        for (&slot, out) in rest.iter().zip(out_rest) {
            *out = self.codes.distance(self.measure, probe, self.layer.row(slot));
        }
    }
}
