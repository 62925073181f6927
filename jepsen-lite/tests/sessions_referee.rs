//! Session guarantees against a referee that compares every operation with every other, as the table of promises says.

use std::collections::{BTreeMap, BTreeSet};

use engram_jepsen_lite::history::{EventType, History};
use engram_jepsen_lite::sample::{Rng, Shape, history};
use engram_jepsen_lite::{Model, Verdict, sessions};
use proptest::prelude::*;
use serde_json::{Value, json};

/// An operation that was answered, or may have happened.
struct Op {
    session: String,
    f: String,
    asked: Value,
    told: Value,
    ok: bool,
    failed: bool,
    from: usize,
    to: usize,
    times: (u64, u64),
}

impl Op {
    fn index(&self) -> Option<u64> {
        self.told["log_index"].as_u64().or(self.told["applied_index"].as_u64())
    }

    fn rows(&self) -> Option<BTreeSet<String>> {
        let rows = self.told["rows"].as_array()?;
        Some(rows.iter().map(Value::to_string).collect())
    }

    fn level(&self) -> &Value {
        &self.asked["level"]
    }

    fn ids(&self) -> BTreeSet<String> {
        match self.f.as_str() {
            "observe" => BTreeSet::from([self.asked["id"].to_string()]),
            _ => self.asked["ids"].as_array().into_iter().flatten().map(Value::to_string).collect(),
        }
    }
}

fn operations(history: &History) -> Vec<Op> {
    let events = &history.events;
    let invokes = (0..events.len()).filter(|at| events[*at].kind == EventType::Invoke);
    let operation = |from: usize| {
        let event = &events[from];
        let to = (from + 1..events.len()).find(|to| events[*to].process == event.process);
        let kind = to.map_or(EventType::Info, |to| events[to].kind);
        let (ok, failed) = (kind == EventType::Ok, kind == EventType::Fail);
        let told = to.filter(|_| ok).map_or(Value::Null, |to| events[to].value.clone());
        let times = (event.time, to.map_or(u64::MAX, |to| events[to].time));
        let (session, f, asked) = (event.key.to_string(), event.f.clone(), event.value.clone());
        Op { session, f, asked, told, ok, failed, from, to: to.unwrap_or(usize::MAX), times }
    };
    invokes.map(operation).collect()
}

struct Referee {
    operations: Vec<Op>,
    /// The first operation that sent each row.
    first: BTreeMap<String, usize>,
}

impl Referee {
    fn new(history: &History) -> Self {
        let operations = operations(history);
        let mut first = BTreeMap::new();
        for (at, op) in operations.iter().enumerate().filter(|(_, op)| op.f == "observe") {
            first.entry(op.asked["id"].to_string()).or_insert(at);
        }
        Self { operations, first }
    }

    fn may_be_gone(&self, row: &String, read: &Op) -> bool {
        self.operations.iter().any(|op| op.f == "forget" && !op.failed && op.from < read.to && op.ids().contains(row))
    }

    fn lacks(&self, read: &Op, rows: &BTreeSet<String>) -> bool {
        read.rows().is_some_and(|held| rows.iter().any(|row| !held.contains(row) && !self.may_be_gone(row, read)))
    }

    fn write_is_right(&self, write: &Op) -> bool {
        let Some(index) = write.index() else { return true };
        let first = write.asked.get("id").map_or(write, |id| &self.operations[self.first[&id.to_string()]]);
        let past = |op: &&Op| op.asked["level"].get("at_index").is_some();
        let before = self.operations.iter().filter(|op| op.ok && op.session == first.session && op.to < first.from);
        before.filter(|op| !past(op)).all(|op| op.index().is_none_or(|earlier| earlier < index))
    }

    fn read_is_right(&self, read: &Op) -> bool {
        let (level, applied) = (read.level(), read.index());
        let linear = level == "linearizable";
        let held = linear || level == "session" || level.is_null();
        let reaches = |index: Option<u64>| applied.is_none_or(|applied| index.is_none_or(|index| index <= applied));
        let old =
            level.get("bounded_ms").and_then(Value::as_u64).map(|bound| read.times.0.saturating_sub(bound * 1_000_000));
        for op in self.operations.iter().filter(|op| op.ok && op.to < read.from) {
            let own = held && op.session == read.session;
            let past = op.level().get("at_index").is_some();
            if op.f == "recall" {
                let both = linear && op.level() == "linearizable";
                let seen = op.rows().unwrap_or_default();
                if (own && !past && (!reaches(op.index()) || self.lacks(read, &seen))) || (both && !reaches(op.index()))
                {
                    return false;
                }
                continue;
            }
            if !(own || linear || old.is_some_and(|old| op.times.1 < old)) {
                continue;
            }
            if !reaches(op.index()) || (op.f == "observe" && self.lacks(read, &op.ids())) {
                return false;
            }
            let met = |row: &String| {
                let sent =
                    |other: &Op| other.ok && other.f == "observe" && other.to < op.from && other.ids().contains(row);
                self.operations.iter().any(sent)
            };
            let shown = read.rows().unwrap_or_default();
            if (own || linear) && op.f == "forget" && op.ids().iter().any(|row| shown.contains(row) && met(row)) {
                return false;
            }
        }
        let least = level.get("at_least").and_then(Value::as_u64);
        let exact = level.get("at_index").and_then(Value::as_u64);
        let sent = |row: &String| self.first.get(row).map_or(0, |at| self.operations[*at].from);
        let invented = read.rows().unwrap_or_default().iter().any(|row| sent(row) > read.to);
        !invented
            && reaches(least)
            && exact.is_none_or(|index| applied.is_none_or(|applied| applied == index))
            && self.order_is_right(read)
    }

    /// A read that shows a row shows what its session had written and read before.
    fn order_is_right(&self, read: &Op) -> bool {
        read.rows().unwrap_or_default().iter().filter_map(|row| self.first.get(row)).all(|sent| {
            let sent = &self.operations[*sent];
            let before = self.operations.iter().filter(|op| op.ok && op.session == sent.session && op.to < sent.from);
            before.filter(|op| op.level().get("at_index").is_none()).all(|op| match op.f.as_str() {
                "observe" => !self.lacks(read, &op.ids()),
                "recall" => !self.lacks(read, &op.rows().unwrap_or_default()),
                _ => true,
            })
        })
    }

    fn valid(&self) -> bool {
        self.operations.iter().filter(|op| op.ok).all(|op| match op.f.as_str() {
            "recall" => self.read_is_right(op),
            _ => self.write_is_right(op),
        })
    }
}

fn valid(history: &History) -> bool {
    match sessions::check(history) {
        Verdict::Valid(_) => true,
        Verdict::Invalid(_) => false,
        other => panic!("{other:?}\n{}", history.to_jsonl()),
    }
}

/// Changes one answer; the history may be invalid then, or not.
fn break_one(history: &mut History, rng: &mut Rng) {
    let kind = |event: &engram_jepsen_lite::Event| event.kind == EventType::Ok;
    let answers: Vec<usize> = (0..history.events.len()).filter(|at| kind(&history.events[*at])).collect();
    if answers.is_empty() {
        return;
    }
    let value = &mut history.events[answers[rng.below(answers.len())]].value;
    let moved = |value: &Value, rng: &mut Rng| json!((value.as_i64().unwrap_or(0) + rng.below(7) as i64 - 3).max(0));
    match rng.below(4) {
        0 if value.get("rows").is_some() => {
            let rows = value["rows"].as_array_mut().expect("rows");
            if !rows.is_empty() {
                rows.remove(rng.below(rows.len()));
            }
        }
        1 if value.get("rows").is_some() => {
            let row = json!(rng.below(12));
            let rows = value["rows"].as_array_mut().expect("rows");
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
        2 if value.get("rows").is_some() => {
            value.as_object_mut().expect("an answer").remove("applied_index");
        }
        _ => {
            for field in ["applied_index", "log_index"] {
                if value.get(field).is_some() {
                    value[field] = moved(&value[field], rng);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_history_has_the_referees_verdict(seed: u64, operations in 1..30_usize, breaks in 0..3_usize) {
        let mut rng = Rng(seed);
        let shape = Shape { operations, ..Shape::small(&mut rng, 30) };
        let mut history = history(Model::Sessions, &shape, &mut rng);
        (0..breaks).for_each(|_| break_one(&mut history, &mut rng));
        prop_assert_eq!(valid(&history), Referee::new(&history).valid(), "\n{}", history.to_jsonl());
    }
}

#[test]
fn the_cases_are_not_lopsided() {
    let invalid = (0..2_000).filter(|seed| {
        let mut rng = Rng(*seed);
        let shape = Shape::small(&mut rng, 30);
        let mut history = history(Model::Sessions, &shape, &mut rng);
        break_one(&mut history, &mut rng);
        !valid(&history)
    });
    let share = invalid.count() / 20;
    assert!((10..90).contains(&share), "{share} % invalid");
}

fn scripted(lines: &[&str]) -> Verdict {
    let text: Vec<String> = lines.iter().map(|line| format!("{{\"time\":0,{line}}}")).collect();
    sessions::check(&History::from_jsonl("h", &text.join("\n")).expect("events"))
}

const SENT: &str = r#""process":0,"type":"invoke","f":"observe","key":"s","value":{"id":"a"}"#;
const ACKED: &str = r#""process":0,"type":"ok","f":"observe","key":"s","value":{"log_index":7}"#;
const ASKED: &str = r#""process":1,"type":"invoke","f":"recall","key":"s","value":{"level":"session"}"#;
const STALE: &str = r#""process":1,"type":"ok","f":"recall","value":{"applied_index":6}"#;

#[test]
fn a_read_below_the_sessions_own_write_is_told_in_one_sentence() {
    let expected = "invalid: read_your_writes: session \"s\": recall at session (lines 3–4) states applied index 6, below \
                    7, after observe {\"id\":\"a\"} of session \"s\" (lines 1–2)";
    assert_eq!(scripted(&[SENT, ACKED, ASKED, STALE]).sentence(), expected);
}

#[test]
fn levels_promise_what_they_say_and_no_more() {
    let property = |level: &str| {
        let verdict = scripted(&[SENT, ACKED, &ASKED.replace("\"session\"", level).replace("\"s\"", "\"t\""), STALE]);
        verdict.counterexample().map(|found| found.property)
    };
    assert_eq!(property("\"eventual\""), None);
    assert_eq!(property("\"session\""), None, "another session's");
    assert_eq!(property("\"linearizable\""), Some("linearizable"));
    assert_eq!(property(r#"{"at_least":6}"#), None);
    assert_eq!(property(r#"{"at_least":7}"#), Some("at_least"));
    assert_eq!(property(r#"{"at_index":5}"#), Some("at_index"));
}

#[test]
fn sequences_of_a_pipelined_session_follow_the_log() {
    let write = |process: i64, kind: &str, value: Value| {
        format!(r#""process":{process},"type":"{kind}","f":"observe","key":"s","value":{value}"#)
    };
    let lines = [
        write(0, "invoke", json!({"sequence": 1})),
        write(1, "invoke", json!({"sequence": 2})),
        write(1, "ok", json!({"log_index": 4})),
        write(0, "ok", json!({"log_index": 5})),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_eq!(scripted(&lines).counterexample().map(|found| found.property), Some("monotonic_writes"));
}

#[test]
fn a_broken_recording_names_its_line() {
    let line = |lines: &[&str]| match scripted(lines) {
        Verdict::Unusable(error) => error.line,
        other => panic!("{other:?}"),
    };
    assert_eq!(line(&[SENT, ACKED, ASKED, &STALE.replace("applied_index", "index")]), Some(4));
    assert_eq!(line(&[&ASKED.replace("\"session\"", "\"fresh\"")]), Some(1));
    assert_eq!(line(&[&SENT.replace("\"id\"", "\"name\"")]), Some(1));
    assert_eq!(line(&[SENT, &ACKED.replace(":7", ":-7")]), Some(2));
}
