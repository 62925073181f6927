//! Observations: each (session, sequence) exactly once, in its session's order, none lost that was acknowledged.
//!
//! # Operations
//! - `observe`: key = session id (integer or string), invoke value = `{"sequence": n, "payload": hash-or-text}`, ok
//!   value = `{"sequence": n, "payload": …, "log_index": i}`; `fail` = refused, `info` = outcome unknown. An ok may
//!   leave out `log_index`: a resumed client knows that a row is in the log, not always where. A resend
//!   is one more `observe` with the same session and sequence.
//! - `read-all`: everything that a node holds, of all spaces. Key = the node; ok value =
//!   `[{"session": s, "sequence": n, "payload": …, "log_index": i}, …]` in log order. The last ok read-all of a key
//!   is that node's final read.
//!
//! # What is decided, for each final read
//! - `once_per_sequence`: no (session, sequence) twice; no two acknowledgements of one with different log indexes.
//! - `no_acked_loss`: what was acknowledged before the read began is in it (`durable.rs`).
//! - `nothing_invented`: nothing is in it that was never sent, or only ever refused, or sent after the read ended.
//! - `as_acknowledged`: payload and log index are those of the acknowledgement; a payload was sent by somebody.
//! - `session_order`: rows come in log order, and each session's rows are 1, 2, 3… (`order.rs`).
//! - `reads_agree`: final reads are equal. An earlier read may lack the end of a later one, as far as that may
//!   have been applied in between (an unknown outcome, say).
//!
//! An operation of unknown outcome may be in the reads or not. `{"sequence":0}` is unusable: sequences start at 1.
//!
//! Leaves out: a read-all of one space only, since an `observe` does not say its space.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::durable;
use crate::history::{History, InputError};
use crate::operation::{Operation, Outcome, pair};
use crate::order;
use crate::verdict::{Counterexample, Summary, Verdict};

/// Decides whether each observation of `history` was taken exactly once.
pub fn check(history: &History) -> Verdict {
    decide(history).into()
}

/// A session's id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Session {
    Number(u64),
    Text(String),
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Session::Number(number) => write!(f, "{number}"),
            Session::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// What names an observation.
pub(crate) type Name = (Session, u64);

/// One attempt to get an observation taken.
#[derive(Debug)]
pub(crate) struct Attempt<'h> {
    pub operation: Operation<'h>,
    pub payload: &'h Value,
    /// Where it was acknowledged to be, if the acknowledgement said so.
    pub log_index: Option<u64>,
}

impl Attempt<'_> {
    /// Acknowledged.
    pub fn is_acked(&self) -> bool {
        self.operation.outcome == Outcome::Ok
    }
}

/// One row of a final read.
#[derive(Debug)]
pub(crate) struct Row<'h> {
    pub name: Name,
    pub payload: &'h Value,
    pub log_index: u64,
}

/// The final read of one node.
#[derive(Debug)]
pub(crate) struct FinalRead<'h> {
    pub operation: Operation<'h>,
    pub rows: Vec<Row<'h>>,
    /// The first place of each observation among the rows.
    pub places: BTreeMap<Name, usize>,
}

/// Everything that was said about observations.
pub(crate) struct Told<'h> {
    pub history: &'h History,
    pub attempts: BTreeMap<Name, Vec<Attempt<'h>>>,
    pub reads: Vec<FinalRead<'h>>,
}

/// A broken promise: its name, the sentence, and the operations that show it.
pub(crate) struct Violation<'h> {
    pub property: &'static str,
    pub sentence: String,
    pub shown: Vec<Operation<'h>>,
}

fn decide(history: &History) -> Result<Verdict, InputError> {
    let operations = pair(history)?;
    let told = gather(history, &operations)?;
    if told.reads.is_empty() {
        return Err(history.error("nothing to check against: no read-all succeeded"));
    }
    let mut violations = acknowledged_twice(&told);
    for read in &told.reads {
        violations.extend(doubled(read));
        violations.extend(durable::lost(&told, read));
        violations.extend(read.rows.iter().filter_map(|row| explained(&told, read, row)));
        violations.extend(order::broken(read));
    }
    violations.extend(disagreements(&told));
    // The first of those with the fewest operations: sorting is stable.
    violations.sort_by_key(|violation| violation.shown.len());
    let others = violations.len().saturating_sub(1);
    if let Some(Violation { property, sentence, shown }) = violations.into_iter().next() {
        let last = shown.len().saturating_sub(1);
        let span = |(at, operation): (usize, &Operation<'_>)| operation.span(history, label(operation), at == last);
        let spans = shown.iter().enumerate().map(span).collect();
        return Ok(Verdict::Invalid(Counterexample { property, sentence, spans, others, ..Counterexample::default() }));
    }
    let unknown = operations.iter().filter(|operation| operation.outcome == Outcome::Unknown).count();
    let mut sessions: Vec<&Session> = told.attempts.keys().map(|(session, _)| session).collect();
    sessions.dedup();
    Ok(Verdict::Valid(Summary { operations: operations.len(), unknown, parts: sessions.len(), ..Summary::default() }))
}

fn label(operation: &Operation<'_>) -> String {
    let (f, key) = (&operation.invoke.f, &operation.invoke.key);
    match operation.invoke.value.get("sequence") {
        Some(sequence) => format!("{f} session {key} sequence {sequence}"),
        None => format!("{f} on node {key}"),
    }
}

fn gather<'h>(history: &'h History, operations: &[Operation<'h>]) -> Result<Told<'h>, InputError> {
    let mut attempts: BTreeMap<Name, Vec<Attempt<'h>>> = BTreeMap::new();
    let mut last: BTreeMap<String, Operation<'h>> = BTreeMap::new();
    for operation in operations {
        match operation.invoke.f.as_str() {
            "observe" => {
                let (name, attempt) = attempt(history, operation)?;
                attempts.entry(name).or_default().push(attempt);
            }
            "read-all" if operation.outcome == Outcome::Ok => {
                let entry = last.entry(crate::jsonl::canonical(&operation.invoke.key)).or_insert(*operation);
                if entry.complete_at < operation.complete_at {
                    *entry = *operation;
                }
            }
            "read-all" => {}
            other => {
                let why = format!("{other:?} is no operation of this model, which has observe and read-all");
                return Err(history.error_at(operation.invoke_at, why));
            }
        }
    }
    let reads = last.into_values().map(|operation| final_read(history, operation)).collect::<Result<_, _>>()?;
    Ok(Told { history, attempts, reads })
}

fn session(value: &Value) -> Result<Session, String> {
    match value {
        Value::Number(number) => number.as_u64().map(Session::Number).ok_or(format!("session {number} is negative")),
        Value::String(text) => Ok(Session::Text(text.clone())),
        other => Err(format!("a session is an integer or a string, not {other}")),
    }
}

fn natural(value: &Value, field: &str) -> Result<u64, String> {
    value.get(field).and_then(Value::as_u64).ok_or(format!("{value} needs {field:?}, an integer from 0 on"))
}

fn sequence(value: &Value) -> Result<u64, String> {
    match natural(value, "sequence")? {
        0 => Err("sequences start at 1".into()),
        sequence => Ok(sequence),
    }
}

fn payload(value: &Value) -> Result<&Value, String> {
    value.get("payload").ok_or(format!("{value} needs \"payload\""))
}

fn attempt<'h>(history: &History, operation: &Operation<'h>) -> Result<(Name, Attempt<'h>), InputError> {
    let asked = &operation.invoke.value;
    let at_invoke = |why| history.error_at(operation.invoke_at, why);
    let session = session(&operation.invoke.key).map_err(at_invoke)?;
    let sequence_asked = sequence(asked).map_err(at_invoke)?;
    let payload_asked = payload(asked).map_err(at_invoke)?;
    let mut log_index = None;
    if operation.outcome == Outcome::Ok {
        let at_ok = |why| history.error_at(operation.complete_at, why);
        let told = operation.returned();
        if told.get("log_index").is_some() {
            log_index = Some(natural(told, "log_index").map_err(at_ok)?);
        }
        if sequence(told).map_err(at_ok)? != sequence_asked || payload(told).map_err(at_ok)? != payload_asked {
            return Err(at_ok(format!("acknowledges {told}, but {asked} was sent")));
        }
    }
    Ok(((session, sequence_asked), Attempt { operation: *operation, payload: payload_asked, log_index }))
}

fn final_read<'h>(history: &History, operation: Operation<'h>) -> Result<FinalRead<'h>, InputError> {
    let at = |why| history.error_at(operation.complete_at, why);
    let list = operation.returned().as_array().ok_or_else(|| at("a read-all returns an array".to_string()))?;
    let mut rows = Vec::with_capacity(list.len());
    let mut places = BTreeMap::new();
    for value in list {
        let id = value.get("session").ok_or_else(|| at(format!("{value} needs \"session\"")))?;
        let name = (session(id).map_err(at)?, sequence(value).map_err(at)?);
        places.entry(name.clone()).or_insert(rows.len());
        let log_index = natural(value, "log_index").map_err(at)?;
        rows.push(Row { name, payload: payload(value).map_err(at)?, log_index });
    }
    Ok(FinalRead { operation, rows, places })
}

fn acknowledged_twice<'h>(told: &Told<'h>) -> Vec<Violation<'h>> {
    let mut violations = Vec::new();
    for ((session, sequence), attempts) in &told.attempts {
        let mut acked = attempts.iter().filter_map(|attempt| Some((attempt, attempt.log_index?)));
        let Some((first, index)) = acked.next() else { continue };
        let Some((second, other)) = acked.find(|(_, other)| *other != index) else { continue };
        let lines = [first, second].map(|attempt| told.history.line(attempt.operation.complete_at));
        let sentence = format!(
            "session {session} sequence {sequence} was acknowledged at log index {index} (line {}) and again at {other} \
             (line {})",
            lines[0], lines[1]
        );
        let shown = vec![first.operation, second.operation];
        violations.push(Violation { property: "once_per_sequence", sentence, shown });
    }
    violations
}

fn doubled<'h>(read: &FinalRead<'h>) -> Option<Violation<'h>> {
    let again = (0..read.rows.len()).find(|place| read.places[&read.rows[*place].name] != *place)?;
    let row = &read.rows[again];
    let ((session, sequence), node) = (&row.name, &read.operation.invoke.key);
    let first = read.rows[read.places[&row.name]].log_index;
    let sentence = format!(
        "session {session} sequence {sequence} is twice in the final read of node {node}: at log index {first} and at {}",
        row.log_index
    );
    Some(Violation { property: "once_per_sequence", sentence, shown: vec![read.operation] })
}

/// Whether a row is what somebody sent, and what was acknowledged.
fn explained<'h>(told: &Told<'h>, read: &FinalRead<'h>, row: &Row<'h>) -> Option<Violation<'h>> {
    let ((session, sequence), node) = (&row.name, &read.operation.invoke.key);
    let what = format!("the final read of node {node} holds session {session} sequence {sequence}");
    let violation = |property, why: String, mut shown: Vec<Operation<'h>>| {
        shown.push(read.operation);
        Some(Violation { property, sentence: format!("{what}{why}"), shown })
    };
    let attempts = told.attempts.get(&row.name).map(Vec::as_slice).unwrap_or_default();
    let sent: Vec<&Attempt<'_>> =
        attempts.iter().filter(|attempt| attempt.operation.invoke_at < read.operation.complete_at).collect();
    if sent.is_empty() {
        return violation("nothing_invented", ", which nobody had sent".into(), Vec::new());
    }
    let possible: Vec<&&Attempt<'_>> =
        sent.iter().filter(|attempt| attempt.operation.outcome != Outcome::Fail).collect();
    let Some(likely) = possible.first() else {
        let line = told.history.line(sent[0].operation.complete_at);
        let why = format!(", which was refused each time (first on line {line})");
        return violation("nothing_invented", why, vec![sent[0].operation]);
    };
    for attempt in possible.iter().filter(|attempt| attempt.is_acked()) {
        let line = told.history.line(attempt.operation.complete_at);
        if let Some(log_index) = attempt.log_index
            && log_index != row.log_index
        {
            let why = format!(" at log index {}, but it was acknowledged at {log_index} (line {line})", row.log_index);
            return violation("as_acknowledged", why, vec![attempt.operation]);
        }
        if attempt.payload != row.payload {
            let why = format!(" with payload {}, but {} was acknowledged (line {line})", row.payload, attempt.payload);
            return violation("as_acknowledged", why, vec![attempt.operation]);
        }
    }
    if possible.iter().all(|attempt| attempt.payload != row.payload) {
        let line = told.history.line(likely.operation.invoke_at);
        let why = format!(" with payload {}, but {} was sent (line {line})", row.payload, likely.payload);
        return violation("as_acknowledged", why, vec![likely.operation]);
    }
    None
}

/// Final reads that differ by more than what was applied between them.
fn disagreements<'h>(told: &Told<'h>) -> Vec<Violation<'h>> {
    let mut reads: Vec<&FinalRead<'h>> = told.reads.iter().collect();
    reads.sort_by_key(|read| read.operation.complete_at);
    let same = |one: &Row<'_>, two: &Row<'_>| {
        one.name == two.name && one.log_index == two.log_index && one.payload == two.payload
    };
    let mut violations = Vec::new();
    let pairs = (0..reads.len()).flat_map(|late| (0..late).map(move |early| (early, late)));
    for (early, late) in pairs.map(|(early, late)| (reads[early], reads[late])) {
        let (node, other) = (&early.operation.invoke.key, &late.operation.invoke.key);
        let differ = early.rows.iter().zip(&late.rows).position(|(one, two)| !same(one, two));
        let overlap = late.operation.invoke_at < early.operation.complete_at;
        let why = match differ {
            Some(row) => format!("at row {} ({} and {})", row + 1, tell(&early.rows[row]), tell(&late.rows[row])),
            None if late.rows.len() < early.rows.len() && !overlap => {
                let missing = tell(&early.rows[late.rows.len()]);
                format!("although node {other} was read later: it lacks {missing}")
            }
            None => continue,
        };
        let sentence = format!("the final reads of nodes {node} and {other} differ {why}");
        violations.push(Violation { property: "reads_agree", sentence, shown: vec![early.operation, late.operation] });
    }
    violations
}

fn tell(row: &Row<'_>) -> String {
    let Row { name: (session, sequence), payload, log_index } = row;
    format!("session {session} sequence {sequence} payload {payload} at log index {log_index}")
}
