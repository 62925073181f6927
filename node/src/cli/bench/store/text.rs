//! The report for people.
//!
//! Place: the last step without `--json`. Invariant: what was not measured is a dash, and a gate that is not met says so.

use super::figures::Range;
use super::report::Report;
use crate::cli::bench::gate::{self, shown};
use crate::cli::out::{self, Table};

/// Prints it.
pub fn print(report: &Report) {
    out::line(head(report));
    let mut sizes: Vec<usize> = report.rates.iter().map(|figures| figures.rows_per_entry).collect();
    sizes.dedup();
    for rows in sizes {
        out::line(format_args!("\n{}", rates(report, rows)));
    }
    if !report.openings.is_empty() {
        out::line(format_args!("\n{}", openings(report)));
    }
    if !report.kills.is_empty() {
        out::line(format_args!("\n{}", kills(report)));
    }
    out::line(format_args!("\n{}", gate::table(&report.gates, 2)));
}

fn head(report: &Report) -> String {
    format!(
        "{} appends at once, {} round(s) of {} s or less; {} cores. MB: of payload, which is a command of rows as the log \
         gets it.\nwritten: bytes handed over to be written, a payload byte; to disk: bytes of the pages that went there.",
        report.in_flight, report.rounds, report.seconds, report.cores
    )
}

fn range(range: Option<Range>, digits: usize) -> [String; 2] {
    let between = |range: Range| format!("{:.digits$}–{:.digits$}", range.least, range.most);
    [shown(range.map(|range| range.median), digits), range.map_or_else(|| "–".to_string(), between)]
}

fn rates(report: &Report, rows: usize) -> String {
    let mut table = Table::new(&[
        "rows an entry",
        "subject",
        "rows/s",
        "least–most",
        "MB/s",
        "by the disk's",
        "least–most",
        "entries a group",
        "syncs a group",
        "P50 ms",
        "P99 ms",
        "written",
        "to disk",
    ]);
    for figures in report.rates.iter().filter(|figures| figures.rows_per_entry == rows) {
        let [rate, rates] = range(figures.rows_per_s, 0);
        let [by, bys] = range(figures.of_limit, 2);
        table.row([
            rows.to_string(),
            figures.subject.clone(),
            rate,
            rates,
            shown(figures.mb_per_s, 1),
            by,
            bys,
            shown(figures.entries_per_group, 1),
            shown(figures.syncs_per_group, 2),
            shown(figures.p50_ms, 2),
            shown(figures.p99_ms, 2),
            shown(figures.written_per_payload, 3),
            shown(figures.to_disk_per_payload, 3),
        ]);
    }
    table.render()
}

fn openings(report: &Report) -> String {
    let head = ["opening", "rows an entry", "MB", "files", "open, s", "s/GB", "read plainly, s", "s/GB"];
    let mut table = Table::new(&head);
    for opening in &report.openings {
        for (files, timed) in [("not in memory", &opening.cold), ("in memory", &opening.warm)] {
            table.row([
                opening.subject.clone(),
                opening.rows_per_entry.to_string(),
                format!("{:.0}", opening.payload_bytes as f64 / 1e6),
                files.to_string(),
                format!("{:.3}", timed.open_s),
                format!("{:.2}", timed.open_s_per_gb),
                format!("{:.3}", timed.plain_s),
                format!("{:.2}", timed.plain_s_per_gb),
            ]);
        }
    }
    table.render()
}

fn kills(report: &Report) -> String {
    let head = ["killed with SIGKILL", "rows an entry", "kills", "acked", "lost", "most by one", "not opened", ""];
    let mut table = Table::new(&head);
    for killed in &report.kills {
        table.row([
            killed.subject.clone(),
            killed.rows_per_entry.to_string(),
            killed.kills.to_string(),
            killed.acked.to_string(),
            killed.lost.to_string(),
            killed.lost_most.to_string(),
            killed.not_opened.to_string(),
            killed.error.as_deref().map_or_else(String::new, |error| out::short(error, 80)),
        ]);
    }
    table.render()
}
