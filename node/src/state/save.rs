//! Snapshots of this node on its disk: building one, putting one in the older one's place.
//!
//! Invariant `full_is_not_broken`: Raft takes an error of its storage for the storage's end, so a snapshot for which the disk
//! has no room is not an error. It waits, and is built anew once there may be room; meanwhile what was written for it goes.

use super::records::Hash;
use super::snapshot::{self, Frozen, Image};
use super::{Machine, SNAPSHOT_BYTES_MAX, Saved};
use crate::env::disk::is_full;
use crate::env::{Disk, disk};
use crate::raft::types::{Snapshot, SnapshotMeta, TypeConfig};
use engram_probes::probe;
use openraft::storage::RaftSnapshotBuilder;
use std::io;
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Between two attempts while the disk is full.
const ROOM_EVERY: Duration = Duration::from_secs(1);

impl Machine {
    /// Writes a snapshot, all of whose files are there, and makes it the current one, unless there is a newer one; the older
    /// files go afterwards. While the disk is full it waits.
    pub(super) async fn save(&self, meta: SnapshotMeta, image: Image) -> io::Result<()> {
        loop {
            let (machine, meta, image) = (self.clone(), meta.clone(), image.clone());
            match self.in_files(move || machine.put(meta, image)).await? {
                Err(error) if is_full(&error) => self.wait_for_room(&error).await?,
                done => return done,
            }
        }
    }

    /// Blocking.
    fn put(&self, meta: SnapshotMeta, image: Image) -> io::Result<()> {
        let index = meta.last_log_id.map_or(0, |id| id.index);
        let path = self.0.dir.join(format!("{index:016x}.snap"));
        let disk = &*self.0.env.disk;
        if self.saved().is_some_and(|saved| saved.meta.last_log_id > meta.last_log_id) {
            probe!("snapshot_older_than_the_last");
            return Ok(());
        }
        self.0.records.sync()?;
        disk::replace(disk, &path, &image.manifest)?;
        // Within the lane's job, as the reading: nobody is sent to a file that is removed by then.
        let saved = Saved::new(meta, path.clone(), &image.manifest, image.files);
        let before = self.0.saved.lock().unwrap_or_else(PoisonError::into_inner).replace(saved);
        drop(before);
        keep_only(disk, &path)?;
        self.0.records.sweep().map(drop)
    }

    /// Reads the last snapshot's manifest through; the inner error says what is damaged where.
    pub async fn read_manifest(&self) -> io::Result<Result<(), String>> {
        let machine = self.clone();
        let read = move || {
            let Some(Saved { path, manifest, .. }) = machine.saved() else { return Ok(()) };
            let bytes = disk::read_all(&*machine.0.env.disk, &path, SNAPSHOT_BYTES_MAX).map_err(|e| e.to_string())?;
            if Hash::of(&bytes) == manifest {
                return Ok(());
            }
            let damage = snapshot::verify(&bytes.into()).err();
            let place = damage.map_or_else(|| "other bytes than were written".into(), |damage| damage.to_string());
            Err(format!("{} is damaged {place}", path.display()))
        };
        self.in_files(read).await
    }

    /// Gives back what was written for a snapshot that nobody holds any more, and waits a while.
    async fn wait_for_room(&self, error: &io::Error) -> io::Result<()> {
        probe!("snapshot_waits_for_room");
        tracing::warn!(node = self.0.node, %error, "no room for a snapshot; it is tried again");
        let records = self.0.records.clone();
        self.in_files(move || records.sweep()).await??;
        self.0.env.clock.sleep(ROOM_EVERY).await;
        Ok(())
    }
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

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    type SnapshotData = Image;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let (meta, image) = loop {
            self.0.grown_bytes.store(0, Ordering::Relaxed);
            self.0.wanted.store(false, Ordering::Relaxed);
            let (frozen, meta) = Frozen::of(&self.read());
            let files = self.0.records.hold();
            match self.in_files(move || frozen.encode(files)).await? {
                Ok(image) => break (meta, image),
                Err(error) if is_full(&error) => self.wait_for_room(&error).await?,
                Err(error) => return Err(error),
            }
        };
        self.save(meta.clone(), image.clone()).await?;
        let index = meta.last_log_id.map_or(0, |id| id.index);
        self.0.watermark.set_snapshot(index);
        let (bytes, files, written) = (image.manifest.len(), image.files.hashes().len(), image.files.written);
        tracing::info!(node = self.0.node, index, bytes, files, written, "snapshot built");
        Ok(Snapshot { meta, snapshot: image })
    }
}
