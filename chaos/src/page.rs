//! A run as a page: faults as bars, nodes as lanes, time from left to right, the violation in the middle.
//!
//! The page is one file that loads nothing: `page.html` with the run as JSON in it.
//!
//! Invariants: the page stays below some megabytes however long the run is: of lines that say the same only
//! [`SHAPE_MAX`] are kept, evenly, and the page says how many there were; in the second before the violation every line
//! is kept, but for bytes on the wire.
//!
//! Leaves out: drawing (the page does), and what messages hold: the trace has their lengths alone.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::report::describe;
use crate::trace::{Line, Meaning, Who};

/// Lines of one shape that are kept.
const SHAPE_MAX: usize = 400;
/// Steps of a curve.
const STEPS: f64 = 2_000.0;
/// Characters of a line that are kept.
const TEXT_MAX: usize = 300;
/// The time before the violation in which nothing is left out.
const CLOSE_MS: f64 = 1_000.0;
/// A fault that stops a node shows in the trace within this time of its own.
const OFFSET_MS_MAX: f64 = 1_000.0;

const TEMPLATE: &str = include_str!("page.html");

/// The page of a run.
pub fn page(plan: &Plan, outcome: &Outcome, lines: &[Line], reproduce: &str) -> String {
    let data = data(plan, outcome, lines, reproduce).to_string();
    // Inside a script nothing may look like its end.
    TEMPLATE.replacen("/*RUN*/null", &data.replace("</", "<\\/"), 1)
}

fn data(plan: &Plan, outcome: &Outcome, lines: &[Line], reproduce: &str) -> Value {
    let last = lines.last().map_or(0.0, |line| line.at_ms);
    let end_ms = last.max(outcome.simulated_ms as f64).max(plan.duration_ms as f64);
    let begins_ms = plan_begins(plan, lines);
    let faults = plan.faults.iter().map(|fault| {
        let at = |ms: u64| ms as f64 + begins_ms;
        json!([at(fault.at_ms), at(fault.until_ms), fault.kind.name(), describe(&fault.kind)])
    });
    let mut outcome = outcome.clone();
    let seen = outcome.violation.as_ref().is_some_and(|violation| violation.at_ms > 0);
    if let Some(violation) = outcome.violation.as_mut().filter(|violation| violation.at_ms == 0) {
        // Nobody saw it happen: what never came, and a process that died, show at the end.
        violation.at_ms = last as u64;
    }
    let violation_ms = outcome.violation.as_ref().map(|violation| violation.at_ms as f64);
    json!({
        "seed": plan.seed, "profile": plan.profile, "nodes": plan.nodes, "end_ms": end_ms,
        "plan_ms": [begins_ms, begins_ms + plan.duration_ms as f64],
        "outcome": outcome, "seen": seen, "reproduce": reproduce,
        "faults": faults.collect::<Vec<_>>(),
        "lanes": lanes(lines, end_ms, plan.nodes),
        "events": events(lines, violation_ms),
    })
}

/// When the plan's time begins, on the trace's clock: as a line says, or else as the first fault that stops a node
/// shows.
fn plan_begins(plan: &Plan, lines: &[Line]) -> f64 {
    if let Some(line) = lines.iter().find(|line| line.meaning() == Meaning::PlanBegins) {
        return line.at_ms;
    }
    let offset = |line: &Line| {
        let Who::Node(node) = line.who else { return None };
        let stopping = plan.faults.iter().filter(|fault| fault.kind.down().contains(&node));
        let mut offsets = stopping.map(|fault| line.at_ms - fault.at_ms as f64);
        offsets.find(|offset| (0.0..OFFSET_MS_MAX).contains(offset))
    };
    lines.iter().filter(|line| line.meaning() == Meaning::Ends).find_map(offset).unwrap_or(0.0)
}

/// What a lane draws, besides its events.
#[derive(Default)]
struct Lane {
    /// (start, life), and (end, 0).
    lives: Vec<(f64, u64)>,
    roles: Vec<(f64, String, u64)>,
    applied: Vec<(f64, u64)>,
    bytes: BTreeMap<u64, u64>,
}

fn lanes(lines: &[Line], end_ms: f64, nodes: u64) -> Value {
    let step_ms = (end_ms / STEPS).max(1.0);
    let mut lanes: BTreeMap<Who, Lane> = (1..=nodes).map(|node| (Who::Node(node), Lane::default())).collect();
    lanes.insert(Who::Client, Lane::default());
    for line in lines.iter().filter(|line| line.who != Who::World) {
        let (lane, at) = (lanes.entry(line.who).or_default(), line.at_ms);
        match line.meaning() {
            Meaning::Begins(life) => lane.lives.push((at, life)),
            Meaning::Ends => lane.lives.push((at, 0)),
            Meaning::Role(role, term) => lane.roles.push((at, role.to_string(), term)),
            Meaning::Bytes(count) => *lane.bytes.entry((at / step_ms) as u64).or_default() += count,
            Meaning::Applied(index) => match lane.applied.last_mut() {
                // A step keeps its last value, and a fall is never hidden.
                Some(last) if (last.0 / step_ms) as u64 == (at / step_ms) as u64 && last.1 < index => last.1 = index,
                _ => lane.applied.push((at, index)),
            },
            _ => {}
        }
    }
    let lane = |(who, lane): (Who, Lane)| {
        json!({
            "name": name(who), "lives": lane.lives, "roles": lane.roles, "applied": lane.applied,
            "step_ms": step_ms, "bytes": lane.bytes.into_iter().collect::<Vec<_>>(),
        })
    };
    lanes.into_iter().map(lane).collect()
}

/// The lines that are kept: (time, lane, text, lane at the other end, how many lines of its shape one stands for).
fn events(lines: &[Line], violation_ms: Option<f64>) -> Value {
    let close = |line: &Line| violation_ms.is_some_and(|at| (at - CLOSE_MS..=at + 1.0).contains(&line.at_ms));
    let told = |line: &&Line| match line.meaning() {
        Meaning::Bytes(_) => false,
        // The curve shows them.
        Meaning::Applied(_) => close(line),
        _ => true,
    };
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for line in lines.iter().filter(told) {
        counts.entry(line.shape()).or_default().0 += 1;
    }
    let mut kept = Vec::new();
    for line in lines.iter().filter(told) {
        let Some((count, seen)) = counts.get_mut(&line.shape()) else { continue };
        let every = count.div_ceil(SHAPE_MAX);
        *seen += 1;
        if (*seen - 1).is_multiple_of(every) || close(line) {
            let text: String = line.text.chars().take(TEXT_MAX).collect();
            let peer = line.peer().map(|node| name(Who::Node(node)));
            kept.push(json!([line.at_ms, name(line.who), text, peer, every]));
        }
    }
    kept.into()
}

fn name(who: Who) -> String {
    match who {
        Who::World => "world".into(),
        Who::Client => "clients".into(),
        Who::Node(node) => format!("node {node}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Verdict, Violation};
    use crate::trace::read;
    use crate::world::World;

    fn run(trace: &str, at_ms: u64) -> (Plan, Outcome, Vec<Line>) {
        let plan = r#"{"version":1,"seed":7,"profile":"p","duration_ms":9000,"nodes":2,"faults":[
            {"at_ms":2000,"until_ms":3000,"kind":{"crash":{"node":2}}}]}"#;
        let violation = Violation { invariant: "x".into(), detail: "</script><b>".into(), at_ms };
        let outcome = Outcome {
            verdict: Verdict::Broken,
            seed: 7,
            world: World::Turmoil,
            trace_hash: "0".repeat(16),
            events: 1,
            simulated_ms: 9_000,
            acked: 1,
            probes: std::collections::BTreeMap::new(),
            violation: Some(violation),
        };
        (Plan::from_json(plan).expect("valid"), outcome, read(trace.as_bytes()).expect("in memory"))
    }

    #[test]
    fn nothing_in_a_run_ends_the_script_and_the_page_loads_nothing() {
        let (plan, outcome, lines) = run("1000000 n1 says </script>\n", 5);
        let page = page(&plan, &outcome, &lines, "reproduce: it");
        assert_eq!(page.matches("</script").count(), 1);
        assert!(!page.contains("/*RUN*/null") && page.contains("reproduce: it"));
        assert!(!page.contains("http://") && !page.contains("https://") && !page.contains(" src="));
    }

    #[test]
    fn frequent_lines_are_thinned_but_not_right_before_the_violation() {
        let line = |ms: u64| format!("{} n1 says hello to {ms}\n", ms * 1_000_000);
        let (_, _, lines) = run(&(0..8_000).map(line).collect::<String>(), 8_000);
        let kept = events(&lines, Some(7_999.0));
        let times: Vec<f64> = kept.as_array().expect("a list").iter().filter_map(|event| event[0].as_f64()).collect();
        assert_eq!(times.iter().filter(|at| **at < 6_000.0).count(), 300, "one in twenty");
        assert_eq!(times.iter().filter(|at| **at >= 7_000.0).count(), 1_000);
        assert_eq!(events(&lines, None).as_array().map(Vec::len), Some(SHAPE_MAX));
    }

    #[test]
    fn faults_lie_on_the_clock_of_the_trace() {
        // The first node that stops is one that no fault stopped.
        let crash = "0 n2 begins life 1\n2100000000 n1 crashes\n2250000000 n2 crashes\n";
        let (plan, outcome, lines) = run(crash, 5);
        assert_eq!(data(&plan, &outcome, &lines, "")["faults"][0][0], json!(2_250.0));
        let told = read(format!("300000000 the plan begins\n{crash}").as_bytes()).expect("in memory");
        assert_eq!(data(&plan, &outcome, &told, "")["faults"][0][0], json!(2_300.0));
        assert_eq!(data(&plan, &outcome, &[], "")["faults"][0][0], json!(2_000.0));
    }

    #[test]
    fn a_curve_keeps_a_value_a_step_and_every_fall() {
        let applied = |ns: u64, index: u64| format!("{ns} n1 applied index={index} term=1\n");
        let trace = applied(1_000_000, 1) + &applied(1_100_000, 2) + &applied(1_200_000, 1) + &applied(5_000_000, 3);
        let (_, _, lines) = run(&trace, 5);
        assert_eq!(lanes(&lines, 2_000.0, 1)[1]["applied"], json!([[1.0, 2], [1.2, 1], [5.0, 3]]));
    }
}
