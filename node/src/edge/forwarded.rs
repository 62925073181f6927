//! A follower's entries, at the leader: proposed in the order in which they come, answered in the same order.
//!
//! Invariant `order_in_session`: the next is looked at once the one before is in Raft's hands, or refused. A stream that
//! ends with a status took no entry without an answer.

use super::peer::PeerService;
use crate::forward::IN_FLIGHT_MAX;
use crate::proposer::Pending;
use engram_probes::probe;
use engram_proto::error::Error;
use engram_proto::transport::timeout;
use engram_proto::wire::log::Entry;
use engram_proto::wire::peer::{ForwardRequest, ForwardResponse, forward_response::Answer};
use futures_util::future::{join, ready};
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

/// How long an entry may wait for the index; less than its sender waits for the outcome.
const INDEX_WAIT: Duration = Duration::from_secs(2);

/// What waits to be told: an entry's outcome, or why the stream ends.
type Next = Result<Pending, Status>;
type Out = mpsc::Sender<Result<ForwardResponse, Status>>;

/// Runs a stream to its end.
pub async fn run(service: PeerService, incoming: Streaming<ForwardRequest>, out: Out) {
    // With the one that is being told and the one that is being proposed.
    let (pending, outcomes) = mpsc::channel(IN_FLIGHT_MAX - 2);
    join(propose_all(&service, incoming, pending), tell_all(outcomes, out)).await;
}

async fn propose_all(service: &PeerService, mut incoming: Streaming<ForwardRequest>, pending: mpsc::Sender<Next>) {
    loop {
        let next = match incoming.message().await {
            Ok(None) => return,
            Ok(Some(request)) => propose(service, request).await,
            Err(status) => Err(status),
        };
        let ends = next.is_err();
        if pending.send(next).await.is_err() || ends {
            return;
        }
    }
}

async fn propose(service: &PeerService, request: ForwardRequest) -> Next {
    service.check(request.header.as_ref())?;
    let entry = request.entry.ok_or_else(|| Status::from(Error::invalid("forward: no entry")))?;
    Ok(in_turn(service, entry).await.unwrap_or_else(|error| Box::pin(ready(Err(error)))))
}

/// In turn with this node's own, and without effect if that takes too long.
async fn in_turn(service: &PeerService, entry: Entry) -> Result<Pending, Error> {
    let node = &service.0;
    let turn = timeout(&*node.world, INDEX_WAIT, node.admission.indexable()).await;
    turn.ok_or_else(|| {
        probe!("forwarded_entry_waited_too_long");
        node.admission.late()
    })?;
    node.proposer.forwarded(entry).await
}

async fn tell_all(mut outcomes: mpsc::Receiver<Next>, out: Out) {
    while let Some(next) = outcomes.recv().await {
        let answer = match next {
            Ok(pending) => {
                let answer = match pending.await {
                    Ok(outcome) => Answer::Outcome(outcome),
                    Err(error) => Answer::Error(error.into()),
                };
                Ok(ForwardResponse { answer: Some(answer) })
            }
            Err(status) => Err(status),
        };
        // A follower that is gone hears nothing; what it sent is in the log or is not.
        if out.send(answer).await.is_err() {
            return;
        }
    }
}
