//! Builds each space's complete batches and publishes their epochs.
//!
//! Place in the corridor: `Batch → Epoch`. Apply never waits for it: rows that are not built yet are scanned
//! in the tail. Batches are cut by row number alone, so a late indexer makes the same graphs.
//! Invariant `same_log_same_graph`.

use crate::admission::Admission;
use crate::env::{Env, Lane, run_on};
use crate::metrics::Meters;
use crate::state::Machine;
use crate::state::spaces::Space;
use engram_mutants::mutant;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;

/// Runs until the node stops. An error means that the index lane died.
pub async fn run(node: u64, env: Env, state: Machine, admission: Admission, meters: Meters) -> Result<(), String> {
    // The space that was built last: spaces take turns.
    let mut last = 0;
    loop {
        let Some((space, batch)) = next(&state, &admission, last) else {
            state.grown().await;
            continue;
        };
        last = space.id;
        let (begun, rows) = (env.clock.monotonic(), batch.len() as u64);
        let mut build = pin!(build(node, &env, &state, space, batch));
        loop {
            tokio::select! {
                biased; // the next batch before a further look
                built = &mut build => break built?,
                // What comes meanwhile waits too, and admission must know.
                () = state.grown() => drop(next(&state, &admission, last)),
            }
        }
        meters.batch_rows.observe(rows);
        meters.batches.time(env.clock.monotonic().saturating_sub(begun));
    }
}

/// Tells admission how many rows wait for the graphs of spaces with complete batches, but for those that a reindex brought
/// over, and gives the first such batch of the next space in turn.
fn next(state: &Machine, admission: &Admission, last: u64) -> Option<(Arc<Space>, Range<u32>)> {
    let data = state.read();
    let (mut unbuilt, mut after, mut first) = (0, None, None);
    for space in data.spaces.values() {
        let Some(batch) = space.index.next_batch() else { continue };
        unbuilt += space.index.unbuilt() as usize;
        let turn = if space.id > last { &mut after } else { &mut first };
        turn.get_or_insert((space, batch));
    }
    admission.set_unbuilt(unbuilt);
    after.or(first).map(|(space, batch)| (space.clone(), batch))
}

async fn build(node: u64, env: &Env, state: &Machine, space: Arc<Space>, batch: Range<u32>) -> Result<(), String> {
    let (workers, building) = (env.pool.workers(), space.clone());
    let batch = match mutant!("batch_cut_by_time") && space.index.rows().is_multiple_of(3) && batch.len() > 1 {
        true => batch.start..batch.end - 1,
        false => batch,
    };
    let epoch = run_on(&*env.pool, Lane::Index, move || building.index.build(batch, &*workers)).await;
    let epoch = epoch.ok_or("the index lane stopped: a batch panicked")?;
    // Another state may have taken the place of the one that the space is of: nobody sees its graph any more.
    if state.read().spaces.get(&space.id).is_some_and(|now| Arc::ptr_eq(now, &space)) {
        let (digest, generation) = (format_args!("{:016x}", epoch.digest), space.index.beginning().number);
        let (space, epoch, rows) = (space.id, epoch.number, epoch.rows);
        tracing::debug!(node, space, generation, epoch, rows, digest, "epoch published");
        state.spans().indexed(space, rows, epoch);
    }
    Ok(())
}
