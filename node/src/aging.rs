//! What a space's age does, through the log: rows older than its time to live are forgotten, rows that have been
//! forgotten for longer than its history are erased, and an index of which half is erased is made anew of the rest.
//!
//! Place: a task of every node; the one that leads proposes. Which rows are old is decided here from stamps that never
//! change, and written into the command as a range, so that apply is told and looks at no clock.
//! Invariant `once_forgotten`: a range proposed twice forgets its rows once.
//! Leaves out: ages that a request names (`edge::forget`).

use crate::env::Env;
use crate::leader::{Leader, Leadership};
use crate::proposer::Proposer;
use crate::state::spaces::Space;
use engram_proto::wire::log::{ForgetRows, RaiseFloor, Reindex, command};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Rows of one command: apply forgets so many in about a millisecond.
pub const AGED_ROWS_MAX: u32 = 10_000;
/// How often spaces are looked through.
const ROUND: Duration = Duration::from_secs(1);

/// Runs until the node stops. An index is not made anew for fewer than `reindex_rows` erased rows.
pub async fn run(env: Env, leadership: Leadership, proposer: Proposer, reindex_rows: u32) {
    // Rows of each space that this node knows to be forgotten by age: a hint, lost with the process.
    let mut aged: BTreeMap<u64, u32> = BTreeMap::new();
    loop {
        env.clock.sleep(ROUND).await;
        let Leader::Here { term } = leadership.leader() else { continue };
        let now_ms = leadership.stamp_ms(term);
        for raise in floors(&leadership, now_ms) {
            // Refused or in doubt, here and below: the next round proposes it again.
            drop(proposer.command(command::Kind::RaiseFloor(raise)).await);
        }
        for reindex in reindexes(&leadership, reindex_rows) {
            drop(proposer.command(command::Kind::Reindex(reindex)).await);
        }
        for forget in due(&leadership, &mut aged, now_ms) {
            let (space, until) = (forget.space, forget.until);
            if proposer.command(command::Kind::Forget(forget)).await.is_ok() {
                aged.insert(space, until);
            }
        }
    }
}

/// A floor for each space that has rows to erase.
fn floors(leadership: &Leadership, now_ms: u64) -> Vec<RaiseFloor> {
    let data = leadership.state().read();
    let floor = |space: &Arc<Space>| {
        let mark = space.past.to_erase(now_ms.checked_sub(space.config.history_ms)?)?;
        Some(RaiseFloor { space: space.id, log_index: mark.log_index })
    };
    data.spaces.values().filter_map(floor).collect()
}

/// A further generation for each space whose index is half of erased rows: what it costs, a row for each that is left, is
/// paid by as many that go.
fn reindexes(leadership: &Leadership, rows_min: u32) -> Vec<Reindex> {
    let data = leadership.state().read();
    let reindex = |space: &Arc<Space>| {
        let dead = space.dead();
        let due = dead >= rows_min && dead >= space.index.index().rows().div_ceil(2);
        due.then(|| Reindex { space: space.id, generation: space.index.beginning().number + 1 })
    };
    data.spaces.values().filter_map(reindex).collect()
}

/// The next range of each space that has old rows.
fn due(leadership: &Leadership, aged: &mut BTreeMap<u64, u32>, now_ms: u64) -> Vec<ForgetRows> {
    // Taken out: apply must not wait while rows are looked through.
    let spaces = leadership.state().read().spaces.clone();
    aged.retain(|space, _| spaces.contains_key(space));
    let mut due = Vec::new();
    for space in spaces.values().filter(|space| space.config.ttl_ms > 0) {
        let Some(cut) = now_ms.checked_sub(space.config.ttl_ms) else { continue };
        let old = space.until(cut);
        let mut from = aged.get(&space.id).copied().unwrap_or(0).max(space.index.first_row());
        let now = space.index.now();
        while from < old && !space.index.lives(from, now) {
            from += 1;
        }
        aged.insert(space.id, from);
        if from < old {
            let until = old.min(from.saturating_add(AGED_ROWS_MAX));
            due.push(ForgetRows { space: space.id, from, until, ..ForgetRows::default() });
        }
    }
    due
}
