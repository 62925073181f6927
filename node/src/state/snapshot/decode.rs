//! A snapshot's bytes, read back whole or refused.

use super::super::apply::Data;
use super::super::integrity::Integrity;
use super::super::past::Mark;
use super::super::sessions::{Run, Session, Tombstone};
use super::super::spaces::{Origin, Space};
use super::{Damaged, HEADER_BYTES, Kind, MAGIC};
use crate::raft::types::{SnapshotMeta, log_id};
use crate::raft::wire::meta_from_wire;
use bytes::{Buf, Bytes};
use engram_index::Index;
use engram_proto::wire::log::{
    ForgetRows, SnapshotForget, SnapshotHead, SnapshotRow, SnapshotRows, SnapshotSessions, SnapshotSpace,
};
use engram_proto::wire::peer;
use prost::Message;
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::sync::Arc;
use std::vec;

/// Reads a snapshot whole; nothing of it is used when any part is damaged. Checksums say that bytes are as they were
/// written, not that they were right: graphs are proved too, and if one is not what its digest says, all are left out, to be
/// built from the rows.
pub fn decode(bytes: Bytes) -> Result<(Data, SnapshotMeta), Damaged> {
    let read = Reader { rest: bytes.clone(), graphs: true, ..Reader::default() }.state()?;
    let broken = |space: &Arc<Space>| Some((space.id, space.index.check().err()?));
    match read.0.spaces.values().find_map(broken) {
        None => Ok(read),
        Some((space, broken)) => {
            tracing::error!(space, %broken, "a snapshot's graph was damaged before it was written: it is built anew");
            Reader { rest: bytes, ..Reader::default() }.state()
        }
    }
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
    /// Whether to take graphs as they are.
    graphs: bool,
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
    fn state(mut self) -> Result<(Data, SnapshotMeta), Damaged> {
        self.magic()?;
        let mut data = Data::default();
        let mut meta = None;
        loop {
            let (kind, payload) = self.section()?;
            match kind {
                Kind::Head => meta = Some(self.head(&mut data, payload)?),
                Kind::Space => self.space(&mut data, payload)?,
                Kind::Rows => self.rows(&mut data, payload)?,
                Kind::Sessions => self.sessions(&mut data, payload)?,
                Kind::Graph if self.graphs => self.graph.extend_from_slice(&payload),
                Kind::Graph => {}
                Kind::End => break,
            }
        }
        if !self.rest.is_empty() {
            return Err(self.damaged("bytes after the end"));
        }
        if data.spaces.values().any(|space| space.rows.len() != space.index.rows()) {
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
        data.integrity = Integrity::from_wire(head.integrity.unwrap_or_default());
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
