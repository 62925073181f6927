//! The calls of one memory stream: what gRPC has as calls of their own, answered under the client's ids.
//!
//! Each is a task that calls the function which gRPC calls, so that none holds up rows, recalls, watches or another call.
//! At most [`CALLS_MAX`] have no answer yet; one more is refused. Answers that may be large are made one at a time, and
//! wait until the stream's outbox is empty: what a client that does not read has waiting stays within some pages.
//! Leaves out: calls with more than one answer (a list is asked for page by page; watches have ids of their own).

use super::{forget, list, read, session, spaces, unknown_message};
use crate::env::Rt;
use crate::node::Node;
use engram_proto::error::{Error, Result};
use engram_proto::limits::CALLS_MAX;
use engram_proto::wire::v1::call_request::Request;
use engram_proto::wire::v1::call_response::Outcome;
use engram_proto::wire::v1::{CallRequest, CallResponse, MemoryResponse, memory_response};
use openraft::AsyncRuntime;
use prost::Message;
use std::sync::Arc;
use tokio::sync::{Mutex, Semaphore, mpsc};
use tonic::Status;

/// An answer over it is large. Pages of lists are about as large at most.
const LARGE_BYTES: usize = 2 << 20;
/// A refusal that has no room for a call asks to wait this long: one of them must be answered first.
const RETRY_AFTER_MS: u32 = 100;

type Out = mpsc::Sender<std::result::Result<MemoryResponse, Status>>;

/// Those of one stream. What was asked before its drop is still answered.
pub struct Calls {
    node: Arc<Node>,
    out: Out,
    room: Arc<Semaphore>,
    /// Held by the one that makes a large answer.
    large: Arc<Mutex<()>>,
}

impl Calls {
    pub fn new(node: &Arc<Node>, out: &Out) -> Self {
        let (room, large) = (Arc::new(Semaphore::new(CALLS_MAX)), Arc::default());
        Self { node: node.clone(), out: out.clone(), room, large }
    }

    /// Begins one. What is wrong with it is said under its id. False when the client is gone.
    pub async fn begin(&self, call: CallRequest) -> bool {
        let CallRequest { call_id, request } = call;
        let Ok(room) = self.room.clone().try_acquire_owned() else {
            let text = format!("a stream has at most {CALLS_MAX} calls without an answer; wait for one");
            let error = Outcome::Error(Error::overloaded(text, RETRY_AFTER_MS).into());
            return self.out.send(Ok(response(call_id, error))).await.is_ok();
        };
        let (node, out, large) = (self.node.clone(), self.out.clone(), self.large.clone());
        drop(Rt::spawn(async move {
            let turn = match &request {
                Some(Request::Get(_)) => Some(large.lock().await),
                _ => None,
            };
            let outcome = answer(&node, request).await.unwrap_or_else(|error| Outcome::Error(error.into()));
            let answer = response(call_id, outcome);
            let slots = if answer.encoded_len() > LARGE_BYTES { out.max_capacity() } else { 1 };
            // A client that is gone hears nothing.
            let Ok(mut permits) = out.reserve_many(slots).await else { return };
            // Before the client can have read the answer, and ask for more.
            drop(room);
            if let Some(permit) = permits.next() {
                permit.send(Ok(answer));
            }
            drop(turn);
        }));
        true
    }
}

/// One call, whatever it is of.
async fn answer(node: &Node, request: Option<Request>) -> Result<Outcome> {
    Ok(match request.ok_or_else(unknown_message)? {
        Request::Get(request) => Outcome::Get(read::get(node, request).await?),
        Request::Count(request) => Outcome::Count(read::count(node, request).await?),
        Request::List(request) => Outcome::List(list::page(node, request).await?),
        Request::Forget(request) => Outcome::Forget(forget::forget(node, request).await?),
        Request::SessionStatus(request) => Outcome::SessionStatus(session::session_status(node, &request).await?),
        Request::CreateSpace(request) => Outcome::CreateSpace(spaces::create(node, request).await?),
        Request::ListSpaces(_) => Outcome::ListSpaces(spaces::list(node)?),
        Request::DropSpace(request) => Outcome::DropSpace(spaces::drop(node, request).await?),
        Request::Status(_) => Outcome::Status(node.status()),
    })
}

fn response(call_id: u64, outcome: Outcome) -> MemoryResponse {
    let response = CallResponse { call_id, outcome: Some(outcome) };
    MemoryResponse { message: Some(memory_response::Message::Call(Box::new(response))) }
}
