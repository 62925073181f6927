//! A snapshot: everything that the log up to one index determined. A manifest holds all but most rows and graphs, which are
//! in record files that it names.
//!
//! Layout: docs/formats.md. Encoding is a function of the state, of the graphs' epochs, and of how far they were when their
//! files were written.
//! Invariants: `snapshot_suffices`, a node that has only this can go on from the next log entry; `same_log_same_graph`, a
//! graph that is taken from here goes on as one that was built here; `same_log_same_files`.
//!
//! Leaves out: what of a graph was built since its files were written, or beyond the state that is written; the receiver
//! builds it from the rows.

mod decode;
mod encode;
pub mod sections;

pub use decode::{decode, named, verify};
pub use encode::Frozen;

use super::records::{Hash, Held};
use bytes::Bytes;
use std::sync::Arc;

/// Rows of one section.
const ROWS_PER_SECTION: u32 = 256;
const SESSIONS_PER_SECTION: usize = 1024;
/// Bytes of a graph in one record file.
const GRAPH_PIECE_BYTES: usize = 4 << 20;
/// A graph of so many bytes is in the manifest.
const GRAPH_HERE_BYTES_MAX: usize = 64 << 10;
/// A graph is written again once it has grown by one part in so many: by the time that it is of a size, so much was written of it
/// five times at most, and whoever starts from a snapshot builds a fifth of it at most.
const GRAPH_GROWTH: u32 = 4;
/// The same of a graph that was read, and is written once more in this life of the node: one that is started often builds the rest
/// once, and not at each start.
const GRAPH_GROWTH_RESTORED: u32 = 16;

/// A snapshot as it is handed on.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its bytes but for the files.
    pub manifest: Bytes,
    /// The files that it names.
    pub files: Arc<Held>,
}

/// Why bytes are no snapshot: at which offset, and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {detail}")]
pub struct Damaged {
    /// Bytes from the start.
    pub offset: usize,
    /// What is wrong.
    pub detail: String,
    /// The record file that would have to be there, and is not, or not as it was written.
    pub lost: Option<Hash>,
}
