//! All figures of a run, by the names that `--json` prints.
//!
//! Place: filled part by part, read by `text`. Invariant: a figure that was not measured is null, never 0.

use super::args::{Plan, Rate, Transport};
use super::check::Held;
use super::data::Data;
use super::stream::Streamed;
use super::{Part, process, watch};
use crate::cli::bench::gate::{Bound, Gate};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;

/// What was measured, and how.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Folder, or size.
    pub data: String,
    /// Coordinates.
    pub dim: usize,
    /// Nodes.
    pub nodes: u64,
    /// `grpc` or `ws`.
    pub transport: String,
    /// At once.
    pub streams: u64,
    /// Rows a message.
    pub batch: usize,
    /// Rows a second that were offered; null: as many as credit allowed.
    pub rate: Option<f64>,
    /// Of the first part.
    pub seconds: u64,
    /// Of this machine.
    pub cores: usize,
    /// Acked as committed, in time.
    pub rows_per_s: f64,
    /// Acked as committed, by the time until every graph had them.
    pub rows_per_s_indexed: f64,
    /// Acked as searchable, in time.
    pub rows_per_s_searchable: f64,
    /// Committed; from due (with a rate) or from sending.
    pub ack_p50_ms: Option<f64>,
    /// The same.
    pub ack_p99_ms: Option<f64>,
    /// The same.
    pub ack_p999_ms: Option<f64>,
    /// Searchable.
    pub ack_searchable_p50_ms: Option<f64>,
    /// The same.
    pub ack_searchable_p99_ms: Option<f64>,
    /// The same.
    pub ack_searchable_p999_ms: Option<f64>,
    /// From a committed ack to the answer that has the row.
    pub visibility_p50_ms: Option<f64>,
    /// The same.
    pub visibility_p99_ms: Option<f64>,
    /// The same.
    pub visibility_p999_ms: Option<f64>,
    /// Rows that were looked for.
    pub probes: u64,
    /// Of those, not found in time.
    pub not_found: u64,
    /// From due to the last page.
    pub recall_p50_ms: Option<f64>,
    /// The same.
    pub recall_p99_ms: Option<f64>,
    /// The same.
    pub recall_p999_ms: Option<f64>,
    /// Asked and answered.
    pub recalls: u64,
    /// Asked and not answered.
    pub recalls_failed: u64,
    /// Of some of the recalls under load, against all rows that were there.
    pub recall_at_10: Option<f64>,
    /// Acked in all.
    pub acked: u64,
    /// In the space at the end.
    pub listed: u64,
    /// Acked and not there.
    pub lost: u64,
    /// There twice.
    pub doubled: u64,
    /// Of all nodes together, until every graph had the rows.
    pub cpu_us_per_row: f64,
    /// Cores that all nodes used, of those of this machine.
    pub cores_used: f64,
    /// Processor time by thread role.
    pub cpu_us_per_row_by_role: BTreeMap<String, f64>,
    /// Of the bench, which shares the machine.
    pub client_cpu_us_per_row: f64,
    /// Of the largest node, before the first row.
    pub resident_start_bytes: u64,
    /// At the end.
    pub resident_bytes: u64,
    /// At most.
    pub resident_peak_bytes: u64,
    /// A row, at the end, over the start.
    pub resident_bytes_per_row: Option<f64>,
    /// In the first part.
    pub rows_per_entry: Option<f64>,
    /// The fullest of lane and rows that wait for the index, in thousandths.
    pub pressure_mean_permille: f64,
    /// The same.
    pub pressure_max_permille: u64,
    /// Most rows outside the graph.
    pub tail_rows_max: u64,
    /// Chunks that admission refused.
    pub refused: u64,
    /// Times that a WebSocket was told slower, or refused.
    pub slowed: u64,
    /// What was promised.
    pub gates: Vec<Gate>,
}

fn merged<'a>(all: impl Iterator<Item = &'a Histogram<u64>>) -> Histogram<u64> {
    let mut sum = crate::cli::feed::histogram();
    for one in all {
        sum.add(one).expect("the same bounds");
    }
    sum
}

/// P50, P99, P99.9.
fn quantiles(histogram: &Histogram<u64>) -> [Option<f64>; 3] {
    [0.5, 0.99, 0.999].map(|at| (!histogram.is_empty()).then(|| histogram.value_at_quantile(at) as f64 / 1e3))
}

fn rate(part: &Part) -> f64 {
    part.streams.iter().map(|stream| stream.in_time).sum::<u64>() as f64 / part.seconds
}

impl Report {
    /// What is known before anything is measured.
    pub fn new(plan: &Plan, data: &Data) -> Self {
        Self {
            data: data.name.clone(),
            dim: data.dim,
            nodes: plan.nodes,
            transport: if plan.transport == Transport::Ws { "ws" } else { "grpc" }.to_string(),
            streams: plan.streams,
            batch: plan.batch,
            rate: match plan.rate {
                Rate::Max => None,
                Rate::Rows(rate) => Some(rate),
            },
            seconds: plan.seconds,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            ..Self::default()
        }
    }

    /// The part that is acked as committed.
    pub fn take_first(&mut self, part: &Part) {
        self.rows_per_s = rate(part);
        let acks = merged(part.streams.iter().map(|stream| &stream.latency));
        [self.ack_p50_ms, self.ack_p99_ms, self.ack_p999_ms] = quantiles(&acks);
        [self.visibility_p50_ms, self.visibility_p99_ms, self.visibility_p999_ms] = quantiles(&part.visible.latency);
        [self.recall_p50_ms, self.recall_p99_ms, self.recall_p999_ms] = quantiles(&part.recalled.latency);
        (self.probes, self.not_found) = (part.visible.latency.len() + part.visible.missing, part.visible.missing);
        (self.recalls, self.recalls_failed) = (part.recalled.latency.len(), part.recalled.failed);
        let rows = part.streams.iter().map(|stream| stream.acked).sum::<u64>().max(1) as f64;
        self.rows_per_s_indexed = rows / part.elapsed;
        for (role, seconds) in part.cpu.iter().flatten() {
            match role.as_str() {
                "" => self.cpu_us_per_row += seconds * 1e6 / rows,
                _ => *self.cpu_us_per_row_by_role.entry(role.clone()).or_default() += seconds * 1e6 / rows,
            }
        }
        self.cores_used = part.cpu.iter().map(|roles| roles[""]).sum::<f64>() / part.elapsed;
        self.client_cpu_us_per_row = part.own_cpu * 1e6 / rows;
        self.resident_start_bytes = part.resident_before;
        let count = |name: &str| part.metrics.iter().map(|text| watch::sum(text, name)).sum::<u64>() as f64;
        let entries = count("engram_entries_proposed_total");
        self.rows_per_entry = (entries > 0.0).then(|| count("engram_rows_proposed_total") / entries);
        (self.pressure_mean_permille, self.pressure_max_permille) =
            (part.watched.pressure_mean(), part.watched.pressure_max);
        self.tail_rows_max = part.watched.tail_max;
        self.resident_peak_bytes = part.watched.resident_peak;
    }

    /// The part that is acked as searchable.
    pub fn take_second(&mut self, part: &Part) {
        self.rows_per_s_searchable = rate(part);
        let acks = merged(part.streams.iter().map(|stream| &stream.latency));
        [self.ack_searchable_p50_ms, self.ack_searchable_p99_ms, self.ack_searchable_p999_ms] = quantiles(&acks);
        self.refused = part.metrics.iter().map(|text| watch::sum(text, "engram_admission_refused_total")).sum();
        self.resident_peak_bytes = self.resident_peak_bytes.max(part.watched.resident_peak);
        self.not_found += part.visible.missing;
    }

    /// What the space lists, of all streams.
    pub fn take_held(&mut self, held: &Held, streams: &[Streamed]) {
        self.acked = streams.iter().map(|stream| stream.acked).sum();
        self.slowed = streams.iter().map(|stream| stream.slowed).sum();
        (self.listed, self.lost, self.doubled) = (held.listed, held.lost, held.doubled);
    }

    /// The nodes, before they stop.
    pub fn take_end(&mut self, processes: &[u32]) {
        for (now, peak) in processes.iter().map(|process| process::memory(*process)) {
            self.resident_bytes = self.resident_bytes.max(now);
            self.resident_peak_bytes = self.resident_peak_bytes.max(peak);
        }
        let grown = self.resident_bytes.saturating_sub(self.resident_start_bytes);
        self.resident_bytes_per_row = (self.listed > 0).then(|| grown as f64 / self.listed as f64);
    }

    /// The gates, last.
    pub fn finish(&mut self) {
        self.gates = self.gates();
    }

    /// A gate of a rate is of the clock or of processor time; one of times is of a run with a rate.
    fn gates(&self) -> Vec<Gate> {
        use Bound::{Least, Most};
        let mut gates = Vec::new();
        if self.transport == "ws" && self.streams == 1 && self.rate.is_none_or(|rate| rate > 10_000.0) {
            // Rows that wait for the index are borrowed: the slower of the two rates can be kept up.
            let kept_up = self.rows_per_s.min(self.rows_per_s_indexed);
            gates.push(Gate::new("rows/s on one WebSocket, graph included", Least(10_000.0), Some(kept_up)));
        }
        if self.nodes == 1 {
            let by_cpu = (self.cpu_us_per_row > 0.0).then(|| 1e6 / self.cpu_us_per_row);
            gates.push(Gate::new("durable rows/s a core, by the node's processor time", Least(12_000.0), by_cpu));
        }
        let steady = |figure: Option<f64>| figure.filter(|_| self.rate.is_some());
        gates.push(Gate::new("visibility P99 at a rate, ms", Most(100.0), steady(self.visibility_p99_ms)));
        gates.push(Gate::new("recall P99 at a rate, ms", Most(20.0), steady(self.recall_p99_ms)));
        gates.push(Gate::new("acked rows lost", Most(0.0), Some(self.lost as f64)));
        gates.push(Gate::new("rows doubled", Most(0.0), Some(self.doubled as f64)));
        gates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_of_times_need_a_rate() {
        let mut report = Report { nodes: 1, visibility_p99_ms: Some(7.0), cpu_us_per_row: 100.0, ..Report::default() };
        let met = |report: &Report, name: &str| {
            report.gates().iter().find(|gate| gate.gate.contains(name)).and_then(|gate| gate.met)
        };
        assert_eq!(
            (met(&report, "visibility"), met(&report, "a core"), met(&report, "lost")),
            (None, Some(false), Some(true))
        );
        report.rate = Some(8000.0);
        assert_eq!((met(&report, "visibility"), met(&report, "recall")), (Some(true), None));
    }
}
