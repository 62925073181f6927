//! Checksummed bytes: an index saved to a stream and loaded from one.
//!
//! Place: behind `Index::save` and `Index::load`; what the bytes lie in is the caller's. Version 1, little-endian:
//! a head block, then one section after another (bits, fine codes, weights; per layer the members, then the links), each
//! cut into blocks of at most 1 MiB of whole rows. A block is `section u32, length u32, checksum u64`, then its bytes; the
//! checksum covers section, length and the block's place in the file, too. The head stays as it is in later versions.
//!
//! Invariants: `same_log_same_graph`, an index that was loaded goes on to the same digests; a damaged file is refused,
//! naming block and offset, and no damage panics. Leaves out: the tail, whose rows are pushed anew; memory mapping.

use crate::{
    code::Weight,
    epoch::{Epoch, State},
    graph::Graph,
    hash::fold,
    kernel::{Kernels, ROWS_MAX},
    level::LAYERS,
    options::{Metric, Options},
};
use std::io::{self, Read, Write};
use thiserror::Error;

const MAGIC: u64 = u64::from_le_bytes(*b"engramix");
/// The format that is written; the only one that is read.
pub const FORMAT_VERSION: u32 = 1;
const BLOCK_BYTES: usize = 1 << 20;
const HEAD: u32 = 0;
const HEAD_BYTES: usize = 8 * (9 + LAYERS);
const FRAME_BYTES: usize = 16;

/// A saved index that cannot be loaded. Remedy: another copy, or a rebuild from the rows.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The stream failed.
    #[error("reading block {block} at offset {offset}: {error}")]
    Io {
        /// Which block, counted from 0.
        block: u64,
        /// Its first byte in the stream.
        offset: u64,
        /// What the stream said.
        error: io::Error,
    },
    /// The bytes are not what was written.
    #[error("block {block} at offset {offset} is damaged: {what}")]
    Damaged {
        /// Which block, counted from 0.
        block: u64,
        /// Its first byte in the stream.
        offset: u64,
        /// What does not fit.
        what: &'static str,
    },
    /// Written by another version.
    #[error("format version {0}: this build reads version 1; load it with the build that wrote it, or rebuild")]
    Version(u32),
}

/// The sections in order, with the level for those of a layer.
fn sections() -> impl Iterator<Item = (Section, usize)> {
    let codes = [(Section::Bits, 0), (Section::Fine, 0), (Section::Weights, 0)];
    let layers = (0..LAYERS).flat_map(|level| [(Section::Members, level), (Section::Links, level)]);
    codes.into_iter().chain(layers.filter(|&part| part != (Section::Members, 0)))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Bits,
    Fine,
    Weights,
    Members,
    Links,
}

impl Section {
    fn number(self, level: usize) -> u32 {
        (self as u32 + 1) | (level as u32) << 8
    }

    /// Rows and bytes of one.
    fn shape(self, graph: &Graph, state: &State, level: usize) -> (u32, usize) {
        let rows = state.slots[level];
        match self {
            Section::Bits => (rows, graph.codes.encoder.words() * 8),
            Section::Fine => (rows, graph.codes.encoder.fine_bytes()),
            Section::Weights => (rows, 16),
            Section::Members => (rows, 4),
            Section::Links => (rows, graph.layers[level].degree * 4),
        }
    }

    fn write(self, graph: &Graph, level: usize, row: u32, out: &mut Vec<u8>) {
        match self {
            Section::Bits => graph.codes.bits.get(row).iter().for_each(|word| out.extend(word.to_le_bytes())),
            Section::Fine => out.extend_from_slice(graph.codes.fine(row).fine),
            Section::Weights => {
                let Weight { square, shift, gain } = graph.codes.fine(row).weight;
                out.extend(square.to_le_bytes());
                out.extend(shift.to_le_bytes());
                out.extend(gain.to_le_bytes());
            }
            Section::Members => out.extend(graph.layers[level].row(row).to_le_bytes()),
            Section::Links => graph.layers[level].raw(row).for_each(|link| out.extend(link.to_le_bytes())),
        }
    }
}

fn checksum(section: u32, offset: u64, payload: &[u8]) -> u64 {
    let (words, rest) = payload.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain(std::iter::once(&last)).map(|word| u64::from_le_bytes(*word));
    fold(offset ^ u64::from(section) << 40 ^ (payload.len() as u64) << 44, words)
}

/// No build may run meanwhile.
pub(crate) fn save(graph: &Graph, out: &mut dyn Write) -> io::Result<Epoch> {
    let state = graph.epochs.now();
    let mut offset = 0;
    frame(out, HEAD, &head(&graph.options, &state), &mut offset)?;
    let mut payload = Vec::with_capacity(BLOCK_BYTES);
    for (section, level) in sections() {
        let (rows, bytes) = section.shape(graph, &state, level);
        for first in (0..rows).step_by(BLOCK_BYTES / bytes) {
            payload.clear();
            let rows = first..rows.min(first + (BLOCK_BYTES / bytes) as u32);
            rows.for_each(|row| section.write(graph, level, row, &mut payload));
            frame(out, section.number(level), &payload, &mut offset)?;
        }
    }
    out.flush()?;
    Ok(state.epoch)
}

fn frame(out: &mut dyn Write, section: u32, payload: &[u8], offset: &mut u64) -> io::Result<()> {
    out.write_all(&section.to_le_bytes())?;
    out.write_all(&(payload.len() as u32).to_le_bytes())?;
    out.write_all(&checksum(section, *offset, payload).to_le_bytes())?;
    out.write_all(payload)?;
    *offset += (FRAME_BYTES + payload.len()) as u64;
    Ok(())
}

fn head(options: &Options, state: &State) -> Vec<u8> {
    let Options { dim, metric, m, ef_construction, salt } = *options;
    let metric = match metric {
        Metric::Cosine => 0,
        Metric::Dot => 1,
        Metric::L2 => 2,
    };
    let version = u64::from(FORMAT_VERSION);
    let shape = (dim as u64) << 32 | metric;
    let effort = (m as u64) << 32 | ef_construction as u64;
    let Epoch { number, rows, digest } = state.epoch;
    let fields = [MAGIC, version, shape, effort, salt, number, u64::from(rows), digest, state.sum];
    let slots = state.slots.iter().map(|&slots| u64::from(slots));
    fields.into_iter().chain(slots).flat_map(u64::to_le_bytes).collect()
}

/// Reads frame after frame and knows where it is.
struct Frames<'a> {
    input: &'a mut dyn Read,
    block: u64,
    offset: u64,
    payload: Vec<u8>,
}

impl Frames<'_> {
    fn damaged(&self, what: &'static str) -> LoadError {
        LoadError::Damaged { block: self.block, offset: self.offset, what }
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), LoadError> {
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged("the stream ends inside it"),
            _ => LoadError::Io { block: self.block, offset: self.offset, error },
        })
    }

    /// The payload of the frame that must come next; `used` is called on it before the next one is read.
    fn next<R>(
        &mut self,
        section: u32,
        length: usize,
        used: impl FnOnce(&[u8]) -> Result<R, &'static str>,
    ) -> Result<R, LoadError> {
        let mut frame = [0; FRAME_BYTES];
        self.read(&mut frame)?;
        let word = |at: usize| u32::from_le_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
        let stated = u64::from(word(12)) << 32 | u64::from(word(8));
        if word(0) != section || word(4) as usize != length {
            return Err(self.damaged(if section == HEAD { "not a saved index" } else { "another block belongs here" }));
        }
        let mut payload = std::mem::take(&mut self.payload);
        payload.resize(length, 0);
        self.read(&mut payload)?;
        if checksum(section, self.offset, &payload) != stated {
            return Err(self.damaged("its checksum is another"));
        }
        let result = used(&payload).map_err(|what| self.damaged(what))?;
        self.payload = payload;
        self.block += 1;
        self.offset += (FRAME_BYTES + length) as u64;
        Ok(result)
    }
}

pub(crate) fn load(input: &mut dyn Read, kernels: Kernels) -> Result<Graph, LoadError> {
    let mut frames = Frames { input, block: 0, offset: 0, payload: Vec::new() };
    let mut words = [0u64; HEAD_BYTES / 8];
    frames.next(HEAD, HEAD_BYTES, |payload| {
        let read = payload.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        words.iter_mut().zip(read).for_each(|(word, read)| *word = read);
        if words[0] == MAGIC { Ok(()) } else { Err("not a saved index") }
    })?;
    if words[1] != u64::from(FORMAT_VERSION) {
        return Err(LoadError::Version(words[1] as u32));
    }
    let first = Frames { input: &mut io::empty(), block: 0, offset: 0, payload: Vec::new() };
    let (options, state) = meaning(&words).map_err(|what| first.damaged(what))?;
    let graph = Graph::new(options, kernels);
    let mut codes = Vec::new();
    for (section, level) in sections() {
        let (rows, bytes) = section.shape(&graph, &state, level);
        for first in (0..rows).step_by(BLOCK_BYTES / bytes) {
            let count = (rows - first).min((BLOCK_BYTES / bytes) as u32) as usize;
            frames.next(section.number(level), count * bytes, |payload| {
                let rows = (first..).zip(payload.chunks_exact(bytes));
                take(&graph, &state, section, level, rows, &mut codes)
            })?;
        }
    }
    graph.epochs.publish(&state);
    Ok(graph)
}

fn meaning(words: &[u64]) -> Result<(Options, State), &'static str> {
    let metric = match words[2] as u32 {
        0 => Metric::Cosine,
        1 => Metric::Dot,
        2 => Metric::L2,
        _ => return Err("an unknown metric"),
    };
    let (dim, m) = ((words[2] >> 32) as usize, (words[3] >> 32) as usize);
    let options = Options { dim, metric, m, ef_construction: words[3] as u32 as usize, salt: words[4] };
    options.validate().map_err(|_| "options out of range")?;
    let rows = u32::try_from(words[6]).ok().filter(|&rows| rows <= ROWS_MAX).ok_or("too many rows")?;
    let epoch = Epoch { number: words[5], rows, digest: words[7] };
    let mut slots = [0; LAYERS];
    for (slots, &word) in slots.iter_mut().zip(&words[9..]) {
        *slots = u32::try_from(word).ok().filter(|&slots| slots <= rows).ok_or("a layer larger than the base")?;
    }
    if slots[0] != rows || !slots.is_sorted_by(|lower, upper| lower >= upper) {
        return Err("a layer larger than the one below");
    }
    Ok((options, State { epoch, sum: words[8], slots }))
}

/// The parts of codes come in three sections; bits and fine codes are appended part by part, the weights complete a row.
fn take<'a>(
    graph: &Graph,
    state: &State,
    section: Section,
    level: usize,
    rows: impl Iterator<Item = (u32, &'a [u8])>,
    words: &mut Vec<u64>,
) -> Result<(), &'static str> {
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |number, &byte| number << 8 | u64::from(byte));
    for (row, bytes) in rows {
        match section {
            Section::Bits => {
                words.clear();
                words.extend(bytes.chunks_exact(8).map(number));
                graph.codes.restore_bits(words);
            }
            Section::Fine => graph.codes.restore_fine(bytes),
            Section::Weights => {
                let (square, shift) = (number(&bytes[..4]) as u32, number(&bytes[4..8]) as u32 as i32);
                if !graph.codes.restore_weight(Weight { square, shift, gain: number(&bytes[8..]) }) {
                    return Err("a weight that does not fit its code");
                }
            }
            Section::Members => {
                let member = number(bytes) as u32;
                let layer = &graph.layers[level];
                let rises = row == 0 || layer.row(row - 1) < member;
                if member >= state.epoch.rows || !rises {
                    return Err("members out of order");
                }
                layer.enter(member, graph.codes.bits.get(member));
            }
            Section::Links => {
                let links = bytes.chunks_exact(4).map(|link| number(link) as u32);
                if !graph.layers[level].restore(row, links, state.slots[level]) {
                    return Err("a link to a row beyond the epoch");
                }
            }
        }
    }
    Ok(())
}
