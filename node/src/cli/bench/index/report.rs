//! All figures of a run, by the names that `--json` prints.
//!
//! Place: filled by the parts, read by `gates` and `text`. Invariant: a figure that was not measured is null, never 0.

use super::args::Plan;
use super::batches::{Batches, Items};
use super::builds::Build;
use super::curve::{Forgotten, Point, Scan, rate_at};
use super::data::{Data, Store};
use super::subject::{Parts, Saved};
use crate::cli::bench::gate::Gate;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// What was measured, and how.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Folder, or size and shape.
    pub data: String,
    /// Said of made data.
    pub intrinsic_dimension: Option<String>,
    /// In the index.
    pub rows: usize,
    /// Coordinates.
    pub dim: usize,
    /// In the curve.
    pub queries: usize,
    /// What is near.
    pub metric: String,
    /// Links a row makes.
    pub m: usize,
    /// Width of a build's beam.
    pub ef_construction: usize,
    /// Where originals were: `memory` or `disk`.
    pub originals: &'static str,
    /// Instructions in use.
    pub kernels: String,
    /// Of this machine.
    pub cores: usize,
    /// All cores, encoding inside.
    pub inserts_per_s: Option<f64>,
    /// One thread, encoding inside.
    pub inserts_per_s_1: Option<f64>,
    /// Processor time, fewest threads.
    pub cpu_us_per_row: f64,
    /// Of one thread, fewest threads.
    pub encode_us_per_row: f64,
    /// Most threads: by how much a step's busiest was busier than the average.
    pub imbalance: Option<f64>,
    /// Most threads: share of the time in which a thread worked.
    pub utilisation: Option<f64>,
    /// Most resident memory of the process in any build.
    pub peak_bytes: u64,
    /// Resident memory of the process after the last build.
    pub resident_bytes: u64,
    /// Of the graph, the same for all numbers of threads.
    pub digest: String,
    /// A build for each number of threads.
    pub builds: Vec<Build>,
    /// All cores, by rows a batch: so many times faster than single rows, built as is fastest.
    pub batch_speedup: BTreeMap<String, f64>,
    /// One thread.
    pub batch_speedup_1: BTreeMap<String, f64>,
    /// All cores, by rows a batch, encoding inside.
    pub us_per_item: Items,
    /// One thread.
    pub us_per_item_1: Items,
    /// `[ef, recall@10, queries/s, P99 ms]`, rescored by originals; one thread.
    pub curve: Vec<Point>,
    /// The same by codes alone.
    pub curve_codes: Vec<Point>,
    /// At recall .95, by the better of the two.
    pub qps_at_95: Option<f64>,
    /// Which that is: `originals` or `codes`.
    pub qps_at_95_by: Option<&'static str>,
    /// Of the first measured point that passes it.
    pub p99_ms_at_95: Option<f64>,
    /// At recall .99.
    pub qps_at_99: Option<f64>,
    /// Which that is.
    pub qps_at_99_by: Option<&'static str>,
    /// Of both curves.
    pub recall_max: f64,
    /// All parts.
    pub bytes_per_row: f64,
    /// By what they hold.
    pub bytes_by_part: BTreeMap<&'static str, f64>,
    /// Of all codes for one query, one thread.
    pub scan_ms: f64,
    /// Of that.
    pub scan_recall: f64,
    /// Saving and loading, in memory.
    pub saved: Saved,
    /// `ok`, or what is wrong with the graph.
    pub check: String,
    /// After `--forget`.
    pub forgotten: Option<Forgotten>,
    /// The lines of the peers' script.
    pub peers: Vec<Value>,
    /// Ours by theirs.
    pub ratios: BTreeMap<String, f64>,
    /// What was promised.
    pub gates: Vec<Gate>,
}

impl Report {
    /// What is known before anything is measured.
    pub fn new(plan: &Plan, data: &Data) -> Self {
        Self {
            data: data.name.clone(),
            intrinsic_dimension: data.intrinsic.clone(),
            rows: data.rows,
            dim: data.dim,
            queries: data.query_count(),
            metric: format!("{:?}", plan.metric).to_lowercase(),
            m: plan.m,
            ef_construction: plan.options(data.dim).map_or(0, |options| options.ef_construction),
            originals: if matches!(data.store, Store::Disk { .. }) { "disk" } else { "memory" },
            cores: plan.cores,
            ..Self::default()
        }
    }

    /// Takes the batches' figures.
    pub fn take_batches(&mut self, batches: &Batches) {
        self.batch_speedup = batches.speedups(&batches.all);
        self.batch_speedup_1 = batches.speedups(&batches.alone);
        self.us_per_item = batches.all.clone();
        self.us_per_item_1 = batches.alone.clone();
    }

    /// Takes the builds, fewest threads first.
    pub fn take_builds(&mut self, builds: Vec<Build>) {
        let rate = |threads| builds.iter().find(|build| build.threads == threads).map(|build| build.inserts_per_s);
        (self.inserts_per_s, self.inserts_per_s_1) = (rate(self.cores), rate(1));
        let (Some(first), Some(last)) = (builds.first(), builds.last()) else { return };
        (self.cpu_us_per_row, self.encode_us_per_row) = (first.cpu_us_per_row, first.encode_us_per_row);
        (self.imbalance, self.utilisation) = (Some(last.imbalance), Some(last.utilisation));
        self.peak_bytes = builds.iter().map(|build| build.peak_bytes).max().unwrap_or(0);
        self.resident_bytes = last.resident_bytes;
        self.digest = last.digest.clone();
        self.builds = builds;
    }

    /// Takes what an index holds.
    pub fn take_parts(&mut self, parts: &Parts, kernels: &str) {
        let each = |bytes: u64| bytes as f64 / self.rows as f64;
        self.bytes_by_part = parts.iter().map(|&(name, bytes)| (name, each(bytes))).collect();
        self.bytes_per_row = self.bytes_by_part.values().sum();
        self.kernels = kernels.to_string();
    }

    /// Takes a curve; the better of two counts.
    pub fn take_curve(&mut self, originals: bool, curve: Vec<Point>) {
        let by = if originals { "originals" } else { "codes" };
        let better = |wanted: f64, best: Option<f64>| {
            rate_at(&curve, wanted).filter(|&rate| best.is_none_or(|best| rate > best))
        };
        if let Some(rate) = better(0.95, self.qps_at_95) {
            (self.qps_at_95, self.qps_at_95_by) = (Some(rate), Some(by));
            self.p99_ms_at_95 = curve.iter().find(|point| point.1 >= 0.95).map(|point| point.3);
        }
        if let Some(rate) = better(0.99, self.qps_at_99) {
            (self.qps_at_99, self.qps_at_99_by) = (Some(rate), Some(by));
        }
        self.recall_max = curve.iter().map(|point| point.1).fold(self.recall_max, f64::max);
        *if originals { &mut self.curve } else { &mut self.curve_codes } = curve;
    }

    /// Takes the scan's figures.
    pub fn take_scan(&mut self, scan: Scan) {
        (self.scan_ms, self.scan_recall) = (scan.ms, scan.recall);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_better_curve_counts_and_is_named() {
        let mut report = Report::default();
        report.take_curve(false, vec![Point(10, 0.96, 900.0, 0.3)]);
        report.take_curve(true, vec![Point(10, 0.95, 1000.0, 0.2), Point(16, 0.999, 500.0, 0.4)]);
        assert_eq!((report.qps_at_95, report.qps_at_95_by), (Some(1000.0), Some("originals")));
        assert_eq!((report.p99_ms_at_95, report.qps_at_99_by), (Some(0.2), Some("originals")));
        assert_eq!((report.recall_max, report.curve.len(), report.curve_codes.len()), (0.999, 2, 1));
    }
}
