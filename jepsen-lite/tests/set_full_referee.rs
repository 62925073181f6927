//! The analysis of sets against a referee that follows Jepsen's, element by element and read by read; and the
//! examples of Jepsen's own test of `set-full`.

use engram_jepsen_lite::history::{EventType, History, Writer};
use engram_jepsen_lite::sample::Rng;
use engram_jepsen_lite::{Verdict, set_full};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Adds and reads of anything by anybody: each element is added once at most.
fn arbitrary(rng: &mut Rng, events: usize) -> History {
    let mut writer = Writer::new("test");
    let (mut open, mut added): (Vec<(i64, Option<usize>)>, usize) = (Vec::new(), 0);
    let bias = 30 + rng.below(70);
    for time in 0..events as u64 {
        if open.len() < 4 && rng.chance(55) {
            let process = writer.process();
            let element = (added < 4 && rng.chance(40)).then_some(added);
            added += usize::from(element.is_some());
            let f = if element.is_some() { "add" } else { "read" };
            writer.invoke(process, f, Value::Null, json!(element), time * 1_000_000);
            open.push((process, element));
        } else if !open.is_empty() {
            let (process, element) = open.swap_remove(rng.below(open.len()));
            let held: Vec<usize> = (0..added).filter(|_| rng.chance(bias)).collect();
            let value = element.map_or(json!(held), |element| json!(element));
            match rng.below(8) {
                0 => writer.fail(process, Value::Null, time * 1_000_000),
                1 => {
                    writer.info(process, Value::Null, time * 1_000_000);
                }
                _ => writer.ok(process, value, time * 1_000_000),
            }
        }
    }
    writer.into_history()
}

#[derive(Debug, Default, PartialEq)]
struct Count {
    invented: bool,
    stable: usize,
    lost: usize,
    stale: usize,
}

/// An element; where it became known; the invocations of the last reads that held and that lacked it.
type Seen = (i64, Option<usize>, Option<usize>, Option<usize>);

/// Jepsen's reduction: known, last present and last absent of each element, updated by every completed read.
fn by_jepsen(history: &History) -> Count {
    let events = &history.events;
    let invoked = |at: usize| (0..at).rev().find(|from| events[*from].process == events[at].process).expect("invoked");
    let mut count = Count::default();
    let mut elements: Vec<Seen> = Vec::new();
    for (at, event) in events.iter().enumerate() {
        match (event.f.as_str(), event.kind) {
            ("add", EventType::Invoke) => elements.push((event.value.as_i64().expect("number"), None, None, None)),
            ("add", EventType::Ok) => {
                let element = elements.iter_mut().find(|element| event.value == json!(element.0)).expect("added");
                element.1 = element.1.or(Some(at));
            }
            ("read", EventType::Ok) => {
                let held = event.value.as_array().expect("array");
                for element in &mut elements {
                    let from = Some(invoked(at));
                    if held.contains(&json!(element.0)) {
                        element.1 = element.1.or(Some(at));
                        element.2 = element.2.max(from);
                    } else {
                        element.3 = element.3.max(from);
                    }
                }
            }
            _ => {}
        }
    }
    for (value, known, present, absent) in elements {
        let add = events.iter().position(|event| event.f == "add" && event.value == json!(value)).expect("added");
        let failed = events.iter().any(|event| event.kind == EventType::Fail && event.process == events[add].process);
        count.invented |= failed && present.is_some();
        if failed {
            continue;
        }
        let stable = present.is_some() && absent < present;
        let late = known.is_some() && known < absent;
        count.stable += usize::from(stable);
        count.stale += usize::from(stable && late);
        count.lost += usize::from(late && present < absent);
    }
    count
}

fn verdict(history: &History, linearizable: bool) -> Option<bool> {
    match set_full::check(history, linearizable) {
        Verdict::Valid(_) => Some(true),
        Verdict::Invalid(_) => Some(false),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_history_has_jepsens_verdict(seed: u64, events in 1..40_usize) {
        let history = arbitrary(&mut Rng(seed), events);
        let count = by_jepsen(&history);
        let bad = count.invented || count.lost > 0;
        let expected = |stale: bool| if bad || stale { Some(false) } else { (count.stable > 0).then_some(true) };
        prop_assert_eq!(verdict(&history, false), expected(false), "{:?}\n{}", count, history.to_jsonl());
        prop_assert_eq!(verdict(&history, true), expected(count.stale > 0), "{:?}\n{}", count, history.to_jsonl());
    }
}

/// Events of Jepsen's examples: process, type, element or elements; the time is the place in milliseconds.
fn example(events: &[(i64, &str, Value)]) -> History {
    let line = |(at, (process, kind, value)): (usize, &(i64, &str, Value))| {
        let f = if value.is_number() { "add" } else { "read" };
        let time = at as u64 * 1_000_000;
        json!({"process": process, "type": kind, "f": f, "value": value, "time": time}).to_string()
    };
    let text: Vec<String> = events.iter().enumerate().map(line).collect();
    History::from_jsonl("example", &text.join("\n")).expect("events")
}

fn figures(history: &History) -> Value {
    let verdict = set_full::check(history, false);
    let value = serde_json::to_value(&verdict).expect("plain data");
    value["figures"].clone()
}

#[test]
fn jepsens_examples_of_one_element() {
    let (a, done) = ((0, "invoke", json!(0)), (0, "ok", json!(0)));
    let (r, with) = ((1, "invoke", Value::Null), (1, "ok", json!([0])));
    let without = (1, "ok", json!([]));
    let check = |events: &[&(i64, &str, Value)]| {
        let events: Vec<_> = events.iter().map(|event| (*event).clone()).collect();
        verdict(&example(&events), false)
    };
    assert_eq!(check(&[&a, &done]), None, "never read");
    assert_eq!(check(&[&a, &r, &without]), None, "never confirmed, never read");
    for seen in [[&r, &a, &with, &done], [&r, &a, &done, &with], [&a, &r, &with, &done], [&a, &r, &done, &with]] {
        assert_eq!(check(&seen), Some(true), "{seen:?}");
    }
    assert_eq!(check(&[&a, &done, &r, &with]), Some(true));
    assert_eq!(check(&[&a, &done, &r, &without]), Some(false), "absent after");
    for absent in [[&r, &a, &without, &done], [&r, &a, &done, &without], [&a, &r, &without, &done]] {
        assert_eq!(check(&absent), None, "absent beside: {absent:?}");
    }
}

#[test]
fn jepsens_example_of_a_lost_and_a_stale_element_with_latencies() {
    let none = Value::Null;
    let history = example(&[
        (0, "invoke", json!(0)),
        (0, "ok", json!(0)),
        (1, "invoke", json!(1)),
        (2, "invoke", none.clone()),
        (2, "ok", json!([1])),
        (1, "ok", json!(1)),
        (2, "invoke", none.clone()),
        (3, "invoke", none),
        (3, "ok", json!([1])),
        (2, "ok", json!([0])),
    ]);
    let figures = figures(&history);
    assert_eq!((&figures["lost"], &figures["stale"], &figures["stable"]), (&json!(1), &json!(1), &json!(1)));
    // Jepsen: lost for 5 ms, stale for 2 ms, where it rounds down; the nanosecond is that after the last sight.
    assert_eq!(figures["lost_latency_ns"]["1"], json!(5_000_001));
    assert_eq!(figures["stable_latency_ns"]["1"], json!(2_000_001));
    assert_eq!(figures["stale_worst"][0]["element"], json!(1));
    assert_eq!(figures["lost_first"][0]["element"], json!(0));
}

#[test]
fn jepsens_example_of_elements_that_vanish() {
    let none = Value::Null;
    let history = example(&[
        (0, "invoke", json!(0)),
        (1, "invoke", json!(1)),
        (2, "invoke", none.clone()),
        (2, "ok", json!([1])),
        (0, "ok", json!(0)),
        (1, "ok", json!(1)),
        (2, "invoke", none.clone()),
        (2, "ok", json!([0, 1])),
        (2, "invoke", none.clone()),
        (2, "ok", json!([0])),
        (2, "invoke", none),
        (2, "ok", json!([])),
    ]);
    let latencies = &figures(&history)["lost_latency_ns"];
    assert_eq!((&latencies["0"], &latencies["1"]), (&json!(3_000_001), &json!(4_000_001)));
}

#[test]
fn an_element_twice_in_a_read_is_a_violation() {
    let history =
        example(&[(0, "invoke", json!(0)), (0, "ok", json!(0)), (1, "invoke", Value::Null), (1, "ok", json!([0, 0]))]);
    let verdict = set_full::check(&history, false);
    assert_eq!(verdict.counterexample().map(|found| found.property), Some("no_duplicates"));
}
