//! A counter: each read lies between what must have been added and what may have been.
//!
//! # Operations
//! - `add`: invoke value = an integer, negative ones included. `read`: ok value = an integer. A counter starts at 0;
//!   keys are separate counters.
//!
//! # What is decided
//! `within_bounds`: an addition acknowledged before the read began is counted; one that began before the read ended
//! and did not fail may be; no other is. The read lies between the least and the greatest sum of that kind.
//!
//! Leaves out: whether the reads fit one order together (bounds only, as is usual for counters).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::history::{EventType, History, InputError};
use crate::jsonl::canonical;
use crate::operation::{Operation, Outcome, pair};
use crate::verdict::{Counterexample, Summary, Verdict};

/// Decides whether each read of each counter in `history` is within its bounds.
pub fn check(history: &History) -> Verdict {
    decide(history).into()
}

/// Running sums of one counter, by when an addition counts.
#[derive(Default, Clone, Copy)]
struct Sums {
    /// Positive and negative additions that were acknowledged.
    acked: (i128, i128),
    /// Positive and negative additions that began and did not fail.
    begun: (i128, i128),
}

fn decide(history: &History) -> Result<Verdict, InputError> {
    let operations = pair(history)?;
    // Which operation an event belongs to.
    let mut owner = vec![0; history.events.len()];
    for (index, operation) in operations.iter().enumerate() {
        owner[operation.invoke_at] = index;
        if operation.complete.is_some() {
            owner[operation.complete_at] = index;
        }
    }
    let mut sums: BTreeMap<String, Sums> = BTreeMap::new();
    let mut at_start: BTreeMap<usize, Sums> = BTreeMap::new();
    let mut violations = Vec::new();
    for (at, event) in history.events.iter().enumerate() {
        let operation = &operations[owner[at]];
        let sum = sums.entry(canonical(&operation.invoke.key)).or_default();
        match (operation.invoke.f.as_str(), event.kind) {
            ("add", EventType::Invoke) => {
                let by = integer(&event.value).map_err(|why| history.error_at(at, why))?;
                if operation.outcome != Outcome::Fail {
                    add(&mut sum.begun, by);
                }
            }
            ("add", EventType::Ok) => {
                let by = integer(&operation.invoke.value).map_err(|why| history.error_at(at, why))?;
                add(&mut sum.acked, by);
            }
            ("read", EventType::Invoke) => {
                at_start.insert(owner[at], *sum);
            }
            ("read", EventType::Ok) => {
                let start = at_start.get(&owner[at]).copied().unwrap_or_default();
                let (low, high) = (start.acked.0 + sum.begun.1, sum.begun.0 + start.acked.1);
                let read = integer(&event.value).map_err(|why| history.error_at(at, why))?;
                if read < low || read > high {
                    violations.push(counterexample(history, operation, low, high));
                }
            }
            ("add" | "read", _) => {}
            (other, _) => {
                let why = format!("{other:?} is no operation of this model, which has add and read");
                return Err(history.error_at(at, why));
            }
        }
    }
    let others = violations.len().saturating_sub(1);
    if let Some(first) = violations.into_iter().next() {
        return Ok(Verdict::Invalid(Counterexample { others, ..first }));
    }
    let unknown = operations.iter().filter(|operation| operation.outcome == Outcome::Unknown).count();
    Ok(Verdict::Valid(Summary { operations: operations.len(), unknown, parts: sums.len(), ..Summary::default() }))
}

fn integer(value: &Value) -> Result<i128, String> {
    let small = value.as_i64().map(i128::from);
    small.or(value.as_u64().map(i128::from)).ok_or(format!("{value} is not an integer"))
}

fn add((positive, negative): &mut (i128, i128), by: i128) {
    *positive += by.max(0);
    *negative += by.min(0);
}

fn counterexample(history: &History, read: &Operation<'_>, low: i128, high: i128) -> Counterexample {
    let (value, key) = (read.returned(), canonical(&read.invoke.key));
    let (from, to) = (history.line(read.invoke_at), history.line(read.complete_at));
    let sentence = format!("counter {key}: a read (lines {from}–{to}) returned {value}, outside {low} to {high}");
    let spans = vec![read.span(history, format!("read → {value}, not in {low}…{high}"), true)];
    Counterexample { property: "within_bounds", sentence, spans, ..Counterexample::default() }
}
