//! Recalls against a referee that tries every state: each row and each forget in doubt may have happened or not, and an
//! answer is right if it is what one of those states gives.

use std::collections::{BTreeMap, BTreeSet};

use engram_jepsen_lite::history::{EventType, History};
use engram_jepsen_lite::sample::{Rng, Shape, history};
use engram_jepsen_lite::{Event, Model, Verdict, recall};
use proptest::prelude::*;
use serde_json::{Value, json};

struct Op<'h> {
    f: &'h str,
    asked: &'h Value,
    told: &'h Value,
    ok: bool,
    failed: bool,
    from: usize,
    to: usize,
}

fn operations(history: &History) -> Vec<Op<'_>> {
    let events = &history.events;
    let invokes = (0..events.len()).filter(|at| events[*at].kind == EventType::Invoke);
    let operation = |from: usize| {
        let event = &events[from];
        let to = (from + 1..events.len()).find(|to| events[*to].process == event.process);
        let kind = to.map_or(EventType::Info, |to| events[to].kind);
        let (ok, failed) = (kind == EventType::Ok, kind == EventType::Fail);
        let told = to.filter(|_| ok).map_or(&Value::Null, |to| &events[to].value);
        Op { f: &event.f, asked: &event.value, told, ok, failed, from, to: to.unwrap_or(usize::MAX) }
    };
    invokes.map(operation).collect()
}

/// How exact the scores of these histories are.
const ERROR: f64 = 0.000_02;

/// A row or a forget that may be in a state.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    In,
    Out,
    Doubt,
}

struct Referee<'h> {
    operations: Vec<Op<'h>>,
    /// The log index of each row that an ack or a hit states, the first of them.
    placed: BTreeMap<u64, u64>,
    linearizable: bool,
}

impl<'h> Referee<'h> {
    fn new(history: &'h History, linearizable: bool) -> Self {
        let operations = operations(history);
        let mut placed = BTreeMap::new();
        for op in operations.iter().filter(|op| op.ok && op.f == "observe") {
            placed.entry(number(&op.asked["id"])).or_insert(number(&op.told["log_index"]));
        }
        for hit in operations.iter().filter(|op| op.ok && op.f == "recall").flat_map(hits) {
            placed.entry(hit.0).or_insert(hit.2);
        }
        Self { operations, placed, linearizable }
    }

    fn strict(&self, read: &Op<'_>) -> bool {
        self.linearizable && read.asked["level"] == "linearizable"
    }

    /// Whether an entry of the log is in the state that `read` saw.
    fn part(&self, read: &Op<'_>, index: Option<u64>, sent: Option<usize>, acked: Option<usize>) -> Part {
        if sent.is_none_or(|sent| sent > read.to) {
            return Part::Out;
        }
        match index {
            Some(index) if index <= number(&read.told["applied_index"]) => Part::In,
            Some(_) => Part::Out,
            None if self.strict(read) && acked.is_some_and(|acked| acked < read.from) => Part::In,
            None => Part::Doubt,
        }
    }

    fn right(&self, read: &Op<'_>) -> bool {
        let mut rows: BTreeMap<u64, Part> = BTreeMap::new();
        for op in self.operations.iter().filter(|op| op.f == "observe") {
            let id = number(&op.asked["id"]);
            let part =
                self.part(read, self.placed.get(&id).copied(), (!op.failed).then_some(op.from), op.ok.then_some(op.to));
            rows.insert(id, part);
        }
        for (id, ..) in hits(read) {
            rows.entry(id).or_insert(Part::Out);
        }
        let mut forgets: Vec<(u64, Option<u64>, Part)> = Vec::new();
        for op in self.operations.iter().filter(|op| op.f == "forget" && !op.failed) {
            let index = op.told["log_index"].as_u64();
            forgets.push((
                number(&op.asked["ids"][0]),
                index,
                self.part(read, index, Some(op.from), op.ok.then_some(op.to)),
            ));
        }
        let doubts = rows.values().filter(|part| **part == Part::Doubt).count()
            + 2 * forgets
                .iter()
                .filter(|forget| forget.2 == Part::Doubt || !self.placed.contains_key(&forget.0))
                .count();
        assert!(doubts <= 16, "{doubts} in doubt");
        (0..1_u32 << doubts).any(|mut world| {
            let mut toss = || {
                let side = world & 1 == 1;
                world >>= 1;
                side
            };
            let mut state: BTreeSet<u64> = BTreeSet::new();
            for (id, part) in &rows {
                if *part == Part::In || (*part == Part::Doubt && toss()) {
                    state.insert(*id);
                }
            }
            for (id, index, part) in &forgets {
                let happened = *part == Part::In || (*part == Part::Doubt && toss());
                // Whether the forget came after the row: by their places, else either.
                let met = match (self.placed.get(id), index) {
                    (Some(row), Some(forget)) => forget > row,
                    (Some(_), None) => *part == Part::Doubt && toss(),
                    _ => toss(),
                };
                if happened && met {
                    state.remove(id);
                }
            }
            self.answers(read, &state)
        })
    }

    fn vector(&self, id: u64) -> Vec<f64> {
        let op = self.operations.iter().find(|op| op.f == "observe" && op.asked["id"] == json!(id)).expect("sent");
        floats(&op.asked["embedding"])
    }

    /// Whether the hits are the nearest of the state.
    fn answers(&self, read: &Op<'_>, state: &BTreeSet<u64>) -> bool {
        let (hits, cue) = (hits(read), floats(&read.asked["cue"]));
        let k = number(&read.asked["k"]) as usize;
        let unique: BTreeSet<u64> = hits.iter().map(|hit| hit.0).collect();
        if unique.len() != hits.len() || hits.len() > k || !unique.is_subset(state) {
            return false;
        }
        let score = |id: u64| cosine(&self.vector(id), &cue);
        let right = |hit: &(u64, f64, u64)| (hit.1 - score(hit.0)).abs() < ERROR;
        let mut best: Vec<u64> = state.iter().copied().collect();
        best.sort_by(|one, two| score(*two).total_cmp(&score(*one)));
        // The scores of two rows may be told apart only if they differ by more than twice the error.
        let near = best.windows(2).any(|pair| score(pair[0]) - score(pair[1]) < 2.0 * ERROR);
        let complete =
            if near { unique.len() == k.min(best.len()) } else { best.iter().take(k).all(|id| unique.contains(id)) };
        hits.iter().all(right) && hits.windows(2).all(|pair| pair[0].1 >= pair[1].1) && complete
    }

    fn valid(&self) -> bool {
        let reads: Vec<&Op<'_>> = self.operations.iter().filter(|op| op.f == "recall" && op.ok).collect();
        let applied = |read: &Op<'_>| number(&read.told["applied_index"]);
        let mut past: BTreeMap<String, &Value> = BTreeMap::new();
        reads.iter().all(|read| {
            let index = read.asked["level"]["at_index"].as_u64();
            let same = index.is_none()
                || **past.entry(read.asked.to_string()).or_insert(&read.told["hits"]) == read.told["hits"];
            let before = self.operations.iter().filter(|op| op.ok && op.to < read.from);
            let reached = |op: &Op<'_>| match op.f {
                "recall" => !self.strict(op) || applied(op) <= applied(read),
                "space" => true,
                _ => number(&op.told["log_index"]) <= applied(read),
            };
            // What was sent after the answer has no place within it.
            let later = |op: &&Op<'_>| op.f != "recall" && !op.failed && self.first(op) > read.to;
            let index = |op: &Op<'_>| match op.f {
                "observe" => self.placed.get(&number(&op.asked["id"])).copied(),
                _ => op.told["log_index"].as_u64(),
            };
            let future =
                self.operations.iter().filter(later).any(|op| index(op).is_some_and(|index| index <= applied(read)));
            let index = read.asked["level"]["at_index"].as_u64();
            let placed = hits(read).iter().all(|hit| self.placed[&hit.0] == hit.2);
            let fresh = !self.strict(read) || before.into_iter().all(reached);
            !future && same && placed && fresh && index.is_none_or(|index| index == applied(read)) && self.right(read)
        })
    }

    /// When the operation's row was first sent, by an attempt that may have been taken.
    fn first(&self, op: &Op<'_>) -> usize {
        let same = |other: &&Op<'_>| other.f == "observe" && !other.failed && other.asked["id"] == op.asked["id"];
        let first = self.operations.iter().filter(same).map(|other| other.from).min();
        if op.f == "observe" { first.unwrap_or(op.from) } else { op.from }
    }

    /// Whether the exact ranks of two rows of an answer can't be told apart.
    fn has_near_ties(&self) -> bool {
        let mut ids: BTreeSet<u64> = BTreeSet::new();
        ids.extend(self.operations.iter().filter(|op| op.f == "observe").map(|op| number(&op.asked["id"])));
        self.operations.iter().filter(|op| op.f == "recall").any(|read| {
            let cue = floats(&read.asked["cue"]);
            let mut scores: Vec<f64> = ids.iter().map(|id| cosine(&self.vector(*id), &cue)).collect();
            scores.sort_by(f64::total_cmp);
            scores.windows(2).any(|pair| pair[1] - pair[0] < 2.1 * ERROR)
        })
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().expect("numbers").iter().map(|number| number.as_f64().expect("a number")).collect()
}

fn hits(read: &Op<'_>) -> Vec<(u64, f64, u64)> {
    let hits = read.told["hits"].as_array().into_iter().flatten();
    hits.map(|hit| (number(&hit["id"]), hit["score"].as_f64().unwrap_or(0.0), number(&hit["log_index"]))).collect()
}

fn cosine(one: &[f64], two: &[f64]) -> f64 {
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    product(one, two) / (product(one, one) * product(two, two)).sqrt()
}

fn valid(history: &History, linearizable: bool) -> bool {
    match recall::check(history, linearizable) {
        Verdict::Valid(_) => true,
        Verdict::Invalid(_) => false,
        other => panic!("{other:?}\n{}", history.to_jsonl()),
    }
}

/// Changes one answer; the history may be invalid then, or not.
fn break_one(history: &mut History, rng: &mut Rng) {
    let read = |event: &Event| event.kind == EventType::Ok && event.value.get("hits").is_some();
    let answers: Vec<usize> = (0..history.events.len()).filter(|at| read(&history.events[*at])).collect();
    let Some(at) = (!answers.is_empty()).then(|| answers[rng.below(answers.len())]) else { return };
    let all: Vec<Value> =
        history.events.iter().filter(|event| read(event)).map(|event| event.value["hits"].clone()).collect();
    let value = &mut history.events[at].value;
    let hits = value["hits"].as_array_mut().expect("hits");
    let place = |rng: &mut Rng, hits: &[Value]| rng.below(hits.len());
    match rng.below(7) {
        0 if !hits.is_empty() => {
            hits.remove(place(rng, hits));
        }
        1 if hits.len() > 1 => {
            let (one, two) = (place(rng, hits), place(rng, hits));
            hits.swap(one, two);
        }
        2 if !hits.is_empty() => {
            let again = hits[place(rng, hits)].clone();
            hits.push(again);
        }
        3 if !hits.is_empty() => {
            let hit = place(rng, hits);
            hits[hit]["score"] = json!(hits[hit]["score"].as_f64().expect("a score") + 0.01);
        }
        4 => {
            // The answer to another question.
            *hits = all[rng.below(all.len())].as_array().expect("hits").clone();
        }
        5 if !hits.is_empty() => {
            let hit = place(rng, hits);
            hits[hit]["log_index"] = json!(number(&hits[hit]["log_index"]) + 1);
        }
        _ => {
            let moved = number(&value["applied_index"]) as i64 + rng.below(7) as i64 - 3;
            value["applied_index"] = json!(moved.max(0));
        }
    }
}

fn broken(seed: u64, operations: usize, breaks: usize) -> History {
    let mut rng = Rng(seed);
    let shape = Shape { operations, unknown_permille: 60, ..Shape::small(&mut rng, 1) };
    let mut history = history(Model::Recall, &shape, &mut rng);
    (0..breaks).for_each(|_| break_one(&mut history, &mut rng));
    let described = |kind, value| Event {
        process: 1_000_000,
        kind,
        f: "space".into(),
        key: json!("notes"),
        value,
        result: None,
        time: 0,
    };
    let space = [
        described(EventType::Invoke, json!({"metric": "cosine", "score_error_max": ERROR})),
        described(EventType::Ok, Value::Null),
    ];
    history.events.splice(0..0, space);
    history
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_history_has_the_referees_verdict(seed: u64, operations in 1..22_usize, breaks in 0..3_usize) {
        let history = broken(seed, operations, breaks);
        for linearizable in [false, true] {
            let referee = Referee::new(&history, linearizable);
            prop_assume!(!referee.has_near_ties());
            let told = recall::check(&history, linearizable);
            prop_assert_eq!(valid(&history, linearizable), referee.valid(), "{:?}\n{}", told, history.to_jsonl());
        }
    }
}

#[test]
fn the_cases_are_not_lopsided() {
    let cases: Vec<History> = (0..1_000).map(|seed| broken(seed, 20, 1)).collect();
    let invalid = cases.iter().filter(|history| !valid(history, true)).count();
    let told = cases.iter().filter(|history| !Referee::new(history, true).has_near_ties()).count();
    assert!((100..900).contains(&invalid), "{invalid} of 1,000 invalid");
    assert!(told > 200, "{told} of 1,000 without near ties");
}

fn scripted(lines: &[&str], linearizable: bool) -> Verdict {
    let text: Vec<String> = lines.iter().map(|line| format!("{{\"time\":0,\"key\":\"notes\",{line}}}")).collect();
    recall::check(&History::from_jsonl("h", &text.join("\n")).expect("events"), linearizable)
}

const SENT: &str = r#""process":0,"type":"invoke","f":"observe","value":{"id":"a","embedding":[1,0]}"#;
const ACKED: &str = r#""process":0,"type":"ok","f":"observe","value":{"log_index":7}"#;
const ASKED: &str = r#""process":1,"type":"invoke","f":"recall","value":{"cue":[1,0],"k":1,"level":"linearizable"}"#;
const HELD: &str =
    r#""process":1,"type":"ok","f":"recall","value":{"applied_index":7,"node":1,"hits":[{"id":"a","score":1.0}]}"#;

#[test]
fn a_linearizable_recall_below_an_ack_is_told_in_one_sentence() {
    let stale = HELD.replace("\"applied_index\":7", "\"applied_index\":6").replace(r#"{"id":"a","score":1.0}"#, "");
    assert!(scripted(&[SENT, ACKED, ASKED, &stale], false).is_valid());
    let expected = "invalid: saw_every_ack: space \"notes\": the recall of lines 3–4 states applied index 6, though 7 was \
                    told before it began (observe of lines 1–2)";
    assert_eq!(scripted(&[SENT, ACKED, ASKED, &stale], true).sentence(), expected);
}

#[test]
fn an_answer_without_an_applied_index_is_held_to_the_acks_alone() {
    let held = HELD.replace("\"applied_index\":7,", "");
    let empty = held.replace(r#"{"id":"a","score":1.0}"#, "");
    assert!(scripted(&[SENT, ACKED, ASKED, &held], true).is_valid());
    let property = |lines: &[&str]| scripted(lines, true).counterexample().map(|found| found.property);
    assert_eq!(property(&[SENT, ACKED, ASKED, &empty]), Some("none_missing"));
    assert_eq!(property(&[SENT, ASKED, ACKED, &empty]), None, "beside each other");
    assert!(matches!(scripted(&[SENT, ACKED, ASKED, &held], false), Verdict::Unusable(error) if error.line == Some(4)));
}

#[test]
fn the_past_has_one_answer_on_every_node() {
    let ask = |process: &str| ASKED.replace("\"process\":1", process).replace("\"linearizable\"", r#"{"at_index":7}"#);
    let told = |process: &str, bytes: &str| {
        HELD.replace("\"process\":1", process).replace("\"node\":1", &format!("\"node\":2,\"bytes\":\"{bytes}\""))
    };
    let run = |bytes: &str| {
        let (one, two) = (ask("\"process\":1"), ask("\"process\":2"));
        let (first, again) = (told("\"process\":1", "ab"), told("\"process\":2", bytes));
        scripted(&[SENT, ACKED, &one, &first, &two, &again], false)
    };
    assert!(run("ab").is_valid());
    assert_eq!(run("cd").counterexample().map(|found| found.property), Some("same_answer"));
}

#[test]
fn recall_at_10_is_the_mean_share_of_the_true_nearest_and_has_a_minimum() {
    let space = |least: f64| {
        [
            json!({"process": 9, "type": "invoke", "f": "space", "value": {"recall_at_10_min": least}}),
            json!({"process": 9, "type": "ok", "f": "space", "value": null}),
        ]
        .map(|event| event.to_string().trim_matches(['{', '}']).to_string())
    };
    // Close enough to the right answer to pass, if nothing was guaranteed.
    let other = [SENT, ACKED].map(|line| {
        line.replace("\"a\"", "\"b\"")
            .replace("[1,0]", "[0,1]")
            .replace(":7", ":8")
            .replace("\"process\":0", "\"process\":5")
    });
    let answer = HELD.replace(":7", ":8").replace(r#""a","score":1.0"#, r#""b","score":0.0"#);
    let run = |least: f64| {
        let [open, done] = space(least);
        // trim_matches took the brace of an inner object.
        let open =
            open.replace(&format!("\"recall_at_10_min\":{least:?}"), &format!("\"recall_at_10_min\":{least:?}}}"));
        let open = if open.matches('{').count() == open.matches('}').count() { open } else { open.replace("}}", "}") };
        scripted(&[&open, &done, SENT, ACKED, &other[0], &other[1], ASKED, &answer], false)
    };
    assert!(run(0.0).is_valid());
    assert_eq!(run(0.5).counterexample().map(|found| found.property), Some("recall_at_10"));
}
