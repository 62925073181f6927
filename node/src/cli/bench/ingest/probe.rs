//! Recalls beside the streams: asked at their times, and of rows that were just acked, until they are found.
//!
//! Invariants: a recall is asked when it is due, whatever the others do, and its time counts from then. A row's
//! visibility ends with the answer that has it, so it is never told shorter than it was.
#![expect(clippy::disallowed_methods, reason = "a command measures with the system's clock")]

use super::data::Data;
use super::pace::Pace;
use crate::cli::feed;
use engram_client::{Answer, Client, Error, Level, Recall};
use hdrhistogram::Histogram;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Hits that are asked for.
pub const K: usize = 10;
/// After which an acked row counts as not found.
const FOUND_WITHIN: Duration = Duration::from_secs(5);
/// Before the next of these two.
const AGAIN: Duration = Duration::from_millis(1);
const NEXT: Duration = Duration::from_millis(50);

/// An acked row to look for.
pub struct Probe {
    /// Its number.
    pub row: u64,
    /// Where it is in the log.
    pub log_index: u64,
    /// When its ack came.
    pub acked: Instant,
}

/// Whom to ask, and where.
#[derive(Clone)]
pub struct Asking {
    /// Of all nodes.
    pub client: Client,
    /// The nodes, asked in turn.
    pub nodes: Vec<String>,
    /// The space.
    pub space: String,
    /// The rows.
    pub data: Arc<Data>,
}

impl Asking {
    async fn ask(&self, number: usize, cue: Vec<f32>) -> Result<Answer, Error> {
        let node = Some(self.nodes[number % self.nodes.len()].clone());
        let recall = Recall { level: Level::Eventual, node, ..Recall::new(&*self.space, cue, K as u32) };
        self.client.recall(recall).await
    }
}

/// An answer, to be held against an exact search.
pub struct Seen {
    /// Of the data.
    pub query: usize,
    /// Rows at the answer's snapshot.
    pub rows: u64,
    /// Their places in the log's order.
    pub hits: Vec<u64>,
}

/// What came of the recalls.
pub struct Recalled {
    /// Microseconds from due to the last page.
    pub latency: Histogram<u64>,
    /// The answers.
    pub seen: Vec<Seen>,
    /// Recalls without an answer.
    pub failed: u64,
}

/// Asks as the pace says, until its end and the last answer.
pub async fn recalls(asking: Asking, pace: Pace) -> Recalled {
    let mut recalled = Recalled { latency: feed::histogram(), seen: Vec::new(), failed: 0 };
    let mut asked = JoinSet::new();
    let mut number = 0;
    while let Some(due) = pace.due(number).await {
        let (asking, query) = (asking.clone(), number as usize % asking.data.queries.len());
        asked.spawn(async move {
            let answer = asking.ask(number as usize, asking.data.queries[query].clone()).await;
            (query, due.elapsed(), answer)
        });
        number += 1;
        while let Some(done) = asked.try_join_next() {
            recalled.take(done.ok());
        }
    }
    while let Some(done) = asked.join_next().await {
        recalled.take(done.ok());
    }
    recalled
}

impl Recalled {
    fn take(&mut self, done: Option<(usize, Duration, Result<Answer, Error>)>) {
        let Some((query, spent, Ok(answer))) = done else {
            self.failed += 1;
            return;
        };
        self.latency.saturating_record(spent.as_micros() as u64);
        let hits = answer.hits.iter().map(|hit| hit.row).collect();
        self.seen.push(Seen { query, rows: answer.snapshot.rows, hits });
    }
}

/// What came of the probes.
pub struct Visible {
    /// Microseconds from an ack to the answer that has the row.
    pub latency: Histogram<u64>,
    /// Rows that no answer had in time.
    pub missing: u64,
}

/// Looks for acked rows by their own embeddings until no more can come.
pub async fn visibility(asking: Asking, mut probes: mpsc::Receiver<Probe>) -> Visible {
    let mut visible = Visible { latency: feed::histogram(), missing: 0 };
    let mut number = 0;
    while let Some(mut probe) = probes.recv().await {
        // One that waited would be charged for the time of the one before; the newest did not.
        while let Ok(newer) = probes.try_recv() {
            probe = newer;
        }
        let (cue, text) = (asking.data.vector(probe.row), asking.data.text(probe.row));
        let found = loop {
            let answer = asking.ask(number, cue.clone()).await;
            let own =
                |answer: &Answer| answer.hits.iter().any(|hit| hit.log_index == probe.log_index && hit.text == text);
            if answer.is_ok_and(|answer| own(&answer)) {
                break true;
            }
            if probe.acked.elapsed() > FOUND_WITHIN {
                break false;
            }
            tokio::time::sleep(AGAIN).await;
        };
        match found {
            true => visible.latency.saturating_record(probe.acked.elapsed().as_micros() as u64),
            false => visible.missing += 1,
        }
        number += 1;
        tokio::time::sleep(NEXT).await;
        // Whatever came in the meantime has waited.
        while probes.try_recv().is_ok() {}
    }
    visible
}
