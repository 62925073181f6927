//! Pairs events into operations and refuses recordings that break the format.
//!
//! Invariants: `one_open_operation` (a process has at most one operation open, and is never heard of again after
//! `info`); a completion names the operation and the key of its invocation.
//!
//! Leaves out: which operations a model knows; the models say so, with the line.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::history::{Event, EventType, History, InputError};
use crate::verdict::Span;

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It happened between invocation and completion.
    Ok,
    /// It never happened and never will.
    Fail,
    /// It happens at some time after its invocation, or never.
    Unknown,
}

/// One operation: its invocation and, if there was one, its completion.
#[derive(Debug, Clone, Copy)]
pub struct Operation<'h> {
    /// The invocation.
    pub invoke: &'h Event,
    /// Place of the invocation in the history's events.
    pub invoke_at: usize,
    /// The completion; `None` if it was open at the end.
    pub complete: Option<&'h Event>,
    /// Place of the completion; past the end if there was none.
    pub complete_at: usize,
    /// How it ended.
    pub outcome: Outcome,
}

impl<'h> Operation<'h> {
    /// What an ok completion returned; null if it did not complete.
    pub fn returned(&self) -> &'h Value {
        self.complete.map_or(&Value::Null, |event| &event.value)
    }

    /// This operation as part of a counterexample, called `label`.
    pub fn span(&self, history: &History, label: String, guilty: bool) -> Span {
        Span {
            process: self.invoke.process,
            label,
            from_line: history.line(self.invoke_at),
            to_line: self.complete.map(|_| history.line(self.complete_at)),
            from_ns: self.invoke.time,
            to_ns: self.complete.map(|event| event.time),
            known: self.outcome == Outcome::Ok,
            guilty,
            point: None,
        }
    }
}

/// All operations, in the order of their invocations.
pub fn pair(history: &History) -> Result<Vec<Operation<'_>>, InputError> {
    let mut operations: Vec<Operation<'_>> = Vec::with_capacity(history.events.len() / 2);
    let mut open: BTreeMap<i64, usize> = BTreeMap::new();
    let mut spent: BTreeMap<i64, usize> = BTreeMap::new();
    for (at, event) in history.events.iter().enumerate() {
        let process = event.process;
        if let Some(line) = spent.get(&process) {
            let why = format!("process {process} was spent by the info of line {line}: it needs a new number");
            return Err(history.error_at(at, why));
        }
        if event.kind == EventType::Invoke {
            if let Some(before) = open.insert(process, operations.len()) {
                let line = history.line(operations[before].invoke_at);
                let why = format!("process {process} already has an operation open, since line {line}");
                return Err(history.error_at(at, why));
            }
            let (complete, complete_at) = (None, history.events.len());
            let outcome = Outcome::Unknown;
            operations.push(Operation { invoke: event, invoke_at: at, complete, complete_at, outcome });
            continue;
        }
        let Some(index) = open.remove(&process) else {
            return Err(history.error_at(at, format!("process {process} completes an operation it never invoked")));
        };
        close(history, &mut operations[index], event, at)?;
        if event.kind == EventType::Info {
            spent.insert(process, history.line(at));
        }
    }
    Ok(operations)
}

fn close<'h>(
    history: &'h History,
    operation: &mut Operation<'h>,
    event: &'h Event,
    at: usize,
) -> Result<(), InputError> {
    let invoke = operation.invoke;
    let line = history.line(operation.invoke_at);
    if event.f != invoke.f {
        return Err(history.error_at(at, format!("completes {:?}, but line {line} invoked {:?}", event.f, invoke.f)));
    }
    if !event.key.is_null() && event.key != invoke.key {
        return Err(history.error_at(at, format!("key {} is not the {} of line {line}", event.key, invoke.key)));
    }
    operation.complete = Some(event);
    operation.complete_at = at;
    operation.outcome = match event.kind {
        EventType::Ok => Outcome::Ok,
        EventType::Fail => Outcome::Fail,
        _ => Outcome::Unknown,
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(lines: &[(&str, i64)]) -> Result<Vec<Outcome>, String> {
        let text: Vec<String> = lines
            .iter()
            .map(|(kind, process)| format!(r#"{{"process":{process},"type":"{kind}","f":"write","value":1,"time":0}}"#))
            .collect();
        let history = History::from_jsonl("h", &text.join("\n")).expect("events");
        let operations = pair(&history).map_err(|error| error.to_string())?;
        Ok(operations.iter().map(|operation| operation.outcome).collect())
    }

    #[test]
    fn each_completion_closes_the_invocation_of_its_process() {
        let events = [("invoke", 0), ("invoke", 1), ("fail", 1), ("ok", 0), ("invoke", 0)];
        assert_eq!(pairs(&events), Ok(vec![Outcome::Ok, Outcome::Fail, Outcome::Unknown]));
    }

    #[test]
    fn a_process_reused_after_info_is_unusable() {
        let error = pairs(&[("invoke", 0), ("info", 0), ("invoke", 0)]).expect_err("spent");
        assert_eq!(error, "h:3: process 0 was spent by the info of line 2: it needs a new number");
    }

    #[test]
    fn two_open_operations_of_one_process_are_unusable() {
        let error = pairs(&[("invoke", 0), ("invoke", 0)]).expect_err("busy");
        assert_eq!(error, "h:2: process 0 already has an operation open, since line 1");
    }

    #[test]
    fn a_completion_without_invocation_is_unusable() {
        assert!(pairs(&[("ok", 7)]).expect_err("never invoked").starts_with("h:1: process 7 completes"));
    }
}
