//! Linearizability of registers, key by key: is there one order of the operations, consistent with real time, in
//! which each answer is right?
//!
//! # Operations
//! - `read`: ok value = what was read. `write`: invoke value = what is written. A register starts as null.
//! - `cas` (model `cas-register` only): invoke value = `[from, to]`; `ok` carries `"result"`: true if it swapped,
//!   false if the register did not hold `from`.
//! - `fail` never happened; `info` happens at any time after its invocation, or never.
//!
//! # Method
//! A history is linearizable exactly if the history of each key is (Herlihy and Wing 1990), so keys are decided one
//! by one. A key is decided by the search of Wing and Gong (1993) with Lowe's (2017) memory of visited
//! configurations and his linked list of open calls; `search.rs` describes what was added, with proofs.
//!
//! Invariant `verdict_exact`: the search over its memory limit is `Undecided`.
//!
//! Leaves out: other objects than registers ([`crate::set`], [`crate::counter`]).

mod config;
mod memo;
mod problem;
mod search;
mod witness;

use serde_json::{Value, json};

use crate::history::{History, InputError};
use crate::jsonl::canonical;
use crate::names::Names;
use crate::operation::{Operation, Outcome, pair};
use crate::verdict::{Counterexample, Figures, Summary, Verdict};

use problem::{Act, Problem, RegisterOp};
use search::Decision;

/// Which operations the register has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    /// `read` and `write`.
    Plain,
    /// `read`, `write` and `cas`.
    Cas,
}

/// How many keys a figure names.
const KEYS_NAMED_MAX: usize = 8;

/// The memory that one search may use if nothing else is said: 512 MiB.
pub const MEMORY_BYTES_DEFAULT: usize = 512 << 20;

/// Decides whether each key of `history` is a linearizable register.
pub fn check(history: &History, register: Register, memory_bytes: usize) -> Verdict {
    decide(history, register, memory_bytes).into()
}

/// The operations of one key, and the numbers of the values they use; 0 is null, the register's first value.
struct Key {
    name: String,
    values: Names,
    operations: Vec<RegisterOp>,
}

impl Key {
    fn new(name: String) -> Self {
        let mut values = Names::default();
        values.number(&Value::Null);
        Self { name, values, operations: Vec::new() }
    }
}

fn decide(history: &History, register: Register, memory_bytes: usize) -> Result<Verdict, InputError> {
    let operations = pair(history)?;
    let keys = keys(history, &operations, register)?;
    let mut undecided = Vec::new();
    let mut invalid = Vec::new();
    for key in &keys {
        let problem = Problem::new(&key.operations);
        match search::decide(&problem, &[0], memory_bytes) {
            Decision::Linearizable => {}
            Decision::OutOfMemory => undecided.push(key.name.as_str()),
            Decision::Stuck { operation } => invalid.push((key, operation)),
        }
    }
    let names = |keys: Vec<&str>| json!(keys.into_iter().take(KEYS_NAMED_MAX).collect::<Vec<_>>());
    if let Some((key, stuck)) = invalid.iter().min_by_key(|(key, stuck)| key.operations[*stuck].to) {
        let figures = Figures::from([
            ("keys_valid", json!(keys.len() - invalid.len() - undecided.len())),
            ("keys_invalid", json!(invalid.len())),
            ("keys_invalid_first", names(invalid.iter().map(|(key, _)| key.name.as_str()).collect())),
            ("keys_undecided", json!(undecided.len())),
            ("keys_undecided_first", names(undecided.clone())),
        ]);
        let found = witness::explain(history, &operations, key, *stuck, invalid.len() - 1);
        return Ok(Verdict::Invalid(Counterexample { figures, ..found }));
    }
    if let Some(key) = undecided.first() {
        let (count, mib, valid) = (undecided.len(), memory_bytes >> 20, keys.len() - undecided.len());
        let reason = format!(
            "key {key} needs more than {mib} MiB to decide ({count} such keys, {valid} are valid); raise --memory-mb"
        );
        return Ok(Verdict::Undecided { reason });
    }
    let unknown = operations.iter().filter(|operation| operation.outcome == Outcome::Unknown).count();
    let summary = Summary { operations: operations.len(), unknown, parts: keys.len(), ..Summary::default() };
    Ok(Verdict::Valid(summary))
}

/// What was done to each key, by name.
fn keys(history: &History, operations: &[Operation<'_>], register: Register) -> Result<Vec<Key>, InputError> {
    let (mut names, mut keys) = (Names::default(), Vec::<Key>::new());
    for (index, operation) in operations.iter().enumerate() {
        let number = names.number(&operation.invoke.key);
        if number == keys.len() {
            keys.push(Key::new(canonical(&operation.invoke.key)));
        }
        let key = &mut keys[number];
        if let Some(act) = classify(history, operation, register, &mut key.values)? {
            let known = operation.outcome == Outcome::Ok;
            let (from, to) = (operation.invoke_at, operation.complete_at);
            key.operations.push(RegisterOp { act, known, from, to, source: index });
        }
    }
    keys.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(keys)
}

/// What an operation means to the register; `None` if it can't constrain anything.
fn classify(
    history: &History,
    operation: &Operation<'_>,
    register: Register,
    values: &mut Names,
) -> Result<Option<Act>, InputError> {
    let invoke = operation.invoke;
    let known = operation.outcome == Outcome::Ok;
    let echo = operation.returned();
    if known && invoke.f != "read" && !echo.is_null() && *echo != invoke.value {
        let why = format!("an ok {} of {echo}, but {} was invoked", invoke.f, invoke.value);
        return Err(history.error_at(operation.complete_at, why));
    }
    let mut number = |value: &Value| values.number(value) as u32;
    let act = match invoke.f.as_str() {
        "read" if !known => return Ok(None),
        "read" => Act::Read(number(echo)),
        "write" => Act::Write(number(&invoke.value)),
        "cas" if register == Register::Cas => {
            let Some([from, to]) = invoke.value.as_array().map(Vec::as_slice) else {
                return Err(history.error_at(operation.invoke_at, "the value of a cas is [from, to]"));
            };
            let (from, to) = (number(from), number(to));
            match (known, operation.complete.and_then(|event| event.result)) {
                (true, None) => {
                    return Err(history.error_at(operation.complete_at, "an ok cas needs \"result\": true or false"));
                }
                (true, Some(false)) => Act::Differs(from),
                (true, Some(true)) if from == to => Act::Read(from),
                (false, _) if from == to => return Ok(None),
                _ => Act::Swap(from, to),
            }
        }
        other => {
            let known = if register == Register::Cas { "read, write and cas" } else { "read and write" };
            let why = format!("{other:?} is no operation of this model, which has {known}");
            return Err(history.error_at(operation.invoke_at, why));
        }
    };
    Ok((operation.outcome != Outcome::Fail).then_some(act))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(register: Register, lines: &[&str]) -> Verdict {
        let text: Vec<String> = lines.iter().map(|line| format!("{{\"time\":0,\"key\":\"x\",{line}}}")).collect();
        check(&History::from_jsonl("h", &text.join("\n")).expect("events"), register, MEMORY_BYTES_DEFAULT)
    }

    #[test]
    fn a_read_of_an_overwritten_value_is_named_with_the_write_that_forbids_it() {
        let lines = [
            r#""process":0,"type":"invoke","f":"write","value":1"#,
            r#""process":0,"type":"ok","f":"write","value":1"#,
            r#""process":0,"type":"invoke","f":"write","value":2"#,
            r#""process":0,"type":"ok","f":"write","value":2"#,
            r#""process":1,"type":"invoke","f":"read","value":null"#,
            r#""process":1,"type":"ok","f":"read","value":1"#,
        ];
        let verdict = verdict(Register::Plain, &lines);
        let found = verdict.counterexample().expect("stale");
        assert_eq!(found.spans.len(), 2);
        assert!(found.sentence.contains("in no order of write 2 by process 0 (lines 3–4)"), "{}", found.sentence);
        assert!(found.sentence.contains("read → 1 by process 1 (lines 5–6)"), "{}", found.sentence);
    }

    #[test]
    fn a_write_of_unknown_outcome_may_take_effect_late_or_never() {
        let late = [
            r#""process":0,"type":"invoke","f":"write","value":1"#,
            r#""process":0,"type":"info","f":"write","value":1"#,
            r#""process":1,"type":"invoke","f":"read","value":null"#,
            r#""process":1,"type":"ok","f":"read","value":null"#,
            r#""process":1,"type":"invoke","f":"read","value":null"#,
            r#""process":1,"type":"ok","f":"read","value":1"#,
        ];
        assert!(verdict(Register::Plain, &late).is_valid());
        assert!(verdict(Register::Plain, &late[..4]).is_valid());
    }

    #[test]
    fn a_cas_needs_its_model_and_its_result() {
        let cas = [
            r#""process":0,"type":"invoke","f":"cas","value":[null,1]"#,
            r#""process":0,"type":"ok","f":"cas","value":[null,1]"#,
        ];
        let unusable = |verdict| matches!(verdict, Verdict::Unusable(error) if error.line.is_some());
        assert!(unusable(verdict(Register::Plain, &cas)));
        assert!(unusable(verdict(Register::Cas, &cas)));
    }
}
