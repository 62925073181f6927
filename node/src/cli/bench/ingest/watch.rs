//! Looks at the nodes while they work: memory, pressure, tail, and the counts of what was proposed.
//!
//! Place: beside the streams. Leaves out: figures of one node alone; the largest of all counts.

use super::process;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

const EVERY: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(2);

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watched {
    /// Most resident bytes of a node at any look.
    pub resident_peak: u64,
    /// Most of what its lane may hold that a node held, in thousandths.
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
            lane("admission_rows") * 1000 / lane("admission_rows_max").max(1)
        });
        let pressure = pressure.max().unwrap_or(0);
        self.pressure_max = self.pressure_max.max(pressure);
        self.pressure_sum += pressure;
        self.looks += 1;
        let tails = metrics.iter().map(|text| sum(text, "engram_space_tail_rows"));
        self.tail_max = self.tail_max.max(tails.max().unwrap_or(0));
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
