//! An index as bytes: what a file of it holds, and what is refused.
//!
//! Place: behind `Index::save` and `Index::open`; what the bytes lie in is the caller's. Version 3, little-endian. First
//! the head: zero and its length (u32 each), its checksum, magic, version, options, epoch, slots of each layer, length of the
//! body, and a checksum for each block of the body; the first five stay what they are in later versions. Then the body: one section
//! after another (bits, fine codes, weights, forgets; per layer the members, then the links), each a plain table that
//! begins on a page, so that a mapped file is used as it lies. For its checksums the body is cut into blocks of 1 MiB.
//!
//! Invariants: `same_log_same_graph`, an index that was opened goes on to the same digests; a damaged file is refused,
//! naming block and offset, and no damage panics. Leaves out: the tail, whose rows and forgets are done anew.

mod open;
mod save;

use crate::{
    epoch::{Epoch, State},
    graph::Graph,
    hash::fold,
    kernel::ROWS_MAX,
    level::LAYERS,
    options::{Metric, Options},
};
pub(crate) use open::open;
pub(crate) use save::save;
use std::ops::Range;
use thiserror::Error;

const MAGIC: u64 = u64::from_le_bytes(*b"engramix");
/// The format that is written; the only one that is read.
pub const FORMAT_VERSION: u32 = 3;
const BLOCK_BYTES: usize = 1 << 20;
const PAGE: usize = 4096;
/// Words of the head before the blocks' checksums.
const HEAD_WORDS: usize = 12 + LAYERS;

/// Bytes that are no saved index, or one that cannot be read. Remedy: another copy, or a rebuild from the rows.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LoadError {
    /// The bytes are not what was written.
    #[error("block {block} at offset {offset} is damaged: {what}")]
    Damaged {
        /// Which block: 0 is the head, then the body's, of 1 MiB each.
        block: u64,
        /// Its first byte.
        offset: u64,
        /// What does not fit.
        what: &'static str,
    },
    /// Written by another version.
    #[error("format version {0}: this build reads version 3; load it with the build that wrote it, or rebuild")]
    Version(u32),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Bits,
    Fine,
    Weights,
    Forgets,
    Members(usize),
    Links(usize),
}

/// A section's place in the file.
struct Part {
    section: Section,
    bytes: Range<usize>,
}

/// Where everything lies: a function of options and state.
struct Layout {
    head: usize,
    parts: Vec<Part>,
    /// The file's length, a multiple of a page.
    end: usize,
}

impl Layout {
    /// `graph` may be empty; its options count.
    fn of(graph: &Graph, state: &State) -> Self {
        let codes = &graph.codes;
        let rows = state.epoch.rows as usize;
        let slots = |level: usize| state.slots[level] as usize;
        let first = [
            (Section::Bits, rows * codes.encoder.words() * 8),
            (Section::Fine, rows * codes.encoder.fine_bytes()),
            (Section::Weights, rows * codes.weight_bytes()),
            (Section::Forgets, state.epoch.forgets as usize * 8),
        ];
        let members = (1..LAYERS).map(|level| (Section::Members(level), slots(level) * 4));
        let links = (0..LAYERS).map(|level| (Section::Links(level), slots(level) * graph.layers[level].degree * 4));
        let sections: Vec<(Section, usize)> = first.into_iter().chain(members).chain(links).collect();
        let body: usize = sections.iter().map(|section| section.1.next_multiple_of(PAGE)).sum();
        let head = (8 * (HEAD_WORDS + body.div_ceil(BLOCK_BYTES))).next_multiple_of(PAGE);
        let mut at = head;
        let place = |(section, length): (Section, usize)| {
            let bytes = at..at + length;
            at += length.next_multiple_of(PAGE);
            Part { section, bytes }
        };
        let parts = sections.into_iter().map(place).collect();
        Self { head, parts, end: head + body }
    }

    /// The body's blocks: number and place.
    fn blocks(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        let (head, end) = (self.head, self.end);
        (head..end).step_by(BLOCK_BYTES).enumerate().map(move |(i, at)| (i, at..end.min(at + BLOCK_BYTES)))
    }
}

/// Of a block or of the head. `bytes` is a whole number of words.
fn checksum(block: usize, bytes: &[u8]) -> u64 {
    let words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
    fold(block as u64 ^ (bytes.len() as u64) << 32, words)
}

/// The head without its checksums: `HEAD_WORDS` words.
fn head_words(options: &Options, state: &State, layout: &Layout) -> Vec<u64> {
    let Options { dim, metric, m, ef_construction, salt } = *options;
    let metric = match metric {
        Metric::Cosine => 0,
        Metric::Dot => 1,
        Metric::L2 => 2,
    };
    let shape = (dim as u64) << 32 | metric;
    let effort = (m as u64) << 32 | ef_construction as u64;
    let Epoch { number, rows, forgets, digest } = state.epoch;
    let first = [(layout.head as u64) << 32, 0, MAGIC, u64::from(FORMAT_VERSION), shape, effort, salt, number];
    let counts = u64::from(forgets) << 32 | u64::from(rows);
    let then = [counts, digest, state.sum, (layout.end - layout.head) as u64];
    let slots = state.slots.iter().map(|&slots| u64::from(slots));
    first.into_iter().chain(then).chain(slots).collect()
}

/// What the head's words say, if it can be true.
fn meaning(words: &[u64]) -> Result<(Options, State), &'static str> {
    let metric = match words[4] as u32 {
        0 => Metric::Cosine,
        1 => Metric::Dot,
        2 => Metric::L2,
        _ => return Err("an unknown metric"),
    };
    let (dim, m) = ((words[4] >> 32) as usize, (words[5] >> 32) as usize);
    let options = Options { dim, metric, m, ef_construction: words[5] as u32 as usize, salt: words[6] };
    options.validate().map_err(|_| "options out of range")?;
    let (rows, forgets) = (words[8] as u32, (words[8] >> 32) as u32);
    if rows > ROWS_MAX || forgets > rows {
        return Err("too many rows");
    }
    let epoch = Epoch { number: words[7], rows, forgets, digest: words[9] };
    let mut slots = [0; LAYERS];
    for (slots, &word) in slots.iter_mut().zip(&words[HEAD_WORDS - LAYERS..HEAD_WORDS]) {
        *slots = u32::try_from(word).ok().filter(|&slots| slots <= rows).ok_or("a layer larger than the base")?;
    }
    if slots[0] != rows || !slots.is_sorted_by(|lower, upper| lower >= upper) {
        return Err("a layer larger than the one below");
    }
    Ok((options, State { epoch, sum: words[10], slots }))
}
