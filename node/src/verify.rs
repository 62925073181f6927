//! A data directory proved without starting its node, and without changing it.
//!
//! Leaves out: whether other nodes agree; a running cluster compares digests (`crate::integrity`).

use crate::env::{Disk, disk};
use crate::identity::Identity;
use crate::raft::log::{self, Recovery};
use crate::state::records::Records;
use crate::state::{SNAPSHOT_BYTES_MAX, snapshot};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What a whole data directory holds.
pub struct Whole {
    /// Whose it is.
    pub node: u64,
    /// Of which cluster, by name.
    pub cluster: String,
    /// Up to where the snapshot goes; 0: there is none.
    pub snapshot_index: u64,
    /// Rows in the snapshot, erased ones included.
    pub rows: u64,
    /// Record files that it names.
    pub files: u64,
    /// The write-ahead log.
    pub log: Recovery,
}

/// Reads it whole: identity, every group of the log, the snapshot, every record file, every graph. Blocking. The error says
/// which file is damaged where. A node that runs must not share it.
pub fn prove(disk: Arc<dyn Disk>, dir: &Path) -> Result<Whole, String> {
    let said = |e: io::Error| e.to_string();
    let _lock = disk.lock(&dir.join("lock")).map_err(|e| match e.kind() {
        io::ErrorKind::WouldBlock => format!("{} is in use by a running node; stop it first", dir.display()),
        _ => e.to_string(),
    })?;
    let identity = Identity::read(disk.clone(), dir).map_err(said)?;
    let log = log::examine(&*disk, &dir.join("wal"), &identity.disk_id).map_err(|e| e.to_string())?;
    let snapshots = dir.join("snapshots");
    let names = match disk.list(&snapshots) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        names => names.map_err(said)?,
    };
    let (node, cluster) = (identity.node_id, identity.cluster_name);
    let mut whole = Whole { node, cluster, snapshot_index: 0, rows: 0, files: 0, log };
    if let Some(name) = names.iter().rfind(|name| name.ends_with(".snap")) {
        let path = snapshots.join(name);
        let manifest = disk::read_all(&*disk, &path, SNAPSHOT_BYTES_MAX).map_err(said)?.into();
        let records = Records::look(disk, dir.join("records")).map_err(said)?;
        let damaged = |e: snapshot::Damaged| format!("{}: damaged {e}", path.display());
        whole.files = snapshot::named(&manifest).map_err(damaged)?.0.len() as u64;
        let (data, _) = snapshot::decode(&manifest, &records).map_err(damaged)?;
        whole.snapshot_index = data.applied.map_or(0, |id| id.index);
        whole.rows = data.spaces.values().map(|space| u64::from(space.rows.len())).sum();
    }
    match whole.log.first_index {
        Some(first) if first > whole.snapshot_index + 1 => {
            let end = whole.snapshot_index;
            Err(format!("the log begins at index {first}, the snapshot ends at {end}: what is between is gone"))
        }
        _ => Ok(whole),
    }
}
