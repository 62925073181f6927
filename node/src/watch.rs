//! Looks at the running node: role changes, watermark order, disk room, when a snapshot is due, and a purge of the log.

use crate::node::Node;
use openraft::async_runtime::WatchReceiver;
use std::sync::Arc;
use std::time::Duration;

const ROUND: Duration = Duration::from_millis(200);

/// Runs until the node stops. An error means that consensus stopped by itself.
pub async fn run(node: Arc<Node>) -> Result<(), String> {
    let mut last_role = None;
    let mut drained = 0;
    let mut at = node.env.clock.monotonic();
    loop {
        node.env.clock.sleep(ROUND).await;
        let now = node.env.clock.monotonic();
        drained = node.admission.measure_rate(drained, now.saturating_sub(at));
        at = now;
        node.admission.set_disk_full(node.log.is_full());
        let role = {
            let metrics = node.leadership.raft().metrics();
            let metrics = metrics.borrow_watched();
            if let Err(fatal) = &metrics.running_state {
                return Err(format!("consensus stopped: {fatal}"));
            }
            (metrics.state, metrics.current_term, metrics.current_leader)
        };
        if Some(role) != last_role {
            let (state, term, leader) = role;
            tracing::info!(node = node.id, role = ?state, term, leader = leader.unwrap_or(0), "role");
            last_role = Some(role);
        }
        let full = |(depth, cap): (usize, usize)| depth > cap;
        if node.admission.depth().into_iter().zip(node.admission.caps()).any(full) {
            return Err(format!("queue_within_cap: {:?} rows of {:?}", node.admission.depth(), node.admission.caps()));
        }
        let marks = node.marks();
        if let Some(rule) = marks.broken() {
            return Err(format!("watermark_order: {rule} does not hold: {marks:?}"));
        }
        let purgeable = marks.snapshot.saturating_sub(node.config.raft.keep_entries);
        if purgeable > marks.purged {
            // What was asked for before and waits for a follower stays asked for.
            drop(node.leadership.raft().trigger().purge_log(purgeable).await);
        }
        if node.state.snapshot_is_due(snapshot_bytes(&node)) {
            // Stopped: the next look at the running state says so.
            drop(node.leadership.raft().trigger().snapshot().await);
        }
    }
}

/// A snapshot writes its manifest again, however little is new. Half of that in new bytes keeps it to a few times.
fn snapshot_bytes(node: &Node) -> u64 {
    node.config.raft.snapshot_bytes.max(node.state.manifest_bytes() / 2)
}
