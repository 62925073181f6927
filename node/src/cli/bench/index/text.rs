//! The report for people.
//!
//! Place: the last step without `--json`. Invariant: what was not measured is a dash, and a gate that is not met says so.

use super::curve::{Point, rate_at};
use super::report::Report;
use super::subject::Reindexed;
use crate::cli::bench::gate::{self, shown};
use crate::cli::out::{self, Table};
use serde_json::Value;

/// Share of the processor below which rates say more of the machine than of the index.
const BUSY: f64 = 0.85;

/// Prints it.
pub fn print(report: &Report) {
    for part in [
        head(report),
        builds(report),
        batches(report),
        curves(report),
        rest(report),
        peers(report),
        gate::table(&report.gates, 3),
    ] {
        if !part.is_empty() {
            out::line(format_args!("{part}\n"));
        }
    }
}

fn head(report: &Report) -> String {
    let intrinsic =
        report.intrinsic_dimension.as_ref().map_or(String::new(), |text| format!("\nintrinsic dimension {text}"));
    format!(
        "{}: {} rows of {} dimensions, {} queries, {}, M {}, efConstruction {}, originals {}; {} kernels, {} cores{intrinsic}",
        report.data,
        report.rows,
        report.dim,
        report.queries,
        report.metric,
        report.m,
        report.ef_construction,
        if report.originals == "disk" { "on disk" } else { "in memory" },
        report.kernels,
        report.cores,
    )
}

fn builds(report: &Report) -> String {
    let mut table = Table::new(&[
        "threads",
        "rows/s",
        "CPU µs/row",
        "CPU share",
        "encode µs/row",
        "imbalance",
        "utilisation",
        "stolen",
        "peak MB",
        "after MB",
    ]);
    for build in &report.builds {
        table.row([
            build.threads.to_string(),
            format!("{:.0}", build.inserts_per_s),
            format!("{:.1}", build.cpu_us_per_row),
            format!("{:.2}", build.cpu_share),
            format!("{:.1}", build.encode_us_per_row),
            format!("{:.3}", build.imbalance),
            format!("{:.3}", build.utilisation),
            build.stolen.to_string(),
            format!("{:.0}", build.peak_bytes as f64 / 1e6),
            format!("{:.0}", build.resident_bytes as f64 / 1e6),
        ]);
    }
    // With more threads, work that does not divide evenly would count as well.
    let alone = report.builds.iter().find(|build| build.threads == 1).map(|build| build.cpu_share);
    let busy = alone.filter(|&share| share < BUSY).map_or(String::new(), |share| {
        format!("\nthe machine was busy: one thread got {:.0} % of a core; read ratios, not rates", share * 100.0)
    });
    format!("{}\ndigest {} for each; check: {}{busy}", table.render(), report.digest, report.check)
}

fn batches(report: &Report) -> String {
    if report.us_per_item.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["rows a batch", "µs/item, 1 thread", "by single", "µs/item, all cores", "by single"]);
    let mut names: Vec<&String> = report.us_per_item.keys().collect();
    names.sort_by_key(|name| name.parse().unwrap_or(u32::MAX));
    for name in names {
        let cell = |items: &std::collections::BTreeMap<String, f64>, digits| shown(items.get(name).copied(), digits);
        table.row([
            name.clone(),
            cell(&report.us_per_item_1, 1),
            cell(&report.batch_speedup_1, 2),
            cell(&report.us_per_item, 1),
            cell(&report.batch_speedup, 2),
        ]);
    }
    table.render()
}

fn curves(report: &Report) -> String {
    let head = ["ef", "recall@10, codes", "queries/s", "P99 ms", "recall@10, originals", "queries/s", "P99 ms"];
    let mut table = Table::new(&head);
    for (codes, originals) in report.curve_codes.iter().zip(&report.curve) {
        let cells = |point: &Point| [format!("{:.4}", point.1), format!("{:.0}", point.2), format!("{:.3}", point.3)];
        table.row(std::iter::once(codes.0.to_string()).chain(cells(codes)).chain(cells(originals)));
    }
    let at = |wanted, best, by: Option<&str>| {
        let of = |curve| shown(rate_at(curve, wanted), 0);
        let (codes, originals) = (of(&report.curve_codes), of(&report.curve));
        let by = by.map_or(String::new(), |by| format!(" by {by}"));
        format!("queries/s at recall {wanted}: {}{by} (codes {codes}, originals {originals})", shown(best, 0))
    };
    format!(
        "{}\n{}; P99 there {} ms\n{}",
        table.render(),
        at(0.95, report.qps_at_95, report.qps_at_95_by),
        shown(report.p99_ms_at_95, 3),
        at(0.99, report.qps_at_99, report.qps_at_99_by),
    )
}

fn rest(report: &Report) -> String {
    let parts: Vec<String> = report.bytes_by_part.iter().map(|(part, bytes)| format!("{part} {bytes:.1}")).collect();
    let saved = &report.saved;
    let mut lines = vec![
        format!("bytes a row {:.1}: {}", report.bytes_per_row, parts.join(", ")),
        format!("scan of all rows {:.3} ms on one core, recall@10 {:.4}", report.scan_ms, report.scan_recall),
        format!(
            "saved {:.1} MB in {:.3} s ({} MB/s), loaded in {:.3} s ({} MB/s), in memory",
            saved.bytes as f64 / 1e6,
            saved.save_s,
            saved.save_mb_per_s,
            saved.load_s,
            saved.load_mb_per_s
        ),
    ];
    if let Some(forgotten) = &report.forgotten {
        let recalls: Vec<String> = forgotten.curve.iter().map(|point| format!("{} {:.4}", point.0, point.1)).collect();
        lines.push(format!(
            "{} rows forgotten, {} of them found; queries/s at recall .95 {}; recall@10 among the others by ef: {}",
            forgotten.rows,
            forgotten.seen,
            shown(forgotten.qps_at_95, 0),
            recalls.join(", ")
        ));
        let Reindexed { rows, copy_ms, build_s, bytes, scan_ms, recall } = forgotten.reindexed;
        let (before, after) = (bytes.0 as f64 / 1e6, bytes.1 as f64 / 1e6);
        lines.push(format!(
            "a further generation: {rows} rows taken over in {copy_ms:.0} ms, recalled by a scan in {scan_ms:.2} ms, built in \
             {build_s:.1} s; {before:.1} MB before, {after:.1} MB after; recall@10 at ef 64 {recall:.4}"
        ));
    }
    lines.join("\n")
}

fn peers(report: &Report) -> String {
    if report.peers.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[
        "peer",
        "rows/s",
        "ours by it",
        "rows/s, 1 thread",
        "ours by it",
        "queries/s at .95",
        "ours by it",
        "bytes/row",
        "ours by it",
    ]);
    for peer in &report.peers {
        let name = peer["peer"].as_str().unwrap_or_default();
        let mut cells = vec![name.to_string()];
        for figure in ["inserts_per_s", "inserts_per_s_1", "qps_at_95", "bytes_per_row"] {
            let ratio = report.ratios.get(&format!("{name} {figure}")).copied();
            cells.extend([shown(peer[figure].as_f64(), 0), shown(ratio, 2)]);
        }
        table.row(cells);
    }
    let failed =
        |peer: &Value| Some(format!("\n{} was not measured: {}", peer["peer"].as_str()?, peer["error"].as_str()?));
    table.render() + &report.peers.iter().filter_map(failed).collect::<String>()
}
