//! What a node has on disk, opened in order: lock, identity, log, state. Damage to record files is mended on the way.

use super::RunError;
use crate::config::Config;
use crate::env::{Env, Lane, run_on};
use crate::identity::Identity;
use crate::mend::Mender;
use crate::raft::log::{self, Log};
use crate::raft::net::Network;
use crate::state::{Machine, Unreadable};
use std::io;
use std::sync::Arc;

/// All but the state.
pub struct Opened {
    /// Who the directory is.
    pub identity: Arc<Identity>,
    /// Recovered.
    pub log: Log,
    _lock: Box<dyn Send + Sync>,
}

/// Blocking.
pub fn open(env: Env, config: &Config) -> Result<Opened, RunError> {
    let data = |e: io::Error| RunError::Data(e.to_string());
    let dir = &config.data_dir;
    env.disk.create_dir_all(dir).map_err(data)?;
    let lock = env.disk.lock(&dir.join("lock")).map_err(|e| match e.kind() {
        io::ErrorKind::WouldBlock => RunError::Data(format!(
            "{} is in use by another process; stop that one, or use another directory",
            dir.display()
        )),
        _ => data(e),
    })?;
    let mut rng = env.seed.stream("identity");
    let identity = Identity::open(env.disk.clone(), dir.clone(), config.node_id, &config.cluster, &mut rng);
    let identity = Arc::new(identity.map_err(data)?);
    let options = log::Options {
        dir: dir.join("wal"),
        segment_bytes: config.wal.segment_bytes,
        cache_bytes: config.wal.cache_bytes,
        identity: identity.disk_id,
    };
    let (log, recovery) = Log::open(env.disk.clone(), env.pool.clone(), env.clock.clone(), options)
        .map_err(|e| RunError::Data(e.to_string()))?;
    tracing::info!(node = config.node_id, "{recovery}");
    Ok(Opened { identity, log, _lock: lock })
}

/// The log must go on where the state ends, or before. It does not if the snapshot was taken away.
pub fn check(log: &Log, state: &Machine, config: &Config) -> Result<(), RunError> {
    let (purged, applied) = (log.purged().map_or(0, |id| id.index), state.watermark().applied());
    if purged <= applied {
        return Ok(());
    }
    let dir = config.data_dir.display();
    Err(RunError::Data(format!(
        "the log in {dir}/wal begins after index {purged}, the snapshot in {dir}/snapshots ends at {applied}: what is between is \
         gone; put the snapshot back, or remove this node from the cluster and add it under a new id with an empty directory"
    )))
}

/// Reads the state; record files that are lost are fetched from other members first.
pub async fn read_state(env: &Env, config: &Config, network: &Network) -> Result<Machine, RunError> {
    let mut mended = false;
    loop {
        let (opening, id, dir) = (env.clone(), config.node_id, config.data_dir.clone());
        let read = run_on(&*env.pool, Lane::Files, move || Machine::open(opening, id, &dir)).await;
        match read.ok_or_else(|| RunError::Fatal("the files lane stopped while opening".into()))? {
            Ok(state) => return Ok(state),
            Err(Unreadable::Refused(error)) => return Err(RunError::Data(error.to_string())),
            Err(Unreadable::Lost(lost)) if mended => return Err(RunError::Data(lost.damage.detail)),
            Err(Unreadable::Lost(lost)) => {
                let (network, pool, clock) = (network.clone(), env.pool.clone(), env.clock.clone());
                let mender = Mender { node: config.node_id, network, pool, clock };
                mender.before_start(*lost).await.map_err(RunError::Data)?;
                mended = true;
            }
        }
    }
}
