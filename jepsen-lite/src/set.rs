//! A set that only grows: what was added and acknowledged is in the last read, and nothing else.
//!
//! # Operations
//! - `add`: invoke value = the element. `read`: ok value = array of all elements. Keys are separate sets.
//!
//! # What is decided, for the last ok read of each key
//! - `nothing_lost`: an element whose `add` was acknowledged before the read began is in it.
//! - `nothing_invented`: every element of the read has an `add` that began before the read ended and did not fail.
//! - `no_duplicates`: no element is there twice.
//!
//! An `add` of unknown outcome may be there or not. A key without an ok read has nothing to check against.
//!
//! Leaves out: earlier reads (a stale one is no violation in this model).

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{History, InputError};
use crate::jsonl::canonical;
use crate::operation::{Operation, Outcome, pair};
use crate::verdict::{Counterexample, Summary, Verdict};

/// Decides whether the last read of each set in `history` is right.
pub fn check(history: &History) -> Verdict {
    decide(history).into()
}

#[derive(Default)]
struct Set<'h> {
    adds: BTreeMap<String, Vec<Operation<'h>>>,
    read: Option<Operation<'h>>,
}

fn decide(history: &History) -> Result<Verdict, InputError> {
    let operations = pair(history)?;
    let mut sets: BTreeMap<String, Set<'_>> = BTreeMap::new();
    for operation in &operations {
        let set = sets.entry(canonical(&operation.invoke.key)).or_default();
        match operation.invoke.f.as_str() {
            "add" => set.adds.entry(canonical(&operation.invoke.value)).or_default().push(*operation),
            "read" if operation.outcome == Outcome::Ok => {
                if set.read.is_none_or(|read| read.complete_at < operation.complete_at) {
                    set.read = Some(*operation);
                }
            }
            "read" => {}
            other => {
                let why = format!("{other:?} is no operation of this model, which has add and read");
                return Err(history.error_at(operation.invoke_at, why));
            }
        }
    }
    if sets.is_empty() {
        return Err(history.error("nothing to check against: the history is empty"));
    }
    let (mut violations, mut unread) = (Vec::new(), None);
    for (key, set) in &sets {
        match &set.read {
            Some(read) => violations.extend(violations_of(history, key, set, read)?),
            None => unread = unread.or(Some(key)),
        }
    }
    let others = violations.len().saturating_sub(1);
    if let Some(first) = violations.into_iter().next() {
        return Ok(Verdict::Invalid(Counterexample { others, ..first }));
    }
    if let Some(key) = unread {
        return Err(history.error(format!("nothing to check against: set {key} has no ok read")));
    }
    let unknown = operations.iter().filter(|operation| operation.outcome == Outcome::Unknown).count();
    Ok(Verdict::Valid(Summary { operations: operations.len(), unknown, parts: sets.len(), ..Summary::default() }))
}

fn violations_of(
    history: &History,
    key: &str,
    set: &Set<'_>,
    read: &Operation<'_>,
) -> Result<Vec<Counterexample>, InputError> {
    let Some(list) = read.returned().as_array() else {
        return Err(history.error_at(read.complete_at, "a read of a set returns an array"));
    };
    let line = history.line(read.complete_at);
    let mut violations = Vec::new();
    let mut report = |property, sentence: String, add: Option<&Operation<'_>>| {
        let label = |operation: &Operation<'_>| format!("{} {}", operation.invoke.f, operation.invoke.value);
        let mut spans: Vec<_> = add.iter().map(|add| add.span(history, label(add), false)).collect();
        spans.push(read.span(history, format!("read → {} elements", list.len()), true));
        let sentence = format!("set {key}: {sentence} the last read (line {line})");
        violations.push(Counterexample { property, sentence, spans, ..Counterexample::default() });
    };
    let mut seen = BTreeSet::new();
    for element in list.iter().map(canonical) {
        let adds = set.adds.get(&element).map(Vec::as_slice).unwrap_or_default();
        let begun = adds.iter().any(|add| add.outcome != Outcome::Fail && add.invoke_at < read.complete_at);
        if !begun {
            let failed = adds.iter().find(|add| add.outcome == Outcome::Fail);
            let why = if failed.is_some() { "was refused and is in" } else { "was never added and is in" };
            report("nothing_invented", format!("element {element} {why}"), failed);
        }
        if !seen.insert(element.clone()) {
            report("no_duplicates", format!("element {element} is twice in"), adds.first());
        }
    }
    for (element, adds) in set.adds.iter().filter(|(element, _)| !seen.contains(*element)) {
        let acked = |add: &&Operation<'_>| add.outcome == Outcome::Ok && add.complete_at < read.invoke_at;
        if let Some(add) = adds.iter().find(acked) {
            let acked = history.line(add.complete_at);
            let why = format!("element {element} was acknowledged (line {acked}) and is not in");
            report("nothing_lost", why, Some(add));
        }
    }
    Ok(violations)
}
