//! The replicated state, and openraft's door to it.
//!
//! Place in the corridor: `(LogId, Command) → Applied`. Apply is synchronous, never waits for the indexer,
//! and publishes each entry whole: a reader's view holds all of an entry or nothing.
//! Invariants: `same_log_same_state`, `watermark_order`, `snapshot_suffices`.

mod apply;
pub mod generation;
pub mod integrity;
pub mod past;
pub mod rebuild;
pub mod records;
pub mod rows;
mod save;
pub mod segments;
pub mod sessions;
pub mod snapshot;
pub mod spaces;
#[cfg(test)]
mod tests;
pub mod watermark;

pub use apply::Data;
pub use watermark::Watermark;

use crate::env::{Env, Lane, disk, run_on};
use crate::raft::types::{LogId, Member, Payload, Snapshot, SnapshotMeta, StoredMembership, TypeConfig};
use crate::spans::Spans;
use bytes::Bytes;
use engram_probes::probe;
use engram_proto::wire::log::Outcome;
use futures_util::{Stream, TryStreamExt};
use generation::Next;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use records::{Hash, Held, Records};
use snapshot::{Damaged, Image};
use spaces::Space;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::Notify;

/// Bytes of a snapshot without its record files that this node is willing to read whole.
pub const SNAPSHOT_BYTES_MAX: u64 = 16 << 30;
/// Room that must be left on the disk before a snapshot is begun, beyond what it may write.
const SNAPSHOT_ROOM_BYTES: u64 = 64 << 20;

/// The state machine; cheap to clone, all clones are one.
#[derive(Clone)]
pub struct Machine(Arc<Shared>);

struct Shared {
    node: u64,
    env: Env,
    dir: PathBuf,
    records: Records,
    data: RwLock<Data>,
    watermark: Watermark,
    /// Wakes the indexer.
    grown: Notify,
    saved: Mutex<Option<Saved>>,
    /// Bytes of commands since the last snapshot.
    grown_bytes: AtomicU64,
    /// A snapshot is wanted before it is due.
    wanted: AtomicBool,
    /// Locked while entries are applied, and while nothing may be.
    applying: tokio::sync::Mutex<()>,
    /// What was found wrong with `data`.
    damage: Mutex<Option<String>>,
    spans: OnceLock<Spans>,
}

#[derive(Clone)]
struct Saved {
    meta: SnapshotMeta,
    path: PathBuf,
    manifest: Hash,
    manifest_bytes: u64,
    files: Arc<Held>,
}

impl Saved {
    fn new(meta: SnapshotMeta, path: PathBuf, manifest: &Bytes, files: Arc<Held>) -> Self {
        Self { meta, path, manifest: Hash::of(manifest), manifest_bytes: manifest.len() as u64, files }
    }
}

/// Why a data directory's state cannot be read.
#[derive(Debug)]
pub enum Unreadable {
    /// The message says which file, where, and what to do.
    Refused(io::Error),
    /// Record files are damaged or gone. Members of the cluster may have them.
    Lost(Box<Lost>),
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Refused(error)
    }
}

/// Record files that a snapshot names and this node has not.
#[derive(Debug)]
pub struct Lost {
    /// Where they would be; it holds all that the snapshot names.
    pub files: Held,
    /// The members that the snapshot knows.
    pub members: BTreeMap<u64, Member>,
    /// Of the first of them.
    pub damage: Damaged,
}

impl Machine {
    /// Blocking: reads the last snapshot in the data directory `dir`, if there is one. Errors name the file and the remedy.
    pub fn open(env: Env, node: u64, dir: &Path) -> Result<Self, Unreadable> {
        let records = Records::open(env.disk.clone(), dir.join("records"))?;
        let dir = dir.join("snapshots");
        env.disk.create_dir_all(&dir)?;
        let newest = env.disk.list(&dir)?.into_iter().rfind(|name| name.ends_with(".snap"));
        let mut data = Data::default();
        let mut saved = None;
        if let Some(name) = newest {
            let path = dir.join(name);
            let manifest = Bytes::from(disk::read_all(&*env.disk, &path, SNAPSHOT_BYTES_MAX)?);
            let (restored, meta, files) = restore(&manifest, &records, &path)?;
            data = restored;
            saved = Some(Saved::new(meta, path, &manifest, Arc::new(files)));
        }
        records.sweep()?;
        let watermark = Watermark::default();
        let index = data.applied.map_or(0, |id| id.index);
        watermark.set_applied(index);
        watermark.set_snapshot(index);
        let (data, saved) = (RwLock::new(data), Mutex::new(saved));
        let machine = Self(Arc::new(Shared {
            node,
            env,
            dir,
            records,
            data,
            watermark,
            grown: Notify::new(),
            saved,
            grown_bytes: AtomicU64::default(),
            wanted: AtomicBool::default(),
            applying: tokio::sync::Mutex::default(),
            damage: Mutex::default(),
            spans: OnceLock::new(),
        }));
        let mark = machine.mark(&machine.read());
        machine.tell_mark(None, mark);
        Ok(machine)
    }

    /// Who is to be told of rows that are traced; once, and before anything is applied.
    pub(crate) fn tell(&self, spans: Spans) {
        assert!(self.0.spans.set(spans).is_ok(), "told once");
    }

    /// Spans of what is applied here.
    pub(crate) fn spans(&self) -> Spans {
        self.0.spans.get().cloned().unwrap_or_default()
    }

    /// Its record files.
    pub fn records(&self) -> &Records {
        &self.0.records
    }

    /// A manifest that came from elsewhere, with a hold on what it names; some of that may not be here yet.
    pub fn image(&self, manifest: Bytes) -> Result<Image, Damaged> {
        let mut files = self.0.records.hold();
        for hash in snapshot::named(&manifest)?.0 {
            files.add(hash);
        }
        Ok(Image { manifest, files: Arc::new(files) })
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

    /// Whether commands of `bytes` were applied since the last snapshot was begun, or somebody wants one.
    pub fn snapshot_is_due(&self, bytes: u64) -> bool {
        self.0.wanted.load(Ordering::Relaxed) || self.0.grown_bytes.load(Ordering::Relaxed) >= bytes
    }

    /// Of the last snapshot, without its record files; 0 without one.
    pub fn manifest_bytes(&self) -> u64 {
        self.0.saved.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, |saved| saved.manifest_bytes)
    }

    /// Record files that the last snapshot names and that are not there, or not as they were written.
    pub fn lost(&self) -> Vec<Hash> {
        self.saved().map_or_else(Vec::new, |saved| saved.files.missing())
    }

    /// The next look begins a snapshot.
    pub fn want_snapshot(&self) {
        self.0.wanted.store(true, Ordering::Relaxed);
    }

    /// Ends when rows were added since the last call.
    pub async fn grown(&self) {
        self.0.grown.notified().await;
    }

    /// Copies what a reindex copies before the state is locked for it: readers wait for no more than one entry. Rows, forgets and
    /// floors change in `apply` alone, which waits. The space is the one before, which is not to die with the state locked.
    async fn prepare(&self, payload: &EntryPayload<Payload, u64, Member>) -> Option<(Arc<Space>, Next)> {
        let EntryPayload::Normal(payload) = payload else { return None };
        let space = self.read().reindex_at(&payload.0)?;
        let mut next = space.begin_next();
        while next.step(&space.index) {
            // This thread has more to do than that.
            tokio::task::yield_now().await;
        }
        Some((space, next))
    }

    /// `None`: the state had the entry already, because another one took its place meanwhile.
    fn apply_one(
        &self,
        log_id: LogId,
        payload: &EntryPayload<Payload, u64, Member>,
        next: Option<Next>,
    ) -> io::Result<Option<Outcome>> {
        let begun = self.0.env.clock.monotonic();
        let mut data = self.0.data.write().unwrap_or_else(PoisonError::into_inner);
        if data.applied.is_some_and(|applied| applied.index >= log_id.index) {
            probe!("entry_already_in_the_state");
            return Ok(None);
        }
        let mark = self.mark(&data);
        data.next = next;
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
        let (digest, mark_now, traced) = (data.digest, self.mark(&data), std::mem::take(&mut data.traced));
        drop(data);
        self.tell_mark(mark, mark_now);
        if !traced.is_empty() {
            self.spans().applied(log_id.index, begun, traced);
        }
        self.0.watermark.set_applied(log_id.index);
        let (index, term) = (log_id.index, log_id.committed_leader_id().term);
        tracing::debug!(node = self.0.node, index, term, digest = format_args!("{digest:016x}"), "applied");
        Ok(Some(outcome))
    }

    fn saved(&self) -> Option<Saved> {
        self.0.saved.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Does blocking work in the lane of files.
    pub async fn in_files<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let done = run_on(&*self.0.env.pool, Lane::Files, work).await;
        done.ok_or_else(|| io::Error::other("the files lane has stopped"))
    }

    /// Does blocking work beside that lane: making files durable that came from elsewhere.
    pub async fn in_arrivals<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let done = run_on(&*self.0.env.pool, Lane::Arrivals, work).await;
        done.ok_or_else(|| io::Error::other("the arrivals lane has stopped"))
    }
}

fn restore(manifest: &Bytes, records: &Records, path: &Path) -> Result<(Data, SnapshotMeta, Held), Unreadable> {
    let refused = |e: Damaged| {
        let text = format!(
            "{} is damaged {e}; remove this node from the cluster and add it under a new id with an empty directory",
            path.display()
        );
        Unreadable::Refused(io::Error::new(io::ErrorKind::InvalidData, text))
    };
    let (names, meta) = snapshot::named(manifest).map_err(refused)?;
    let mut files = records.hold();
    for hash in names {
        files.add(hash);
    }
    match snapshot::decode(manifest, records) {
        Ok((data, meta)) => Ok((data, meta, files)),
        Err(damage) if damage.lost.is_some() => {
            // All of them at once: whoever has one may have the others.
            files.hashes().iter().for_each(|hash| drop(records.read(hash)));
            let members = meta.last_membership.nodes().map(|(id, member)| (*id, member.clone())).collect();
            Err(Unreadable::Lost(Box::new(Lost { files, members, damage })))
        }
        Err(damage) => Err(refused(damage)),
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = Image;
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
            let (_before, next) = self.prepare(&entry.payload).await.unzip();
            let outcome = self.apply_one(entry.log_id, &entry.payload, next)?;
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
            probe!("snapshot_not_taken_in_quarantine");
            return None;
        }
        // What was applied since goes into new files; graphs may be written again.
        let graphs: u64 = self.read().spaces.values().map(|space| space.index.footprint().total()).sum();
        let needed = self.manifest_bytes() + self.0.grown_bytes.load(Ordering::Relaxed) + graphs;
        match self.0.env.disk.available_bytes(&self.0.dir) {
            Ok(free) if free >= needed + needed / 4 + SNAPSHOT_ROOM_BYTES => Some(self.clone()),
            Ok(free) => {
                probe!("snapshot_without_room");
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

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, image: Image) -> io::Result<()> {
        let (restored, inner) = self.decode(&image).await?;
        if inner.last_log_id != meta.last_log_id {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "snapshot of the leader: meta and bytes disagree"));
        }
        let hold = self.hold().await;
        self.replace(&hold, restored, meta.clone(), image).await.map(drop)
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let machine = self.clone();
        let read = move || {
            let Some(Saved { meta, path, files, .. }) = machine.saved() else { return Ok(None) };
            let manifest = disk::read_all(&*machine.0.env.disk, &path, SNAPSHOT_BYTES_MAX)?.into();
            Ok(Some(Snapshot { meta, snapshot: Image { manifest, files } }))
        };
        self.in_files(read).await?
    }
}
