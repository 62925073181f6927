//! The state at one index, written.

use super::super::apply::Data;
use super::super::past::{Mark, marks_of};
use super::super::records::{Hash, Held};
use super::super::rows::Row;
use super::super::segments::{Checkpoint, Cuts, Written};
use super::super::sessions::{Run, Session, Sessions};
use super::super::spaces::Space;
use super::sections::{Kind, RECORDS, SNAPSHOT, put, put_message};
use super::{
    GRAPH_GROWTH, GRAPH_GROWTH_RESTORED, GRAPH_HERE_BYTES_MAX, GRAPH_PIECE_BYTES, Image, ROWS_PER_SECTION,
    SESSIONS_PER_SECTION,
};
use crate::raft::types::SnapshotMeta;
use crate::raft::wire::meta_to_wire;
use engram_index::{Epoch, Snapshot as Seen};
use engram_mutants::mutant;
use engram_proto::wire::log::{
    Record, SequenceRun, SnapshotFile, SnapshotForget, SnapshotHead, SnapshotRow, SnapshotRows, SnapshotSession,
    SnapshotSessions, SnapshotSpace, SnapshotTombstone,
};
use prost::Message;
use std::io::{self, Write};
use std::ops::Range;
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
    cuts: Cuts,
    marks: Arc<Vec<Mark>>,
}

impl Still {
    fn of(space: &Arc<Space>) -> Self {
        let erased = space.past.hold();
        let (seen, floor, cuts) = (space.index.now(), space.past.floor(), space.segments.cuts());
        Self { space: space.clone(), seen, floor, erased, cuts, marks: space.past.freeze() }
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
            digest: if mutant!("snapshot_without_digest") { 0 } else { data.digest },
            nodes_seen: data.nodes_seen.iter().copied().collect(),
            meta: meta_to_wire(&meta).encode_to_vec().into(),
            integrity: Some(data.integrity.to_wire()),
            erased_index: data.erased_index,
        };
        let spaces = data.spaces.values().map(Still::of).collect();
        (Self { head, spaces, sessions: data.sessions.clone() }, meta)
    }

    /// Blocking: writes the record files that are not there yet, and gives the manifest with all of them.
    pub fn encode(&self, mut files: Held) -> io::Result<Image> {
        let mut out = SNAPSHOT.to_vec();
        put_message(&mut out, Kind::Head, &self.head);
        for still in &self.spaces {
            let graph = graph_out(&mut out, still, &mut files)?;
            space_out(&mut out, still, graph, &mut files)?;
        }
        if !mutant!("snapshot_without_sessions") {
            sessions_out(&mut out, &self.sessions);
        }
        put(&mut out, Kind::End, &[]);
        files.records().sync()?;
        Ok(Image { manifest: out.into(), files: Arc::new(files) })
    }
}

fn file_out((hash, bytes): (Hash, u64)) -> SnapshotFile {
    SnapshotFile { hash: hash.to_bytes(), bytes, ..SnapshotFile::default() }
}

/// The graph as far as it is built and not beyond what is frozen: a small one here, a large one in files. Those of an
/// earlier snapshot serve until the graph has grown by a part of itself, so that it is not written again and again.
fn graph_out(out: &mut Vec<u8>, still: &Still, files: &mut Held) -> io::Result<Vec<SnapshotFile>> {
    let Still { space, seen, .. } = still;
    let (index, generation) = (space.index.index(), space.index.beginning().number);
    let seen = space.index.inside(*seen);
    let within = |epoch: Epoch| epoch.rows > 0 && epoch.rows <= seen.rows && epoch.forgets <= seen.forgets;
    let epoch = index.epoch();
    let earlier = space.segments.checkpoint().filter(|earlier| {
        earlier.generation == generation
            && earlier.rows <= seen.rows
            && earlier.forgets <= seen.forgets
            && earlier.files.iter().fold(true, |all, (hash, _)| files.add_there(*hash) && all)
    });
    let growth = |earlier: &Checkpoint| if earlier.restored { GRAPH_GROWTH_RESTORED } else { GRAPH_GROWTH };
    let grown = |earlier: &Checkpoint| epoch.rows >= earlier.rows + earlier.rows / growth(earlier);
    if let Some(earlier) = earlier.as_ref().filter(|earlier| !within(epoch) || !grown(earlier)) {
        return Ok(earlier.files.iter().copied().map(file_out).collect());
    }
    if within(epoch) {
        let mut pieces = Pieces { files, named: Vec::new(), piece: Vec::new() };
        let saved = index.save(&mut pieces)?;
        if within(saved) {
            if pieces.named.is_empty() && pieces.piece.len() <= GRAPH_HERE_BYTES_MAX {
                put(out, Kind::Graph, &pieces.piece);
                return Ok(Vec::new());
            }
            pieces.cut()?;
            let Epoch { rows, forgets, .. } = saved;
            let checkpoint = Checkpoint { generation, rows, forgets, files: pieces.named, restored: false };
            let named = checkpoint.files.iter().copied().map(file_out).collect();
            space.segments.note_checkpoint(checkpoint);
            return Ok(named);
        }
    }
    // Built further meanwhile: whoever restores the snapshot builds what is wanting.
    Ok(earlier.map(|earlier| earlier.files.into_iter().map(file_out).collect()).unwrap_or_default())
}

/// Cuts a graph into files.
struct Pieces<'a> {
    files: &'a mut Held,
    named: Vec<(Hash, u64)>,
    piece: Vec<u8>,
}

impl Pieces<'_> {
    fn cut(&mut self) -> io::Result<()> {
        if !self.piece.is_empty() {
            let mut whole = RECORDS.to_vec();
            put(&mut whole, Kind::Graph, &self.piece);
            put(&mut whole, Kind::End, &[]);
            self.named.push((self.files.put(&whole)?, whole.len() as u64));
            self.piece.clear();
        }
        Ok(())
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(GRAPH_PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == GRAPH_PIECE_BYTES {
            self.cut()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn space_out(out: &mut Vec<u8>, still: &Still, graph: Vec<SnapshotFile>, files: &mut Held) -> io::Result<()> {
    let Still { space, seen, floor, erased, cuts, marks } = still;
    let begun = space.index.beginning();
    let left = space.index.forgets()..seen.forgets;
    let forgets = left.clone().zip(marks_of(marks, left)).filter_map(|(at, mark)| {
        let (row, rows) = space.index.forget_at(at)?;
        Some(SnapshotForget { row, rows, log_index: mark.log_index, stamp_ms: mark.stamp_ms })
    });
    let mut forgets: Vec<SnapshotForget> = forgets.collect();
    if mutant!("snapshot_without_last_forget") && *erased < seen.forgets {
        forgets.pop();
    }
    let mut gone: Vec<u32> =
        forgets.iter().take((*erased - space.index.forgets()) as usize).map(|forget| forget.row).collect();
    gone.sort_unstable();
    let mut segments = Vec::with_capacity(cuts.ends.len());
    let mut first = 0;
    for (piece, end) in cuts.ends.iter().enumerate() {
        segments.push(segment_out(space, piece, first..*end, &gone, files)?);
        first = *end;
    }
    let head = SnapshotSpace {
        id: space.id,
        config: Some(space.config.clone()),
        rows: seen.rows.into(),
        forgets,
        floor: if mutant!("snapshot_without_floor") { 0 } else { *floor },
        erased: *erased,
        graph,
        segments,
        open_bytes: cuts.open_bytes,
        generation: begun.to_wire(),
    };
    put_message(out, Kind::Space, &head);
    rows_out(out, space, first..seen.rows, &gone);
    Ok(())
}

/// The file of a piece, written if it is not there.
fn segment_out(
    space: &Space,
    piece: usize,
    rows: Range<u32>,
    gone: &[u32],
    files: &mut Held,
) -> io::Result<SnapshotFile> {
    let within = |bound: u32| gone.partition_point(|row| *row < bound) as u32;
    let dropped = space.index.dropped_of(rows.clone());
    let erased = within(rows.end) - within(rows.start) + dropped;
    let there = space.segments.written(piece, erased, dropped).filter(|written| files.add_there(written.hash));
    let (hash, bytes) = match there {
        Some(written) => (written.hash, written.bytes),
        None => {
            let mut whole = RECORDS.to_vec();
            rows_out(&mut whole, space, rows.clone(), gone);
            put(&mut whole, Kind::End, &[]);
            let (hash, bytes) = (files.put(&whole)?, whole.len() as u64);
            space.segments.note(piece, Written { hash, bytes, erased, dropped });
            (hash, bytes)
        }
    };
    Ok(SnapshotFile { rows: rows.end - rows.start, erased, dropped, ..file_out((hash, bytes)) })
}

fn rows_out(out: &mut Vec<u8>, space: &Space, rows: Range<u32>, gone: &[u32]) {
    for first in rows.clone().step_by(ROWS_PER_SECTION as usize) {
        let numbers = first..rows.end.min(first.saturating_add(ROWS_PER_SECTION));
        let rows = numbers.map(|row| row_out(space, row, gone.binary_search(&row).is_ok())).collect();
        put_message(out, Kind::Rows, &SnapshotRows { space: space.id, first_row: first.into(), rows });
    }
}

fn row_out(space: &Space, number: u32, erased: bool) -> SnapshotRow {
    let row = space.rows.get(number).expect("below the frozen count");
    let Row { log_index, stamp_ms, session, sequence, payload_hash, .. } = *row;
    let place = SnapshotRow { log_index, session, sequence, stamp_ms, ..SnapshotRow::default() };
    match erased || space.index.dropped(number) {
        true => {
            let code = space.index.code(number).unwrap_or_default().into();
            SnapshotRow { payload_hash, code, ..place }
        }
        false => SnapshotRow { record: Some(row.with(Record::clone).expect("held since it was frozen")), ..place },
    }
}

fn sessions_out(out: &mut Vec<u8>, sessions: &Sessions) {
    let open: Vec<SnapshotSession> = sessions.open.iter().map(|(id, session)| session_out(*id, session)).collect();
    for part in open.chunks(SESSIONS_PER_SECTION) {
        put_message(out, Kind::Sessions, &SnapshotSessions { sessions: part.to_vec(), tombstones: Vec::new() });
    }
    let tombstones = sessions.tombstones.iter().map(|(id, tombstone)| SnapshotTombstone {
        id: *id,
        last_sequence: tombstone.last_sequence,
        last_log_index: tombstone.last_log_index,
        expired_at_ms: tombstone.expired_at_ms,
    });
    let tombstones: Vec<SnapshotTombstone> = tombstones.collect();
    for part in tombstones.chunks(SESSIONS_PER_SECTION) {
        put_message(out, Kind::Sessions, &SnapshotSessions { sessions: Vec::new(), tombstones: part.to_vec() });
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
        runs: session.runs.iter().skip(usize::from(mutant!("snapshot_without_first_run"))).map(run).collect(),
    }
}
