//! Payloads as the log gets them: encoded commands of rows, made ahead so that making them is not measured.
//!
//! Invariant: the payload of an index is a function of the index and the rows an entry, so that a process can check what
//! another one appended. Leaves out: compression; the bytes of embeddings are noise, as those of half floats nearly are.

use crate::raft::types::{Entry, Payload, log_id};
use engram_proto::wire::log::command::Kind;
use engram_proto::wire::log::{Chunk, Command, Entry as Rows, Record};
use openraft::EntryPayload;
use prost::Message;

/// Coordinates of a row, two bytes each.
const DIM: usize = 384;
/// Bytes of a row's text.
const TEXT: usize = 100;
/// Different payloads; entries take them in turn.
const MADE: usize = 16;
const TERM: u64 = 1;

/// Payloads of one size.
#[derive(Clone)]
pub struct Payloads {
    /// Rows an entry.
    pub rows: usize,
    made: Vec<Payload>,
}

/// Bytes that no disk makes smaller: xorshift, from `seed` on.
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut made = Vec::with_capacity(bytes + 8);
    while made.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        made.extend_from_slice(&state.to_le_bytes());
    }
    made.truncate(bytes);
    made
}

fn record(seed: u64) -> Record {
    let text = noise(seed, TEXT).iter().map(|byte| char::from(b'a' + byte % 26)).collect();
    Record { text, embedding: noise(!seed, 2 * DIM).into(), time_ms: 1_700_000_000_000, ..Record::default() }
}

impl Payloads {
    /// Of `rows` rows each.
    pub fn new(rows: usize) -> Self {
        let one = |number: usize| {
            let records = (0..rows).map(|row| record((number * rows + row) as u64)).collect();
            let first_sequence = (number * rows) as u64 + 1;
            let chunk = Chunk { session: 1, connection: 1, first_sequence, records, ..Chunk::default() };
            let kind = Some(Kind::Entry(Rows { chunks: vec![chunk] }));
            Payload(Command { stamp_ms: 1_700_000_000_000, kind }.encode_to_vec().into())
        };
        Self { rows, made: (0..MADE).map(one).collect() }
    }

    /// The entry at an index.
    pub fn entry(&self, index: u64) -> Entry {
        let payload = self.made[index as usize % MADE].clone();
        Entry { log_id: log_id(TERM, index), payload: EntryPayload::Normal(payload) }
    }

    /// Bytes of an entry's payload, the most of any.
    pub fn bytes(&self) -> u64 {
        self.made.iter().map(|payload| payload.0.len() as u64).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_as_large_as_its_rows_and_decodes() {
        let payloads = Payloads::new(16);
        let EntryPayload::Normal(payload) = payloads.entry(3).payload else { panic!("rows") };
        let least = 16 * (2 * DIM + TEXT);
        assert!((least..least + 16 * 40).contains(&payload.0.len()), "{}", payload.0.len());
        let Some(Kind::Entry(rows)) = Command::decode(payload.0).expect("a command").kind else { panic!("rows") };
        assert_eq!(rows.chunks[0].records.len(), 16);
        assert_eq!(payloads.entry(19).payload, payloads.entry(3).payload);
    }
}
