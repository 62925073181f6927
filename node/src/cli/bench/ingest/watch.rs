//! Looks at the nodes while they work: memory, pressure, tail, and the counts of what was proposed.
//!
//! Place: beside the streams. Leaves out: figures of one node alone; the largest of all counts.

#![expect(clippy::disallowed_methods, reason = "a command waits with the system's clock")]

use super::process;
use crate::config::AdmissionConfig;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

const EVERY: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(2);
/// No batch is longer: with fewer rows outside its graph a node may be done.
const BATCH_ROWS_MAX: u64 = 8192;
/// Looks until the indexer is given up on.
const LOOKS_MAX: u32 = 600;

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watched {
    /// Most resident bytes of a node at any look.
    pub resident_peak: u64,
    /// The fullest of lane and unbuilt rows at any node, in thousandths.
    pub pressure_max: u64,
    /// The sum of that over all looks, to have the mean.
    pressure_sum: u64,
    /// Looks.
    looks: u64,
    /// Most rows outside a graph.
    pub tail_max: u64,
}

impl Watched {
    /// In thousandths.
    pub fn pressure_mean(&self) -> f64 {
        self.pressure_sum as f64 / self.looks.max(1) as f64
    }

    fn look(&mut self, resident: u64, metrics: &[String]) {
        self.resident_peak = self.resident_peak.max(resident);
        let pressure = metrics.iter().map(|text| {
            let lane = |name: &str| sum(text, &format!("engram_{name}{{priority=\"normal\"}}"));
            // The nodes run with defaults. An unfinished batch does not count there, and is small beside the cap.
            let unbuilt = tail(text) * 1000 / AdmissionConfig::default().unbuilt_rows as u64;
            unbuilt.max(lane("admission_rows") * 1000 / lane("admission_rows_max").max(1))
        });
        let pressure = pressure.max().unwrap_or(0);
        self.pressure_max = self.pressure_max.max(pressure);
        self.pressure_sum += pressure;
        self.looks += 1;
        self.tail_max = self.tail_max.max(metrics.iter().map(|text| tail(text)).max().unwrap_or(0));
    }
}

/// Looks now and then until told to stop.
pub async fn run(processes: Vec<u32>, nodes: Vec<String>, mut stop: watch::Receiver<bool>) -> Watched {
    let mut watched = Watched::default();
    while !*stop.borrow() {
        let resident = processes.iter().map(|process| process::memory(*process).0).max().unwrap_or(0);
        let metrics = all_metrics(&nodes).await;
        watched.look(resident, &metrics);
        // Its sender outlives this task, or all is over anyway.
        drop(tokio::time::timeout(EVERY, stop.changed()).await);
    }
    watched
}

/// Waits until each node's graph has all it can have.
pub async fn indexed(nodes: &[String]) {
    let mut before = None;
    for _ in 0..LOOKS_MAX {
        let tails: Vec<u64> = all_metrics(nodes).await.iter().map(|text| tail(text)).collect();
        if tails.iter().all(|tail| *tail < BATCH_ROWS_MAX) && before.as_ref() == Some(&tails) {
            return;
        }
        before = Some(tails);
        tokio::time::sleep(EVERY).await;
    }
}

fn tail(metrics: &str) -> u64 {
    sum(metrics, "engram_space_tail_rows")
}

/// The metrics of each node that answers.
pub async fn all_metrics(nodes: &[String]) -> Vec<String> {
    let mut all = Vec::new();
    for node in nodes {
        let asked = tokio::time::timeout(PATIENCE, metrics(node)).await;
        all.extend(asked.ok().and_then(Result::ok));
    }
    all
}

async fn metrics(node: &str) -> std::io::Result<String> {
    let mut tcp = TcpStream::connect(node).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {node}\r\nconnection: close\r\n\r\n");
    tcp.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    tcp.read_to_string(&mut text).await?;
    Ok(text)
}

/// The sum of the values whose lines begin so.
pub fn sum(metrics: &str, name: &str) -> u64 {
    let lines = metrics.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with([' ', '{']))
    });
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read_by_their_whole_names() {
        let text = "# HELP engram_a x\nengram_a{space=\"b\"} 3\nengram_a{space=\"c\"} 4\nengram_ab 9\n";
        assert_eq!((sum(text, "engram_a"), sum(text, "engram_a{space=\"c\"}"), sum(text, "engram_ab")), (7, 4, 9));
    }
}
