//! Backups: a snapshot of everything acked before it was asked for; and a data directory made of one.
//!
//! A restored directory is a cluster of one node, of a new cluster id and the next incarnation: nodes of the old cluster
//! cannot speak to it, and read tokens of the old one are refused. It grows by `engram cluster add`.
//! Invariants: `backup_has_what_was_acked`; `restored_whole_or_not`: the directory has its name once everything in it is
//! durable.
//!
//! Leaves out: where a backup is kept (`crate::cli::backup`).

use crate::env::{Disk, Env, Lane, disk, run_on};
use crate::identity::{Cluster, Identity};
use crate::node::Node;
use crate::raft::log::{self, Log};
use crate::raft::types::{LogId, Member, Membership, Snapshot, StoredMembership, Vote};
use crate::state::integrity::Integrity;
use crate::state::records::Records;
use crate::state::snapshot::{self, Frozen, Image};
use bytes::Bytes;
use engram_proto::error::{Error, Kind, Result};
use engram_proto::transport::timeout;
use engram_proto::wire::v1::{BackupHead, NodeAddress};
use openraft::storage::{RaftLogStorage, RaftStateMachine};
use rand::RngExt;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a snapshot may take to be written.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(600);
/// Between two looks at whether it is.
const SNAPSHOT_STEP: Duration = Duration::from_millis(50);
/// A restored log is empty: no segment of it needs room.
const CACHE_BYTES: usize = 1 << 20;

/// Takes a snapshot that has all that was acked before the call, and says what it is but for its files. Cancel safe: a
/// snapshot that was begun is kept by the node as its own.
pub async fn take(node: &Node) -> Result<(BackupHead, Image)> {
    let cluster =
        node.identity.cluster().ok_or_else(|| Error::invalid(format!("node {} is in no cluster", node.id)))?;
    let Snapshot { meta, snapshot } = fresh(node).await?;
    let head = BackupHead {
        cluster_id: cluster.id.to_vec().into(),
        incarnation: cluster.incarnation,
        cluster_name: node.identity.cluster_name.clone(),
        log_index: meta.last_log_id.map_or(0, |id| id.index),
        bytes: snapshot.manifest.len() as u64,
        crc32c: crc32c::crc32c(&snapshot.manifest),
        ..BackupHead::default()
    };
    Ok((head, snapshot))
}

/// A snapshot that has all that was committed before the call; none of a state that is in doubt. Cancel safe, as above.
pub async fn fresh(node: &Node) -> Result<Snapshot> {
    if let Some(why) = node.state.quarantined() {
        return Err(Error::new(Kind::Quarantined, format!("{why}; ask another node")));
    }
    let acked = node.gate.confirmed().await?.log_index;
    let written = async {
        while node.state.watermark().snapshot() < acked {
            let asked = node.leadership.raft().trigger().snapshot().await;
            asked.map_err(|e| Error::new(Kind::Poisoned, e.to_string()))?;
            node.env.clock.sleep(SNAPSHOT_STEP).await;
        }
        Ok(())
    };
    timeout(&*node.world, SNAPSHOT_TIMEOUT, written).await.unwrap_or_else(|| {
        let text = format!("node {} wrote no snapshot within {SNAPSHOT_TIMEOUT:?}", node.id);
        Err(Error::overloaded(format!("{text}; look at its log and at its disk"), 0))
    })?;
    let current = node.state.clone().get_current_snapshot().await;
    let current = current.map_err(|e| Error::new(Kind::Poisoned, e.to_string()))?;
    current.ok_or_else(|| Error::not_found("nothing was ever written: there is no snapshot"))
}

/// What a data directory is made of.
pub struct Restore {
    /// The snapshot of a backup.
    pub manifest: Bytes,
    /// The files that it names.
    pub records: Records,
    /// Of the cluster that was backed up.
    pub incarnation: u64,
    /// As the node will be configured.
    pub cluster_name: String,
    /// The one node of the restored cluster.
    pub node: NodeAddress,
    /// Must not exist, or be empty.
    pub data_dir: PathBuf,
}

/// Proves that a snapshot can be restored: (log index, rows). The error says where it is damaged.
pub fn prove(manifest: &Bytes, records: &Records) -> Result<(u64, u64), snapshot::Damaged> {
    let (data, meta) = snapshot::decode(manifest, records)?;
    let rows = data.spaces.values().map(|space| u64::from(space.rows.len())).sum();
    Ok((meta.last_log_id.map_or(0, |id| id.index), rows))
}

/// Makes a data directory of a backup. Cancel: what was made stays beside it under the name `*.restoring`.
pub async fn restore(env: Env, what: Restore) -> io::Result<()> {
    let (pool, clock) = (env.pool.clone(), env.clock.clone());
    let made = run_on(&*pool, Lane::Files, move || make(&env, &what)).await;
    let made = made.unwrap_or_else(|| Err(io::Error::other("the files lane has stopped")))?;
    let Made { disk, beside, data_dir, node, applied, options } = made;
    let (log_disk, log_pool) = (disk.clone(), pool.clone());
    let opened = run_on(&*pool, Lane::Files, move || Log::open(log_disk, log_pool, clock, options)).await;
    let opened = opened.ok_or_else(|| io::Error::other("the files lane has stopped"))?;
    let (mut log, _) = opened.map_err(|e| io::Error::other(e.to_string()))?;
    // The next leader's term must be above all terms that are in the snapshot.
    log.save_vote(&Vote::new(applied.committed_leader_id().term, node)).await?;
    log.purge(applied).await?;
    log.close().await;
    drop(log);
    let name = move || {
        disk.rename(&beside, &data_dir)?;
        disk.sync_dir(parent(&data_dir))
    };
    let named = run_on(&*pool, Lane::Files, name).await;
    named.unwrap_or_else(|| Err(io::Error::other("the files lane has stopped")))
}

/// All but the log, under another name.
struct Made {
    disk: Arc<dyn Disk>,
    beside: PathBuf,
    data_dir: PathBuf,
    node: u64,
    applied: LogId,
    options: log::Options,
}

fn refuse(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Blocking.
fn make(env: &Env, what: &Restore) -> io::Result<Made> {
    let (disk, place) = (env.disk.clone(), what.data_dir.display());
    disk.create_dir_all(&what.data_dir)?;
    if !disk.list(&what.data_dir)?.is_empty() {
        return Err(refuse(format!("{place} is not empty; name a new directory")));
    }
    let beside = what.data_dir.with_added_extension("restoring");
    disk.create_dir_all(&beside)?;
    if !disk.list(&beside)?.is_empty() {
        let text = format!("{} is left of a restore that was broken off; remove it", beside.display());
        return Err(refuse(text));
    }
    let damaged = |e: snapshot::Damaged| refuse(format!("the backup's snapshot is damaged {e}; use another backup"));
    let (mut data, _) = snapshot::decode(&what.manifest, &what.records).map_err(damaged)?;
    let applied = data.applied.ok_or_else(|| refuse("the backup's snapshot is of an empty log".into()))?;
    let (node, mut rng) = (what.node.node, env.seed.stream("restore"));
    let identity = Identity::open(disk.clone(), beside.clone(), node, &what.cluster_name, &mut rng)?;
    let cluster = Cluster { id: rng.random(), incarnation: what.incarnation + 1 };
    identity.join(cluster).map_err(|e| io::Error::other(e.to_string()))?;
    let member = Member {
        client_address: what.node.client_address.clone(),
        peer_address: what.node.peer_address.clone(),
        disk_id: identity.disk_id.to_vec().into(),
    };
    let members = BTreeMap::from([(node, member)]);
    let alone = Membership::new(vec![[node].into()], members).map_err(|e| io::Error::other(e.to_string()))?;
    data.membership = StoredMembership::new(*data.membership.log_id(), alone);
    // Of another cluster: their disks cannot speak to this one.
    data.nodes_seen = [node].into();
    data.integrity = Integrity::default();
    let snapshots = beside.join("snapshots");
    disk.create_dir_all(&snapshots)?;
    let records = Records::open(disk.clone(), beside.join("records"))?;
    let image = Frozen::of(&data).0.encode(records.hold())?;
    disk::replace(&*disk, &snapshots.join(format!("{:016x}.snap", applied.index)), &image.manifest)?;
    let segment_bytes = crate::config::WalConfig::default().segment_bytes;
    let dir = beside.join("wal");
    let options = log::Options { dir, segment_bytes, cache_bytes: CACHE_BYTES, identity: identity.disk_id };
    Ok(Made { disk, beside, data_dir: what.data_dir.clone(), node, applied, options })
}
