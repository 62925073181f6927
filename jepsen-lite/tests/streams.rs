//! The observations checker: histories of a correct cluster are valid, each planted fault is found and named.

mod common;

use common::Rng;
use engram_jepsen_lite::history::{Event, EventType, History, Writer};
use engram_jepsen_lite::{Verdict, once};
use serde_json::{Value, json};

struct Row {
    session: u64,
    sequence: u64,
    log_index: u64,
}

fn row_value(row: &Row, payload: Value) -> Value {
    json!({"session": row.session, "sequence": row.sequence, "payload": payload, "log_index": row.log_index})
}

fn payload(session: u64, sequence: u64) -> Value {
    json!(format!("text {session}/{sequence}"))
}

/// A correct cluster of three: sessions send in order, refusals and unknown outcomes are resent, one entry of the
/// log holds one to three rows; in the end each node is read.
fn correct(rng: &mut Rng) -> History {
    let mut writer = Writer::new("test");
    let (mut log, mut log_index, mut time): (Vec<Row>, u64, u64) = (Vec::new(), 1, 0);
    let sessions = 1 + rng.below(4) as u64;
    let mut process: Vec<i64> = (0..sessions).map(|_| writer.process()).collect();
    let mut next = vec![1_u64; sessions as usize];
    for _ in 0..5 + rng.below(60) {
        let session = rng.below(sessions as usize);
        let (id, sequence) = (10 + session as u64, next[session]);
        time += 1;
        let asked = json!({"sequence": sequence, "payload": payload(id, sequence)});
        writer.invoke(process[session], "observe", json!(id), asked, time);
        let known = log.iter().find(|row| (row.session, row.sequence) == (id, sequence)).map(|row| row.log_index);
        let roll = rng.below(10);
        if known.is_none() && roll != 0 && roll != 1 {
            log_index += u64::from(rng.chance(40));
            log.push(Row { session: id, sequence, log_index });
        }
        time += 1;
        match roll {
            0 => writer.fail(process[session], json!("overloaded"), time),
            1 | 2 => process[session] = writer.info(process[session], json!("time-out"), time),
            _ => {
                let at = known.unwrap_or(log_index);
                let told = json!({"sequence": sequence, "payload": payload(id, sequence), "log_index": at});
                writer.ok(process[session], told, time);
                next[session] += 1;
            }
        }
    }
    let rows: Vec<Value> = log.iter().map(|row| row_value(row, payload(row.session, row.sequence))).collect();
    for node in 1..=3 {
        let reader = writer.process();
        writer.invoke(reader, "read-all", json!(node), Value::Null, time + node);
        writer.ok(reader, json!(rows), time + node + 1);
    }
    writer.into_history()
}

/// The rows of the read-all of one node.
fn rows(history: &mut History, node: u64) -> &mut Vec<Value> {
    let read = |event: &&mut Event| event.f == "read-all" && event.kind == EventType::Ok && event.key == json!(node);
    let event = history.events.iter_mut().find(read).expect("each node is read");
    event.value.as_array_mut().expect("rows")
}

fn all_rows(history: &mut History, change: impl Fn(&mut Vec<Value>)) {
    (1..=3).for_each(|node| change(rows(history, node)));
}

fn property(history: &History) -> &'static str {
    match once::check(history) {
        Verdict::Invalid(found) => found.property,
        Verdict::Valid(_) => "valid",
        other => panic!("{other:?}\n{}", history.to_jsonl()),
    }
}

fn acked_rows(history: &History) -> Vec<(u64, u64)> {
    let acked = |event: &&Event| event.f == "observe" && event.kind == EventType::Ok;
    let name = |event: &Event| Some((event.key.as_u64()?, event.value["sequence"].as_u64()?));
    history.events.iter().filter(acked).filter_map(name).collect()
}

#[test]
fn histories_of_a_correct_cluster_are_valid_and_survive_the_file() {
    for seed in 0..2_000 {
        let history = correct(&mut Rng(seed));
        assert_eq!(property(&history), "valid", "seed {seed}: {:?}", once::check(&history));
        let read = History::from_jsonl("test", &history.to_jsonl()).expect("the format");
        assert_eq!(once::check(&read), once::check(&history), "seed {seed}");
    }
}

#[test]
fn every_planted_fault_is_found() {
    let mut found = [0; 7];
    for seed in 0..4_000 {
        let mut rng = Rng(seed);
        let mut history = correct(&mut rng);
        let acked = acked_rows(&history);
        let count = rows(&mut history, 1).len();
        if acked.is_empty() || count < 2 {
            continue;
        }
        let (session, sequence) = acked[rng.below(acked.len())];
        let is = |row: &Value| row["session"] == json!(session) && row["sequence"] == json!(sequence);
        let case = rng.below(7);
        let allowed: &[&str] = match case {
            0 => {
                all_rows(&mut history, |rows| rows.retain(|row| !is(row)));
                &["no_acked_loss", "session_order"]
            }
            1 => {
                all_rows(&mut history, |rows| {
                    let mut again = rows.iter().find(|row| is(row)).expect("acked").clone();
                    again["log_index"] = json!(10_000);
                    rows.push(again);
                });
                &["once_per_sequence", "as_acknowledged"]
            }
            2 => {
                all_rows(&mut history, |rows| {
                    rows.push(json!({"session": 99, "sequence": 1, "payload": "?", "log_index": 10_000}))
                });
                &["nothing_invented"]
            }
            3 => {
                all_rows(&mut history, |rows| {
                    rows.iter_mut().filter(|row| is(row)).for_each(|row| row["payload"] = json!("other"));
                });
                &["as_acknowledged"]
            }
            4 => {
                all_rows(&mut history, |rows| {
                    rows.iter_mut().filter(|row| is(row)).for_each(|row| row["log_index"] = json!(77_777));
                });
                &["as_acknowledged", "session_order"]
            }
            5 => {
                let node = 1 + rng.below(3) as u64;
                rows(&mut history, node).pop();
                &["no_acked_loss", "reads_agree", "valid"]
            }
            _ => {
                let (one, two) = (rng.below(count), rng.below(count));
                all_rows(&mut history, |rows| rows.swap(one, two));
                &["session_order", "valid"]
            }
        };
        let property = property(&history);
        assert!(allowed.contains(&property), "seed {seed} case {case}: {property}\n{}", history.to_jsonl());
        if property != "valid" {
            found[case] += 1;
        }
    }
    assert!(found.iter().all(|count| *count > 100), "{found:?}");
}

fn scripted(lines: &[&str]) -> History {
    let text: Vec<String> = lines.iter().map(|line| format!("{{\"time\":0,{line}}}")).collect();
    History::from_jsonl("h", &text.join("\n")).expect("events")
}

const SENT: &str = r#""process":0,"type":"invoke","f":"observe","key":"s","value":{"sequence":1,"payload":"p"}"#;
const ACKED: &str =
    r#""process":0,"type":"ok","f":"observe","key":"s","value":{"sequence":1,"payload":"p","log_index":5}"#;
const READ: &str = r#""process":9,"type":"invoke","f":"read-all","key":1"#;
const HELD: &str = r#""process":9,"type":"ok","f":"read-all","key":1,"value":[{"session":"s","sequence":1,"payload":"p","log_index":5}]"#;
const EMPTY: &str = r#""process":9,"type":"ok","f":"read-all","key":1,"value":[]"#;

#[test]
fn a_lost_acknowledgement_is_told_in_one_sentence() {
    let verdict = once::check(&scripted(&[SENT, ACKED, READ, EMPTY]));
    let expected = "invalid: no_acked_loss: session \"s\" sequence 1 was acknowledged at log index 5 (line 2) and is missing \
                    from the final read of node 1";
    assert_eq!(verdict.sentence(), expected);
    assert_eq!(verdict.counterexample().map(|found| found.spans.len()), Some(2));
}

#[test]
fn an_acknowledgement_after_the_read_began_need_not_be_in_it() {
    assert_eq!(property(&scripted(&[SENT, READ, ACKED, EMPTY])), "valid");
    assert_eq!(property(&scripted(&[SENT, READ, ACKED, HELD])), "valid");
}

#[test]
fn what_was_sent_only_after_the_read_can_not_be_in_it() {
    assert_eq!(property(&scripted(&[READ, HELD, SENT, ACKED])), "nothing_invented");
}

#[test]
fn a_refused_attempt_explains_nothing_but_an_unknown_one_does() {
    let refused = r#""process":0,"type":"fail","f":"observe","key":"s","value":null"#;
    let unknown = r#""process":0,"type":"info","f":"observe","key":"s","value":null"#;
    assert_eq!(property(&scripted(&[SENT, refused, READ, HELD])), "nothing_invented");
    assert_eq!(property(&scripted(&[SENT, refused, READ, EMPTY])), "valid");
    assert_eq!(property(&scripted(&[SENT, unknown, READ, HELD])), "valid");
    assert_eq!(property(&scripted(&[SENT, unknown, READ, EMPTY])), "valid");
}

#[test]
fn one_observation_acknowledged_at_two_places_is_found_even_if_the_read_holds_it_once() {
    let again = SENT.replace("\"process\":0", "\"process\":1");
    let other = ACKED.replace("\"process\":0", "\"process\":1").replace(":5", ":6");
    assert_eq!(property(&scripted(&[SENT, ACKED, &again, &other, READ, HELD])), "once_per_sequence");
}

#[test]
fn a_later_read_that_lacks_the_end_of_an_earlier_one_disagrees_and_the_reverse_does_not() {
    let unknown = r#""process":0,"type":"info","f":"observe","key":"s","value":null"#;
    let second = |event: &str| event.replace("\"process\":9", "\"process\":8").replace("\"key\":1", "\"key\":2");
    let (read, held, empty) = (second(READ), second(HELD), second(EMPTY));
    assert_eq!(property(&scripted(&[SENT, unknown, READ, HELD, &read, &empty])), "reads_agree");
    assert_eq!(property(&scripted(&[SENT, unknown, READ, EMPTY, &read, &held])), "valid");
}

#[test]
fn an_acknowledgement_that_names_no_log_index_is_held_to_all_the_rest() {
    let acked = ACKED.replace(",\"log_index\":5", "");
    assert_eq!(property(&scripted(&[SENT, &acked, READ, HELD])), "valid");
    assert_eq!(property(&scripted(&[SENT, &acked, READ, EMPTY])), "no_acked_loss");
    assert_eq!(property(&scripted(&[SENT, &acked, READ, &HELD.replace("\"p\"", "\"q\"")])), "as_acknowledged");
}

#[test]
fn a_history_without_a_final_read_is_unusable() {
    let verdict = once::check(&scripted(&[SENT, ACKED]));
    assert_eq!(verdict.sentence(), "unusable: nothing to check against: no read-all succeeded");
}

#[test]
fn a_broken_recording_names_its_line() {
    let line = |lines: &[&str]| match once::check(&scripted(lines)) {
        Verdict::Unusable(error) => error.line,
        other => panic!("{other:?}"),
    };
    assert_eq!(line(&[SENT, &ACKED.replace("\"log_index\":5", "\"log_index\":\"5\"")]), Some(2));
    assert_eq!(line(&[&SENT.replace("\"sequence\":1", "\"sequence\":0")]), Some(1));
    assert_eq!(line(&[SENT, &ACKED.replace("\"p\"", "\"q\"")]), Some(2));
    assert_eq!(line(&[r#""process":0,"type":"invoke","f":"write","key":1,"value":1"#]), Some(1));
}
