//! What the demo found, for people and programs, and which promises broke.

use super::check::Held;
use super::cues::Recalled;
use super::stream::Streamed;
use crate::cli::out;
use engram_client::{SpaceInfo, StatusResponse};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

/// A node's digests.
#[derive(Debug, Serialize)]
pub struct Digest {
    /// The node.
    pub node: u64,
    /// Log index.
    pub applied: u64,
    /// Of the replicated state there.
    pub state: String,
    /// Of the demo's space.
    pub epoch: u64,
    /// Rows in it.
    pub epoch_rows: u64,
    /// Of its graph.
    pub graph: String,
}

/// All figures.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Observations acked.
    pub acked: u64,
    /// Refused ones.
    pub refused: u64,
    /// What each node holds.
    pub held: Vec<Held>,
    /// The leader that was killed.
    pub killed_node: u64,
    /// Acks before that.
    pub killed_after_acks: u64,
    /// Nodes that the stream was resumed on.
    pub resumed_on: Vec<u64>,
    /// Longest time between two acks.
    pub longest_pause_ms: f64,
    /// Acked rows a second, the pause included.
    pub observations_per_s: f64,
    /// Rows that may wait for their ack.
    pub window_rows: usize,
    /// From a row's place in the window to its ack.
    pub ack_p50_ms: f64,
    /// The same.
    pub ack_p99_ms: f64,
    /// Recalls, all from followers, one at a time.
    pub recalls: u64,
    /// From question to answer.
    pub recall_p50_ms: f64,
    /// The same.
    pub recall_p99_ms: f64,
    /// Against an exact search.
    pub recall_at_10: f64,
    /// After the restart, at one log index.
    pub digests: Vec<Digest>,
    /// The whole demo.
    pub seconds: f64,
    /// Promises that did not hold.
    pub broken: Vec<String>,
}

fn ms(latency: &Histogram<u64>, quantile: f64) -> f64 {
    latency.value_at_quantile(quantile) as f64 / 1000.0
}

fn space<'a>(status: &'a StatusResponse, name: &str) -> Option<&'a SpaceInfo> {
    status.spaces.iter().find(|space| space.config.as_ref().is_some_and(|config| config.name == name))
}

fn digests(nodes: &[StatusResponse], name: &str) -> Vec<Digest> {
    let one = |status: &StatusResponse| {
        let space = space(status, name).cloned().unwrap_or_default();
        Digest {
            node: status.node,
            applied: status.watermarks.unwrap_or_default().applied,
            state: format!("{:016x}", status.state_digest),
            epoch: space.epoch,
            epoch_rows: space.epoch_rows,
            graph: format!("{:016x}", space.graph_digest),
        }
    };
    nodes.iter().map(one).collect()
}

/// What was seen, to be judged.
pub struct Seen<'a> {
    /// The space's name.
    pub space: &'a str,
    /// Rows that were sent.
    pub rows: u64,
    /// The stream's window.
    pub window_rows: usize,
    /// The stream.
    pub streamed: &'a Streamed,
    /// The nodes, equal, before the restart.
    pub before: &'a [StatusResponse],
    /// And after it.
    pub after: &'a [StatusResponse],
    /// Their rows after it.
    pub held: Vec<Held>,
    /// The cues.
    pub recalled: &'a Recalled,
    /// Since the start.
    pub elapsed: Duration,
}

impl Report {
    /// Judges.
    pub fn new(seen: Seen<'_>) -> Self {
        let broken = broken(&seen);
        let Seen { space, window_rows, streamed, after, held, recalled, elapsed, .. } = seen;
        let fed = &streamed.fed;
        Self {
            acked: streamed.acked.len() as u64,
            refused: fed.summary.refused,
            held,
            killed_node: streamed.killed.0,
            killed_after_acks: streamed.killed.1,
            resumed_on: streamed.resumed_on.clone(),
            longest_pause_ms: streamed.pause.as_secs_f64() * 1000.0,
            observations_per_s: fed.rows_per_s(),
            window_rows,
            ack_p50_ms: ms(&fed.latency, 0.5),
            ack_p99_ms: ms(&fed.latency, 0.99),
            recalls: recalled.count,
            recall_p50_ms: ms(&recalled.latency, 0.5),
            recall_p99_ms: ms(&recalled.latency, 0.99),
            recall_at_10: recalled.recall_at_10,
            digests: digests(after, space),
            seconds: elapsed.as_secs_f64(),
            broken,
        }
    }

    /// For people.
    pub fn render(&self) -> String {
        let total = |count: fn(&Held) -> u64| self.held.iter().map(count).sum::<u64>();
        let found: Vec<String> = self.held.iter().map(|held| held.found.to_string()).collect();
        let mut digests =
            out::Table::new(&["node", "log index", "state digest", "epoch", "rows in it", "graph digest"]);
        for digest in &self.digests {
            let Digest { node, applied, state, epoch, epoch_rows, graph } = digest;
            let row = [node.to_string(), applied.to_string(), state.clone(), epoch.to_string(), epoch_rows.to_string()];
            digests.row(row.into_iter().chain([graph.clone()]));
        }
        let verdict = match self.broken.is_empty() {
            true => "every promise held".to_string(),
            false => format!("BROKEN: {}", self.broken.join("\nBROKEN: ")),
        };
        format!(
            "observations  {} acked; found on the nodes after the restart: {}; lost {}, doubles {}, altered {}\n\
             leader        node {} killed after {} acks; longest time between two acks {:.0} ms; resumed on node {}\n\
             stream        {:.0} observations/s; ack P50 {:.1} ms, P99 {:.1} ms (up to {} rows wait for their ack)\n\
             recall        {} from followers: P50 {:.2} ms, P99 {:.2} ms; recall@10 {:.4} against exact search\n\
             took          {:.1} s\n\n{}\n\n{verdict}",
            self.acked,
            found.join(", "),
            total(|held| held.lost),
            total(|held| held.doubled),
            total(|held| held.altered),
            self.killed_node,
            self.killed_after_acks,
            self.longest_pause_ms,
            self.resumed_on.iter().map(u64::to_string).collect::<Vec<_>>().join(", then "),
            self.observations_per_s,
            self.ack_p50_ms,
            self.ack_p99_ms,
            self.window_rows,
            self.recalls,
            self.recall_p50_ms,
            self.recall_p99_ms,
            self.recall_at_10,
            self.seconds,
            digests.render(),
        )
    }
}

/// The promises by their numbers in requirements.md, each with what contradicts it.
fn broken(seen: &Seen<'_>) -> Vec<String> {
    let mut broken = Vec::new();
    let mut hold = |so: bool, text: String| {
        if !so {
            broken.push(text);
        }
    };
    let streamed = seen.streamed;
    let acked = streamed.acked.len() as u64;
    hold(acked == seen.rows, format!("stream: {acked} of {} observations acked", seen.rows));
    hold(streamed.contradictions == 0, format!("G2 exactly once: {} acks contradict others", streamed.contradictions));
    for held in &seen.held {
        let node = held.node;
        hold(held.lost == 0, format!("G1 durable: node {node} lost {} acked observations", held.lost));
        hold(held.doubled == 0, format!("G2 exactly once: node {node} has {} doubles", held.doubled));
        hold(
            held.altered == 0,
            format!("G2 exactly once: node {node} has {} rows that were not sent so", held.altered),
        );
        hold(held.out_of_order == 0, format!("G3 order: node {node} has {} rows out of order", held.out_of_order));
    }
    let alike = |nodes: &[StatusResponse]| {
        let mut all = digests(nodes, seen.space).into_iter().map(|d| (d.applied, d.state, d.epoch, d.graph));
        let first = all.next();
        all.all(|other| Some(&other) == first.as_ref())
    };
    hold(alike(seen.before), "G4 same bytes: the nodes' digests differ before the restart".into());
    hold(alike(seen.after), "G4 same bytes: the nodes' digests differ after the restart".into());
    let graph =
        |nodes: &[StatusResponse]| nodes.first().and_then(|status| Some(space(status, seen.space)?.graph_digest));
    let rebuilt = graph(seen.before) == graph(seen.after) && graph(seen.after).is_some();
    hold(rebuilt, "G4 same bytes: the restart changed the graph's digest".into());
    let differing = seen.recalled.differing;
    hold(differing == 0, format!("G4 same bytes: the followers answered {differing} cues differently"));
    broken
}
