//! The replicated state, and openraft's door to it.
//!
//! Place in the corridor: `(LogId, Command) → Applied`. Apply is synchronous, never waits for the indexer,
//! and publishes each entry whole: a reader's view holds all of an entry or nothing.
//! Invariants: `same_log_same_state`, `watermark_order`, `snapshot_suffices`.

mod apply;
pub mod integrity;
pub mod past;
pub mod rebuild;
pub mod rows;
pub mod sessions;
pub mod snapshot;
pub mod spaces;
#[cfg(test)]
mod tests;
pub mod watermark;

pub use apply::Data;
pub use watermark::Watermark;

use crate::env::{Disk, Env, Lane, disk, run_on};
use crate::raft::types::{LogId, Member, Payload, Snapshot, SnapshotMeta, StoredMembership, TypeConfig};
use bytes::Bytes;
use engram_proto::wire::log::Outcome;
use futures_util::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use snapshot::Frozen;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::Notify;

/// Bytes of a snapshot that this node is willing to read whole.
pub const SNAPSHOT_BYTES_MAX: u64 = 16 << 30;
/// Room that must be left on the disk before a snapshot is begun, beyond the last one's size.
const SNAPSHOT_ROOM_BYTES: u64 = 64 << 20;

/// The state machine; cheap to clone, all clones are one.
#[derive(Clone)]
pub struct Machine(Arc<Shared>);

struct Shared {
    node: u64,
    env: Env,
    dir: PathBuf,
    data: RwLock<Data>,
    watermark: Watermark,
    /// Wakes the indexer.
    grown: Notify,
    saved: Mutex<Option<Saved>>,
    /// Bytes of commands since the last snapshot.
    grown_bytes: AtomicU64,
    /// Locked while entries are applied, and while nothing may be.
    applying: tokio::sync::Mutex<()>,
    /// What was found wrong with `data`.
    damage: Mutex<Option<String>>,
}

#[derive(Clone)]
struct Saved {
    meta: SnapshotMeta,
    path: PathBuf,
    bytes: u64,
}

impl Machine {
    /// Blocking: reads the last snapshot of `dir`, if there is one. Errors name the file and the remedy.
    pub fn open(env: Env, node: u64, dir: PathBuf) -> io::Result<Self> {
        env.disk.create_dir_all(&dir)?;
        let newest = env.disk.list(&dir)?.into_iter().rfind(|name| name.ends_with(".snap"));
        let mut data = Data::default();
        let mut saved = None;
        if let Some(name) = newest {
            let path = dir.join(name);
            let bytes = disk::read_all(&*env.disk, &path, SNAPSHOT_BYTES_MAX)?;
            let length = bytes.len() as u64;
            let (restored, meta) = snapshot::decode(bytes.into()).map_err(|e| damaged(&path, &e))?;
            data = restored;
            saved = Some(Saved { meta, path, bytes: length });
        }
        let watermark = Watermark::default();
        let index = data.applied.map_or(0, |id| id.index);
        watermark.set_applied(index);
        watermark.set_snapshot(index);
        let (data, saved) = (RwLock::new(data), Mutex::new(saved));
        Ok(Self(Arc::new(Shared {
            node,
            env,
            dir,
            data,
            watermark,
            grown: Notify::new(),
            saved,
            grown_bytes: AtomicU64::new(0),
            applying: tokio::sync::Mutex::default(),
            damage: Mutex::default(),
        })))
    }

    /// The state at one applied index, for as long as the guard lives: take what is needed and let go.
    pub fn read(&self) -> RwLockReadGuard<'_, Data> {
        // A panic inside apply stops the node; what readers see until then is the last whole entry.
        self.0.data.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far this node has come.
    pub fn watermark(&self) -> &Watermark {
        &self.0.watermark
    }

    /// Whether commands of `bytes` were applied since the last snapshot was begun.
    pub fn snapshot_is_due(&self, bytes: u64) -> bool {
        self.0.grown_bytes.load(Ordering::Relaxed) >= bytes
    }

    /// Ends when rows were added since the last call.
    pub async fn grown(&self) {
        self.0.grown.notified().await;
    }

    /// `None`: the state had the entry already, because another one took its place meanwhile.
    fn apply_one(&self, log_id: LogId, payload: &EntryPayload<Payload, u64, Member>) -> io::Result<Option<Outcome>> {
        let mut data = self.0.data.write().unwrap_or_else(PoisonError::into_inner);
        if data.applied.is_some_and(|applied| applied.index >= log_id.index) {
            return Ok(None);
        }
        let outcome = match payload {
            EntryPayload::Blank => {
                data.apply_blank(log_id);
                Outcome::default()
            }
            EntryPayload::Membership(membership) => {
                data.apply_membership(log_id, membership.clone());
                Outcome::default()
            }
            EntryPayload::Normal(payload) => {
                self.0.grown_bytes.fetch_add(payload.0.len() as u64, Ordering::Relaxed);
                data.apply_command(log_id, &payload.0).map_err(|e| {
                    let text =
                        format!("log entry {log_id} does not decode ({e}): this version cannot read it; upgrade");
                    io::Error::new(io::ErrorKind::InvalidData, text)
                })?
            }
        };
        let digest = data.digest;
        drop(data);
        self.0.watermark.set_applied(log_id.index);
        let (index, term) = (log_id.index, log_id.committed_leader_id().term);
        tracing::debug!(node = self.0.node, index, term, digest = format_args!("{digest:016x}"), "applied");
        Ok(Some(outcome))
    }

    fn saved(&self) -> Option<Saved> {
        self.0.saved.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes a snapshot and makes it the current one, unless there is a newer one; the older files go afterwards.
    async fn save(&self, meta: SnapshotMeta, bytes: Bytes) -> io::Result<()> {
        let index = meta.last_log_id.map_or(0, |id| id.index);
        let path = self.0.dir.join(format!("{index:016x}.snap"));
        let machine = self.clone();
        let write = move || {
            let disk = &*machine.0.env.disk;
            if machine.saved().is_some_and(|saved| saved.meta.last_log_id > meta.last_log_id) {
                return Ok(());
            }
            disk::replace(disk, &path, &bytes)?;
            // Within the lane's job, as the reading: nobody is sent to a file that is removed by then.
            let saved = Saved { meta, path: path.clone(), bytes: bytes.len() as u64 };
            *machine.0.saved.lock().unwrap_or_else(PoisonError::into_inner) = Some(saved);
            keep_only(disk, &path)
        };
        let written = run_on(&*self.0.env.pool, Lane::Files, write).await;
        written.unwrap_or_else(|| Err(io::Error::other("the files lane has stopped")))
    }
}

fn damaged(path: &Path, error: &snapshot::Damaged) -> io::Error {
    let text = format!(
        "{} is damaged {error}; remove this node from the cluster and add it under a new id with an empty directory",
        path.display()
    );
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Removes the older snapshots.
fn keep_only(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let dir = path.parent().expect("a snapshot is in a folder");
    let keep = path.file_name().map(|name| name.to_string_lossy().into_owned());
    for name in disk.list(dir)? {
        if Some(&name) != keep.as_ref() {
            disk.remove(&dir.join(name))?;
        }
    }
    disk.sync_dir(dir)
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let data = self.read();
        Ok((data.applied, data.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let _applying = self.hold().await;
        while let Some((entry, responder)) = entries.try_next().await? {
            let outcome = self.apply_one(entry.log_id, &entry.payload)?;
            // Without an outcome its proposer is in doubt.
            if let Some((responder, outcome)) = responder.zip(outcome) {
                responder.send(outcome);
            }
        }
        self.0.grown.notify_one();
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<Self> {
        if self.quarantined().is_some() {
            // What is damaged must not become what a restart begins with.
            return None;
        }
        let last = self.saved().map_or(0, |saved| saved.bytes);
        match self.0.env.disk.available_bytes(&self.0.dir) {
            Ok(free) if free >= last + last / 4 + SNAPSHOT_ROOM_BYTES => Some(self.clone()),
            Ok(free) => {
                tracing::warn!(node = self.0.node, free, "no room for a snapshot; the log is kept until there is");
                None
            }
            Err(error) => {
                tracing::warn!(node = self.0.node, %error, "free space is not known; no snapshot now");
                None
            }
        }
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, bytes: Bytes) -> io::Result<()> {
        let (restored, inner) = self.decode(&bytes).await?;
        if inner.last_log_id != meta.last_log_id {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "snapshot of the leader: meta and bytes disagree"));
        }
        let hold = self.hold().await;
        self.replace(&hold, restored, meta.clone(), bytes).await.map(drop)
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let machine = self.clone();
        let read = move || {
            let Some(saved) = machine.saved() else { return Ok(None) };
            let bytes = disk::read_all(&*machine.0.env.disk, &saved.path, SNAPSHOT_BYTES_MAX)?;
            Ok(Some(Snapshot { meta: saved.meta, snapshot: bytes.into() }))
        };
        let read = run_on(&*self.0.env.pool, Lane::Files, read).await;
        read.unwrap_or_else(|| Err(io::Error::other("the files lane has stopped")))
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        self.0.grown_bytes.store(0, Ordering::Relaxed);
        let (frozen, meta) = Frozen::of(&self.read());
        let encoded = run_on(&*self.0.env.pool, Lane::Files, move || Bytes::from(frozen.encode())).await;
        let bytes = encoded.ok_or_else(|| io::Error::other("the files lane has stopped"))?;
        self.save(meta.clone(), bytes.clone()).await?;
        let index = meta.last_log_id.map_or(0, |id| id.index);
        self.0.watermark.set_snapshot(index);
        tracing::info!(node = self.0.node, index, bytes = bytes.len(), "snapshot built");
        Ok(Snapshot { meta, snapshot: bytes })
    }
}
