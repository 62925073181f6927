//! Clients that do not read: whatever they miss, nobody else waits for them.

use engram_chaos::Plan;
use engram_sim::run::{Script, run};
use std::collections::BTreeMap;
use std::time::Duration;

/// Of the other clients' acks; they look for them every 200 ms at most.
const ACK_MAX: Duration = Duration::from_millis(500);

const PLAN: &str = r#"{"version":1,"seed":11,"profile":"network","duration_ms":30000,"nodes":3,"faults":[
    {"at_ms":2000,"until_ms":27000,"kind":{"slow_reader":{"web":false,"every_ms":0}}},
    {"at_ms":3000,"until_ms":13000,"kind":{"slow_reader":{"web":true,"every_ms":0}}},
    {"at_ms":14000,"until_ms":28000,"kind":{"slow_reader":{"web":true,"every_ms":400}}}]}"#;

#[test]
fn who_does_not_read_costs_the_others_nothing_and_has_its_rows_once() {
    let plan = Plan::from_json(PLAN).expect("a plan");
    let report = run(plan.seed, plan.nodes, Script::Plan(plan), None).expect("the trace is in memory");
    assert_eq!(report.violation, None);
    let (mut begun, mut slowest, mut acks) = (BTreeMap::new(), 0, 0);
    for line in report.history.lines() {
        let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let (process, time) = (event["process"].as_i64(), event["time"].as_u64().unwrap_or(0));
        match (event["f"].as_str(), event["type"].as_str()) {
            (Some("observe"), Some("invoke")) => drop(begun.insert(process, time)),
            (Some("observe"), Some("ok")) => {
                acks += 1;
                slowest = slowest.max(time - begun[&process]);
            }
            _ => {}
        }
    }
    assert!(acks > 2000 && Duration::from_nanos(slowest) < ACK_MAX, "{acks} acks, the last after {slowest} ns");
}
