//! The sole caller of Raft's writes; it decides what is doubt.
//!
//! Place in the corridor: `Admitted → Proposal → (LogId, Command)`. Several entries are in flight, handed to Raft, or to
//! the leader, in order.
//! Invariant `no_second_proposal`: an entry is proposed once. What comes back without a verdict is doubt,
//! unless the pinned openraft says that nothing was appended (`ForwardToLeader`).

use crate::admission::{Admission, Admitted, Permit};
use crate::env::Clock;
use crate::forward::{FORWARD_GRACE, FORWARD_TIMEOUT, Forwarder, IN_FLIGHT_MAX};
use crate::leader::{Leader, Leadership};
use crate::metrics::Meters;
use crate::raft::net::{Connection, PeerCalls};
use crate::raft::types::{LeaderTerm, Payload, TypeConfig};
use crate::session::{CHUNK_ROWS_MAX, Sequenced};
use engram_mutants::mutant;
use engram_probes::probe;
use engram_proto::error::{Error, Kind, Result, WriteClass};
use engram_proto::wire::log::{Chunk, Command, Entry, Outcome, Verdict, command, outcome};
use engram_proto::wire::peer::ProposeRequest;
use futures_util::future::{BoxFuture, Either, select};
use openraft::errors::ClientWriteError;
use openraft::impls::ProgressResponder;
use openraft::raft::ClientWriteResult;
use prost::Message;
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Bytes after which an entry takes no further chunk.
pub const ENTRY_BYTES_MAX: usize = 1 << 20;
/// Rows that one stream puts into an entry before others have their turn.
const TURN_ROWS: usize = CHUNK_ROWS_MAX;
/// Rows that an entry aims at, by the rows that wait.
fn rows_wanted(depth: usize) -> usize {
    match depth {
        0..=50 => 10,
        51..=2000 => 100,
        _ => 500,
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Proposer {
    leadership: Leadership,
    admission: Admission,
    clock: Arc<dyn Clock>,
    in_flight: Arc<Semaphore>,
    meters: Meters,
}

impl Proposer {
    /// Takes from `admission`, writes where `leadership` says.
    pub fn new(leadership: Leadership, admission: Admission, clock: Arc<dyn Clock>, meters: Meters) -> Self {
        let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
        Self { leadership, admission, clock, in_flight, meters }
    }

    /// Runs until the node stops: drains the admission lanes into the log, and tells outcomes in log order.
    pub async fn run(self) {
        let (pending, outcomes) = mpsc::channel(IN_FLIGHT_MAX);
        futures_util::future::join(self.propose_all(pending), self.settle_all(outcomes)).await;
    }

    async fn propose_all(&self, pending: mpsc::Sender<(Proposal, Pending)>) {
        let mut forwarder = Forwarder::new(self.leadership.clone(), self.clock.clone());
        loop {
            let slot = self.in_flight.clone().acquire_owned().await.expect("never closed");
            let batch = self.next_batch().await;
            if let Leader::Here { .. } = self.leadership.leader() {
                self.admission.indexable().await;
            }
            let (proposal, entry) = Proposal::of(batch, slot, self.clock.monotonic());
            self.meters.entry_rows.observe(proposal.rows());
            let outcome: Pending = match self.leadership.leader() {
                Leader::Here { term } => self.propose_here(term, entry).await,
                Leader::There(connection) => Box::pin(forwarder.send(&connection, entry)),
                Leader::Unknown => Box::pin(std::future::ready(Err(self.leadership.no_leader()))),
            };
            if pending.send((proposal, outcome)).await.is_err() {
                return;
            }
        }
    }

    /// Tells outcomes in the order of the proposals: a stream's acks never skip rows.
    async fn settle_all(&self, mut outcomes: mpsc::Receiver<(Proposal, Pending)>) {
        while let Some((proposal, outcome)) = outcomes.recv().await {
            let outcome = outcome.await;
            self.meters.proposals.time(self.clock.monotonic().saturating_sub(proposal.begun));
            if !matches!(outcome, Ok(Outcome { kind: Some(outcome::Kind::Entry(_)) })) {
                self.meters.proposals_failed.fetch_add(1, Ordering::Relaxed);
            }
            proposal.settle(outcome);
        }
    }

    async fn next_batch(&self) -> Vec<Admitted> {
        loop {
            let wanted = rows_wanted(self.admission.depth().iter().sum());
            let (mut rows, mut bytes, mut batch) = (0, 0, Vec::new());
            while rows < wanted && bytes < ENTRY_BYTES_MAX {
                let turn_ends = wanted.min(rows + TURN_ROWS);
                let took = self.admission.turn(|admitted| {
                    rows += admitted.chunk.records().len();
                    bytes += admitted.chunk.bytes();
                    batch.push(admitted);
                    match rows < turn_ends && bytes < ENTRY_BYTES_MAX {
                        true => ControlFlow::Continue(()),
                        false => ControlFlow::Break(()),
                    }
                });
                if !took {
                    break;
                }
            }
            if !batch.is_empty() {
                return batch;
            }
            self.admission.filled().await;
        }
    }

    /// Hands the entry to Raft, in order; the answer is awaited elsewhere, so that several are in flight.
    async fn propose_here(&self, term: u64, entry: Entry) -> Pending {
        let payload = self.encode(term, command::Kind::Entry(entry));
        let (responder, done) = ProgressResponder::<TypeConfig, ClientWriteResult<TypeConfig>>::complete_only();
        let write = self.leadership.raft().write(payload).responder(responder);
        if let Err(fatal) = write.with_leader(LeaderTerm::new(term)).await {
            let error = Error::in_doubt(format!("node {}: {fatal}", self.leadership.node()));
            return Box::pin(std::future::ready(Err(error)));
        }
        let leadership = self.leadership.clone();
        Box::pin(async move {
            match done.await {
                Ok(result) => classify(result, &leadership).map(|(_, outcome)| outcome),
                Err(_) => Err(Error::in_doubt(format!("node {} stopped before the outcome", leadership.node()))),
            }
        })
    }

    fn encode(&self, term: u64, kind: command::Kind) -> Payload {
        let stamp_ms = self.leadership.stamp_ms(term);
        Payload(Command { stamp_ms, kind: Some(kind) }.encode_to_vec().into())
    }

    async fn forward(&self, connection: &Connection, kind: command::Kind) -> Result<(u64, Outcome)> {
        // The leader stamps it.
        let command = Some(Command { stamp_ms: 0, kind: Some(kind) });
        let request = ProposeRequest { header: connection.header(), command };
        let call = |mut client: PeerCalls| async move { client.propose(request).await };
        let answer = pin!(connection.answer(FORWARD_TIMEOUT, call));
        let replaced = pin!(self.leadership.replaced(connection.node(), FORWARD_GRACE));
        match select(answer, replaced).await {
            Either::Left((Ok(answer), _)) => {
                let outcome = answer.outcome.ok_or_else(|| Error::in_doubt("the leader's answer has no outcome"))?;
                Ok((answer.log_index, outcome))
            }
            Either::Left((Err(status), _)) => Err(self.leadership.refused(&status)),
            Either::Right(((), _)) => {
                let (node, leader) = (self.leadership.node(), connection.node());
                Err(Error::in_doubt(format!("node {node}: node {leader} was replaced as leader before it answered")))
            }
        }
    }

    /// Proposes a command other than an entry, here or on the leader: (log index, outcome).
    /// Refusals by apply come back as errors. Cancel: the command goes on; its outcome is then unknown.
    pub async fn command(&self, kind: command::Kind) -> Result<(u64, Outcome)> {
        let (index, outcome) = match self.leadership.leader() {
            Leader::Here { .. } => self.command_here(kind).await?,
            Leader::There(connection) => self.forward(&connection, kind).await?,
            Leader::Unknown => return Err(self.leadership.no_leader()),
        };
        match outcome.kind {
            Some(outcome::Kind::Refused(detail)) => Err(detail.into()),
            _ => Ok((index, outcome)),
        }
    }

    /// Proposes an entry of another node on this one, which must lead; it takes a permit here too. Refusals by apply are
    /// part of the outcome.
    pub async fn forwarded(&self, entry: Entry) -> Result<Pending> {
        let Leader::Here { term } = self.leadership.leader() else {
            return Err(self.leadership.no_leader());
        };
        let rows = entry.chunks.iter().map(|chunk| chunk.records.len()).sum();
        let permit = self.admission.permit(1, rows, entry.encoded_len())?;
        let outcome = self.propose_here(term, entry).await;
        Ok(Box::pin(async move {
            let outcome = outcome.await;
            drop(permit);
            outcome
        }))
    }

    /// Proposes a command other than an entry on this node, which must lead: also what a follower forwarded. Refusals by
    /// apply are part of the outcome.
    pub async fn command_here(&self, kind: command::Kind) -> Result<(u64, Outcome)> {
        let Leader::Here { term } = self.leadership.leader() else {
            return Err(self.leadership.no_leader());
        };
        let payload = self.encode(term, kind);
        match self.leadership.raft().client_write(payload).await {
            Ok(done) => Ok((done.log_id.index, done.data)),
            Err(openraft::errors::RaftError::APIError(error)) => classify(Err(error), &self.leadership),
            Err(fatal) => Err(Error::in_doubt(format!("node {}: {fatal}", self.leadership.node()))),
        }
    }
}

/// openraft documents `ForwardToLeader` as refused before anything was appended; all else is doubt.
fn classify(result: ClientWriteResult<TypeConfig>, leadership: &Leadership) -> Result<(u64, Outcome)> {
    match result {
        Ok(done) => Ok((done.log_id.index, done.data)),
        Err(ClientWriteError::ForwardToLeader(_)) => {
            probe!("proposal_not_by_the_leader");
            Err(leadership.no_leader())
        }
        Err(error) => {
            probe!("proposal_in_doubt");
            Err(Error::in_doubt(format!("node {}: {error}", leadership.node())))
        }
    }
}

/// An outcome on its way.
pub type Pending = BoxFuture<'static, Result<Outcome>>;

/// Chunks in one entry, with what must live until their outcome is known.
struct Proposal {
    chunks: Vec<(Sequenced, usize, Permit)>,
    /// By the monotonic clock.
    begun: Duration,
    _slot: OwnedSemaphorePermit,
}

impl Proposal {
    /// The rows go to the command; only what tells their outcome is kept.
    fn of(batch: Vec<Admitted>, slot: OwnedSemaphorePermit, begun: Duration) -> (Self, Entry) {
        let mut chunks = Vec::with_capacity(batch.len());
        let mut entry = Entry::default();
        for admitted in batch {
            let (mut chunk, permit) = admitted.into_parts();
            let records = chunk.take_records();
            let rows = records.len();
            entry.chunks.push(Chunk {
                session: chunk.session(),
                connection: chunk.connection(),
                first_sequence: chunk.first_sequence(),
                records,
                trace: chunk.span.as_ref().map(|span| span.context().to_wire()).unwrap_or_default(),
            });
            chunks.push((chunk, rows, permit));
        }
        (Self { chunks, begun, _slot: slot }, entry)
    }

    fn rows(&self) -> u64 {
        self.chunks.iter().map(|(_, rows, _)| *rows as u64).sum()
    }

    /// Tells each chunk's stream; the permits end here.
    fn settle(self, outcome: Result<Outcome>) {
        let verdicts: Result<Vec<Verdict>> = outcome.and_then(|outcome| match outcome.kind {
            Some(outcome::Kind::Entry(entry)) if entry.verdicts.len() == self.chunks.len() => Ok(entry.verdicts),
            Some(outcome::Kind::Refused(detail)) => Err(detail.into()),
            _ => Err(Error::new(Kind::InDoubt, "the outcome is not of this entry").with_class(WriteClass::Unknown)),
        });
        match verdicts {
            Ok(mut verdicts) => {
                if mutant!("verdicts_in_reverse") {
                    verdicts.reverse();
                }
                for ((chunk, rows, permit), verdict) in self.chunks.into_iter().zip(verdicts) {
                    drop(permit);
                    chunk.span.iter().for_each(|span| span.part("log", self.begun, None));
                    chunk.settle(rows, Ok(verdict));
                }
            }
            Err(error) => {
                for (chunk, rows, permit) in self.chunks {
                    drop(permit);
                    chunk.span.iter().for_each(|span| span.part("log", self.begun, Some(error.to_string())));
                    chunk.settle(rows, Err(error.clone()));
                }
            }
        }
    }
}
