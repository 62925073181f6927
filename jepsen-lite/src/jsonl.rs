//! The history as JSON lines: reading with errors that name file and line, writing, and the form in which values
//! are compared.
//!
//! Invariant `values_compare_exactly`: two JSON values of a history are equal exactly if they were equal where they
//! were recorded. Numbers with an integral value become integers (`1.0` is `1`), and a number that a double can't
//! hold exactly is refused instead of rounded.
//!
//! Leaves out: what the operations mean.

use std::fmt;
use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use crate::history::{Event, EventType, History};

/// The longest line that is read, in bytes: a final read of a million rows fits.
const LINE_BYTES_MAX: usize = 256 << 20;

/// Input that no verdict can be given on; says where and what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InputError {
    /// The file (or the name of the run).
    pub file: String,
    /// The line, from 1, if it is about one.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

impl std::error::Error for InputError {}

/// The line as written: what may be left out is optional here and nowhere else.
#[derive(Deserialize)]
struct Line {
    process: i64,
    #[serde(rename = "type")]
    kind: EventType,
    f: String,
    #[serde(default)]
    key: Value,
    #[serde(default, deserialize_with = "present")]
    value: Option<Value>,
    #[serde(default)]
    result: Option<bool>,
    time: u64,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl History {
    /// Reads JSON lines from `text`; `source` names it in errors.
    pub fn from_jsonl(source: &str, text: &str) -> Result<History, InputError> {
        History::read_from(source, text.as_bytes())
    }

    /// Reads JSON lines from `input`; empty lines are skipped.
    pub fn read_from(source: &str, mut input: impl BufRead) -> Result<History, InputError> {
        let (mut events, mut lines, mut number) = (Vec::new(), Vec::new(), 0_usize);
        let mut bytes = Vec::new();
        loop {
            number += 1;
            bytes.clear();
            let at = |message: String| InputError { file: source.into(), line: Some(number), message };
            let limit = LINE_BYTES_MAX as u64 + 1;
            let mut line = std::io::Read::take(&mut input, limit);
            let read = line.read_until(b'\n', &mut bytes).map_err(|error| at(format!("can't be read: {error}")))?;
            if read == 0 {
                return Ok(History::from_parts(source.into(), events, lines));
            }
            if bytes.len() > LINE_BYTES_MAX {
                return Err(at(format!("longer than {} MiB", LINE_BYTES_MAX >> 20)));
            }
            let text = std::str::from_utf8(&bytes).map_err(|_| at("is not UTF-8".into()))?.trim();
            if text.is_empty() {
                continue;
            }
            events.push(parse(text).map_err(at)?);
            lines.push(u32::try_from(number).map_err(|_| at("more lines than 2^32".into()))?);
        }
    }

    /// All events as JSON lines.
    pub fn to_jsonl(&self) -> String {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes).expect("a vector takes every write");
        String::from_utf8(bytes).expect("serde_json writes UTF-8")
    }

    /// Writes all events as JSON lines.
    pub fn write_to(&self, mut output: impl Write) -> std::io::Result<()> {
        for event in &self.events {
            serde_json::to_writer(&mut output, event)?;
            output.write_all(b"\n")?;
        }
        Ok(())
    }
}

fn parse(text: &str) -> Result<Event, String> {
    let line: Line = serde_json::from_str(text).map_err(|error| format!("is not an event: {error}"))?;
    let silent = line.kind == EventType::Ok && line.value.is_none();
    if silent && (line.f.starts_with("read") || line.f == "observe") {
        return Err(format!("an ok {} without \"value\"", line.f));
    }
    let (mut key, mut value) = (line.key, line.value.unwrap_or(Value::Null));
    normalise(&mut key)?;
    normalise(&mut value)?;
    Ok(Event { process: line.process, kind: line.kind, f: line.f, key, value, result: line.result, time: line.time })
}

/// Brings equal numbers into equal form; refuses those that were rounded on the way.
fn normalise(value: &mut Value) -> Result<(), String> {
    match value {
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().ok_or("a number without a value")?;
            if float.abs() >= 9_007_199_254_740_992.0 {
                return Err(format!("{float} can't be compared exactly: write it as a string"));
            }
            if float.fract() == 0.0 {
                *number = Number::from(float as i64);
            }
            Ok(())
        }
        Value::Array(items) => items.iter_mut().try_for_each(normalise),
        Value::Object(fields) => fields.iter_mut().try_for_each(|(_, field)| normalise(field)),
        _ => Ok(()),
    }
}

/// The value as text that is equal exactly for equal values, whatever order its fields were written in.
pub(crate) fn canonical(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| name.as_str());
            let field = |(name, value): (&String, &Value)| format!("{name:?}:{}", canonical(value));
            format!("{{{}}}", fields.into_iter().map(field).collect::<Vec<_>>().join(","))
        }
        plain => plain.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<History, String> {
        History::from_jsonl("h.jsonl", text).map_err(|error| error.to_string())
    }

    #[test]
    fn written_histories_read_back_equal() {
        let text = concat!(
            r#"{"process":0,"type":"invoke","f":"cas","key":"k","value":[1,{"a":2.5}],"time":1}"#,
            "\n",
            r#"{"process":0,"type":"ok","f":"cas","key":"k","value":[1,{"a":2.5}],"result":true,"time":2}"#,
            "\n"
        );
        assert_eq!(read(text).expect("valid").to_jsonl(), text);
    }

    #[test]
    fn a_broken_line_names_file_and_line() {
        let good = r#"{"process":0,"type":"invoke","f":"read","time":1}"#;
        let error = read(&format!("{good}\n{{\"process\":\"x\"}}\n")).expect_err("a process is an integer");
        assert!(error.starts_with("h.jsonl:2: is not an event: invalid type"), "{error}");
    }

    #[test]
    fn an_ok_read_without_a_value_is_refused_while_null_is_a_value() {
        assert!(read(r#"{"process":0,"type":"ok","f":"read","time":1}"#).is_err());
        assert!(read(r#"{"process":0,"type":"ok","f":"read","value":null,"time":1}"#).is_ok());
    }

    #[test]
    fn one_and_one_point_zero_are_the_same_value_and_rounded_numbers_are_refused() {
        let event = |value: &str| read(&format!(r#"{{"process":0,"type":"ok","f":"read","value":{value},"time":1}}"#));
        assert_eq!(event("1.0").expect("valid").events, event("1").expect("valid").events);
        assert!(event("18446744073709551615").is_ok());
        assert!(event("18446744073709551616").expect_err("rounded").contains("as a string"));
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_their_line() {
        let error = History::read_from("h", &b"\n\xff\n"[..]).expect_err("not UTF-8");
        assert_eq!(error.to_string(), "h:2: is not UTF-8");
    }
}
