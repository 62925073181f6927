//! From the events of a file to a history that keeps this project's discipline.
//!
//! - A process that goes on after an `info` gets a new number: the operation in doubt stays open for ever.
//! - An `ok` compare-and-set swapped; a failed one of Jepsen saw nothing that may be relied on.
//! - `[key value]` becomes key and value, if it is tagged, or asked for, or every operation has one.
//! - Without a time, an event has that of the one before.
//!
//! Invariant `one_open_operation`: what completes nothing, or opens a second operation, is refused.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{ConvertError, Converted, Keys, Op, Options, Place};
use crate::history::{Event, EventType, History};
use crate::jsonl::canonical;

struct Open {
    place: Place,
    f: String,
    key: Value,
}

/// Makes the history.
pub(super) fn assemble(
    source: &str,
    mut ops: Vec<Op>,
    mut notes: Vec<String>,
    options: &Options,
) -> Result<Converted, ConvertError> {
    match options.keys {
        Keys::Tuple => ops.iter_mut().try_for_each(|op| split(source, op))?,
        Keys::Detect if keyed(&ops) => {
            notes.push("values were read as [key value], since every operation has one".into());
            ops.iter_mut().try_for_each(|op| split(source, op))?;
        }
        Keys::Detect | Keys::None => {}
    }
    let mut number_next = ops.iter().map(|op| op.process).max().unwrap_or(-1).max(-1);
    let mut fresh = |place| match number_next.checked_add(1) {
        Some(number) => {
            number_next = number;
            Ok(number)
        }
        None => Err(ConvertError::new(source, place, "no process number is left to give")),
    };
    let mut events: Vec<Event> = Vec::with_capacity(ops.len());
    let (mut open, mut numbers): (BTreeMap<i64, Open>, BTreeMap<i64, i64>) = Default::default();
    let (mut spent, mut renumbered, mut time) = (BTreeSet::new(), 0_usize, 0);
    let mut keys: BTreeMap<String, Value> = BTreeMap::new();
    for op in ops {
        if op.kind == EventType::Invoke && spent.remove(&op.process) {
            numbers.insert(op.process, fresh(op.place)?);
            renumbered += 1;
        }
        let process = numbers.get(&op.process).copied().unwrap_or(op.process);
        let (kind, key) = (op.kind, step(source, &mut open, &op)?);
        keys.entry(canonical(&key)).or_insert_with(|| key.clone());
        if kind == EventType::Info {
            spent.insert(op.process);
        }
        // A read that failed says nothing, and its process goes on.
        let unread = options.null_reads_unknown && op.f == "read" && op.value.is_null();
        let kind = if unread && kind == EventType::Ok { EventType::Fail } else { kind };
        let result = (kind == EventType::Ok && op.f == "cas").then_some(true);
        time = op.time.unwrap_or(time);
        events.push(Event { process, kind, f: op.f, key, value: op.value, result, time });
    }
    if renumbered > 0 {
        notes.push(format!("{renumbered} times a process went on after an info, and got a new number"));
    }
    let mut history = History::new(source);
    if let Some(initial) = &options.initial {
        let first = fresh(Place { line: 1, column: 1 })?;
        for key in keys.into_values() {
            for kind in [EventType::Invoke, EventType::Ok] {
                let (key, value) = (key.clone(), initial.clone());
                history.push(Event { process: first, kind, f: "write".into(), key, value, result: None, time: 0 });
            }
        }
    }
    events.into_iter().for_each(|event| history.push(event));
    Ok(Converted { history, notes })
}

/// Opens or closes the operation of the event's process; the key that it acts on.
fn step(source: &str, open: &mut BTreeMap<i64, Open>, op: &Op) -> Result<Value, ConvertError> {
    let refuse = |why: String| Err(ConvertError::new(source, op.place, why));
    let process = op.process;
    if op.kind == EventType::Invoke {
        let key = op.key.clone().unwrap_or(Value::Null);
        let opened = Open { place: op.place, f: op.f.clone(), key: key.clone() };
        return match open.insert(process, opened) {
            None => Ok(key),
            Some(before) => {
                refuse(format!("process {process} already has an operation open, since line {}", before.place.line))
            }
        };
    }
    let Some(before) = open.remove(&process) else {
        return refuse(format!("process {process} completes an operation that it never invoked"));
    };
    let line = before.place.line;
    if before.f != op.f {
        return refuse(format!("completes {:?}, but line {line} invoked {:?}", op.f, before.f));
    }
    match &op.key {
        Some(key) if *key != before.key => refuse(format!("key {key} is not the {} of line {line}", before.key)),
        _ => Ok(before.key),
    }
}

/// Whether each operation has a pair for its value, and some read was invoked with one: `[key nil]`.
fn keyed(ops: &[Op]) -> bool {
    let pair = |op: &Op| op.value.as_array().is_some_and(|items| items.len() == 2);
    let invoked = |op: &&Op| op.kind == EventType::Invoke;
    let mut reads = ops.iter().filter(invoked).filter(|op| op.f == "read").peekable();
    let open_read = |op: &Op| op.value.as_array().is_some_and(|items| items[1].is_null());
    ops.iter().all(|op| op.key.is_none())
        && reads.peek().is_some()
        && ops.iter().filter(invoked).all(pair)
        && ops.iter().filter(|op| op.kind == EventType::Ok).all(pair)
        && reads.all(open_read)
}

/// Takes `[key value]` apart.
fn split(source: &str, op: &mut Op) -> Result<(), ConvertError> {
    if op.key.is_some() {
        return Ok(());
    }
    match std::mem::take(&mut op.value) {
        Value::Array(items) if items.len() == 2 => {
            let mut items = items.into_iter();
            (op.key, op.value) = (items.next(), items.next().unwrap_or_default());
            Ok(())
        }
        // A completion without an answer need not repeat the key.
        _ if matches!(op.kind, EventType::Fail | EventType::Info) => Ok(()),
        other => Err(ConvertError::new(source, op.place, format!("the value {other} is no [key value]"))),
    }
}
