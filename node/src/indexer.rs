//! Builds each space's complete batches and publishes their epochs.
//!
//! Place in the corridor: `Batch → Epoch`. Apply never waits for it: rows that are not built yet are scanned
//! in the tail. Batches are cut by row number alone, so a late indexer makes the same graphs.
//! Invariant `same_log_same_graph`.

use crate::admission::Admission;
use crate::env::{Env, Lane, run_on};
use crate::state::Machine;
use crate::state::spaces::Space;
use std::sync::Arc;

/// Runs until the node stops. An error means that the index lane died.
pub async fn run(node: u64, env: Env, state: Machine, admission: Admission) -> Result<(), String> {
    loop {
        let spaces: Vec<Arc<Space>> = state.read().spaces.values().cloned().collect();
        let mut built = false;
        for space in spaces {
            admission.set_unbuilt(unbuilt(&state));
            built |= build_one(node, &env, space).await?;
        }
        if !built {
            admission.set_unbuilt(unbuilt(&state));
            state.grown().await;
        }
    }
}

/// Rows of complete batches in all spaces: what the index is behind.
fn unbuilt(state: &Machine) -> usize {
    let data = state.read();
    let behind = |space: &Arc<Space>| match space.index.next_batch() {
        Some(batch) => (space.index.rows() - batch.start) as usize,
        None => 0,
    };
    data.spaces.values().map(behind).sum()
}

async fn build_one(node: u64, env: &Env, space: Arc<Space>) -> Result<bool, String> {
    let Some(batch) = space.index.next_batch() else { return Ok(false) };
    let workers = env.pool.workers();
    let id = space.id;
    let building = space.clone();
    let epoch = run_on(&*env.pool, Lane::Index, move || building.index.build(batch, &*workers)).await;
    let epoch = epoch.ok_or("the index lane stopped: a batch panicked")?;
    let digest = format_args!("{:016x}", epoch.digest);
    tracing::debug!(node, space = id, epoch = epoch.number, rows = epoch.rows, digest, "epoch published");
    Ok(true)
}
