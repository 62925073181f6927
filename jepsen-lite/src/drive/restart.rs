//! A rolling restart in the middle of a run: each node is asked to stop, started again, and must be ready before the next.
//!
//! With an older binary the nodes begin with that, and the restart is an upgrade. A node that the plan holds down just then
//! comes back when the plan lets it. Faults go on meanwhile, so readiness is waited for, and not insisted on.

use crate::drive::Broken;
use crate::drive::faults::Diary;
use crate::drive::nodes::Nodes;
use crate::drive::record::Recorder;
use engram_client::Client;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// How long a node that was started may take to be ready before the next is stopped all the same.
const READY_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(200);
const REASON: &str = "the rolling restart";

/// Restarts all voters, one after the other, at a point of time; each is of this binary then.
pub async fn roll(
    nodes: Arc<Nodes>,
    client: Client,
    recorder: Recorder,
    diary: Diary,
    binary: &Path,
    at: Duration,
) -> Result<(), Broken> {
    sleep(at.saturating_sub(recorder.now())).await;
    for node in nodes.voters() {
        nodes.set_binary(node, binary).await;
        // One that stands still would not hear that it is to stop.
        while !nodes.is_well(node).await && recorder.now() < at + READY_LIMIT * 6 {
            sleep(POLL).await;
        }
        let deed = diary.begin("restart", format!("node {node}"), recorder.now());
        let stopped = nodes.stop(node, REASON).await;
        let begun = nodes.start(node, REASON).await;
        begun.map_err(|e| format!("driver: node {node} cannot be started: {e}"))?;
        let on = client.on(&nodes.address(node).client_address);
        let deadline = recorder.now() + READY_LIMIT;
        let mut ready = false;
        while !ready && recorder.now() < deadline {
            let asked = tokio::time::timeout(Duration::from_secs(1), on.status()).await;
            ready = matches!(asked, Ok(Ok(status)) if status.not_ready_reason.is_empty());
            sleep(POLL).await;
        }
        diary.end(deed, recorder.now(), if ready { "" } else { "not ready in time, faults and all" });
        stopped?;
    }
    Ok(())
}
