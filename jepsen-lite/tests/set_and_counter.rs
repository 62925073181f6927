//! Sets and counters: correct stores are valid; one changed answer is found exactly if it leaves what is allowed.

mod common;

use common::Rng;
use engram_jepsen_lite::history::{EventType, History, Writer};
use engram_jepsen_lite::{Model, Verdict};
use serde_json::{Value, json};

fn valid(model: Model, history: &History) -> bool {
    match model.check(history, 1 << 20) {
        Verdict::Valid(_) => true,
        Verdict::Invalid(_) => false,
        other => panic!("{other:?}\n{}", history.to_jsonl()),
    }
}

/// Clients add while others add and read; each addition takes effect somewhere while it is open, or (unknown) never.
fn counter(rng: &mut Rng) -> History {
    let mut writer = Writer::new("test");
    let (mut value, mut open): (i64, Vec<(i64, i64, bool)>) = (0, Vec::new());
    for time in 0..60 {
        if rng.chance(50) && open.len() < 5 {
            let (process, by) = (writer.process(), rng.below(11) as i64 - 5);
            writer.invoke(process, "add", json!("c"), json!(by), time);
            open.push((process, by, false));
        } else if rng.chance(30) {
            let process = writer.process();
            writer.invoke(process, "read", json!("c"), Value::Null, time);
            writer.ok(process, json!(value), time);
        } else if !open.is_empty() {
            let (process, by, applied) = open.swap_remove(rng.below(open.len()));
            match rng.below(4) {
                0 if !applied => writer.fail(process, Value::Null, time),
                1 => {
                    writer.info(process, Value::Null, time);
                }
                _ => {
                    value += if applied { 0 } else { by };
                    writer.ok(process, json!(by), time);
                }
            }
        }
        for (_, by, applied) in open.iter_mut().filter(|pending| !pending.2) {
            if rng.chance(20) {
                (value, *applied) = (value + *by, true);
            }
        }
    }
    writer.into_history()
}

/// The bounds of each read by definition: every subset of the additions that may count, added up.
fn counter_by_definition(history: &History) -> bool {
    let events = &history.events;
    let end = |at: usize| (at + 1..events.len()).find(|end| events[*end].process == events[at].process);
    let kind = |at: usize| end(at).map_or(EventType::Info, |end| events[end].kind);
    let invoked = |f: &'static str| {
        (0..events.len()).filter(move |at| events[*at].kind == EventType::Invoke && events[*at].f == f)
    };
    invoked("read").filter(|read| kind(*read) == EventType::Ok).all(|read| {
        let ended = end(read).expect("ok");
        let (mut low, mut high) = (0, 0);
        for add in invoked("add").filter(|add| kind(*add) != EventType::Fail && *add < ended) {
            let by = events[add].value.as_i64().expect("an integer");
            let surely = kind(add) == EventType::Ok && end(add).expect("ok") < read;
            low += if surely { by } else { by.min(0) };
            high += if surely { by } else { by.max(0) };
        }
        (low..=high).contains(&events[ended].value.as_i64().expect("an integer"))
    })
}

#[test]
fn a_counter_is_valid_exactly_if_each_read_is_within_its_bounds() {
    let (mut broken, mut seen) = (0, 0);
    for seed in 0..3_000 {
        let mut rng = Rng(seed);
        let mut history = counter(&mut rng);
        assert!(valid(Model::Counter, &history), "seed {seed}:\n{}", history.to_jsonl());
        let reads: Vec<usize> = (0..history.events.len())
            .filter(|at| history.events[*at].f == "read" && history.events[*at].kind == EventType::Ok)
            .collect();
        if reads.is_empty() {
            continue;
        }
        let read = &mut history.events[reads[rng.below(reads.len())]];
        read.value = json!(read.value.as_i64().expect("an integer") + rng.below(41) as i64 - 20);
        let expected = counter_by_definition(&history);
        assert_eq!(valid(Model::Counter, &history), expected, "seed {seed}:\n{}", history.to_jsonl());
        (broken, seen) = (broken + usize::from(!expected), seen + 1);
    }
    assert!(broken > seen / 5 && broken < seen, "{broken} of {seen}");
}

fn set(rng: &mut Rng, lose: bool, invent: bool, double: bool) -> (History, bool) {
    let mut writer = Writer::new("test");
    let (mut held, mut lost, mut acked) = (Vec::new(), false, 0);
    for element in 0..20 {
        let process = writer.process();
        writer.invoke(process, "add", Value::Null, json!(element), element);
        match rng.below(4) {
            0 => {
                writer.fail(process, Value::Null, element);
                if invent {
                    held.push(element);
                }
            }
            1 => {
                held.extend(rng.chance(50).then_some(element));
                writer.info(process, Value::Null, element);
            }
            _ => {
                acked += 1;
                let skip = lose && rng.chance(20);
                lost |= skip;
                held.extend((!skip).then_some(element));
                held.extend((double && acked == 3 && !skip).then_some(element));
                writer.ok(process, json!(element), element);
            }
        }
    }
    let reader = writer.process();
    writer.invoke(reader, "read", Value::Null, Value::Null, 90);
    writer.ok(reader, json!(held), 91);
    (writer.into_history(), lost)
}

#[test]
fn a_set_is_valid_unless_something_is_lost_invented_or_doubled() {
    for seed in 0..500 {
        let (history, _) = set(&mut Rng(seed), false, false, false);
        assert!(valid(Model::Set, &history), "seed {seed}");
        let (history, lost) = set(&mut Rng(seed), true, false, false);
        assert_eq!(valid(Model::Set, &history), !lost, "seed {seed}");
        let (history, _) = set(&mut Rng(seed), false, true, false);
        let failed = history.events.iter().any(|event| event.kind == EventType::Fail);
        assert_eq!(valid(Model::Set, &history), !failed, "seed {seed}");
        let (history, _) = set(&mut Rng(seed), false, false, true);
        let acked = history.events.iter().filter(|event| event.f == "add" && event.kind == EventType::Ok).count();
        assert_eq!(valid(Model::Set, &history), acked < 3, "seed {seed}");
    }
}

#[test]
fn a_set_that_was_never_read_has_nothing_to_check_against() {
    let text = r#"{"process":0,"type":"invoke","f":"add","value":1,"time":0}"#;
    let verdict = Model::Set.check(&History::from_jsonl("h", text).expect("an event"), 1 << 20);
    assert_eq!(verdict.sentence(), "unusable: nothing to check against: set null has no ok read");
}
