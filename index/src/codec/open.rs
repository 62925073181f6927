//! Reading an index from bytes that stay where they are: a mapped file, or memory.
//!
//! Place: behind `Index::open`. Every block is checked before anything in it is believed; then codes are used where they
//! lie, as far as they fill whole blocks of a table, and links are copied, because builds change them.
//! Invariant: what is accepted keeps all that walks and kernels rely on, whoever wrote it. Leaves out: the graph's
//! invariants; that is `check`.

use super::{FORMAT_VERSION, HEAD_WORDS, Layout, LoadError, MAGIC, Section, checksum, meaning};
use crate::{
    code::Encoder,
    codes::Codes,
    epoch::State,
    graph::Graph,
    kernel::{Kernels, Rows},
};
use bytes::Bytes;

/// Version 1 took its head's checksum otherwise; it is told by its length.
const VERSION_1_HEAD: usize = 120;

pub(crate) fn open(file: &Bytes, kernels: Kernels) -> Result<Graph, LoadError> {
    let damaged = |what| LoadError::Damaged { block: 0, offset: 0, what };
    let words = head(file)?;
    let (options, state) = meaning(&words).map_err(damaged)?;
    let mut graph = Graph::new(options, kernels);
    let layout = Layout::of(&graph, &state);
    if layout.head != (words[0] >> 32) as usize || (layout.end - layout.head) as u64 != words[11] {
        return Err(damaged("its lengths do not fit its counts"));
    }
    blocks(file, &layout, &words)?;
    let mut tables = Vec::new();
    for part in &layout.parts {
        let bytes = file.slice(part.bytes.clone());
        if let Section::Bits | Section::Fine | Section::Weights = part.section {
            tables.push(bytes);
        } else {
            take(&graph, &state, part.section, &bytes).map_err(|what| {
                let block = (part.bytes.start - layout.head) / super::BLOCK_BYTES;
                LoadError::Damaged { block: block as u64 + 1, offset: part.bytes.start as u64, what }
            })?;
        }
        if part.section == Section::Weights {
            graph.codes = codes(&graph, &tables).map_err(damaged)?;
        }
    }
    graph.epochs.publish(&state);
    Ok(graph)
}

/// The head's words, with all checksums.
fn head(file: &Bytes) -> Result<Vec<u64>, LoadError> {
    let damaged = |what| LoadError::Damaged { block: 0, offset: 0, what };
    let word = |at: usize| file.get(8 * at..8 * at + 8)?.as_array().map(|word| u64::from_le_bytes(*word));
    if word(2) != Some(MAGIC) {
        return Err(damaged("not a saved index"));
    }
    let version = word(3).ok_or_else(|| damaged("the file ends inside it"))?;
    let length = (word(0).unwrap_or(0) >> 32) as usize;
    if version == 1 && length == VERSION_1_HEAD {
        return Err(LoadError::Version(1));
    }
    let head = file.get(..length).filter(|head| head.len() >= 8 * HEAD_WORDS && head.len().is_multiple_of(8));
    let mut head = head.ok_or_else(|| damaged("the file ends inside it"))?.to_vec();
    head[8..16].fill(0);
    if Some(checksum(0, &head)) != word(1) {
        return Err(damaged("its checksum is another"));
    }
    if version != u64::from(FORMAT_VERSION) {
        return Err(LoadError::Version(version as u32));
    }
    Ok(head.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect())
}

fn blocks(file: &Bytes, layout: &Layout, words: &[u64]) -> Result<(), LoadError> {
    for (block, bytes) in layout.blocks() {
        let damaged = |what| Err(LoadError::Damaged { block: block as u64 + 1, offset: bytes.start as u64, what });
        match file.get(bytes.clone()) {
            None => return damaged("the file ends inside it"),
            Some(found) if checksum(block + 1, found) != words[HEAD_WORDS + block] => {
                return damaged("its checksum is another");
            }
            Some(_) => {}
        }
    }
    if file.len() > layout.end {
        let (block, offset) = (layout.blocks().count() as u64 + 1, layout.end as u64);
        return Err(LoadError::Damaged { block, offset, what: "bytes after the end" });
    }
    Ok(())
}

/// The codes of all rows, in place where they can be.
fn codes(empty: &Graph, tables: &[Bytes]) -> Result<Codes, &'static str> {
    let codes = &empty.codes;
    let bits = Rows::over(codes.encoder.words(), &tables[0]);
    let fine = Rows::over(codes.encoder.fine_bytes(), &tables[1]);
    let weights = Rows::over(codes.weight_bytes() / 4, &tables[2]);
    let codes = Codes::of(Encoder::new(&empty.options, codes.encoder.kernels), bits, fine, weights);
    match (0..codes.rows()).all(|row| codes.encoder.admits(&codes.fine(row))) {
        true => Ok(codes),
        false => Err("a weight that does not fit its code"),
    }
}

fn take(graph: &Graph, state: &State, section: Section, bytes: &[u8]) -> Result<(), &'static str> {
    let numbers = || bytes.as_chunks::<4>().0.iter().map(|number| u32::from_le_bytes(*number));
    match section {
        Section::Bits | Section::Fine | Section::Weights => {}
        Section::Forgets => {
            let mut before = 0;
            for event in bytes.as_chunks::<8>().0 {
                let word = u64::from_le_bytes(*event);
                let (row, rows) = (word as u32, (word >> 32) as u32);
                let in_order = row < rows && rows < state.epoch.rows && before <= rows;
                if !in_order || !graph.forgets.forget(row, rows) {
                    return Err("forgets out of order");
                }
                before = rows;
            }
        }
        Section::Members(level) => {
            let mut least = 0;
            for member in numbers() {
                if member < least || member >= state.epoch.rows {
                    return Err("members out of order");
                }
                least = member + 1;
                graph.layers[level].enter(member, graph.codes.bits.get(member));
            }
        }
        Section::Links(level) => {
            let layer = &graph.layers[level];
            for (slot, links) in (0..).zip(bytes.chunks_exact(4 * layer.degree)) {
                let links = links.as_chunks::<4>().0.iter().map(|link| u32::from_le_bytes(*link));
                if !layer.restore(slot, links, state.slots[level]) {
                    return Err("a link to a row beyond the epoch");
                }
            }
        }
    }
    Ok(())
}
