//! A follower's entries on their way to the leader: several under way, in order, on one stream.
//!
//! Place in the corridor: between `Proposal` and the leader's log. The leader answers each entry, in order; a stream that
//! ends any other way leaves those without an answer in doubt, and those that it never took surely without effect.
//! Invariants: `no_second_proposal`; `order_in_session`, entries reach the leader's log in the order in which they were
//! sent, or not at all.

use crate::env::{Clock, Rt};
use crate::leader::Leadership;
use crate::raft::net::Connection;
use engram_probes::probe;
use engram_proto::error::{Error, Result, WriteClass};
use engram_proto::wire::log::{Entry, Outcome};
use engram_proto::wire::peer::{ForwardRequest, ForwardResponse, forward_response};
use futures_util::future::{Either, pending, select};
use openraft::AsyncRuntime;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tonic::{Status, Streaming};

/// Entries between this node and an answer; the leader takes as many from one node.
pub const IN_FLIGHT_MAX: usize = 16;
/// How long a forwarded command may take before its outcome is called unknown.
pub const FORWARD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a leader may still answer once another node leads: it may be cut off from here.
pub const FORWARD_GRACE: Duration = Duration::from_secs(1);

/// An entry, and whom to tell its outcome.
type Sent = (Entry, oneshot::Sender<Result<Outcome>>);

/// The stream to the leader, as it was last.
pub struct Forwarder {
    leadership: Leadership,
    clock: Arc<dyn Clock>,
    stream: Option<(u64, mpsc::Sender<Sent>)>,
}

impl Forwarder {
    /// No stream yet.
    pub fn new(leadership: Leadership, clock: Arc<dyn Clock>) -> Self {
        Self { leadership, clock, stream: None }
    }

    /// Sends an entry behind those before it; the outcome comes by itself. At most [`IN_FLIGHT_MAX`] may wait for theirs.
    pub fn send(&mut self, connection: &Connection, entry: Entry) -> impl Future<Output = Result<Outcome>> + use<> {
        let (told, outcome) = oneshot::channel();
        let mut sent = (entry, told);
        if let Some((node, stream)) = &self.stream
            && *node == connection.node()
        {
            match stream.try_send(sent) {
                Ok(()) => return answered(outcome),
                Err(mpsc::error::TrySendError::Closed(back)) => sent = back,
                Err(mpsc::error::TrySendError::Full(_)) => unreachable!("no more wait than the channel holds"),
            }
        }
        let (stream, entries) = mpsc::channel(IN_FLIGHT_MAX);
        stream.try_send(sent).expect("an empty channel");
        self.stream = Some((connection.node(), stream));
        let (connection, leadership, clock) = (connection.clone(), self.leadership.clone(), self.clock.clone());
        drop(Rt::spawn(async move { forward(&connection, &leadership, &*clock, entries).await }));
        answered(outcome)
    }
}

async fn answered(outcome: oneshot::Receiver<Result<Outcome>>) -> Result<Outcome> {
    outcome.await.unwrap_or_else(|_| Err(Error::in_doubt("the node is stopping")))
}

/// One stream's life; whoever waits when it ends is told what that means.
async fn forward(
    connection: &Connection,
    leadership: &Leadership,
    clock: &dyn Clock,
    mut entries: mpsc::Receiver<Sent>,
) {
    let mut waiting = VecDeque::with_capacity(IN_FLIGHT_MAX);
    let (up, messages) = mpsc::channel(IN_FLIGHT_MAX);
    // Dropped, it sent nothing.
    let replaced = pin!(leadership.replaced(connection.node(), Duration::ZERO));
    let opened = match select(pin!(connection.forward(messages)), replaced).await {
        Either::Left((opened, _)) => opened,
        Either::Right(((), _)) => Err(Status::unavailable("another node leads")),
    };
    let refused = match opened {
        Ok(answers) => {
            let lane = Lane { connection, leadership, clock, up, answers };
            let error = lane.run(&mut entries, &mut waiting).await;
            waiting.into_iter().for_each(|(_, told): (_, oneshot::Sender<_>)| drop(told.send(Err(error.clone()))));
            leadership.no_leader()
        }
        // Nothing was sent.
        Err(status) => match leadership.refused(&status) {
            error if error.is_rejected() => error,
            _ => leadership.no_leader(),
        },
    };
    entries.close();
    while let Some((_, told)) = entries.recv().await {
        drop(told.send(Err(refused.clone())));
    }
}

struct Lane<'a> {
    connection: &'a Connection,
    leadership: &'a Leadership,
    clock: &'a dyn Clock,
    up: mpsc::Sender<ForwardRequest>,
    answers: Streaming<ForwardResponse>,
}

/// Since when an entry waits, and who is to be told.
type Waiting = VecDeque<(Duration, oneshot::Sender<Result<Outcome>>)>;

impl Lane<'_> {
    /// Runs until the stream ends; what its end means for the entries that wait.
    async fn run(mut self, entries: &mut mpsc::Receiver<Sent>, waiting: &mut Waiting) -> Error {
        let (node, leader) = (self.leadership.node(), self.connection.node());
        let mut replaced = pin!(self.leadership.replaced(leader, FORWARD_GRACE));
        // False once another stream has taken this one's place.
        let mut current = true;
        while current || !waiting.is_empty() {
            let left = waiting.front().map(|(since, _)| {
                let waited = self.clock.monotonic().saturating_sub(*since);
                FORWARD_TIMEOUT.saturating_sub(waited)
            });
            let late = match left {
                Some(left) => Either::Left(self.clock.sleep(left)),
                None => Either::Right(pending()),
            };
            tokio::select! {
                biased; // what was answered counts, whatever comes after it
                answer = self.answers.message() => match answer {
                    Ok(Some(answer)) => match waiting.pop_front() {
                        Some((_, told)) => drop(told.send(outcome(answer))),
                        None => return Error::in_doubt(format!("node {leader} answered what it was not asked")),
                    },
                    Ok(None) => return Error::in_doubt(format!("node {leader} ended the stream of entries")),
                    Err(status) => {
                        if !waiting.is_empty() {
                            probe!("forward_stream_broke_with_entries");
                        }
                        return self.leadership.refused(&status);
                    }
                },
                () = &mut replaced => {
                    probe!("leader_replaced_with_entries_on_their_way");
                    let text = format!("node {node}: node {leader} was replaced as leader before it answered");
                    return Error::in_doubt(text);
                }
                () = late => {
                    probe!("forward_took_too_long");
                    self.connection.reset();
                    return Error::in_doubt(format!("no answer from node {leader} within {FORWARD_TIMEOUT:?}"));
                }
                entry = entries.recv(), if current && waiting.len() < IN_FLIGHT_MAX => {
                    let Some((entry, told)) = entry else {
                        current = false;
                        continue;
                    };
                    waiting.push_back((self.clock.monotonic(), told));
                    let request = ForwardRequest { header: self.connection.header(), entry: Some(entry) };
                    if self.up.send(request).await.is_err() {
                        return Error::in_doubt(format!("the stream of entries to node {leader} broke"));
                    }
                }
            }
        }
        Error::in_doubt(format!("the stream of entries to node {leader} is over"))
    }
}

fn outcome(answer: ForwardResponse) -> Result<Outcome> {
    match answer.answer {
        Some(forward_response::Answer::Outcome(outcome)) => Ok(outcome),
        Some(forward_response::Answer::Error(detail)) => Err(detail.into()),
        None => Err(Error::in_doubt("the leader's answer has no outcome").with_class(WriteClass::Unknown)),
    }
}
