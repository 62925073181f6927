//! Writing an index.
//!
//! Place: behind `Index::save`. The head comes first and holds the blocks' checksums, so the body is made twice, once to be
//! hashed and once to be written: the writer needs no seek and no copy of the index. Leaves out: files.

use super::{BLOCK_BYTES, Layout, PAGE, Section, checksum, head_words};
use crate::{
    epoch::{Epoch, State},
    graph::Graph,
};
use std::io::{self, Write};

/// No build may run meanwhile.
pub(crate) fn save(graph: &Graph, out: &mut dyn Write) -> io::Result<Epoch> {
    let state = graph.epochs.now();
    let layout = Layout::of(graph, &state);
    let mut words = head_words(&graph.options, &state, &layout);
    body(graph, &state, &layout, &mut |block, bytes| {
        words.push(checksum(block + 1, bytes));
        Ok(())
    })?;
    let mut head: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
    head.resize(layout.head, 0);
    let sum = checksum(0, &head);
    head[8..16].copy_from_slice(&sum.to_le_bytes());
    out.write_all(&head)?;
    body(graph, &state, &layout, &mut |_, bytes| out.write_all(bytes))?;
    out.flush()?;
    Ok(state.epoch)
}

/// Gives the body block by block.
fn body(
    graph: &Graph,
    state: &State,
    layout: &Layout,
    sink: &mut dyn FnMut(usize, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut blocks = Blocks { buffer: Vec::with_capacity(2 * BLOCK_BYTES), next: 0, sink };
    for part in &layout.parts {
        section(graph, state, part.section, &mut blocks)?;
        let padded = blocks.buffer.len().next_multiple_of(PAGE);
        blocks.buffer.resize(padded, 0);
    }
    blocks.emit(1)
}

/// Gathers bytes and passes them on in blocks.
struct Blocks<'a> {
    buffer: Vec<u8>,
    next: usize,
    sink: &'a mut dyn FnMut(usize, &[u8]) -> io::Result<()>,
}

impl Blocks<'_> {
    /// Passes on while at least `least` bytes are there.
    fn emit(&mut self, least: usize) -> io::Result<()> {
        let mut at = 0;
        while self.buffer.len() - at >= least {
            let end = self.buffer.len().min(at + BLOCK_BYTES);
            (self.sink)(self.next, &self.buffer[at..end])?;
            self.next += 1;
            at = end;
        }
        self.buffer.drain(..at);
        Ok(())
    }

    /// Appends numbers; `size` bytes each.
    fn put<T: Copy, const SIZE: usize>(&mut self, numbers: &[T], bytes: impl Fn(T) -> [u8; SIZE]) -> io::Result<()> {
        let from = self.buffer.len();
        self.buffer.resize(from + numbers.len() * SIZE, 0);
        for (place, &number) in self.buffer[from..].as_chunks_mut::<SIZE>().0.iter_mut().zip(numbers) {
            *place = bytes(number);
        }
        self.emit(BLOCK_BYTES)
    }
}

fn section(graph: &Graph, state: &State, section: Section, out: &mut Blocks) -> io::Result<()> {
    /// Rows at a time.
    const RUN: u32 = 256;
    let codes = &graph.codes;
    match section {
        Section::Bits => codes.bits.runs(state.epoch.rows, RUN).try_for_each(|run| out.put(run, u64::to_le_bytes)),
        Section::Fine => codes.fine_runs(state.epoch.rows, RUN).try_for_each(|run| out.put(run, |byte| [byte])),
        Section::Weights => codes.weight_runs(state.epoch.rows, RUN).try_for_each(|run| out.put(run, u32::to_le_bytes)),
        Section::Forgets => (0..state.epoch.forgets).try_for_each(|at| {
            let (row, rows) = graph.forgets.event(at);
            out.put(&[row, rows], u32::to_le_bytes)
        }),
        Section::Members(level) => {
            (0..state.slots[level]).try_for_each(|slot| out.put(&[graph.layers[level].row(slot)], u32::to_le_bytes))
        }
        Section::Links(level) => {
            let mut links = Vec::new();
            (0..state.slots[level]).try_for_each(|slot| {
                links.clear();
                links.extend(graph.layers[level].raw(slot));
                out.put(&links, u32::to_le_bytes)
            })
        }
    }
}
