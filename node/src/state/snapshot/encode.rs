//! The state at one index, written.

use super::super::apply::Data;
use super::super::rows::Row;
use super::super::sessions::{Run, Session, Sessions};
use super::super::spaces::Space;
use super::{GRAPH_PIECE_BYTES, HEADER_BYTES, Kind, MAGIC, ROWS_PER_SECTION, SESSIONS_PER_SECTION};
use crate::raft::types::SnapshotMeta;
use crate::raft::wire::meta_to_wire;
use engram_index::{Epoch, Snapshot as Seen};
use engram_proto::wire::log::{
    Record, SequenceRun, SnapshotForget, SnapshotHead, SnapshotRow, SnapshotRows, SnapshotSession, SnapshotSessions,
    SnapshotSpace, SnapshotTombstone,
};
use prost::Message;
use std::io::{self, Write};
use std::sync::Arc;

/// The state at one index, held still without copying rows: they don't change, and what is erased stays until it is written.
pub struct Frozen {
    head: SnapshotHead,
    spaces: Vec<Still>,
    sessions: Sessions,
}

/// One space of it.
struct Still {
    space: Arc<Space>,
    seen: Seen,
    floor: u64,
    /// The rows of so many forgets are erased.
    erased: u32,
}

impl Still {
    fn of(space: &Arc<Space>) -> Self {
        let erased = space.past.hold();
        Self { space: space.clone(), seen: space.index.now(), floor: space.past.floor(), erased }
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        self.space.past.release();
        self.space.sweep();
    }
}

impl Frozen {
    /// What `data` is now; cheap beside encoding it.
    pub fn of(data: &Data) -> (Self, SnapshotMeta) {
        let meta = SnapshotMeta { last_log_id: data.applied, last_membership: data.membership.clone() };
        let head = SnapshotHead {
            applied_term: data.applied.map_or(0, |id| id.committed_leader_id().term),
            applied_index: data.applied.map_or(0, |id| id.index),
            stamp_ms: data.stamp_ms,
            digest: data.digest,
            nodes_seen: data.nodes_seen.iter().copied().collect(),
            meta: meta_to_wire(&meta).encode_to_vec().into(),
            integrity: Some(data.integrity.to_wire()),
        };
        let spaces = data.spaces.values().map(Still::of).collect();
        (Self { head, spaces, sessions: data.sessions.clone() }, meta)
    }

    /// The snapshot's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        section(&mut out, Kind::Head, &self.head);
        for still in &self.spaces {
            graph_out(&mut out, still);
            space_out(&mut out, still);
        }
        sessions_out(&mut out, &self.sessions);
        put(&mut out, Kind::End, &[]);
        out
    }
}

fn section(out: &mut Vec<u8>, kind: Kind, message: &impl Message) {
    put(out, kind, &message.encode_to_vec());
}

fn put(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&(kind as u32).to_le_bytes());
    header[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..8]), payload);
    header[8..].copy_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
}

/// The graph, unless it is empty or was built further than what is frozen.
fn graph_out(out: &mut Vec<u8>, still: &Still) {
    let (index, begun) = (&still.space.index, out.len());
    let within = |epoch: Epoch| epoch.rows <= still.seen.rows && epoch.forgets <= still.seen.forgets;
    if index.epoch().rows == 0 || !within(index.epoch()) {
        return;
    }
    let mut pieces = Pieces { out, piece: Vec::with_capacity(GRAPH_PIECE_BYTES) };
    let epoch = index.save(&mut pieces).expect("memory takes all");
    if !within(epoch) {
        out.truncate(begun);
    }
}

/// Cuts a graph into sections.
struct Pieces<'a> {
    out: &'a mut Vec<u8>,
    piece: Vec<u8>,
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(GRAPH_PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == GRAPH_PIECE_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.piece.is_empty() {
            put(self.out, Kind::Graph, &self.piece);
            self.piece.clear();
        }
        Ok(())
    }
}

fn space_out(out: &mut Vec<u8>, still: &Still) {
    let Still { space, seen, floor, erased } = still;
    let marks = space.past.marks(seen.forgets).into_iter().enumerate();
    let forgets = marks.filter_map(|(at, mark)| {
        let (row, rows) = space.index.forget_at(at as u32)?;
        Some(SnapshotForget { row, rows, log_index: mark.log_index, stamp_ms: mark.stamp_ms })
    });
    let forgets: Vec<SnapshotForget> = forgets.collect();
    let mut gone: Vec<u32> = forgets.iter().take(*erased as usize).map(|forget| forget.row).collect();
    gone.sort_unstable();
    let (config, rows) = (Some(space.config.clone()), seen.rows);
    let head = SnapshotSpace { id: space.id, config, rows: rows.into(), forgets, floor: *floor, erased: *erased };
    section(out, Kind::Space, &head);
    for first in (0..rows).step_by(ROWS_PER_SECTION as usize) {
        let numbers = first..rows.min(first.saturating_add(ROWS_PER_SECTION));
        let rows = numbers.map(|row| row_out(space, row, gone.binary_search(&row).is_ok())).collect();
        section(out, Kind::Rows, &SnapshotRows { space: space.id, first_row: first.into(), rows });
    }
}

fn row_out(space: &Space, number: u32, erased: bool) -> SnapshotRow {
    let row = space.rows.get(number).expect("below the frozen count");
    let Row { log_index, stamp_ms, session, sequence, payload_hash, .. } = *row;
    let place = SnapshotRow { log_index, session, sequence, stamp_ms, ..SnapshotRow::default() };
    match erased {
        true => {
            let code = space.index.code(number).expect("below the frozen count").into();
            SnapshotRow { payload_hash, code, ..place }
        }
        false => SnapshotRow { record: Some(row.with(Record::clone).expect("held since it was frozen")), ..place },
    }
}

fn sessions_out(out: &mut Vec<u8>, sessions: &Sessions) {
    let open: Vec<SnapshotSession> = sessions.open.iter().map(|(id, session)| session_out(*id, session)).collect();
    for part in open.chunks(SESSIONS_PER_SECTION) {
        section(out, Kind::Sessions, &SnapshotSessions { sessions: part.to_vec(), tombstones: Vec::new() });
    }
    let tombstones = sessions.tombstones.iter().map(|(id, tombstone)| SnapshotTombstone {
        id: *id,
        last_sequence: tombstone.last_sequence,
        last_log_index: tombstone.last_log_index,
        expired_at_ms: tombstone.expired_at_ms,
    });
    let tombstones: Vec<SnapshotTombstone> = tombstones.collect();
    for part in tombstones.chunks(SESSIONS_PER_SECTION) {
        section(out, Kind::Sessions, &SnapshotSessions { sessions: Vec::new(), tombstones: part.to_vec() });
    }
}

fn session_out(id: u64, session: &Session) -> SnapshotSession {
    let run = |run: &Run| SequenceRun { first_sequence: run.first_sequence, first_row: run.first_row.into() };
    SnapshotSession {
        id,
        space: session.space,
        connection: session.connection,
        last_sequence: session.last_sequence,
        last_activity_ms: session.last_activity_ms,
        runs: session.runs.iter().map(run).collect(),
    }
}
