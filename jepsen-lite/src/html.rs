//! Verdicts as one static page: a timeline of the smallest bad part of each invalid history.
//!
//! The page opens offline: no script, no link. Lanes are processes; a bar runs from invocation to completion, in
//! the order of the lines (not to scale: time stands in the tool tip). A bar that fades out never completed; the
//! operation that can't be explained is red.
//!
//! For registers the end of the longest valid prefix stands below it, with the order that was found for it: numbered points on
//! one line, each at a moment at which its operation may have taken effect.
//!
//! Leaves out: valid histories, and other orders than the one that was found first.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::verdict::{Point, Prefix, Span, Verdict};

const LANE_PX: usize = 34;
const BAR_PX: usize = 24;
/// Room below a bar for its point.
const POINT_PX: usize = 16;
const STEP_PX: usize = 90;
const LEFT_PX: usize = 110;
const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:1100px;padding:0 1em;color:#1a1a1a}\
h2{font-size:1.1em;margin-top:2em}.scroll{overflow-x:auto}text{font:12px system-ui,sans-serif}\
.place{font-size:10px;fill:#7a3f00}.note{color:#5a646e}.valid{color:#176c2c}.invalid{color:#a11}.undecided,.unusable{color:#8a5a00}";

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
                html.push_str(legend(spans));
            }
        }
    }
    html.push_str("</body></html>\n");
    html
}

fn legend(spans: &[Span]) -> &'static str {
    match spans.iter().any(|span| span.point.is_some()) {
        true => {
            "<p class=\"note\">The line is an order in which each answer of the prefix is right; the numbers count from its first \
             operation here. An operation without a number takes no effect in it.</p>\n"
        }
        false => "<p class=\"note\">No order of the prefix was found within the memory that is set aside for it.</p>\n",
    }
}

fn timeline(spans: &[Span]) -> String {
    let lines: BTreeSet<usize> = spans.iter().flat_map(|span| [Some(span.from_line), span.to_line]).flatten().collect();
    let processes: BTreeSet<i64> = spans.iter().map(|span| span.process).collect();
    let rank = |line: usize| LEFT_PX + lines.range(..line).count() * STEP_PX;
    let width = LEFT_PX + lines.len().max(1) * STEP_PX + 60;
    let pointed = spans.iter().any(|span| span.point.is_some());
    let lane_px = if pointed { LANE_PX + POINT_PX } else { LANE_PX };
    let height = processes.len() * lane_px + 10;
    let mut svg = format!(
        "<div class=\"scroll\"><svg role=\"img\" width=\"{width}\" height=\"{height}\">\
         <defs><linearGradient id=\"open\"><stop stop-color=\"#b9c4d0\"/>\
         <stop offset=\"1\" stop-color=\"#b9c4d0\" stop-opacity=\"0\"/></linearGradient></defs>\n"
    );
    for (lane, process) in processes.iter().enumerate() {
        let y = lane * lane_px + 24;
        let _ = writeln!(svg, "<text x=\"0\" y=\"{y}\">process {process}</text>");
    }
    for span in spans {
        let y = processes.range(..span.process).count() * lane_px + 6;
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
             height=\"{BAR_PX}\" rx=\"3\" fill=\"{fill}\" stroke=\"#667\"/><text x=\"{x}\" y=\"{baseline}\">{label}</text></g>",
            label = escape(&span.label),
            line = span.from_line,
            ns = span.from_ns,
            width = to - from,
            x = from + 5,
            baseline = y + 16,
        );
    }
    order(&mut svg, spans, &lines, |process| processes.range(..process).count() * lane_px + 6 + BAR_PX);
    svg.push_str("</svg></div>\n");
    svg
}

/// The line through the points, each below its bar and numbered. Points between the same two lines stand side by side.
fn order(svg: &mut String, spans: &[Span], lines: &BTreeSet<usize>, bottom: impl Fn(i64) -> usize) {
    let mut points: Vec<(Point, &Span)> = spans.iter().filter_map(|span| Some((span.point?, span))).collect();
    points.sort_by_key(|(point, _)| point.place);
    let step = |point: &Point| lines.range(..=point.after_line).count();
    let mut drawn: Vec<(usize, usize)> = Vec::new();
    let mut circles = String::new();
    for (number, (point, span)) in points.iter().enumerate() {
        let beside = points.iter().filter(|(other, _)| step(other) == step(point)).count();
        let before = points[..number].iter().filter(|(other, _)| step(other) == step(point)).count();
        let x = LEFT_PX + (step(point) - 1) * STEP_PX + STEP_PX * (before + 1) / (beside + 1);
        let (bar, y) = (bottom(span.process), bottom(span.process) + POINT_PX / 2 + 2);
        drawn.push((x, y));
        let _ = writeln!(
            circles,
            "<g><title>{label}: operation {place} of the order</title><path d=\"M{x} {bar}V{y}\" stroke=\"#b35c00\"/>\
             <circle cx=\"{x}\" cy=\"{y}\" r=\"8\" fill=\"#fff\" stroke=\"#b35c00\"/><text x=\"{x}\" y=\"{text}\" \
             text-anchor=\"middle\" class=\"place\">{number}</text></g>",
            label = escape(&span.label),
            place = point.place,
            text = y + 4,
            number = number + 1,
        );
    }
    let line: Vec<String> = drawn.iter().map(|(x, y)| format!("{x},{y}")).collect();
    if !line.is_empty() {
        let line = line.join(" ");
        let _ = writeln!(
            svg,
            "<polyline points=\"{line}\" fill=\"none\" stroke=\"#b35c00\" stroke-width=\"1.5\" opacity=\"0.55\"/>"
        );
    }
    svg.push_str(&circles);
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
        assert_eq!(html.matches("<circle").count(), 1, "the write is all that the prefix needs");
        assert!(html.contains("has 1 completed operations of this key and ends before line 4"), "{html}");
    }

    #[test]
    fn the_points_of_the_order_stand_within_their_bars_and_from_left_to_right() {
        let event = |process: i64, kind: &str, f: &str, value: &str| {
            format!(r#"{{"process":{process},"type":"{kind}","f":"{f}","key":"x","value":{value},"time":0}}"#)
        };
        let lines = [
            event(0, "invoke", "write", "1"),
            event(1, "invoke", "write", "2"),
            event(2, "invoke", "read", "null"),
            event(2, "ok", "read", "2"),
            event(2, "invoke", "read", "null"),
            event(2, "ok", "read", "1"),
            event(0, "ok", "write", "1"),
            event(2, "invoke", "read", "null"),
            event(2, "ok", "read", "2"),
        ];
        let history = History::from_jsonl("h", &lines.join("\n")).expect("events");
        let verdict = Model::Register.check(&history, 1 << 20);
        let prefix = verdict.counterexample().and_then(|found| found.prefix.as_ref()).expect("the last read is wrong");
        let mut places: Vec<(usize, &str)> =
            prefix.spans.iter().filter_map(|span| Some((span.point?.place, &*span.label))).collect();
        places.sort_unstable();
        assert_eq!(places, [(1, "write 2"), (2, "read → 2"), (3, "write 1"), (4, "read → 1")]);
        let drawn = timeline(&prefix.spans);
        let attribute = |element: &str, name: &str| -> Vec<usize> {
            let parts = drawn.split(element).skip(1);
            let value = |part: &str| part.split(name).nth(1).and_then(|rest| rest.split('"').nth(1)?.parse().ok());
            parts.map(|part| value(part).expect("a number")).collect()
        };
        let xs = attribute("<circle", "cx=");
        assert!(xs.windows(2).all(|pair| pair[0] < pair[1]), "{xs:?}");
        let (from, width) = (attribute("<rect", "x="), attribute("<rect", "width="));
        for (span, (from, width)) in prefix.spans.iter().zip(from.into_iter().zip(width)) {
            let Some(point) = span.point else { continue };
            assert!((from..from + width).contains(&xs[point.place - 1]), "{span:?} at {from}, {width} wide; {xs:?}");
        }
    }
}
