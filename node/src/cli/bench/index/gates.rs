//! What is promised of the index, beside what was found.
//!
//! Invariant: a gate is `met` only by a figure of this run; where a figure is missing it is neither met nor not.
//! Leaves out: gates that say nothing of the data at hand, such as those of other dimensions.

use super::report::Report;
use crate::cli::bench::gate::{Bound, Gate};
use serde_json::Value;
use std::collections::BTreeMap;

/// The peers that a rate of searches is held against.
const RIVALS: [&str; 3] = ["hnswlib", "faiss", "faiss-sq8"];

/// Ours by theirs: `hnswlib inserts`, `best qps_at_95`, and so on.
pub fn ratios(report: &Report) -> BTreeMap<String, f64> {
    let mut ratios = BTreeMap::new();
    let ours = [
        ("inserts_per_s", report.inserts_per_s),
        ("inserts_per_s_1", report.inserts_per_s_1),
        ("qps_at_95", report.qps_at_95),
        ("bytes_per_row", Some(report.bytes_per_row)),
    ];
    for peer in &report.peers {
        let Some(name) = peer["peer"].as_str() else { continue };
        for (figure, ours) in ours {
            if let (Some(ours), Some(theirs)) = (ours, peer[figure].as_f64().filter(|theirs| *theirs > 0.0)) {
                ratios.insert(format!("{name} {figure}"), ours / theirs);
            }
        }
    }
    if let (Some(ours), Some(best)) = (report.qps_at_95, best(&report.peers)) {
        ratios.insert("best qps_at_95".to_string(), ours / best);
    }
    ratios
}

/// The highest rate of a rival; none before all of them were asked. One that does not reach the recall has none.
fn best(peers: &[Value]) -> Option<f64> {
    let of = |name: &&str| peers.iter().find(|peer| peer["peer"] == **name && peer["error"].is_null());
    let rivals: Option<Vec<&Value>> = RIVALS.iter().map(of).collect();
    rivals?.iter().filter_map(|peer| peer["qps_at_95"].as_f64()).reduce(f64::max)
}

/// The gates that say something of these data.
pub fn gates(report: &Report) -> Vec<Gate> {
    use Bound::{Least, Most};
    let (dim, large) = (report.dim, report.dim >= 384);
    let mut gates = Vec::new();
    let mut gate = |name: &str, bound: Bound, found: Option<f64>| gates.push(Gate::new(name, bound, found));
    if !report.peers.is_empty() {
        let ratio = |name: &str| report.ratios.get(name).copied();
        let inserts = ratio("hnswlib inserts_per_s");
        match dim {
            384.. => gate("rows/s on all cores, by hnswlib's", Least(8.0), inserts),
            ..=128 => gate("rows/s on all cores, by hnswlib's", Least(5.0), inserts),
            _ => {}
        }
        gate("queries/s at recall .95, by the best of hnswlib, faiss, faiss-sq8", Least(2.0), ratio("best qps_at_95"));
        gate("bytes a row, by hnswlib's", Most(0.6), ratio("hnswlib bytes_per_row"));
    }
    if large {
        let each = report.inserts_per_s.map(|rate| (rate / report.cores as f64).round());
        gate("rows/s a core, on all cores", Least(12_000.0), each);
    }
    gate("recall@10 that can be reached", Least(0.998), Some(report.recall_max));
    if dim == 768 {
        let each = report.scan_ms * 1e6 / report.rows as f64;
        gate("scan, ms for a million rows", Most(15.0), Some(each));
    }
    let speedup = |batch: &str| report.batch_speedup.get(batch).copied();
    gate("batches of 100, by single rows", Least(3.0), speedup("100"));
    gate("batches of 500, by single rows", Least(4.0), speedup("500"));
    gate("µs an item, batches of 500, all cores", Most(25.0), report.us_per_item.get("500").copied());
    let rate = |threads| report.builds.iter().find(|build| build.threads == threads).map(|build| build.inserts_per_s);
    gate("rows/s on 2 threads, by 1", Least(1.85), rate(2).zip(rate(1)).map(|(two, one)| two / one));
    gate("imbalance, most threads", Most(0.2), report.imbalance);
    if dim == 768 && report.rows >= 1_000_000 && report.originals == "disk" {
        gate("GB resident while building", Most(1.5), Some(report.peak_bytes as f64 / 1e9));
        gate("GB resident after", Most(1.2), Some(report.resident_bytes as f64 / 1e9));
    }
    gates
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report() -> Report {
        let peers = vec![
            json!({"peer": "hnswlib", "inserts_per_s": 1000, "qps_at_95": 2000, "bytes_per_row": 1000}),
            json!({"peer": "faiss", "inserts_per_s": 900, "qps_at_95": null}),
            json!({"peer": "faiss-sq8", "inserts_per_s": 900, "qps_at_95": 2500}),
        ];
        let mut report = Report { dim: 384, rows: 1000, cores: 2, peers, ..Report::default() };
        (report.inserts_per_s, report.qps_at_95, report.bytes_per_row) = (Some(9000.0), Some(5000.0), 650.0);
        report.ratios = ratios(&report);
        report
    }

    fn met(report: &Report, name: &str) -> Option<Option<bool>> {
        gates(report).iter().find(|gate| gate.gate.contains(name)).map(|gate| gate.met)
    }

    #[test]
    fn ratios_are_ours_by_theirs() {
        let report = report();
        assert_eq!(report.ratios["hnswlib inserts_per_s"], 9.0);
        assert_eq!(report.ratios["best qps_at_95"], 2.0);
        assert_eq!(report.ratios.get("faiss qps_at_95"), None);
    }

    #[test]
    fn gates_are_met_or_not_or_not_measured() {
        let report = report();
        assert_eq!(met(&report, "by hnswlib's"), Some(Some(true)));
        assert_eq!(met(&report, "bytes a row"), Some(Some(false)));
        assert_eq!(met(&report, "2 threads"), Some(None));
        assert_eq!(met(&report, "scan"), None);
    }

    #[test]
    fn the_best_is_unknown_while_a_rival_is() {
        let mut report = report();
        report.peers.remove(2);
        assert_eq!(ratios(&report).get("best qps_at_95"), None);
    }
}
