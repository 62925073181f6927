//! One generation of a space's index: the index of the rows that were living when it began, and of all that came since,
//! under the numbers that the space's rows have everywhere else.
//!
//! Place: between a space and `engram_index`, which numbers the rows of an index from 0 without gaps. Rows that were erased
//! before the generation began are not in it: they are *dropped*. Of the others the index has all, in their order; so the
//! numbers rise together, and whoever decides a tie by row decides it alike in either. A row that came after the beginning
//! is as far from its number here as every other of them, so that a table is needed for the older ones alone.
//! Invariants: `same_log_same_graph`, a generation's index is a function of the log: rows in their order, but for those
//! that are dropped, and the forgets after theirs in their places; `one_epoch_number`, an epoch's number is that of no
//! other generation of the space; `rows_keep_their_numbers`, a reindex changes no row's number, and no answer of a scan.
//!
//! Leaves out: when a generation begins (`crate::aging` proposes, `super::apply` does).

use super::past::Mark;
use engram_index::{
    Broken, Cue, Epoch, Footprint, Found, Hit, Index, NoSuchRow, Originals, Scan, Search, Snapshot, VectorError,
    Workers, epochs_of,
};
use engram_mutants::mutant;
use engram_proto::wire::log::SnapshotGeneration;
use std::ops::Range;

/// The rows of an index, each under its number in the space.
pub struct Generation {
    index: Index,
    beginning: Beginning,
}

/// What a generation began with; of the first, nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beginning {
    /// How many generations the space had before.
    pub number: u32,
    /// Epochs that those can have had: what the numbers of this one's go on from.
    epochs: u64,
    /// The rows of the forgets up to this are dropped.
    pub dropped: Mark,
    /// Rows that the space had.
    rows: u32,
    /// Those of them that are in the index, rising: all that are not dropped.
    kept: Vec<u32>,
}

impl Beginning {
    /// As a snapshot has it; `None` if it cannot be true of a space of `rows` rows.
    pub fn from_wire(wire: &SnapshotGeneration, rows: u64) -> Option<Self> {
        let (mut at, mut kept) = (0u32, Vec::new());
        for (run, length) in wire.runs.iter().enumerate() {
            let end = at.checked_add(*length).filter(|end| u64::from(*end) <= rows)?;
            if run.is_multiple_of(2) {
                kept.extend(at..end);
            }
            at = end;
        }
        let SnapshotGeneration { number, epochs, forgets, log_index, stamp_ms, .. } = *wire;
        let dropped = Mark { log_index, stamp_ms, forgets };
        (at - kept.len() as u32 == forgets).then_some(Self { number, epochs, dropped, rows: at, kept })
    }

    /// As a snapshot holds it; `None` of the first.
    pub fn to_wire(&self) -> Option<SnapshotGeneration> {
        let Self { number, epochs, dropped: Mark { log_index, stamp_ms, forgets }, rows, ref kept } = *self;
        let (mut runs, mut at, mut rest) = (Vec::new(), 0, &kept[..]);
        while at < rows {
            let run = rest.iter().zip(at..).take_while(|(row, next)| **row == *next).count();
            rest = &rest[run..];
            at += run as u32;
            let next = rest.first().copied().unwrap_or(rows);
            runs.extend([run as u32, next - at]);
            at = next;
        }
        (number > 0).then_some(SnapshotGeneration { number, epochs, forgets, runs, log_index, stamp_ms })
    }

    /// Where a row is in the index, or would be; `None` if it is dropped.
    fn slot(&self, row: u32) -> Option<u32> {
        match row < self.rows {
            true => self.kept.binary_search(&row).ok().map(|slot| slot as u32),
            false => Some(row - self.rows + self.kept.len() as u32),
        }
    }

    /// The number of the row that is, or would be, in a slot.
    fn row(&self, slot: u32) -> u32 {
        match self.kept.get(slot as usize) {
            Some(row) => *row,
            None => slot - self.kept.len() as u32 + self.rows,
        }
    }

    /// How many of the first `rows` rows are not dropped.
    fn slots(&self, rows: u32) -> u32 {
        match rows < self.rows {
            true => self.kept.partition_point(|row| *row < rows) as u32,
            false => rows - self.rows + self.kept.len() as u32,
        }
    }

    /// One past the last row of so many slots.
    fn end(&self, slots: u32) -> u32 {
        slots.checked_sub(1).map_or(0, |last| self.row(last) + 1)
    }

    /// So many slots, and with them all rows that are dropped.
    fn counted(&self, slots: u32) -> u32 {
        self.rows - self.kept.len() as u32 + slots
    }
}

impl Generation {
    /// The first: every row that comes is in it.
    pub fn first(index: Index) -> Self {
        Self { index, beginning: Beginning::default() }
    }

    /// Over an index that was saved, or one without rows.
    pub fn restored(index: Index, beginning: Beginning) -> Self {
        Self { index, beginning }
    }

    /// Begins the next one: without the rows of the first `forgets` forgets, and not built. This one stays as it is, for
    /// those who read it.
    pub fn begin_next(&self, forgets: u32) -> Next {
        let inside = forgets - self.forgets();
        // Whoever was forgotten had been pushed by then.
        let pushed = inside.checked_sub(1).and_then(|last| self.index.forget_at(last)).map_or(0, |(_, rows)| rows);
        let made = self.index.reindex(Snapshot { rows: pushed, forgets: inside });
        Next { made, number: self.beginning.number + 1, forgets }
    }

    /// What it began with.
    pub fn beginning(&self) -> &Beginning {
        &self.beginning
    }

    /// The rows of so many forgets, from the first on, are dropped.
    pub fn forgets(&self) -> u32 {
        self.beginning.dropped.forgets
    }

    /// The index, whose numbers are its own.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// A snapshot in the index's numbers.
    pub fn inside(&self, at: Snapshot) -> Snapshot {
        Snapshot { rows: self.beginning.slots(at.rows), forgets: at.forgets.saturating_sub(self.forgets()) }
    }

    /// Rows that the space has.
    pub fn rows(&self) -> u32 {
        self.beginning.counted(self.index.rows())
    }

    /// Whether it has all that it has to have of a space of so many rows, and no more.
    pub fn is_of(&self, rows: u32) -> bool {
        rows >= self.beginning.rows && self.beginning.slots(rows) == self.index.rows()
    }

    /// Whether a row is dropped.
    pub fn dropped(&self, row: u32) -> bool {
        self.beginning.slot(row).is_none()
    }

    /// How many rows of a range are dropped.
    pub fn dropped_of(&self, rows: Range<u32>) -> u32 {
        rows.len() as u32 - (self.beginning.slots(rows.end) - self.beginning.slots(rows.start))
    }

    /// The first row that is not dropped, if all before it are.
    pub fn first_row(&self) -> u32 {
        self.beginning.row(0)
    }

    /// Whether the index has a row.
    pub fn has(&self, row: u32) -> bool {
        self.beginning.slot(row).is_some_and(|slot| slot < self.index.rows())
    }

    /// As `Index::push`, and the calls below as their namesakes there.
    pub fn push(&self, vector: &[f32]) -> Result<u32, VectorError> {
        self.index.push(vector).map(|slot| self.beginning.row(slot))
    }

    /// Appends a row by its code.
    pub fn push_code(&self, code: &[u8]) -> Result<u32, VectorError> {
        self.index.push_code(code).map(|slot| self.beginning.row(slot))
    }

    /// What the index knows of a row's vector.
    pub fn code(&self, row: u32) -> Option<Vec<u8>> {
        self.index.code(self.beginning.slot(row)?)
    }

    /// A row that is dropped was forgotten before.
    pub fn forget(&self, row: u32) -> Result<bool, NoSuchRow> {
        self.beginning.slot(row).map_or(Ok(false), |slot| self.index.forget(slot))
    }

    /// A forget of the space: its row, and where it came, as one past the row before it; `None` if that row is dropped.
    pub fn forget_at(&self, at: u32) -> Option<(u32, u32)> {
        let (slot, slots) = self.index.forget_at(at.checked_sub(self.forgets())?)?;
        Some((self.beginning.row(slot), self.beginning.end(slots)))
    }

    /// The rows that are in the snapshot `from` and not in `to`, in the order of their forgets; if some of them are dropped,
    /// all that are dropped come first, whether or not they were in `from`.
    pub fn forgotten(&self, from: Snapshot, to: Snapshot) -> impl Iterator<Item = u32> {
        let dropped = if from.forgets < self.forgets() { from.rows.min(self.beginning.rows) } else { 0 };
        let dropped = (0..dropped).filter(|row| self.dropped(*row));
        let rest = from.forgets.max(self.forgets())..to.forgets;
        dropped.chain(rest.filter_map(|at| Some(self.forget_at(at)?.0)))
    }

    /// What a reader that comes now may see.
    pub fn now(&self) -> Snapshot {
        let Snapshot { rows, forgets } = self.index.now();
        Snapshot { rows: self.beginning.counted(rows), forgets: self.forgets() + forgets }
    }

    /// Whether a snapshot has the row.
    pub fn lives(&self, row: u32, at: Snapshot) -> bool {
        row < at.rows && self.beginning.slot(row).is_some_and(|slot| self.index.lives(slot, self.inside(at)))
    }

    fn epoch_of(&self, epoch: Epoch) -> Epoch {
        let Epoch { number, rows, forgets, digest } = epoch;
        let (number, forgets) = (self.beginning.epochs + number, self.forgets() + forgets);
        Epoch { number, rows: self.beginning.counted(rows), forgets, digest }
    }

    /// The published graph. Dropped rows count as in it: what it lacks of the space's rows are the tail's.
    pub fn epoch(&self) -> Epoch {
        self.epoch_of(self.index.epoch())
    }

    /// The epoch that the space's first `rows` rows make.
    pub fn epoch_within(&self, rows: u32) -> Option<Epoch> {
        self.index.epoch_within(self.beginning.slots(rows)).map(|epoch| self.epoch_of(epoch))
    }

    /// The next batch, in the index's numbers.
    pub fn next_batch(&self) -> Option<Range<u32>> {
        self.index.next_batch()
    }

    /// Rows that the graph does not have, but for those that were there when the generation began.
    pub fn unbuilt(&self) -> u32 {
        let built = self.index.epoch().rows.max(self.beginning.kept.len() as u32);
        self.index.rows().saturating_sub(built)
    }

    /// Builds a batch.
    pub fn build(&self, batch: Range<u32>, workers: &dyn Workers) -> Epoch {
        self.epoch_of(self.index.build(batch, workers))
    }

    /// A query, encoded.
    pub fn cue(&self, vector: &[f32]) -> Result<Cue, VectorError> {
        self.index.cue(vector)
    }

    /// Searches graph and tail.
    pub fn search(&self, cue: &Cue, params: Search, filter: &dyn Fn(u32) -> bool, originals: &dyn Originals) -> Found {
        let params = Search { at: self.inside(params.at), ..params };
        let passes = |slot: u32| filter(self.beginning.row(slot));
        let mut found = self.index.search(cue, params, &passes, Some(&Numbered(&self.beginning, originals)));
        found.epoch = self.epoch_of(found.epoch);
        self.number(&mut found.hits);
        found
    }

    /// Scans the snapshot's rows.
    pub fn scan(&self, cue: &Cue, params: Scan, filter: &dyn Fn(u32) -> bool, originals: &dyn Originals) -> Vec<Hit> {
        let params = Scan { at: self.inside(params.at), ..params };
        let passes = |slot: u32| filter(self.beginning.row(slot));
        let mut hits = self.index.scan(cue, params, &passes, Some(&Numbered(&self.beginning, originals)));
        self.number(&mut hits);
        hits
    }

    fn number(&self, hits: &mut [Hit]) {
        hits.iter_mut().for_each(|hit| hit.row = self.beginning.row(hit.row));
    }

    /// Bytes that the rows take up, by part.
    pub fn footprint(&self) -> Footprint {
        self.index.footprint()
    }

    /// Proves the graph's invariants and its digest.
    pub fn check(&self) -> Result<(), Broken> {
        self.index.check()
    }

    /// The same, with the epoch that it was of.
    pub fn verify(&self) -> (Epoch, Result<(), Broken>) {
        let (epoch, proved) = self.index.verify();
        (self.epoch_of(epoch), proved)
    }

    /// Flips a bit of a row's first link: for tests of who notices.
    pub fn flip_bit(&self, row: u32) -> bool {
        self.beginning.slot(row).is_some_and(|slot| slot < self.index.epoch().rows && self.index.flip_bit(slot))
    }
}

/// Rows that a step looks at: a millisecond or two.
const STEP: u32 = 1000;

/// A generation that is made of the one before, some rows at a time, because to copy a large space's takes seconds.
pub struct Next {
    made: engram_index::Generation,
    number: u32,
    /// Of the space, up to which rows are dropped.
    forgets: u32,
}

impl Next {
    /// Takes over the next rows and the forgets among them; whether some are left.
    pub fn step(&mut self, from: &Generation) -> bool {
        let (now, Snapshot { rows, .. }) = (from.index.now(), self.made.seen());
        self.made.catch_up(&from.index, Snapshot { rows: now.rows.min(rows + STEP), forgets: now.forgets });
        self.made.seen() != now
    }

    /// Takes over what is left. `dropped` is the mark of the last forget whose row is not in it.
    pub fn finish(mut self, from: &Generation, dropped: Mark) -> Generation {
        while self.step(from) {}
        let (index, mut kept) = self.made.finish();
        kept.iter_mut().for_each(|slot| *slot = from.beginning.row(*slot));
        if mutant!("reindex_drops_a_living_row") {
            let _ = index.forget(0);
        }
        let epochs = from.beginning.epochs + epochs_of(from.index.rows()) + 1;
        let dropped = Mark { forgets: self.forgets, ..dropped };
        Generation { index, beginning: Beginning { number: self.number, epochs, dropped, rows: from.rows(), kept } }
    }
}

/// Originals by the numbers of an index.
struct Numbered<'a>(&'a Beginning, &'a dyn Originals);

impl Originals for Numbered<'_> {
    fn vector(&self, slot: u32, into: &mut [f32]) -> bool {
        self.1.vector(self.0.row(slot), into)
    }
}
