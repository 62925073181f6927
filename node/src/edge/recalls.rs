//! The recalls of one memory stream: answered one after the other, beside what else is on the stream.
//!
//! A recall may wait for its level as long as it says; a task of their own keeps that from the rows and watches that come
//! behind it. [`WAITING_MAX`] may wait for their turn: the next one holds the stream back.

use super::observe::Incoming;
use super::read;
use crate::env::Rt;
use crate::node::Node;
use crate::spans::Context;
use engram_proto::error::Error;
use engram_proto::transport::timeout;
use engram_proto::wire::v1::{MemoryResponse, RecallRequest, memory_response};
use openraft::AsyncRuntime;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

const WAITING_MAX: usize = 16;

type Out = mpsc::Sender<Result<MemoryResponse, Status>>;

/// Those of one stream. What was asked before its drop is still answered.
pub struct Recalls {
    node: Arc<Node>,
    caller: Option<Context>,
    out: Out,
    asked: Option<mpsc::Sender<Asked>>,
}

struct Asked {
    request: RecallRequest,
    /// Gives the log index that has every row which the stream sent before the recall; `None` where that is not asked for.
    own: Option<oneshot::Receiver<u64>>,
}

impl Recalls {
    pub fn new(node: &Arc<Node>, caller: Option<Context>, out: &Out) -> Self {
        Self { node: node.clone(), caller, out: out.clone(), asked: None }
    }

    /// Takes one in, on a stream with this session. False when the client is gone.
    pub async fn ask(&mut self, request: RecallRequest, session: Option<&mpsc::Sender<Incoming>>) -> bool {
        let own = match session.filter(|_| request.own_observations) {
            None => None,
            Some(session) => {
                let (asker, answer) = oneshot::channel();
                // A session that has ended says why on the stream itself.
                drop(session.send(Incoming::Mark(asker)).await);
                Some(answer)
            }
        };
        let asked = self.asked.get_or_insert_with(|| {
            let (asked, waiting) = mpsc::channel(WAITING_MAX);
            drop(Rt::spawn(answer(self.node.clone(), self.caller, waiting, self.out.clone())));
            asked
        });
        asked.send(Asked { request, own }).await.is_ok()
    }
}

/// Answers them until there are no more, or the client is gone.
async fn answer(node: Arc<Node>, caller: Option<Context>, mut waiting: mpsc::Receiver<Asked>, out: Out) {
    let wrap = |answer| MemoryResponse { message: Some(memory_response::Message::Recall(answer)) };
    while let Some(Asked { request, own }) = waiting.recv().await {
        let going_on = match log_index(&node, &request, own).await {
            Ok(own) => read::recall(&node, caller, request, own, &out, wrap).await,
            Err(error) => read::refuse(request.request_id, error, &out, wrap).await,
        };
        if !going_on {
            return;
        }
    }
}

async fn log_index(node: &Node, request: &RecallRequest, own: Option<oneshot::Receiver<u64>>) -> Result<u64, Error> {
    let Some(own) = own else { return Ok(0) };
    let limit = node.gate.deadline(request.deadline_ms);
    match timeout(&*node.world, limit, own).await {
        Some(Ok(log_index)) => Ok(log_index),
        Some(Err(_)) => Err(Error::in_doubt("the stream's session has ended; open or resume it on a new stream")),
        None => {
            let text = format!("the stream's own rows were not committed within {limit:?}; ask again");
            Err(Error::behind(text, 0, node.state.watermark().applied()))
        }
    }
}
