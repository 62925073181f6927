//! Where a session stands, for a client that must know before it resumes.
//!
//! Invariant: the answer has every row of the session that was acked before the question. Leaves out: resuming.

use crate::node::Node;
use engram_proto::error::{Error, Result};
use engram_proto::wire::v1::{SessionState, SessionStatusRequest, SessionStatusResponse};

/// Looks a session up at a read index that a quorum confirmed. Cancel safe.
pub async fn session_status(node: &Node, request: &SessionStatusRequest) -> Result<SessionStatusResponse> {
    let (asked, mine) = (request.incarnation, node.incarnation());
    if mine == 0 {
        return Err(node.leadership.in_no_cluster());
    }
    if asked != 0 && asked != mine {
        let text = format!("session {} is of incarnation {asked}, the cluster is in {mine}", request.session);
        return Err(Error::session_lost(format!("{text}: it was restored"), None));
    }
    let mark = node.gate.confirmed().await?;
    let data = node.state.read();
    let mut status = SessionStatusResponse { log_index: mark.log_index, ..SessionStatusResponse::default() };
    if let Some(session) = data.sessions.open.get(&request.session) {
        status.set_state(SessionState::Open);
        status.last_sequence = session.last_sequence;
        status.last_log_index = data.last_log_index(request.session);
        status.space = data.spaces.get(&session.space).map(|space| space.config.name.clone()).unwrap_or_default();
    } else if let Some(tombstone) = data.sessions.tombstones.get(&request.session) {
        status.set_state(SessionState::Expired);
        (status.last_sequence, status.last_log_index) = (tombstone.last_sequence, tombstone.last_log_index);
        status.expired_ms_ago = mark.stamp_ms.saturating_sub(tombstone.expired_at_ms);
    }
    Ok(status)
}
