//! The log of the Jepsen test of etcd: `INFO  jepsen.util - 4<tab>:invoke<tab>:cas<tab>[1 2]`.
//!
//! A line of logger `jepsen.util` whose first word is a number is an operation: process, type, function, value.
//! Lines of other loggers and of the nemesis are left out; a line that is no line of a log is refused.
//!
//! A `:fail` is a `fail` here, that of a compare-and-set too: it had no effect, and says nothing of what was there.
//!
//! The log has no times: each event gets the number of its line.

use serde_json::Value;

use super::edn::{Data, Reader};
use super::json::value;
use super::{ConvertError, Op, Place};
use crate::history::EventType;

const LEVELS: [&str; 6] = ["INFO", "WARN", "ERROR", "DEBUG", "TRACE", "FATAL"];
const LOGGER: &str = "jepsen.util";

/// The operations of clients, in the order of the file, and what was left out.
pub(super) fn read(source: &str, text: &str) -> Result<(Vec<Op>, Vec<String>), ConvertError> {
    let (mut ops, mut others) = (Vec::new(), 0_usize);
    for (index, line) in text.lines().enumerate() {
        let start = Place { line: index + 1, column: 1 };
        if line.trim().is_empty() {
            continue;
        }
        let level = line.split([' ', '\t', '{', '}', '[', ']']).any(|word| LEVELS.contains(&word));
        if !level {
            return Err(ConvertError::new(source, start, "is no line of a log: it has no level such as INFO"));
        }
        match message(line) {
            Some(at) => {
                let place = Place { column: 1 + line[..at].chars().count(), ..start };
                match operation(source, place, &line[at..])? {
                    Some(op) => ops.push(op),
                    None => others += 1,
                }
            }
            None => others += 1,
        }
    }
    let note = format!("{others} lines of other loggers or processes were left out");
    Ok((ops, if others > 0 { vec![note] } else { Vec::new() }))
}

/// Where the message of a line of the logger begins.
fn message(line: &str) -> Option<usize> {
    let after = line.find(LOGGER)? + LOGGER.len();
    let rest = line[after..].trim_start();
    let rest = rest.strip_prefix('-').or(rest.strip_prefix(':'))?.trim_start();
    Some(line.len() - rest.len())
}

fn operation(source: &str, place: Place, text: &str) -> Result<Option<Op>, ConvertError> {
    if !text.starts_with(|first: char| first.is_ascii_digit()) {
        return Ok(None);
    }
    let mut reader = Reader::new(source, text, place);
    let mut form = |what: &str| match reader.next_form()? {
        Some(form) => Ok(form),
        None => Err(ConvertError::new(source, place, format!("an operation without its {what}"))),
    };
    let process = form("process")?;
    let number = value(source, &process)?.as_i64();
    let number =
        number.ok_or_else(|| ConvertError::new(source, process.place, "a process is an integer of 64 bits"))?;
    let kind = form("type")?;
    let kind = match &kind.data {
        Data::Keyword(name) if name == "invoke" => EventType::Invoke,
        Data::Keyword(name) if name == "ok" => EventType::Ok,
        Data::Keyword(name) if name == "fail" => EventType::Fail,
        Data::Keyword(name) if name == "info" => EventType::Info,
        _ => return Err(ConvertError::new(source, kind.place, "the type is :invoke, :ok, :fail or :info")),
    };
    let f = form("function")?;
    let Data::Keyword(name) = &f.data else {
        return Err(ConvertError::new(source, f.place, "the function is a keyword such as :read"));
    };
    let told = form("value")?;
    // What follows a failure or a doubt is its reason, such as :timed-out.
    let told = match (&told.data, kind) {
        (Data::Keyword(_), EventType::Fail | EventType::Info) => Value::Null,
        _ => value(source, &told)?,
    };
    let time = Some(place.line as u64);
    Ok(Some(Op { place, process: number, kind, f: name.clone(), value: told, key: None, time }))
}
