//! A snapshot's bytes, read back whole or refused.

use super::super::apply::Data;
use super::super::generation::Beginning;
use super::super::integrity::Integrity;
use super::super::past::Mark;
use super::super::records::{Hash, Records};
use super::super::segments::{Checkpoint, Written};
use super::super::sessions::{Run, Session, Tombstone};
use super::super::spaces::{Origin, Space};
use super::Damaged;
use super::sections::{Kind, RECORDS, SNAPSHOT, SNAPSHOT_1, SNAPSHOT_2, Sections};
use crate::raft::types::{SnapshotMeta, log_id};
use crate::raft::wire::meta_from_wire;
use bytes::Bytes;
use engram_index::Index;
use engram_proto::wire::log::{
    ForgetRows, SnapshotFile, SnapshotForget, SnapshotHead, SnapshotRow, SnapshotRows, SnapshotSessions, SnapshotSpace,
};
use engram_proto::wire::peer;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::sync::Arc;
use std::vec;

/// Reads a snapshot whole; nothing of it is used when any part is damaged, or a record file that it names is lost. Checksums
/// say that bytes are as they were written, not that they were right: graphs are proved too, and if one is not what its
/// digest says, all are left out, to be built from the rows.
pub fn decode(manifest: &Bytes, records: &Records) -> Result<(Data, SnapshotMeta), Damaged> {
    let read = Reader::begin(manifest, records, true)?.state()?;
    let broken = |space: &Arc<Space>| Some((space.id, space.index.check().err()?));
    match read.0.spaces.values().find_map(broken) {
        None => Ok(read),
        Some((space, broken)) => {
            tracing::error!(space, %broken, "a snapshot's graph was damaged before it was written: it is built anew");
            Reader::begin(manifest, records, false)?.state()
        }
    }
}

/// Checks a manifest's framing and every checksum without building a state.
pub fn verify(manifest: &Bytes) -> Result<(), Damaged> {
    let (mut sections, _) = begin(manifest)?;
    while sections.section()?.is_some() {}
    Ok(())
}

/// The record files that a manifest names, each once, and what it covers.
pub fn named(manifest: &Bytes) -> Result<(BTreeSet<Hash>, SnapshotMeta), Damaged> {
    let (mut sections, _) = begin(manifest)?;
    let (mut files, mut meta) = (BTreeSet::new(), None);
    while let Some((kind, payload)) = sections.section()? {
        match kind {
            Kind::Head => meta = Some(head_meta(&sections, &sections.message(payload)?)?),
            Kind::Space => {
                let space: SnapshotSpace = sections.message(payload)?;
                for file in space.graph.iter().chain(&space.segments) {
                    files.insert(hash(&sections, file)?);
                }
            }
            _ => {}
        }
    }
    Ok((files, meta.ok_or_else(|| sections.damaged("no head section"))?))
}

fn begin(manifest: &Bytes) -> Result<(Sections, bool), Damaged> {
    let (sections, version) = Sections::begin(manifest.clone(), &[SNAPSHOT_1, SNAPSHOT_2, SNAPSHOT])?;
    Ok((sections, version > 0))
}

fn hash(sections: &Sections, file: &SnapshotFile) -> Result<Hash, Damaged> {
    Hash::try_from(&file.hash[..]).map_err(|_| sections.damaged("a record file's name is not a hash"))
}

fn head_meta(sections: &Sections, head: &SnapshotHead) -> Result<SnapshotMeta, Damaged> {
    let wire: peer::SnapshotMeta = sections.message(head.meta.clone())?;
    meta_from_wire(Some(wire)).map_err(|e| sections.damaged(e.to_string()))
}

struct Reader<'a> {
    sections: Sections,
    records: &'a Records,
    /// Whether to take graphs as they are.
    graphs: bool,
    /// Whether the manifest says where rows are cut; else they are cut anew.
    cut: bool,
    /// Erased rows that are still to come.
    erased: i64,
    /// By space: the forgets that wait for their place among the rows.
    forgets: BTreeMap<u64, Forgets>,
    /// Of the next space, what the manifest itself has.
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

impl<'a> Reader<'a> {
    fn begin(manifest: &Bytes, records: &'a Records, graphs: bool) -> Result<Self, Damaged> {
        let (sections, cut) = begin(manifest)?;
        let (forgets, graph) = (BTreeMap::new(), Vec::new());
        Ok(Self { sections, records, graphs, cut, erased: 0, forgets, graph })
    }

    fn state(mut self) -> Result<(Data, SnapshotMeta), Damaged> {
        let mut data = Data::default();
        let mut meta = None;
        while let Some((kind, payload)) = self.sections.section()? {
            match kind {
                Kind::Head => meta = Some(self.head(&mut data, payload)?),
                Kind::Space => self.space(&mut data, payload)?,
                Kind::Rows => self.rows(&data, payload)?,
                Kind::Sessions => self.sessions(&mut data, payload)?,
                Kind::Graph => self.graph.extend_from_slice(&payload),
                Kind::End => unreachable!("told apart by its reader"),
            }
        }
        if !data.spaces.values().all(|space| space.index.is_of(space.rows.len())) {
            return Err(self.damaged("a graph of more rows than there are"));
        }
        if self.forgets.values().any(|forgets| forgets.left.len() > 0) {
            return Err(self.damaged("forgets of rows that are not there"));
        }
        if self.erased != 0 {
            return Err(self.damaged("more or fewer rows are erased than their spaces say"));
        }
        let meta = meta.ok_or_else(|| self.damaged("no head section"))?;
        Ok((data, meta))
    }

    fn damaged(&self, detail: impl Into<String>) -> Damaged {
        self.sections.damaged(detail)
    }

    fn message<M: Message + Default>(&self, payload: Bytes) -> Result<M, Damaged> {
        self.sections.message(payload)
    }

    /// The sections of a record file, all of one kind.
    fn file(&self, file: &SnapshotFile, wanted: Kind) -> Result<(Written, Vec<Bytes>), Damaged> {
        let hash = hash(&self.sections, file)?;
        let bytes = self.records.read(&hash)?;
        let (mut sections, _) = Sections::begin(bytes, &[RECORDS])?;
        let mut payloads = Vec::new();
        while let Some((kind, payload)) = sections.section()? {
            if kind != wanted {
                return Err(self.damaged(format!("record file {hash} is of another kind than the manifest says")));
            }
            payloads.push(payload);
        }
        Ok((Written { hash, bytes: file.bytes, erased: file.erased, dropped: file.dropped }, payloads))
    }

    fn head(&self, data: &mut Data, payload: Bytes) -> Result<SnapshotMeta, Damaged> {
        let head: SnapshotHead = self.message(payload)?;
        let meta = head_meta(&self.sections, &head)?;
        data.applied =
            (head.applied_term > 0 || head.applied_index > 0).then(|| log_id(head.applied_term, head.applied_index));
        if data.applied != meta.last_log_id {
            return Err(self.damaged("head and meta name different log ids"));
        }
        data.membership = meta.last_membership.clone();
        data.stamp_ms = head.stamp_ms;
        data.digest = head.digest;
        data.erased_index = head.erased_index;
        data.nodes_seen = head.nodes_seen.into_iter().collect();
        data.integrity = Integrity::from_wire(head.integrity.unwrap_or_default());
        Ok(meta)
    }

    fn space(&mut self, data: &mut Data, payload: Bytes) -> Result<(), Damaged> {
        let space: SnapshotSpace = self.message(payload)?;
        let begun = Beginning::from_wire(&space.generation.unwrap_or_default(), space.rows);
        let begun = begun.ok_or_else(|| self.damaged("a generation that began with other rows than there are"))?;
        let (dropped, first) = (begun.dropped, begun.dropped.forgets);
        if !(u64::from(first)..=u64::from(first) + space.forgets.len() as u64).contains(&space.erased.into()) {
            return Err(self.damaged("more rows are erased than forgotten, or fewer than dropped"));
        }
        self.erased += i64::from(space.erased);
        let config = space.config.ok_or_else(|| self.damaged("space without configuration"))?;
        data.names.insert(config.name.clone(), space.id);
        let mut graph = Vec::new();
        let mut files = Vec::new();
        for file in space.graph.iter().filter(|_| self.graphs) {
            let (written, pieces) = self.file(file, Kind::Graph)?;
            pieces.iter().for_each(|piece| graph.extend_from_slice(piece));
            files.push((written.hash, written.bytes));
        }
        graph.append(&mut self.graph);
        let saved = match graph {
            none if none.is_empty() || !self.graphs => None,
            graph => Some(Index::open(&graph.into()).map_err(|e| self.damaged(format!("graph: {e}")))?),
        };
        let made = Space::restored(space.id, config, saved, begun).map_err(|e| self.damaged(e))?;
        let (left, known) = (space.forgets.into_iter().peekable(), made.index.now().forgets);
        self.forgets.insert(space.id, Forgets { left, done: first, known });
        made.past.restore(space.floor, space.erased);
        if first > 0 {
            made.past.note(dropped);
        }
        if !files.is_empty() {
            let engram_index::Epoch { rows, forgets, .. } = made.index.index().epoch();
            let generation = made.index.beginning().number;
            made.segments.note_checkpoint(Checkpoint { generation, rows, forgets, files, restored: true });
        }
        let made = Arc::new(made);
        data.spaces.insert(space.id, made.clone());
        for file in &space.segments {
            let (written, parts) = self.file(file, Kind::Rows)?;
            for part in parts {
                self.rows(data, part)?;
            }
            made.segments.restore(made.rows.len(), written);
        }
        if self.cut {
            made.segments.restore_open(space.open_bytes);
        }
        Ok(())
    }

    fn rows(&mut self, data: &Data, payload: Bytes) -> Result<(), Damaged> {
        let part: SnapshotRows = self.message(payload)?;
        let space = data.spaces.get(&part.space).ok_or_else(|| self.damaged("rows of a space that is not there"))?;
        if part.first_row != u64::from(space.rows.len()) {
            return Err(self.damaged(format!("rows from {} where {} should follow", part.first_row, space.rows.len())));
        }
        for row in part.rows {
            let SnapshotRow { log_index, stamp_ms, session, sequence, .. } = row;
            let origin = Origin { log_index, stamp_ms, session, sequence };
            let bytes = row.record.as_ref().map_or(0, Message::encoded_len);
            let pushed = match row.record {
                Some(record) => space.push(origin, record).map(drop),
                None => {
                    self.erased -= 1;
                    space.push_erased(origin, row.payload_hash, &row.code)
                }
            };
            pushed.map_err(|e| self.damaged(e.to_string()))?;
            if !self.cut {
                space.segments.grow(space.rows.len(), bytes);
            }
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
