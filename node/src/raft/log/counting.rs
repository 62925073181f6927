//! A state machine that only counts, for openraft's storage suite over this log and over others.
//!
//! Place: tests alone. Leaves out: data; a snapshot is its meta.

use crate::raft::types::{LogId, SnapshotMeta, StoredMembership, TypeConfig};
use bytes::Bytes;
use engram_proto::wire::log::Outcome;
use futures_util::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use std::io;
use std::sync::{Arc, Mutex};

/// It has no bytes.
type Snapshot = openraft::alias::SnapshotOf<TypeConfig, Bytes>;

#[derive(Default)]
struct Data {
    applied: Option<LogId>,
    membership: StoredMembership,
    snapshot: Option<SnapshotMeta>,
}

/// See the file's header. Clones are the same machine.
#[derive(Clone, Default)]
pub struct Counting(Arc<Mutex<Data>>);

impl RaftSnapshotBuilder<TypeConfig> for Counting {
    type SnapshotData = Bytes;
    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let mut data = self.0.lock().unwrap();
        let meta = SnapshotMeta { last_log_id: data.applied, last_membership: data.membership.clone() };
        data.snapshot = Some(meta.clone());
        Ok(Snapshot { meta, snapshot: Bytes::new() })
    }
}

impl RaftStateMachine<TypeConfig> for Counting {
    type SnapshotData = Bytes;
    type SnapshotBuilder = Self;
    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let data = self.0.lock().unwrap();
        Ok((data.applied, data.membership.clone()))
    }
    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let mut data = self.0.lock().unwrap();
            data.applied = Some(entry.log_id);
            if let EntryPayload::Membership(membership) = entry.payload {
                data.membership = StoredMembership::new(Some(entry.log_id), membership);
            }
            if let Some(responder) = responder {
                responder.send(Outcome::default());
            }
        }
        Ok(())
    }
    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }
    async fn install_snapshot(&mut self, meta: &SnapshotMeta, _: Bytes) -> io::Result<()> {
        let mut data = self.0.lock().unwrap();
        (data.applied, data.membership) = (meta.last_log_id, meta.last_membership.clone());
        data.snapshot = Some(meta.clone());
        Ok(())
    }
    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let meta = self.0.lock().unwrap().snapshot.clone();
        Ok(meta.map(|meta| Snapshot { meta, snapshot: Bytes::new() }))
    }
}
