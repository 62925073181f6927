//! One memory stream, whatever carried it: observe, recall, watch and calls on one stream, by gRPC or over a WebSocket.
//!
//! Observations go to a session task of their own, which the first of them begins, recalls to another; each watch and
//! each call is a task too. All write into one outbox, whose bound stops the reading for a client that does not read. The watches end
//! when nothing more is read: they have no end of their own that a half-close could wait for.

use super::calls::Calls;
use super::observe::Incoming;
use super::recalls::Recalls;
use super::watches::Watches;
use super::{FIRST_MESSAGE_TIMEOUT, observe, outbox, status, unknown_message, unreadable};
use crate::env::Rt;
use crate::node::Node;
use crate::spans::Context;
use engram_proto::error::Error;
use engram_proto::transport::timeout;
use engram_proto::wire::v1::{MemoryRequest, MemoryResponse, ObserveRequest, memory_request, memory_response};
use futures_util::{Stream, StreamExt};
use openraft::AsyncRuntime;
use std::sync::Arc;
use tokio::sync::mpsc;
use tonic::Status;

/// Observe messages that wait for the session task.
const OBSERVE_MESSAGES: usize = 4;

type Received = Result<MemoryRequest, Status>;
type Out = mpsc::Sender<Result<MemoryResponse, Status>>;
type Observations = mpsc::Sender<Incoming>;

/// Runs a stream to its end; the client learns of an error as the stream's status.
pub async fn run<S>(node: Arc<Node>, caller: Option<Context>, mut requests: S, out: Out)
where
    S: Stream<Item = Received> + Send + Unpin,
{
    let Some(first) = timeout(&*node.world, FIRST_MESSAGE_TIMEOUT, requests.next()).await else {
        let error = Error::invalid("no first message within 10 s; send open, resume, a recall, a watch or a call");
        // A client that is gone hears nothing, here and below.
        drop(out.send(Err(status(error))).await);
        return;
    };
    let mut next = first;
    let mut observations = None;
    let (mut watches, mut recalls) = (Watches::new(&node, &out), Recalls::new(&node, caller, &out));
    let calls = Calls::new(&node, &out);
    while let Some(request) = next {
        let message = request.map(|request| request.message);
        let going_on = match message {
            Ok(Some(memory_request::Message::Observe(request))) => {
                let session = observations.get_or_insert_with(|| session(&node, caller, &out));
                session.send(Incoming::Message(Ok(request))).await.is_ok()
            }
            Ok(Some(memory_request::Message::Recall(request))) => recalls.ask(request, observations.as_ref()).await,
            Ok(Some(memory_request::Message::Watch(request))) => watches.begin(request).await,
            Ok(Some(memory_request::Message::StopWatch(request))) => watches.stop(request.watch_id).await,
            Ok(Some(memory_request::Message::Call(request))) => calls.begin(request).await,
            Ok(None) => end(observations.as_ref(), Ok(ObserveRequest::default()), &out).await,
            Err(broken) => end(observations.as_ref(), Err(broken), &out).await,
        };
        if !going_on {
            return;
        }
        next = requests.next().await;
    }
}

/// The last word about a message that is none: a session says it, because it knows what is in flight.
async fn end(session: Option<&Observations>, last: Result<ObserveRequest, Status>, out: &Out) -> bool {
    let error = match (session, last) {
        (Some(session), last) => {
            drop(session.send(Incoming::Message(last)).await);
            return false;
        }
        (None, Ok(_)) => Some(unknown_message()),
        (None, Err(broken)) => unreadable(&broken),
    };
    if let Some(error) = error {
        drop(out.send(Err(status(error))).await);
    }
    false
}

/// Begins the session task, and relays its answers.
fn session(node: &Arc<Node>, caller: Option<Context>, out: &Out) -> Observations {
    let (observations, mut inbox) = mpsc::channel(OBSERVE_MESSAGES);
    let (session_out, mut answers) = outbox();
    let incoming = futures_util::stream::poll_fn(move |cx| inbox.poll_recv(cx));
    drop(Rt::spawn(observe::run(node.clone(), caller, incoming, session_out)));
    let out = out.clone();
    let relay = async move {
        while let Some(answer) = answers.next().await {
            let wrap = |answer| MemoryResponse { message: Some(memory_response::Message::Observe(answer)) };
            if out.send(answer.map(wrap)).await.is_err() {
                return;
            }
        }
    };
    drop(Rt::spawn(relay));
    observations
}
