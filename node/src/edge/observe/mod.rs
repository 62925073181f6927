//! One observe stream, whatever carried it: gRPC, or a memory stream of gRPC or a WebSocket.
//!
//! Order of attention, fixed: outcomes first, then the node's stop, then new messages. A client that does not
//! read its acks stops being read; what is in flight is bounded by credit, so nothing grows.
//! `open` is the beginning, `acks` what waits to be told, `credit` what may be in flight.

mod acks;
mod credit;
mod open;

use super::own::Own;
use super::{unknown_message, unreadable};
use crate::admission::Feed;
use crate::node::Node;
use crate::session::{Door, Settled};
use crate::spans::Context;
use acks::Acks;
use credit::{Amount, Credit};
use engram_probes::probe;
use engram_proto::error::{Error, Result, WriteClass};
use engram_proto::wire::v1::{
    Ack, AckStage, FlowControl, FlowKind, ObserveBatch, ObserveRequest, ObserveResponse, Refused, observe_request,
    observe_response,
};
use futures_util::{Stream, StreamExt};
use open::Terms;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

/// What the transport gives.
pub type Received = std::result::Result<ObserveRequest, Status>;

/// What a stream is told.
pub enum Incoming {
    /// By its client.
    Message(Received),
    /// By the memory stream that it is part of: to say in which log index all its rows so far are, once they are.
    Mark(oneshot::Sender<u64>),
}

type Answer = std::result::Result<ObserveResponse, Status>;
type Out = mpsc::Sender<Answer>;

/// Runs a stream to its end; the client learns of an error as the stream's status.
pub async fn run<S>(node: Arc<Node>, caller: Option<Context>, incoming: S, out: Out)
where
    S: Stream<Item = Incoming> + Send + Unpin,
{
    let mut incoming = incoming;
    let ended = match open::open(&node, caller, &mut incoming, &out).await {
        Ok(Some(session)) => session.run(incoming).await,
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = ended {
        // A client that is gone hears nothing.
        drop(out.send(Err(error.into())).await);
    }
}

struct Session {
    node: Arc<Node>,
    out: Out,
    door: Door,
    settled: mpsc::Receiver<Settled>,
    acks: Acks,
    terms: Terms,
    feed: Feed,
    own: Own,
    credit: Credit,
    /// Whose trace its rows belong to.
    caller: Option<Context>,
    /// The client asked to hold acks back.
    paused: bool,
    /// The stream was told to go slower.
    slowed: bool,
    _live: crate::live::LiveGuard,
}

/// The client is gone: not an error to report to it.
struct Gone;
type Going = std::result::Result<(), Gone>;

impl From<mpsc::error::SendError<Answer>> for Gone {
    fn from(_: mpsc::error::SendError<Answer>) -> Self {
        Self
    }
}

enum Step {
    Tell(Result<Settled>),
    Settled(Settled),
    Stop,
    Incoming(Option<Incoming>),
}

impl Session {
    async fn run<S>(mut self, mut incoming: S) -> Result<()>
    where
        S: Stream<Item = Incoming> + Send + Unpin,
    {
        let mut stopping = self.node.stopping.clone();
        let mut half_closed = false;
        while !half_closed || self.credit.in_flight().rows > 0 {
            let step = tokio::select! {
                biased; // what can be told first: it frees credit
                told = self.acks.next(), if !self.paused && !self.acks.is_empty() => Step::Tell(told),
                settled = self.settled.recv(), if !self.paused => {
                    Step::Settled(settled.expect("the door holds a sender"))
                }
                _ = stopping.wait_for(|stop| *stop) => Step::Stop,
                incoming = incoming.next(), if !half_closed => Step::Incoming(incoming),
            };
            let going_on = match step {
                Step::Tell(settled) => self.tell(settled?).await?,
                Step::Settled(settled) => {
                    self.own.settled(acks::last_index(&settled));
                    self.acks.push(settled)?;
                    Ok(())
                }
                Step::Stop => {
                    if self.credit.in_flight().rows > 0 {
                        probe!("stream_stops_with_rows_on_their_way");
                    }
                    let text = format!("node {} is stopping; resume on another", self.node.id);
                    return Err(Error::in_doubt(text));
                }
                Step::Incoming(None) => {
                    // Nobody can let the acks go any more: held back for ever, they would keep the session alive.
                    (half_closed, self.paused) = (true, false);
                    Ok(())
                }
                // Too large, or no message at all: the stream cannot go on, and says why.
                Step::Incoming(Some(Incoming::Message(Err(status)))) => {
                    return unreadable(&status).map_or(Ok(()), |error| Err(error.with_class(self.doubt())));
                }
                Step::Incoming(Some(Incoming::Mark(asked))) => {
                    self.own.ask(asked);
                    Ok(())
                }
                Step::Incoming(Some(Incoming::Message(Ok(message)))) => {
                    let doubt = self.doubt();
                    self.message(message).await.map_err(|error| error.with_class(doubt))?
                }
            };
            if going_on.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The class of an error that a message causes: it had no effect, but rows before it may have.
    fn doubt(&self) -> WriteClass {
        if self.credit.in_flight().rows > 0 { WriteClass::Unknown } else { WriteClass::Rejected }
    }

    async fn message(&mut self, request: ObserveRequest) -> Result<Going> {
        match request.message {
            Some(observe_request::Message::Batch(batch)) => self.batch(batch).await,
            Some(observe_request::Message::Flow(flow)) => self.pace(flow.kind()).await,
            Some(_) => Err(Error::invalid("a stream is opened once; start another stream for another session")),
            None => Err(unknown_message()),
        }
    }

    /// What a client may ask of the pace: acks held back and let go, less credit and more.
    async fn pace(&mut self, kind: FlowKind) -> Result<Going> {
        match kind {
            FlowKind::Pause => self.paused = true,
            FlowKind::Resume => self.paused = false,
            FlowKind::Slower => self.credit.slower(),
            FlowKind::Faster => self.credit.faster(),
            _ => return Err(Error::invalid("clients send pause, resume, slower and faster; credit is the server's")),
        }
        match kind {
            FlowKind::Slower | FlowKind::Faster => {
                let credit = self.flow(FlowKind::Credit);
                Ok(self.send(observe_response::Message::Flow(credit)).await)
            }
            _ => Ok(Ok(())),
        }
    }

    async fn batch(&mut self, batch: ObserveBatch) -> Result<Going> {
        let max = engram_proto::limits::BATCH_ROWS_MAX;
        let rows = batch.observations.len();
        if self.door.drops(batch.first_sequence) {
            return self.credit.dropped(rows).map(Ok);
        }
        let checked = match rows > max {
            true => Err(Error::overloaded(format!("a batch has at most {max} rows; this one has {rows}"), 50)),
            false => self.credit.check(Amount { rows, bytes: 0 }),
        };
        if let Err(error) = checked {
            self.overrun()?;
            let refused = self.door.turn_back(batch.first_sequence, error);
            return Ok(self.tell_refused(refused).await);
        }
        // Told here and not only by the watch: a full disk must refuse rows before they wait for it.
        self.node.admission.set_disk_full(self.node.log.is_full());
        let (chunks, mut refused) = self.door.sequence(batch);
        for mut chunk in chunks {
            chunk.span = self.node.spans.begin("observe", self.caller);
            let (first, last) = (chunk.first_sequence(), chunk.first_sequence() + chunk.records().len() as u64 - 1);
            let amount = Amount { rows: chunk.records().len(), bytes: chunk.bytes() };
            let over = self.credit.check(amount);
            if over.is_err() {
                self.overrun()?;
            }
            let admitted = over.and_then(|()| self.node.admission.admit(&self.feed, chunk));
            if let Err(error) = admitted {
                refused = Some(self.door.turn_back(first, error));
                break;
            }
            self.own.admitted();
            self.credit.take(amount);
            if self.terms.stage == AckStage::Received
                && let Err(Gone) = self.ack(first, last, 0, false).await
            {
                return Ok(Err(Gone));
            }
        }
        if let Err(Gone) = self.hint().await {
            return Ok(Err(Gone));
        }
        match refused {
            Some(refused) => Ok(self.tell_refused(refused).await),
            None => Ok(Ok(())),
        }
    }

    /// A client that is acked what was received cannot know which rows still wait for their commit: being over is no fault.
    fn overrun(&mut self) -> Result<()> {
        match self.terms.stage {
            AckStage::Received => Ok(()),
            _ => self.credit.overrun(),
        }
    }

    /// Says once that the pressure has risen, and once that it has fallen.
    async fn hint(&mut self) -> Going {
        let pressure_permille = self.node.admission.pressure_permille(self.terms.priority);
        let slow = pressure_permille >= crate::admission::SIGNAL_PERMILLE;
        if slow == self.slowed {
            return Ok(());
        }
        if slow {
            probe!("slower_asked_for");
        }
        self.slowed = slow;
        let hint = self.flow(if slow { FlowKind::Slower } else { FlowKind::Faster });
        self.send(observe_response::Message::Flow(hint)).await
    }

    /// The credit as it is, and the pressure.
    fn flow(&self, kind: FlowKind) -> FlowControl {
        let granted = self.credit.granted();
        FlowControl {
            kind: kind.into(),
            credit_rows: granted.rows as u32,
            credit_bytes: granted.bytes as u64,
            pressure_permille: self.node.admission.pressure_permille(self.terms.priority),
        }
    }

    /// Tells an outcome whose rows have the stage asked for.
    async fn tell(&mut self, mut settled: Settled) -> Result<Going> {
        settled.trace();
        self.credit.give_back(Amount { rows: settled.rows, bytes: settled.bytes });
        let verdict = match settled.result {
            Ok(verdict) => verdict,
            // Surely without effect: the same numbers are expected again.
            Err(error) => {
                let (sequence, expected) = (settled.first_sequence, settled.first_sequence);
                let refused = Refused { sequence, expected, error: Some(error.into()) };
                return self.refused(refused, settled.attempt).await;
            }
        };
        // Received rows were acked when they were.
        let runs = if self.terms.stage == AckStage::Received { &[][..] } else { &verdict.runs };
        for run in runs {
            if let Err(Gone) = self.ack(run.first_sequence, run.last_sequence, run.log_index, run.repeat).await {
                return Ok(Err(Gone));
            }
        }
        match verdict.refused {
            Some(refused) => self.refused(refused, settled.attempt).await,
            None => Ok(Ok(())),
        }
    }

    async fn refused(&mut self, refused: Refused, attempt: u64) -> Result<Going> {
        let error = Error::from(refused.error.clone().unwrap_or_default());
        if acks::is_end(&error) {
            return Err(error);
        }
        match self.door.refused_at_apply(refused, attempt) {
            Some(refused) => Ok(self.tell_refused(refused).await),
            None => Ok(Ok(())),
        }
    }

    async fn tell_refused(&mut self, refused: Refused) -> Going {
        self.credit.told();
        self.send(observe_response::Message::Refused(refused)).await
    }

    async fn ack(&mut self, first_sequence: u64, last_sequence: u64, log_index: u64, repeat: bool) -> Going {
        let stage = self.terms.stage.into();
        let ack = Ack { first_sequence, last_sequence, log_index, stage, repeat };
        self.send(observe_response::Message::Ack(ack)).await
    }

    async fn send(&mut self, message: observe_response::Message) -> Going {
        Ok(self.out.send(Ok(response(message))).await?)
    }
}

fn response(message: observe_response::Message) -> ObserveResponse {
    ObserveResponse { message: Some(message) }
}
