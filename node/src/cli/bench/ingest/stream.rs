//! One stream of rows: what is common to both transports, and gRPC's by the client library.
//!
//! Place: rows go in as the pace says, acks come out. Invariant: a sequence is given to one row, and the row can be told
//! from it. Leaves out: broken connections; the library resumes, a WebSocket's end fails the bench.

use super::args::Transport;
use super::data::Data;
use super::pace::{Acks, Pace};
use super::probe::Probe;
use super::ws;
use crate::cli::exit::Failure;
use engram_client::{AckStage, Client, Event, ObserveOptions, Observer};
use hdrhistogram::Histogram;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// What one stream is to do.
#[derive(Clone)]
pub struct Job {
    /// The rows.
    pub data: Arc<Data>,
    /// Where they go.
    pub space: String,
    /// What is promised.
    pub stage: AckStage,
    /// Rows a message.
    pub batch: usize,
    /// Which of them.
    pub rows: Numbers,
    /// When.
    pub pace: Pace,
    /// Takes acked rows to look for.
    pub probes: mpsc::Sender<Probe>,
}

/// The numbers of a stream's rows.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    /// Of the first row.
    pub first: u64,
    /// From a row of this stream to its next.
    pub step: u64,
}

impl Numbers {
    /// The number of the row of a sequence.
    pub fn of(self, sequence: u64) -> u64 {
        self.first + (sequence - 1) * self.step
    }
}

/// What one stream was promised.
pub struct Streamed {
    /// Its session.
    pub session: u64,
    /// All up to it.
    pub acked: u64,
    /// Of those, before the end of the pace.
    pub in_time: u64,
    /// Microseconds from due to ack.
    pub latency: Histogram<u64>,
    /// Times that the node said slower, or refused what was sent too early.
    pub slowed: u64,
    /// Which rows.
    pub rows: Numbers,
}

/// Runs a stream to its last ack.
pub async fn run(transport: Transport, client: Client, address: String, job: Job) -> Result<Streamed, Failure> {
    match transport {
        Transport::Grpc => grpc(client, job).await,
        Transport::Ws => ws::run(&address, job).await,
    }
}

async fn grpc(client: Client, job: Job) -> Result<Streamed, Failure> {
    let options = ObserveOptions { stage: job.stage, batch_rows: job.batch, ..ObserveOptions::default() };
    let observer = Arc::new(client.observe(&job.space, options).await?);
    let acks = Arc::new(Mutex::new(Acks::new(&job.pace, job.probes.clone())));
    // By itself, so that making rows and hearing of them do not wait for each other.
    let mut pushing = JoinSet::new();
    pushing.spawn(push(observer.clone(), acks.clone(), job.clone()));
    let hear = |event: Event| match event {
        Event::Acked { sequences, log_index, .. } => {
            let last = *sequences.end();
            acks.lock().unwrap_or_else(PoisonError::into_inner).acked(last, log_index, job.rows.of(last));
            Ok(())
        }
        Event::Refused { sequence, error, .. } => {
            Err(Failure::failed(format!("row {sequence} of the bench's own was refused: {error}")))
        }
        Event::Lost { sequences } => Err(Failure::failed(format!("acked as received and lost: {sequences:?}"))),
        _ => Ok(()),
    };
    let pushed = loop {
        tokio::select! {
            biased; // news first
            event = observer.next_event() => match event {
                Some(event) => hear(event)?,
                None => break pushing.join_next().await,
            },
            pushed = pushing.join_next() => break pushed,
        }
    };
    pushed.expect("one task").map_err(|e| Failure::failed(format!("the pushing task: {e}")))??;
    while let Some(event) = observer.try_event() {
        hear(event)?;
    }
    let session = observer.session();
    drop(observer);
    let acks = Arc::into_inner(acks).expect("the pushing task has ended");
    let Acks { acked, in_time, latency, .. } = acks.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Streamed { session, acked, in_time, latency, slowed: 0, rows: job.rows })
}

async fn push(observer: Arc<Observer>, acks: Arc<Mutex<Acks>>, job: Job) -> Result<(), Failure> {
    let mut sequence = 0;
    let mut number = 0;
    while let Some(due) = job.pace.due(number).await {
        let last = sequence + job.batch as u64;
        sequence += 1;
        // The first of a message waits for room; with it the message is on its way.
        observer.push(job.data.observation(job.rows.of(sequence))).await?;
        acks.lock().unwrap_or_else(PoisonError::into_inner).sent(last, job.pace.counted_from(due));
        while sequence < last {
            sequence += 1;
            observer.push(job.data.observation(job.rows.of(sequence))).await?;
        }
        number += 1;
        tokio::task::yield_now().await;
    }
    observer.flush().await?;
    Ok(())
}
