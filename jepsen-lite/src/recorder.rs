//! Writes a history while it happens: hands out process numbers and keeps their discipline.
//!
//! Invariant `one_open_operation`: a process has at most one operation open, and none after an `info`. Breaking it
//! is a bug of the caller, so it panics.
//!
//! Leaves out: clocks (time is an argument) and locks (the caller decides who may record at a time).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::history::{Event, EventType, History};

/// Records events in the order of its calls.
///
/// ```
/// use engram_jepsen_lite::history::Writer;
/// use serde_json::json;
///
/// let mut writer = Writer::new("example");
/// let process = writer.process();
/// writer.invoke(process, "write", json!("x"), json!(1), 10);
/// writer.ok(process, json!(1), 20);
/// assert_eq!(writer.into_history().events.len(), 2);
/// ```
#[derive(Debug)]
pub struct Writer {
    history: History,
    process_next: i64,
    /// Operation name and key of each process that has one open.
    open: BTreeMap<i64, (String, Value)>,
}

impl Writer {
    /// A recorder for a history called `source`.
    pub fn new(source: impl Into<String>) -> Self {
        Self { history: History::new(source), process_next: 0, open: BTreeMap::new() }
    }

    /// A process number that nobody has used.
    pub fn process(&mut self) -> i64 {
        self.process_next += 1;
        self.process_next - 1
    }

    /// An operation begins.
    pub fn invoke(&mut self, process: i64, f: &str, key: Value, value: Value, time: u64) {
        assert!(process < self.process_next, "process {process} was not handed out by this writer");
        let before = self.open.insert(process, (f.to_string(), key.clone()));
        assert!(before.is_none(), "process {process} already has an operation open");
        self.push(process, EventType::Invoke, (f.to_string(), key), value, None, time);
    }

    /// The open operation of `process` happened, with this result.
    pub fn ok(&mut self, process: i64, value: Value, time: u64) {
        self.close(process, EventType::Ok, value, None, time);
    }

    /// The open compare-and-set of `process` was answered: `swapped` or not.
    pub fn ok_cas(&mut self, process: i64, value: Value, swapped: bool, time: u64) {
        self.close(process, EventType::Ok, value, Some(swapped), time);
    }

    /// The open operation of `process` surely had no effect.
    pub fn fail(&mut self, process: i64, reason: Value, time: u64) {
        self.close(process, EventType::Fail, reason, None, time);
    }

    /// The open operation of `process` may have had an effect. The number is spent; use the one returned.
    pub fn info(&mut self, process: i64, reason: Value, time: u64) -> i64 {
        self.close(process, EventType::Info, reason, None, time);
        self.process()
    }

    /// Ends every open operation as unknown: the run is over.
    pub fn close_all(&mut self, time: u64) {
        let open: Vec<i64> = self.open.keys().copied().collect();
        open.into_iter().for_each(|process| self.close(process, EventType::Info, Value::Null, None, time));
    }

    /// What was recorded so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Ends the recording. Operations that are still open count as unknown.
    pub fn into_history(self) -> History {
        self.history
    }

    fn close(&mut self, process: i64, kind: EventType, value: Value, result: Option<bool>, time: u64) {
        let open = self.open.remove(&process);
        let operation = open.unwrap_or_else(|| panic!("process {process} has no operation open"));
        self.push(process, kind, operation, value, result, time);
    }

    fn push(
        &mut self,
        process: i64,
        kind: EventType,
        operation: (String, Value),
        value: Value,
        result: Option<bool>,
        time: u64,
    ) {
        let (f, key) = operation;
        self.history.push(Event { process, kind, f, key, value, result, time });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_recorded_reads_back_equal() {
        let mut writer = Writer::new("run");
        let (one, two) = (writer.process(), writer.process());
        writer.invoke(one, "write", json!("x"), json!(1), 1);
        writer.invoke(two, "cas", json!("x"), json!([1, 2]), 2);
        writer.ok_cas(two, json!([1, 2]), true, 3);
        let fresh = writer.info(one, json!("time-out"), 4);
        assert_eq!(fresh, 2);
        let history = writer.into_history();
        let read = History::from_jsonl("run", &history.to_jsonl()).expect("valid");
        assert_eq!(read.events, history.events);
    }

    #[test]
    #[should_panic(expected = "already has an operation open")]
    fn a_second_open_operation_panics() {
        let mut writer = Writer::new("run");
        let process = writer.process();
        writer.invoke(process, "read", json!(1), json!(null), 1);
        writer.invoke(process, "read", json!(1), json!(null), 2);
    }
}
