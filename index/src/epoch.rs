//! The published states of a graph, one record after another.
//!
//! Place: written by `build` when a batch is merged, read by everything that looks at the graph. A reader takes one
//! record and keeps to it. Invariant `same_log_same_graph`: a digest chains the sum of all rows' hashes to the digest
//! before. Leaves out: older graphs; the links are those of now, and links beyond a record's rows are skipped.

use crate::{hash::mix, kernel::Rows, level::LAYERS};

/// A published graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch {
    /// Batches built.
    pub number: u64,
    /// Rows in the graph: those below this number.
    pub rows: u32,
    /// Forgets that the digest knows of: those before the last row.
    pub forgets: u32,
    /// Equal on all replicas at the same epoch: of codes, links, levels and forgets, chained from epoch to epoch.
    pub digest: u64,
}

/// An epoch with what it takes to walk it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) epoch: Epoch,
    /// Wrapping sum of the rows' hashes.
    pub(crate) sum: u64,
    /// Members of each layer.
    pub(crate) slots: [u32; LAYERS],
}

impl State {
    /// The highest layer with a member.
    pub(crate) fn top(&self) -> usize {
        self.slots.iter().rposition(|&slots| slots > 0).unwrap_or(0)
    }

    /// The state after a batch up to `slots[0]` rows.
    pub(crate) fn next(&self, forgets: u32, slots: [u32; LAYERS], sum: u64) -> Self {
        let rows = slots[0];
        let digest = mix(self.epoch.digest ^ mix(sum ^ mix(u64::from(forgets) << 32 | u64::from(rows))));
        Self { epoch: Epoch { number: self.epoch.number + 1, rows, forgets, digest }, sum, slots }
    }
}

const FIELDS: usize = 4;
const WIDTH: usize = FIELDS + LAYERS;

/// All states so far; the last is the published one.
pub(crate) struct Epochs(Rows<u64>);

impl Epochs {
    pub(crate) fn new() -> Self {
        Self(Rows::new(WIDTH))
    }

    /// The state of now: the empty one before the first batch. Waits for nobody.
    pub(crate) fn now(&self) -> State {
        self.0.len().checked_sub(1).map_or_else(State::default, |last| self.state(last))
    }

    fn state(&self, at: u32) -> State {
        let record = self.0.get(at);
        let slots: [u32; LAYERS] = std::array::from_fn(|level| record[FIELDS + level] as u32);
        let epoch = Epoch { number: record[0], rows: slots[0], forgets: record[3] as u32, digest: record[1] };
        State { epoch, sum: record[2], slots }
    }

    /// The last epoch of at most `rows` rows. `None` where it is older than the first that is known here.
    pub(crate) fn within(&self, rows: u32) -> Option<Epoch> {
        match self.0.partition(|record| record[FIELDS] as u32 <= rows).checked_sub(1) {
            Some(last) => Some(self.state(last).epoch),
            None => (self.0.len() == 0 || self.state(0).epoch.number == 1).then(Epoch::default),
        }
    }

    pub(crate) fn publish(&self, state: &State) {
        assert_eq!(state.epoch.rows, state.slots[0], "the base holds every row");
        let Epoch { number, digest, forgets, .. } = state.epoch;
        let mut record = [number, digest, state.sum, u64::from(forgets), 0, 0, 0, 0, 0, 0];
        for (place, &slots) in record[FIELDS..].iter_mut().zip(&state.slots) {
            *place = u64::from(slots);
        }
        self.0.push(&record);
    }
}
