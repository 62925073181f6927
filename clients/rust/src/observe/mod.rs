//! One exactly-once stream: an [`Observer`] numbers what is pushed, keeps it until it is acked, and resumes by
//! itself over dropped connections, leader changes and crashes.
//!
//! `window` is the machine without I/O, `link` one live stream, `driver` the task that keeps the session connected,
//! `resume` its beginning, `flow` what its owner may hold back.

mod driver;
mod event;
mod feed;
mod flow;
mod link;
#[cfg(test)]
mod model;
mod resume;
mod shared;
mod window;

pub use event::Event;
pub use flow::Credit;
pub use shared::Summary;

use crate::{AckStage, Error, Observation, ObserveError, Priority, ReadToken};
use engram_proto::limits;
use engram_proto::wire::v1::SessionOpened;
use futures_util::future::poll_fn;
use prost::Message;
use shared::{Shared, State};
use std::task::{Context, Poll};
use std::{sync::Arc, time::Duration};

/// Bytes of one encoded observation that are worth sending: ten times what the limits of its fields add up to.
pub(crate) const OBSERVATION_BYTES_MAX: usize = 1024 * 1024;

/// How to stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObserveOptions {
    /// When a row counts as acked. Default: committed.
    pub stage: AckStage,
    /// With the searchable stage: on so many nodes at least, the one that takes the stream among them; the cluster must have
    /// as many members. Default 0: on that one. [`ObserveOptions::searchable_on`] sets both.
    pub searchable_nodes: u32,
    /// The admission lane, for the stream's whole life. Default: normal.
    pub priority: Priority,
    /// Rows kept unacked; `push` waits over it. The server's credit may ask for less in flight. Default 4,096.
    pub window_rows: usize,
    /// The same in bytes. Default 16 MiB.
    pub window_bytes: usize,
    /// Rows of one batch, 1 to 1000. Default 500.
    pub batch_rows: usize,
    /// Bytes of one batch, rounded up to a row, at most 8 MiB. Default 1 MiB, a log entry's size.
    pub batch_bytes: usize,
    /// How long a row may wait for others to share its batch while earlier ones are in flight. Default 1 ms.
    pub linger: Duration,
    /// Events kept for `next_event`; over it acks are merged, then the oldest dropped. Default 4,096.
    pub events: usize,
}

impl Default for ObserveOptions {
    fn default() -> Self {
        Self {
            stage: AckStage::Committed,
            searchable_nodes: 0,
            priority: Priority::Normal,
            window_rows: 4096,
            window_bytes: 16 << 20,
            batch_rows: 500,
            batch_bytes: 1 << 20,
            linger: Duration::from_millis(1),
            events: 4096,
        }
    }
}

impl ObserveOptions {
    /// Rows are acked once a recall may return them on `nodes` nodes at least, at any level; after a resume too, which
    /// therefore waits for that.
    pub fn searchable_on(self, nodes: u32) -> Self {
        Self { stage: AckStage::Searchable, searchable_nodes: nodes, ..self }
    }

    fn complete(mut self) -> Self {
        if self.stage == AckStage::Unspecified {
            self.stage = AckStage::Committed;
        }
        self.window_rows = self.window_rows.max(1);
        self.window_bytes = self.window_bytes.max(1);
        self.batch_rows = self.batch_rows.clamp(1, limits::BATCH_ROWS_MAX);
        self.batch_bytes = self.batch_bytes.clamp(1, limits::MESSAGE_BYTES_MAX / 2);
        self
    }

    fn limits(&self) -> window::Limits {
        window::Limits {
            rows: self.window_rows,
            bytes: self.window_bytes,
            batch_rows: self.batch_rows,
            batch_bytes: self.batch_bytes,
        }
    }
}

/// An observation of a text and its embedding, `[f32; dim]`; its time is 0 and it has no metadata.
pub fn observation(text: impl Into<String>, embedding: &[f32]) -> Observation {
    let embedding = embedding.iter().flat_map(|v| v.to_le_bytes()).collect();
    Observation { text: text.into(), embedding, ..Observation::default() }
}

/// One exactly-once stream into a space. A task of its world keeps it connected; dropping the observer ends that
/// task, and what was not acked by then is in doubt. All methods take `&self`: one task may push while another
/// reads the events.
pub struct Observer {
    shared: Arc<Shared>,
    opened: SessionOpened,
    batch_rows: usize,
}

impl Observer {
    /// Takes an observation into the window, and waits while that is full. The answer is its ticket: the count of
    /// what was pushed, from 1, by which [`Event`]s name it; its sequence in the session is told with the ack.
    ///
    /// Errors: `Refused` (over 1 MiB) leaves the stream as it was; `Stopped` for good. Cancel safe: a push that was
    /// dropped while it waited has taken nothing, and the observation is dropped with it.
    pub async fn push(&self, observation: Observation) -> Result<u64, ObserveError> {
        let bytes = observation.encoded_len();
        if bytes > OBSERVATION_BYTES_MAX {
            let text = format!("the observation has {bytes} bytes; at most {OBSERVATION_BYTES_MAX}; split it");
            return Err(ObserveError::Refused(Error::invalid(text)));
        }
        let mut waiting = Some(observation);
        let (ticket, wake) = poll_fn(|cx| self.poll_push(cx, &mut waiting)).await?;
        if wake {
            self.shared.nudge(|_| ());
        }
        Ok(ticket)
    }

    fn poll_push(
        &self,
        cx: &mut Context<'_>,
        waiting: &mut Option<Observation>,
    ) -> Poll<Result<(u64, bool), ObserveError>> {
        let pushed = self.shared.with(|state| {
            check(state)?;
            if !state.window.has_room() {
                state.hurry = true;
                state.wait(cx);
                return Ok(None);
            }
            let Some(observation) = waiting.take() else { return Ok(None) };
            let ticket = state.window.push(observation);
            state.summary.pushed = ticket;
            let unsent = state.window.unsent();
            // In between the driver waits for its linger or for a full batch.
            Ok(Some((ticket, unsent == 1 || unsent.is_multiple_of(self.batch_rows))))
        });
        match pushed {
            Err(error) => Poll::Ready(Err(error)),
            Ok(Some(pushed)) => Poll::Ready(Ok(pushed)),
            Ok(None) => {
                self.shared.nudge(|_| ());
                Poll::Pending
            }
        }
    }

    /// The next event; `None` when the stream has stopped and all was told. Cancel safe: no event is lost.
    pub async fn next_event(&self) -> Option<Event> {
        poll_fn(|cx| {
            self.shared.with(|state| match state.events.pop() {
                Some(event) => Poll::Ready(Some(event)),
                None if state.stopped.is_some() => Poll::Ready(None),
                None => {
                    state.wait(cx);
                    Poll::Pending
                }
            })
        })
        .await
    }

    /// The next event if there is one now.
    pub fn try_event(&self) -> Option<Event> {
        self.shared.with(|state| state.events.pop())
    }

    /// Waits until everything pushed so far is acked or refused; how many were what is in the summary. Waits as
    /// long as it takes, [`Timing::give_up`](crate::Timing) at most without progress. Errors: `Stopped`. Cancel safe.
    pub async fn flush(&self) -> Result<Summary, ObserveError> {
        let through = self.shared.with(|state| state.summary.pushed);
        poll_fn(|cx| {
            let done = self.shared.with(|state| {
                if state.window.settled_through() >= through {
                    return Poll::Ready(Ok(state.summary()));
                }
                check(state)?;
                state.hurry = true;
                state.wait(cx);
                Poll::Pending
            });
            if done.is_pending() {
                self.shared.nudge(|_| ());
            }
            done
        })
        .await
    }

    /// Flushes and ends the stream; the session expires by itself. Errors: `Stopped`. Cancelled: what has no ack
    /// yet is in doubt.
    pub async fn finish(self) -> Result<Summary, ObserveError> {
        self.flush().await
    }

    /// The session's id: the log index of its opening.
    pub fn session(&self) -> u64 {
        self.opened.session
    }

    /// The cluster's incarnation: what [`Client::resume`](crate::Client::resume) needs besides the session's id.
    pub fn incarnation(&self) -> u64 {
        self.opened.incarnation
    }

    /// What was committed when this observer began: 0, unless it took up a session.
    pub fn last_sequence(&self) -> u64 {
        self.opened.last_sequence
    }

    /// Components of an embedding in this space.
    pub fn dim(&self) -> u32 {
        self.opened.dim
    }

    /// The highest sequence that is acked at the stage asked for.
    pub fn acked(&self) -> u64 {
        self.shared.with(|state| state.window.acked())
    }

    /// What a read must reach to see everything acked here. The client's own session reads carry it by themselves.
    pub fn token(&self) -> ReadToken {
        let incarnation = self.opened.incarnation;
        ReadToken { incarnation, ..self.shared.with(|state| state.summary.token) }
    }

    /// The counts so far.
    pub fn summary(&self) -> Summary {
        self.shared.with(|state| state.summary())
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.shared.close();
    }
}

fn check(state: &State) -> Result<(), ObserveError> {
    match &state.stopped {
        None => Ok(()),
        Some(stopped) => Err(ObserveError::Stopped(stopped.clone())),
    }
}
