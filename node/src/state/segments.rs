//! How a space's rows are cut into record files, which file each piece was last written to, and which files its graph.
//!
//! Cuts are part of the replicated state: apply makes them, by what the log says alone, so that every node cuts at the same
//! rows and writes the same files. What a file holds depends beyond that on how many of its rows are erased.
//! Invariant `same_log_same_files`.

use super::records::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A piece ends with the row that brings it to so many bytes of records,
const SEGMENT_BYTES: u64 = 4 << 20;
/// or so many rows.
pub const SEGMENT_ROWS: u32 = 1024;

/// The file of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its name.
    pub hash: Hash,
    /// Its length.
    pub bytes: u64,
    /// So many of its rows are erased.
    pub erased: u32,
    /// And of those so many are not in the index.
    pub dropped: u32,
}

/// Where the cuts are at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// One past the last row of each piece.
    pub ends: Vec<u32>,
    /// Bytes of the records after the last cut; erased ones count as they were.
    pub open_bytes: u64,
}

/// The files of a graph. Rows and forgets are as its index counts them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The number of its generation.
    pub generation: u32,
    /// Rows in it.
    pub rows: u32,
    /// Forgets that it knows.
    pub forgets: u32,
    /// In their order: name and length.
    pub files: Vec<(Hash, u64)>,
    /// They were there before this life of the node, or came from another.
    pub restored: bool,
}

#[derive(Default)]
struct State {
    cuts: Cuts,
    written: Vec<Option<Written>>,
    checkpoint: Option<Checkpoint>,
}

/// One space's. Cut by apply alone.
#[derive(Default)]
pub struct Segments(Mutex<State>);

impl Segments {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A row came, the last of `rows`, of so many bytes.
    pub fn grow(&self, rows: u32, bytes: usize) {
        let mut state = self.state();
        let cuts = &mut state.cuts;
        cuts.open_bytes += bytes as u64;
        if cuts.open_bytes >= SEGMENT_BYTES || rows - cuts.ends.last().unwrap_or(&0) >= SEGMENT_ROWS {
            cuts.ends.push(rows);
            cuts.open_bytes = 0;
            state.written.push(None);
        }
    }

    /// As they are.
    pub fn cuts(&self) -> Cuts {
        self.state().cuts.clone()
    }

    /// A piece came whole from a file of a snapshot.
    pub fn restore(&self, end: u32, written: Written) {
        let mut state = self.state();
        state.cuts.ends.push(end);
        state.written.push(Some(written));
    }

    /// What a snapshot says of the rows after the last cut.
    pub fn restore_open(&self, bytes: u64) {
        self.state().cuts.open_bytes = bytes;
    }

    /// The file of a piece of which so many rows are erased and dropped, if it was written.
    pub fn written(&self, piece: usize, erased: u32, dropped: u32) -> Option<Written> {
        let written = self.state().written.get(piece).copied().flatten();
        written.filter(|written| (written.erased, written.dropped) == (erased, dropped))
    }

    /// Notes the file of a piece.
    pub fn note(&self, piece: usize, written: Written) {
        self.state().written[piece] = Some(written);
    }

    /// The graph that was written last.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.state().checkpoint.clone()
    }

    /// Notes the files of a graph.
    pub fn note_checkpoint(&self, checkpoint: Checkpoint) {
        self.state().checkpoint = Some(checkpoint);
    }
}
