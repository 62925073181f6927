//! The report for people.
//!
//! Place: the last step without `--json`. Invariant: what was not measured is a dash, and a gate that is not met says so.

use super::report::Report;
use crate::cli::bench::gate::{self, shown};
use crate::cli::out::{self, Table};

/// Prints it.
pub fn print(report: &Report) {
    for part in [head(report), times(report), rest(report), roles(report), gate::table(&report.gates, 2)] {
        out::line(format_args!("{part}\n"));
    }
}

fn head(report: &Report) -> String {
    let rate = report.rate.map_or_else(|| "as fast as credit allows".to_string(), |rate| format!("{rate} rows/s"));
    format!(
        "{} node(s), {} stream(s) by {}, {} rows a message, {rate}, {} s; {} of {} dimensions; {} cores, shared by nodes \
         and bench\nrows/s acked: committed {:.0}, searchable {:.0}; {:.0} until the graph had them all",
        report.nodes,
        report.streams,
        report.transport,
        report.batch,
        report.seconds,
        report.data,
        report.dim,
        report.cores,
        report.rows_per_s,
        report.rows_per_s_searchable,
        report.rows_per_s_indexed,
    )
}

fn times(report: &Report) -> String {
    let mut table = Table::new(&["time, ms", "P50", "P99", "P99.9"]);
    let mut row = |name: &str, figures: [Option<f64>; 3]| {
        table.row(std::iter::once(name.to_string()).chain(figures.map(|figure| shown(figure, 2))));
    };
    row("ack, committed", [report.ack_p50_ms, report.ack_p99_ms, report.ack_p999_ms]);
    let searchable = [report.ack_searchable_p50_ms, report.ack_searchable_p99_ms, report.ack_searchable_p999_ms];
    row("ack, searchable", searchable);
    row("ack to found", [report.visibility_p50_ms, report.visibility_p99_ms, report.visibility_p999_ms]);
    row("recall", [report.recall_p50_ms, report.recall_p99_ms, report.recall_p999_ms]);
    table.render()
}

fn rest(report: &Report) -> String {
    let mb = |bytes: u64| bytes as f64 / 1e6;
    format!(
        "{} rows looked for, {} not found; {} recalls, {} failed, recall@10 {}\n\
         {} rows acked, {} listed, {} lost, {} doubled; {} rows an entry; {} chunks refused, {} times slowed\n\
         resident MB of the largest node: {:.0} at the start, {:.0} at the end, {:.0} at most; {} bytes a row\n\
         lane or index queue {:.0} ‰ full on average, {} ‰ at most; {} rows outside the graph at most",
        report.probes,
        report.not_found,
        report.recalls,
        report.recalls_failed,
        shown(report.recall_at_10, 4),
        report.acked,
        report.listed,
        report.lost,
        report.doubled,
        shown(report.rows_per_entry, 1),
        report.refused,
        report.slowed,
        mb(report.resident_start_bytes),
        mb(report.resident_bytes),
        mb(report.resident_peak_bytes),
        shown(report.resident_bytes_per_row, 0),
        report.pressure_mean_permille,
        report.pressure_max_permille,
        report.tail_rows_max,
    )
}

fn roles(report: &Report) -> String {
    let mut table = Table::new(&["processor time by thread", "µs a row"]);
    for (role, micros) in report.cpu_us_per_row_by_role.iter().filter(|(_, micros)| **micros >= 0.05) {
        table.row([role.clone(), format!("{micros:.1}")]);
    }
    let cores = format!("all nodes, {:.2} cores in use", report.cores_used);
    table.row([cores, format!("{:.1}", report.cpu_us_per_row)]);
    table.row(["the bench itself".into(), format!("{:.1}", report.client_cpu_us_per_row)]);
    table.render()
}
