//! What clients did: the events of a history, in the order in which they happened.
//!
//! # The format (JSON lines, one event a line)
//!
//! ```text
//! {"process":3,"type":"invoke","f":"write","key":"x","value":1,"time":1000}
//! {"process":3,"type":"ok","f":"write","key":"x","value":1,"time":2500}
//! ```
//!
//! - `process` is an integer. A process has one operation open at a time: a pipelined stream with w rows in flight
//!   uses w process numbers.
//! - `type`: `invoke` opens an operation; `ok` says it happened; `fail` says it surely had no effect; `info` says
//!   that it may have had one, now or later. After `info` the process number is spent. An operation that is still
//!   open at the end counts as `info`.
//! - `f` is the operation, `key` the object it acts on, `value` its argument or result (any JSON; left out means
//!   null, except on the `ok` of a read).
//! - `cas` carries `"value":[from,to]` and, on `ok`, `"result":bool`. A register starts as null.
//! - `time` is in nanoseconds and is shown to people. The order of the lines is what counts: line before line
//!   means before. A verdict carries a note if times and lines disagree.
//! - Fields beyond these are allowed and ignored.
//!
//! The operations of each model are described in its module: [`crate::once`], [`crate::linear`], [`crate::set`],
//! [`crate::set_full`], [`crate::counter`], [`crate::sessions`], [`crate::recall`].
//!
//! Leaves out: files (the command opens them) and the pairing of events ([`crate::operation`]).

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use crate::jsonl::InputError;
pub use crate::recorder::Writer;

/// What an event says about its operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventType {
    /// The operation begins.
    Invoke,
    /// It happened.
    Ok,
    /// It surely had no effect.
    Fail,
    /// It may have had an effect, or may have one later.
    Info,
}

/// One line of a history.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// Who: one logical client with at most one operation open.
    pub process: i64,
    /// What this event says.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// The operation's name.
    pub f: String,
    /// The object that it acts on.
    pub key: Value,
    /// Its argument (invoke) or result (ok).
    pub value: Value,
    /// For `cas` on `ok`: whether it swapped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<bool>,
    /// Nanoseconds since some start; for display.
    pub time: u64,
}

/// Events in the order in which they happened, and where they came from.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The events, first to last.
    pub events: Vec<Event>,
    source: String,
    /// Line number of each event that was read from a file; events beyond it count on from 1.
    lines: Vec<u32>,
}

impl History {
    /// An empty history that calls itself `source` in errors and verdicts.
    pub fn new(source: impl Into<String>) -> Self {
        Self { events: Vec::new(), source: source.into(), lines: Vec::new() }
    }

    pub(crate) fn from_parts(source: String, events: Vec<Event>, lines: Vec<u32>) -> Self {
        Self { events, source, lines }
    }

    /// Appends an event: it happened after all that are there.
    pub fn push(&mut self, event: Event) {
        self.events.push(event);
    }

    /// The name of the file or run that the events came from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The line of the event at `index` (its place, from 1, if it was never in a file).
    pub fn line(&self, index: usize) -> usize {
        self.lines.get(index).map_or(index + 1, |line| *line as usize)
    }

    /// An error that points at the event at `index`.
    pub fn error_at(&self, index: usize, message: impl Into<String>) -> InputError {
        InputError { file: self.source.clone(), line: Some(self.line(index)), message: message.into() }
    }

    /// An error about the history as a whole.
    pub fn error(&self, message: impl Into<String>) -> InputError {
        InputError { file: self.source.clone(), line: None, message: message.into() }
    }

    /// How many events carry an earlier time than the event before them.
    pub fn times_backwards(&self) -> usize {
        self.events.windows(2).filter(|pair| pair[1].time < pair[0].time).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_numbers_survive_blank_lines() {
        let line = r#"{"process":0,"type":"invoke","f":"read","key":1,"value":null,"time":0}"#;
        let history = History::from_jsonl("h.jsonl", &format!("\n\n{line}\n")).expect("one event");
        assert_eq!(history.line(0), 3);
    }

    #[test]
    fn times_that_go_back_are_counted() {
        let event = |time| Event {
            process: 0,
            kind: EventType::Invoke,
            f: "read".into(),
            key: Value::Null,
            value: Value::Null,
            result: None,
            time,
        };
        let mut history = History::new("h");
        [5, 7, 6, 9].map(event).into_iter().for_each(|event| history.push(event));
        assert_eq!(history.times_backwards(), 1);
    }
}
