//! Verdicts as one static page: a timeline of the smallest bad part of each invalid history.
//!
//! The page opens offline: no script, no link. Lanes are processes; a bar runs from invocation to completion, in
//! the order of the lines (not to scale: time stands in the tool tip). A bar that fades out never completed; the
//! operation that can't be explained is red.
//!
//! For registers the end of the longest valid prefix stands below it.
//!
//! Leaves out: the order that the checker found for the valid part.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::verdict::{Prefix, Span, Verdict};

const LANE_PX: usize = 34;
const STEP_PX: usize = 90;
const LEFT_PX: usize = 110;
const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:1100px;padding:0 1em;color:#1a1a1a}\
h2{font-size:1.1em;margin-top:2em}.scroll{overflow-x:auto}text{font:12px system-ui,sans-serif}\
.valid{color:#176c2c}.invalid{color:#a11}.undecided,.unusable{color:#8a5a00}";

/// The page for these files and their verdicts.
pub fn page(model: &str, verdicts: &[(String, Verdict)]) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>jepsen-lite: {model}</title>\
         <style>{STYLE}</style></head><body>\n<h1>jepsen-lite: {model}</h1>\n",
        model = escape(model)
    );
    for (file, verdict) in verdicts {
        let class = match verdict {
            Verdict::Valid(_) => "valid",
            Verdict::Invalid(_) => "invalid",
            Verdict::Undecided { .. } => "undecided",
            Verdict::Unusable(_) => "unusable",
        };
        let (file, sentence) = (escape(file), escape(&verdict.sentence()));
        let _ = writeln!(html, "<h2>{file}</h2>\n<p class=\"{class}\">{sentence}</p>");
        if let Some(counterexample) = verdict.counterexample() {
            html.push_str(&timeline(&counterexample.spans));
            if let Some(Prefix { before_line, operations, spans }) = &counterexample.prefix {
                let _ = writeln!(
                    html,
                    "<p>The longest valid prefix has {operations} completed operations of this key and ends before line \
                     {before_line}. Its end, and what can't follow:</p>"
                );
                html.push_str(&timeline(spans));
            }
        }
    }
    html.push_str("</body></html>\n");
    html
}

fn timeline(spans: &[Span]) -> String {
    let lines: BTreeSet<usize> = spans.iter().flat_map(|span| [Some(span.from_line), span.to_line]).flatten().collect();
    let processes: BTreeSet<i64> = spans.iter().map(|span| span.process).collect();
    let rank = |line: usize| LEFT_PX + lines.range(..line).count() * STEP_PX;
    let width = LEFT_PX + lines.len().max(1) * STEP_PX + 60;
    let height = processes.len() * LANE_PX + 10;
    let mut svg = format!(
        "<div class=\"scroll\"><svg role=\"img\" width=\"{width}\" height=\"{height}\">\
         <defs><linearGradient id=\"open\"><stop stop-color=\"#b9c4d0\"/>\
         <stop offset=\"1\" stop-color=\"#b9c4d0\" stop-opacity=\"0\"/></linearGradient></defs>\n"
    );
    for (lane, process) in processes.iter().enumerate() {
        let y = lane * LANE_PX + 24;
        let _ = writeln!(svg, "<text x=\"0\" y=\"{y}\">process {process}</text>");
    }
    for span in spans {
        let y = processes.range(..span.process).count() * LANE_PX + 6;
        let from = rank(span.from_line);
        let to = span.to_line.map_or(width, rank).max(from + 12);
        let fill = match span {
            Span { guilty: true, .. } => "#f3b0ab",
            Span { known: true, .. } => "#bcd9f2",
            Span { to_line: None, .. } => "url(#open)",
            _ => "#dcdcdc",
        };
        let end = span.to_line.map_or("never completed".into(), |line| {
            format!("line {line}, {} ns{}", span.to_ns.unwrap_or(0), if span.known { "" } else { ", not ok" })
        });
        let _ = writeln!(
            svg,
            "<g><title>{label}: line {line}, {ns} ns to {end}</title><rect x=\"{from}\" y=\"{y}\" width=\"{width}\" \
             height=\"24\" rx=\"3\" fill=\"{fill}\" stroke=\"#667\"/><text x=\"{x}\" y=\"{baseline}\">{label}</text></g>",
            label = escape(&span.label),
            line = span.from_line,
            ns = span.from_ns,
            width = to - from,
            x = from + 5,
            baseline = y + 16,
        );
    }
    svg.push_str("</svg></div>\n");
    svg
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::History;
    use crate::model::Model;

    #[test]
    fn the_page_shows_the_bad_read_and_escapes_what_clients_wrote() {
        let lines = [
            r#"{"process":0,"type":"invoke","f":"write","key":"<x>","value":1,"time":0}"#,
            r#"{"process":0,"type":"ok","f":"write","key":"<x>","value":1,"time":1}"#,
            r#"{"process":1,"type":"invoke","f":"read","key":"<x>","value":null,"time":2}"#,
            r#"{"process":1,"type":"ok","f":"read","key":"<x>","value":null,"time":3}"#,
        ];
        let history = History::from_jsonl("h", &lines.join("\n")).expect("events");
        let html = page("register", &[("h".into(), Model::Register.check(&history, 1 << 20))]);
        assert!(html.contains("read → null") && html.contains("&lt;x&gt;") && !html.contains("<x>"), "{html}");
        assert_eq!(html.matches("<rect").count(), 2 + 2, "the smallest part, and the prefix that it ends");
        assert!(html.contains("has 1 completed operations of this key and ends before line 4"), "{html}");
    }
}
