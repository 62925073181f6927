//! Takes what is erased out of this node's files.
//!
//! Place: a task of every node, behind `state::past`, which takes it out of memory. The text of an erased row is in record
//! files until a snapshot writes them anew, and in the log until the segments that have it go. So the log goes on in
//! another segment, a snapshot is taken of all that was in those before, and they are purged.
//! Invariant `erased_is_gone`: once the log has no entry of the last command that erased, or before, and the snapshot is
//! past it, no file of this node has a word of an erased row.
//!
//! Leaves out: what a file system keeps of removed files, and copies elsewhere: backups, clients.

use crate::node::Node;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks.
const STEP: Duration = Duration::from_millis(500);
/// How long a snapshot may take; after it everything is tried again.
const PATIENCE: Duration = Duration::from_secs(600);

/// Runs until the node stops.
pub async fn run(node: Arc<Node>) {
    let every = Duration::from_secs(node.config.raft.erase_s);
    loop {
        node.env.clock.sleep(STEP).await;
        if is_due(&node) {
            let deadline = node.env.clock.monotonic() + PATIENCE;
            erase(&node, deadline).await;
            node.env.clock.sleep(every).await;
        }
    }
}

/// Whether a file of this node may have something of an erased row.
fn is_due(node: &Node) -> bool {
    let erased = node.state.read().erased_index;
    let in_log = node.log.lowest().is_some_and(|lowest| lowest <= erased);
    erased > 0 && (in_log || node.state.watermark().snapshot() < erased)
}

async fn erase(node: &Node, deadline: Duration) {
    node.log.roll();
    // Everything before it is in a segment that can go, once it is purged.
    let last = node.log.submitted().map_or(0, |id| id.index);
    node.state.watermark().wait_applied(last).await;
    node.state.want_snapshot();
    while node.state.watermark().snapshot() < last {
        if node.env.clock.monotonic() >= deadline {
            return;
        }
        node.env.clock.sleep(STEP).await;
    }
    // Stopped: the task ends with the node.
    drop(node.leadership.raft().trigger().purge_log(last).await);
    tracing::info!(node = node.id, upto = last, "what was erased is taken out of the files");
}
