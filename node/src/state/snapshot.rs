//! A snapshot's bytes: everything that the log up to one index determined, checksummed by section.
//!
//! Layout: docs/formats.md. Encoding is a function of the state and of the graphs' epochs.
//! Invariants: `snapshot_suffices`, a node that has only this can go on from the next log entry; `same_log_same_graph`, a
//! graph that is taken from here goes on as one that was built here.
//!
//! Leaves out: a graph that was built further than the state that is written; the receiver builds it from the rows.

mod decode;
mod encode;

pub use decode::{decode, verify};
pub use encode::Frozen;

const MAGIC: &[u8; 8] = b"ENGSNAP\x01";
const HEADER_BYTES: usize = 12;
/// Rows of one section.
const ROWS_PER_SECTION: u32 = 256;
const SESSIONS_PER_SECTION: usize = 1024;
/// Bytes of a graph in one section.
const GRAPH_PIECE_BYTES: usize = 8 << 20;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
enum Kind {
    Head = 1,
    Space = 2,
    Rows = 3,
    Sessions = 4,
    End = 5,
    Graph = 6,
}

/// Why bytes are no snapshot: at which offset, and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {detail}")]
pub struct Damaged {
    /// Bytes from the start.
    pub offset: usize,
    /// What is wrong.
    pub detail: String,
}
