//! A space's time to live: rows that are older, by log time, are forgotten through the log.
//!
//! Place: a task of every node; the one that leads proposes. Which rows are old is decided here from stamps that never
//! change, and written into the command as a range, so that apply is told and looks at no clock.
//! Invariant `once_forgotten`: a range proposed twice forgets its rows once.
//! Leaves out: ages that a request names (`edge::forget`).

use crate::env::Env;
use crate::leader::{Leader, Leadership};
use crate::proposer::Proposer;
use engram_proto::wire::log::{ForgetRows, command};
use std::collections::BTreeMap;
use std::time::Duration;

/// Rows of one command: apply forgets so many in about a millisecond.
pub const AGED_ROWS_MAX: u32 = 10_000;
/// How often spaces are looked through.
const ROUND: Duration = Duration::from_secs(1);

/// Runs until the node stops.
pub async fn run(env: Env, leadership: Leadership, proposer: Proposer) {
    // Rows of each space that this node knows to be forgotten by age: a hint, lost with the process.
    let mut aged: BTreeMap<u64, u32> = BTreeMap::new();
    loop {
        env.clock.sleep(ROUND).await;
        let Leader::Here { term } = leadership.leader() else { continue };
        let now_ms = leadership.stamp_ms(term);
        for forget in due(&leadership, &mut aged, now_ms) {
            let (space, until) = (forget.space, forget.until);
            // Refused or in doubt: the next round proposes it again.
            if proposer.command(command::Kind::Forget(forget)).await.is_ok() {
                aged.insert(space, until);
            }
        }
    }
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
        let mut from = aged.get(&space.id).copied().unwrap_or(0);
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
