//! A run as one static page: verdicts, the nemesis' timeline, throughput and latency over time, first acks.
//!
//! The page opens offline: no script, no link. The three drawings share one axis of time; grey behind throughput and latency
//! is the time in faults. A bar's tool tip says what was done, and what came of it.

use crate::drive::faults::Deed;
use crate::drive::measure::{Second, merged};
use crate::drive::report::{Report, ms, sentence};
use std::fmt::Write as _;
use std::time::Duration;

const WIDTH: f64 = 1100.0;
const LEFT: f64 = 110.0;
const RIGHT: f64 = 14.0;
const LANE: f64 = 22.0;
const GRAPH: f64 = 150.0;
/// The axis of latencies, in powers of ten of a millisecond.
const DECADES: (f64, f64) = (0.0, 5.0);
const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:1120px;padding:0 1em;color:#1c2126;background:#fff}\
h1{font-size:1.5em;margin:0 0 .2em}h2{font-size:1.1em;margin:2em 0 .4em}svg{display:block;width:100%;height:auto}\
text{font:12px system-ui,sans-serif;fill:#4a545e}.ok{color:#176c2c}.broken{color:#a11}.note{color:#5a646e}\
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}\
th{text-align:left;font-weight:600;border-bottom:1px solid #c3cbd3}td,th{padding:2px 14px 2px 0;vertical-align:top}\
.n{text-align:right;white-space:nowrap}code{font-size:13px;overflow-wrap:anywhere}ul{padding-left:1.2em;margin:.4em 0}li{margin:.2em 0}";

/// The page of a run.
pub fn page(report: &Report) -> String {
    let plan = &report.run.plan;
    let valid = report.is_valid();
    let title = format!("seed {} on {} processes, {} s", plan.seed, plan.nodes, plan.duration_ms / 1000);
    let (class, word) = if valid { ("ok", "every promise held") } else { ("broken", "broken") };
    let (acked, unknown) = report.facts.counts;
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>jepsen-lite: {title}</title>\
         <style>{STYLE}</style></head><body>\n<h1>{title}: <span class=\"{class}\">{word}</span></h1>\n\
         <p>{acked} rows acked, {unknown} of unknown outcome. <span class=\"note\">{}</span></p>\n",
        escape(&report.first_acks_line()),
    );
    if let Some(busy) = report.busy() {
        let _ = writeln!(html, "<p class=\"note\">Note: {busy}.</p>");
    }
    verdicts(&mut html, report);
    let axis = Axis::of(report);
    let _ =
        writeln!(html, "<h2>What was done to the cluster</h2>\n<p class=\"note\">Network: {}.</p>", report.network());
    timeline(&mut html, &axis, &report.facts.deeds);
    let (_, skipped) = report.kinds();
    for line in skipped {
        let _ = writeln!(html, "<p class=\"note\">Not injected: {}.</p>", escape(&line));
    }
    html.push_str("<h2>Rows acked and recalls answered, a second</h2>\n");
    throughput(&mut html, &axis, report);
    html.push_str("<h2>Latency of acks, in the second of the ack</h2>\n");
    latency(&mut html, &axis, report);
    figures(&mut html, report);
    first_acks(&mut html, report, &axis);
    let _ = writeln!(html, "<h2>Again</h2>\n<p><code>{}</code></p>\n</body></html>", escape(&report.run.command));
    html
}

fn verdicts(html: &mut String, report: &Report) {
    html.push_str("<h2>Verdicts</h2>\n<ul>\n");
    for (model, verdict) in &report.verdicts {
        let class = if verdict.is_valid() { "ok" } else { "broken" };
        let _ =
            writeln!(html, "<li><b>{model}</b>: <span class=\"{class}\">{}</span></li>", escape(&verdict.sentence()));
    }
    if let Some(settled) = &report.ending.settled {
        let (index, digest) = settled.state;
        let _ = writeln!(
            html,
            "<li><b>liveness</b>: <span class=\"ok\">converged in {}; digest {digest:016x} on all nodes at log index {index}; \
             {} questions about it answered alike</span></li>",
            ms(settled.took),
            settled.compared
        );
    }
    if let Some(backups) = report.backups() {
        let _ = writeln!(html, "<li><b>backups</b>: {backups}</li>");
    }
    for broken in &report.ending.broken {
        let _ = writeln!(html, "<li class=\"broken\">{}</li>", escape(broken));
    }
    html.push_str("</ul>\n");
}

/// Time across the page.
struct Axis {
    from: f64,
    to: f64,
    faults: Vec<(f64, f64)>,
}

impl Axis {
    fn of(report: &Report) -> Self {
        let ends = report.facts.deeds.iter().map(|deed| deed.until).chain([report.facts.span.1]);
        let (from, to) = (report.facts.span.0.as_secs_f64(), ends.max().unwrap_or_default().as_secs_f64());
        let faults = merged(&report.facts.deeds).iter().map(|(a, b)| (a.as_secs_f64(), b.as_secs_f64())).collect();
        Self { from, to: to.max(from + 1.0), faults }
    }

    /// Where a time stands, in pixels.
    fn x(&self, seconds: f64) -> f64 {
        LEFT + (seconds - self.from).clamp(0.0, self.to - self.from) / (self.to - self.from) * (WIDTH - LEFT - RIGHT)
    }

    fn svg(&self, html: &mut String, name: &str, height: f64) {
        let _ = writeln!(html, "<svg role=\"img\" aria-label=\"{name}\" viewBox=\"0 0 {WIDTH} {}\">", height + 22.0);
    }

    /// Grey where something was done.
    fn shade(&self, html: &mut String, height: f64) {
        for (from, to) in &self.faults {
            let (x, end) = (self.x(*from), self.x(*to));
            let _ = writeln!(
                html,
                "<rect x=\"{x:.1}\" y=\"0\" width=\"{:.1}\" height=\"{height}\" fill=\"#eceff2\"/>",
                end - x
            );
        }
    }

    /// Ticks, their labels, and the end of the drawing.
    fn close(&self, html: &mut String, height: f64) {
        let length = self.to - self.from;
        let step = [1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];
        let step = step.into_iter().find(|step| length / step <= 14.0).unwrap_or(7200.0);
        let mut at = 0.0;
        while at <= length {
            let x = self.x(self.from + at);
            let _ = writeln!(
                html,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{height}\" y2=\"{}\" stroke=\"#8a949e\"/>\
                 <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{at} s</text>",
                height + 4.0,
                height + 17.0
            );
            at += step;
        }
        html.push_str("</svg>\n");
    }
}

fn colour(name: &str) -> &'static str {
    match name {
        "crash" | "power_loss" => "#c8553d",
        "pause" => "#e0a030",
        "partition" | "one_way" | "reset" => "#7d5ba6",
        "delay" | "loss" => "#4f86c6",
        "disk_full" => "#8c6d46",
        "burst" => "#c2528b",
        _ => "#5f9e6e",
    }
}

fn timeline(html: &mut String, axis: &Axis, deeds: &[Deed]) {
    let mut lanes: Vec<&str> = Vec::new();
    for deed in deeds.iter().filter(|deed| deed.injected) {
        if !lanes.contains(&&*deed.name) {
            lanes.push(&deed.name);
        }
    }
    lanes.sort_by_key(|name| (colour(name), *name));
    let height = lanes.len().max(1) as f64 * LANE;
    axis.svg(html, "timeline of faults", height);
    for (lane, name) in lanes.iter().enumerate() {
        let y = lane as f64 * LANE;
        let shade = if lane % 2 == 0 { "#f6f7f9" } else { "#ffffff" };
        let width = WIDTH - LEFT - RIGHT;
        let _ = writeln!(
            html,
            "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{width}\" height=\"{LANE}\" fill=\"{shade}\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            y + 15.0,
            name.replace('_', " ")
        );
        for deed in deeds.iter().filter(|deed| deed.injected && deed.name == **name) {
            let (x, end) = (axis.x(deed.from.as_secs_f64()), axis.x(deed.until.as_secs_f64()));
            let note = if deed.note.is_empty() { String::new() } else { format!(": {}", deed.note) };
            let tip = format!(
                "{} {}, {} for {}{note}",
                deed.name,
                deed.detail,
                at(deed.from, axis),
                ms(deed.until - deed.from)
            );
            let _ = writeln!(
                html,
                "<rect x=\"{x:.1}\" y=\"{}\" width=\"{:.1}\" height=\"{}\" rx=\"2\" fill=\"{}\" fill-opacity=\".85\"><title>{}</title></rect>",
                y + 3.0,
                (end - x).max(2.0),
                LANE - 6.0,
                colour(name),
                escape(&tip)
            );
        }
    }
    axis.close(html, height);
}

fn at(moment: Duration, axis: &Axis) -> String {
    format!("at {:.1} s", moment.as_secs_f64() - axis.from)
}

fn throughput(html: &mut String, axis: &Axis, report: &Report) {
    let seconds = &report.measures.seconds;
    // Logarithms, so that a burst does not hide the even pace.
    let most = seconds.iter().map(|second| second.acked).max().unwrap_or(0).max(100) as f64;
    let y = |value: u64| GRAPH - ((value + 1) as f64).ln() / (most + 1.0).ln() * (GRAPH - 12.0);
    axis.svg(html, "rows acked and recalls answered in each second", GRAPH);
    axis.shade(html, GRAPH);
    for value in [0, 10, 100, 1_000, 10_000, 100_000].into_iter().filter(|value| *value as f64 <= most) {
        rule(html, y(value), &value.to_string());
    }
    for (at, second) in seconds.iter().enumerate().filter(|(_, second)| second.acked > 0) {
        let (x, end, y) = (axis.x(at as f64), axis.x(at as f64 + 1.0), y(second.acked));
        let _ = writeln!(
            html,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#4f86c6\"><title>{} rows</title></rect>",
            (end - x - 0.5).max(0.5),
            GRAPH - y,
            second.acked
        );
    }
    let points = |value: fn(&Second) -> u64| {
        let point = |(at, second): (usize, &Second)| format!("{:.1},{:.1}", axis.x(at as f64 + 0.5), y(value(second)));
        seconds.iter().enumerate().map(point).collect::<Vec<_>>().join(" ")
    };
    let _ =
        writeln!(html, "<polyline points=\"{}\" fill=\"none\" stroke=\"#176c2c\"/>", points(|second| second.recalled));
    let _ =
        writeln!(html, "<polyline points=\"{}\" fill=\"none\" stroke=\"#c8553d\"/>", points(|second| second.failed));
    axis.close(html, GRAPH);
    html.push_str(
        "<p class=\"note\">Blue: rows. Green: recalls answered; red: recalls without an answer. The scale is logarithmic.</p>\n",
    );
}

fn rule(html: &mut String, y: f64, label: &str) {
    let _ = writeln!(
        html,
        "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#dde2e7\"/>\
         <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
        WIDTH - RIGHT,
        LEFT - 8.0,
        y + 4.0
    );
}

fn latency(html: &mut String, axis: &Axis, report: &Report) {
    let y = |ms: f64| {
        let place = (ms.max(1.0).log10() - DECADES.0) / (DECADES.1 - DECADES.0);
        GRAPH - place.clamp(0.0, 1.0) * (GRAPH - 12.0)
    };
    axis.svg(html, "median and P99 of acks in each second", GRAPH);
    axis.shade(html, GRAPH);
    for (ms, label) in [(1.0, "1 ms"), (10.0, "10 ms"), (100.0, "100 ms"), (1e3, "1 s"), (1e4, "10 s"), (1e5, "100 s")]
    {
        rule(html, y(ms), label);
    }
    for (at, second) in report.measures.seconds.iter().enumerate() {
        let Some((p50, p99)) = second.ack_ms else { continue };
        let (x, from, to) = (axis.x(at as f64 + 0.5), y(p99), y(p50));
        let _ = writeln!(
            html,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{from:.1}\" y2=\"{to:.1}\" stroke=\"#b9c9de\"/>\
             <circle cx=\"{x:.1}\" cy=\"{to:.1}\" r=\"1.8\" fill=\"#4f86c6\"><title>P50 {p50:.1} ms</title></circle>\
             <circle cx=\"{x:.1}\" cy=\"{from:.1}\" r=\"1.8\" fill=\"#c8553d\"><title>P99 {p99:.1} ms</title></circle>"
        );
    }
    axis.close(html, GRAPH);
    html.push_str(
        "<p class=\"note\">Blue: the median; red: P99. From the moment at which the client offers a row.</p>\n",
    );
}

fn figures(html: &mut String, report: &Report) {
    html.push_str(
        "<h2>Latency in and out of faults</h2>\n<table><tr><th></th><th>in faults</th><th>outside</th></tr>\n",
    );
    for (name, [within, outside]) in [("acks", &report.measures.acks), ("recalls", &report.measures.recalls)] {
        let _ = writeln!(html, "<tr><td>{name}</td><td>{}</td><td>{}</td></tr>", sentence(within), sentence(outside));
    }
    let _ =
        writeln!(html, "</table>\n<p class=\"note\">{} recalls had no answer in time.</p>", report.measures.unanswered);
}

fn first_acks(html: &mut String, report: &Report, axis: &Axis) {
    html.push_str(
        "<h2>Time to the first ack</h2>\n<p class=\"note\">Of the first row offered after the beginning, and after the end, of each \
         fault; others may have been under way.</p>\n<table><tr><th class=\"n\">at</th><th>what</th><th class=\"n\">for</th>\
         <th class=\"n\">after its beginning</th><th class=\"n\">after its end</th><th>note</th></tr>\n",
    );
    for (deed, (begun, ended)) in
        report.facts.deeds.iter().zip(&report.measures.first_acks).filter(|(deed, _)| deed.injected)
    {
        let cell = |took: &Option<Duration>| took.map_or("–".into(), ms);
        let _ = writeln!(
            html,
            "<tr><td class=\"n\">{:.1} s</td><td>{} {}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
            deed.from.as_secs_f64() - axis.from,
            escape(&deed.name.replace('_', " ")),
            escape(&deed.detail),
            ms(deed.until - deed.from),
            cell(begun),
            cell(ended),
            escape(&deed.note)
        );
    }
    html.push_str("</table>\n");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stand_in_order_within_the_drawing_and_words_of_nodes_are_escaped() {
        let axis = Axis { from: 10.0, to: 20.0, faults: vec![(12.0, 13.0)] };
        assert_eq!((axis.x(10.0), axis.x(20.0), axis.x(25.0)), (LEFT, WIDTH - RIGHT, WIDTH - RIGHT));
        let (name, detail) = ("crash".to_string(), "node 1".to_string());
        let (from, until) = (Duration::from_secs(12), Duration::from_secs(13));
        let deed = Deed { name, detail, from, until, note: "a <b> & \"c\"".into(), injected: true };
        let mut html = String::new();
        timeline(&mut html, &axis, std::slice::from_ref(&deed));
        assert!(html.contains("crash node 1, at 2.0 s for 1.00 s: a &lt;b&gt; &amp; &quot;c&quot;"), "{html}");
        timeline(&mut html, &axis, &[Deed { injected: false, ..deed }]);
        assert_eq!(html.matches("<title>").count(), 1, "what was not injected is no bar");
    }
}
