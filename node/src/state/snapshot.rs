//! A snapshot's bytes: everything that the log up to one index determined, checksummed by section.
//!
//! Layout: docs/formats.md. Encoding is a function of the state and of the graphs' epochs.
//! Invariants: `snapshot_suffices`, a node that has only this can go on from the next log entry; `same_log_same_graph`, a
//! graph that is taken from here goes on as one that was built here.
//!
//! Leaves out: a graph that was built further than the state that is written; the receiver builds it from the rows.

use super::apply::Data;
use super::past::Mark;
use super::rows::Row;
use super::sessions::{Run, Session, Sessions, Tombstone};
use super::spaces::{Origin, Space};
use crate::raft::types::{SnapshotMeta, log_id};
use crate::raft::wire::{meta_from_wire, meta_to_wire};
use bytes::{Buf, Bytes};
use engram_index::{Epoch, Index, Snapshot as Seen};
use engram_proto::wire::log::{
    ForgetRows, Record, SequenceRun, SnapshotForget, SnapshotHead, SnapshotRow, SnapshotRows, SnapshotSession,
    SnapshotSessions, SnapshotSpace, SnapshotTombstone,
};
use engram_proto::wire::peer;
use prost::Message;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::iter::Peekable;
use std::sync::Arc;
use std::vec;

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

/// Reads a snapshot whole; nothing of it is used when any part is damaged.
pub fn decode(bytes: Bytes) -> Result<(Data, SnapshotMeta), Damaged> {
    let mut reader = Reader { rest: bytes, ..Reader::default() };
    reader.magic()?;
    let mut data = Data::default();
    let mut meta = None;
    loop {
        let (kind, payload) = reader.section()?;
        match kind {
            Kind::Head => meta = Some(reader.head(&mut data, payload)?),
            Kind::Space => reader.space(&mut data, payload)?,
            Kind::Rows => reader.rows(&mut data, payload)?,
            Kind::Sessions => reader.sessions(&mut data, payload)?,
            Kind::Graph => reader.graph.extend_from_slice(&payload),
            Kind::End => break,
        }
    }
    if !reader.rest.is_empty() {
        return Err(reader.damaged("bytes after the end"));
    }
    if data.spaces.values().any(|space| space.rows.len() != space.index.rows()) {
        return Err(reader.damaged("a graph of more rows than there are"));
    }
    if reader.forgets.values().any(|forgets| forgets.left.len() > 0) {
        return Err(reader.damaged("forgets of rows that are not there"));
    }
    if reader.erased != 0 {
        return Err(reader.damaged("more or fewer rows are erased than their spaces say"));
    }
    let meta = meta.ok_or_else(|| reader.damaged("no head section"))?;
    Ok((data, meta))
}

/// Checks the framing and every checksum without building a state.
pub fn verify(bytes: &Bytes) -> Result<(), Damaged> {
    let mut reader = Reader { rest: bytes.clone(), ..Reader::default() };
    reader.magic()?;
    while reader.section()?.0 != Kind::End {}
    match reader.rest.is_empty() {
        true => Ok(()),
        false => Err(reader.damaged("bytes after the end")),
    }
}

#[derive(Default)]
struct Reader {
    rest: Bytes,
    offset: usize,
    /// Erased rows that are still to come.
    erased: i64,
    /// By space: the forgets that wait for their place among the rows.
    forgets: BTreeMap<u64, Forgets>,
    /// Of the next space, as far as it has come.
    graph: Vec<u8>,
}

/// One space's.
struct Forgets {
    left: Peekable<vec::IntoIter<SnapshotForget>>,
    /// How many had their turn.
    done: u32,
    /// The first so many are known to the restored graph.
    known: u32,
}

impl Reader {
    fn damaged(&self, detail: impl Into<String>) -> Damaged {
        Damaged { offset: self.offset, detail: detail.into() }
    }

    fn take(&mut self, bytes: usize) -> Result<Bytes, Damaged> {
        if self.rest.len() < bytes {
            return Err(self.damaged(format!("{} bytes left where {bytes} should follow", self.rest.len())));
        }
        self.offset += bytes;
        Ok(self.rest.split_to(bytes))
    }

    fn magic(&mut self) -> Result<(), Damaged> {
        match *self.take(MAGIC.len())? == *MAGIC {
            true => Ok(()),
            false => Err(Damaged { offset: 0, detail: "not a snapshot of this version".into() }),
        }
    }

    fn section(&mut self) -> Result<(Kind, Bytes), Damaged> {
        let start = self.offset;
        let at = |detail: String| Damaged { offset: start, detail };
        let header = self.take(HEADER_BYTES)?;
        let (kind, length, crc) = {
            let mut fields = header.clone();
            (fields.get_u32_le(), fields.get_u32_le(), fields.get_u32_le())
        };
        let payload = self.take(length as usize)?;
        if crc32c::crc32c_append(crc32c::crc32c(&header[..8]), &payload) != crc {
            return Err(at("checksum does not match".into()));
        }
        let kinds = [Kind::Head, Kind::Space, Kind::Rows, Kind::Sessions, Kind::End, Kind::Graph];
        let kind = kinds.into_iter().find(|known| *known as u32 == kind);
        Ok((kind.ok_or_else(|| at("section not known to this version".into()))?, payload))
    }

    fn message<M: Message + Default>(&self, payload: Bytes) -> Result<M, Damaged> {
        M::decode(payload).map_err(|e| self.damaged(e.to_string()))
    }

    fn head(&self, data: &mut Data, payload: Bytes) -> Result<SnapshotMeta, Damaged> {
        let head: SnapshotHead = self.message(payload)?;
        let wire: peer::SnapshotMeta = self.message(head.meta)?;
        let meta = meta_from_wire(Some(wire)).map_err(|e| self.damaged(e.to_string()))?;
        data.applied =
            (head.applied_term > 0 || head.applied_index > 0).then(|| log_id(head.applied_term, head.applied_index));
        if data.applied != meta.last_log_id {
            return Err(self.damaged("head and meta name different log ids"));
        }
        data.membership = meta.last_membership.clone();
        data.stamp_ms = head.stamp_ms;
        data.digest = head.digest;
        data.nodes_seen = head.nodes_seen.into_iter().collect();
        Ok(meta)
    }

    fn space(&mut self, data: &mut Data, payload: Bytes) -> Result<(), Damaged> {
        let space: SnapshotSpace = self.message(payload)?;
        if space.erased as usize > space.forgets.len() {
            return Err(self.damaged("more rows are erased than forgotten"));
        }
        self.erased += i64::from(space.erased);
        let config = space.config.ok_or_else(|| self.damaged("space without configuration"))?;
        data.names.insert(config.name.clone(), space.id);
        let made = match std::mem::take(&mut self.graph) {
            none if none.is_empty() => Space::new(space.id, config),
            graph => {
                let graph = Index::open(&graph.into()).map_err(|e| self.damaged(format!("graph: {e}")))?;
                Space::restored(space.id, config, graph)
            }
        };
        let made = made.map_err(|e| self.damaged(e))?;
        let (left, known) = (space.forgets.into_iter().peekable(), made.index.now().forgets);
        self.forgets.insert(space.id, Forgets { left, done: 0, known });
        made.past.restore(space.floor, space.erased);
        data.spaces.insert(space.id, Arc::new(made));
        Ok(())
    }

    fn rows(&mut self, data: &mut Data, payload: Bytes) -> Result<(), Damaged> {
        let part: SnapshotRows = self.message(payload)?;
        let space = data.spaces.get(&part.space).ok_or_else(|| self.damaged("rows of a space that is not there"))?;
        if part.first_row != u64::from(space.rows.len()) {
            return Err(self.damaged(format!("rows from {} where {} should follow", part.first_row, space.rows.len())));
        }
        for row in part.rows {
            let SnapshotRow { log_index, stamp_ms, session, sequence, .. } = row;
            let origin = Origin { log_index, stamp_ms, session, sequence };
            let pushed = match row.record {
                Some(record) => space.push(origin, record).map(drop),
                None => {
                    self.erased -= 1;
                    space.push_erased(origin, row.payload_hash, &row.code)
                }
            };
            pushed.map_err(|e| self.damaged(e.to_string()))?;
            self.forget(space)?;
        }
        Ok(())
    }

    /// The forgets that came before the next row, so that the graph is that of the log.
    fn forget(&mut self, space: &Space) -> Result<(), Damaged> {
        let rows = space.rows.len();
        let Some(forgets) = self.forgets.get_mut(&space.id) else { return Ok(()) };
        while let Some(forget) = forgets.left.next_if(|forget| forget.rows == rows) {
            let SnapshotForget { row, rows, log_index, stamp_ms } = forget;
            forgets.done += 1;
            if forgets.done <= forgets.known {
                if space.index.forget_at(forgets.done - 1) != Some((row, rows)) {
                    return Err(self.damaged(format!("the graph does not know that row {row} is forgotten")));
                }
                space.past.note(Mark { log_index, stamp_ms, forgets: forgets.done });
                continue;
            }
            let named = ForgetRows { rows: vec![forget.row], ..ForgetRows::default() };
            if space.forget(forget.log_index, forget.stamp_ms, &named) != 1 {
                return Err(self.damaged(format!("row {} is forgotten twice, or not there", forget.row)));
            }
        }
        Ok(())
    }

    fn sessions(&self, data: &mut Data, payload: Bytes) -> Result<(), Damaged> {
        let part: SnapshotSessions = self.message(payload)?;
        for session in part.sessions {
            let mut runs = Vec::with_capacity(session.runs.len());
            for run in session.runs {
                let first_row = u32::try_from(run.first_row).map_err(|_| self.damaged("row number too large"))?;
                runs.push(Run { first_sequence: run.first_sequence, first_row });
            }
            let restored = Session {
                space: session.space,
                connection: session.connection,
                last_sequence: session.last_sequence,
                last_activity_ms: session.last_activity_ms,
                runs,
            };
            data.sessions.open.insert(session.id, restored);
        }
        for tombstone in part.tombstones {
            let restored = Tombstone {
                last_sequence: tombstone.last_sequence,
                last_log_index: tombstone.last_log_index,
                expired_at_ms: tombstone.expired_at_ms,
            };
            data.sessions.tombstones.insert(tombstone.id, restored);
        }
        Ok(())
    }
}
