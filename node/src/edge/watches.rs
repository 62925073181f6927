//! The watches of one memory stream: begun and stopped by the client, ended with the stream.
//!
//! Each is a task, so that a stream goes on observing and recalling. At most [`WATCHES_MAX`], each with one page in
//! hand: when the stream's outbox is full they wait for the client, and nobody else waits for them.
//! Invariant: an error or `stopped` is the last that a client hears of a watch; one under the same id begins after it.

use super::watch;
use crate::env::Rt;
use crate::node::Node;
use engram_proto::error::Error;
use engram_proto::limits::WATCHES_MAX;
use engram_proto::wire::v1::{
    MemoryResponse, WatchRows, WatchRowsResponse, WatchStopped, memory_response, watch_rows_response::Outcome,
};
use openraft::AsyncRuntime;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

type Out = mpsc::Sender<Result<MemoryResponse, Status>>;
type Task = <Rt as AsyncRuntime>::JoinHandle<()>;

/// A refusal that has no room for a watch asks to wait this long: one of them must be stopped first.
const RETRY_AFTER_MS: u32 = 1000;

/// Those of one stream; its drop ends them. A task that panicked counts as ended.
pub struct Watches {
    node: Arc<Node>,
    out: Out,
    running: BTreeMap<u64, Watch>,
}

struct Watch {
    /// Its drop ends the watch. Closed once the watch has ended, before its error is said.
    stop: oneshot::Sender<()>,
    task: Task,
}

impl Watches {
    pub fn new(node: &Arc<Node>, out: &Out) -> Self {
        Self { node: node.clone(), out: out.clone(), running: BTreeMap::new() }
    }

    /// Begins one. What is wrong with it is said under its id. False when the client is gone.
    pub async fn begin(&mut self, request: WatchRows) -> bool {
        let WatchRows { watch_id, request } = request;
        self.clear().await;
        if self.end(watch_id).await {
            // An error under an id says that no watch has it: the older one could not go on.
            let error = Error::invalid(format!("watch {watch_id} was under way, and is ended; choose another id"));
            return self.say(watch_id, Outcome::Error(error.into())).await;
        }
        if self.running.len() >= WATCHES_MAX {
            let text = format!("a stream has at most {WATCHES_MAX} watches; stop one, or watch on another stream");
            return self.say(watch_id, Outcome::Error(Error::overloaded(text, RETRY_AFTER_MS).into())).await;
        }
        let (node, out) = (self.node.clone(), self.out.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let request = request.unwrap_or_default();
        let task = Rt::spawn(async move {
            let wrap = |page| answer(watch_id, Outcome::Page(page));
            let ended = tokio::select! {
                biased; // nothing more is said once the client wants no more
                _ = stopped => Ok(()),
                ended = watch::follow(&node, &request, &out, wrap) => ended,
            };
            if let Err(error) = ended {
                // A client that is gone hears nothing.
                drop(out.send(Ok(answer(watch_id, Outcome::Error(error.into())))).await);
            }
        });
        self.running.insert(watch_id, Watch { stop, task });
        true
    }

    /// Ends one, and says so once nothing more comes of it. False when the client is gone.
    pub async fn stop(&mut self, watch_id: u64) -> bool {
        self.end(watch_id).await;
        self.say(watch_id, Outcome::Stopped(WatchStopped {})).await
    }

    /// Takes out those that ended by themselves: a client that has read why may use the id again. Waits until their
    /// errors are on their way, or a client that reads none of them would have any number waiting.
    async fn clear(&mut self) {
        let ended = self.running.extract_if(.., |_, watch| watch.stop.is_closed());
        for (_, watch) in ended.collect::<Vec<_>>() {
            drop(watch.task.await);
        }
    }

    /// Ends one and waits for its end. False when there is none.
    async fn end(&mut self, watch_id: u64) -> bool {
        let Some(Watch { stop, task }) = self.running.remove(&watch_id) else { return false };
        drop(stop);
        drop(task.await);
        true
    }

    async fn say(&self, watch_id: u64, outcome: Outcome) -> bool {
        self.out.send(Ok(answer(watch_id, outcome))).await.is_ok()
    }
}

fn answer(watch_id: u64, outcome: Outcome) -> MemoryResponse {
    let answer = WatchRowsResponse { watch_id, outcome: Some(outcome) };
    MemoryResponse { message: Some(memory_response::Message::Watch(answer)) }
}
