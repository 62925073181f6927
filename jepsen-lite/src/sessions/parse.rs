//! Operations of sessions in numbers: sessions and rows are counted in the order in which they turn up.
//!
//! Invariant: what an answer says is parsed only if it was `ok`; nothing else counts as said.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

use crate::history::{History, InputError};
use crate::jsonl::canonical;
use crate::names::Names;
use crate::operation::{Operation, Outcome};
use crate::verdict::Figures;

/// How fresh a read asked to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Eventual,
    Session,
    Linearizable,
    AtLeast(u64),
    BoundedMs(u64),
    AtIndex(u64),
}

impl Level {
    /// Its name, without its bound.
    pub fn name(self) -> &'static str {
        match self {
            Level::Eventual => "eventual",
            Level::Session => "session",
            Level::Linearizable => "linearizable",
            Level::AtLeast(_) => "at_least",
            Level::BoundedMs(_) => "bounded",
            Level::AtIndex(_) => "at_index",
        }
    }

    /// The level that `asked` names, if it names one; `at_index` may stand beside the other fields, too.
    pub fn of(asked: &Value) -> Result<Option<Level>, String> {
        let level = match asked.get("level") {
            None | Some(Value::Null) => return Ok(natural(asked, "at_index")?.map(Level::AtIndex)),
            Some(level) => level,
        };
        let bound = |name| level.get(name).and_then(Value::as_u64);
        let named = match level.as_str() {
            Some("eventual") => Some(Level::Eventual),
            Some("session") => Some(Level::Session),
            Some("linearizable") => Some(Level::Linearizable),
            _ => None,
        };
        let bounded = || match level.as_object() {
            Some(fields) if fields.len() == 1 => bound("at_least")
                .map(Level::AtLeast)
                .or_else(|| bound("bounded_ms").map(Level::BoundedMs))
                .or_else(|| bound("at_index").map(Level::AtIndex)),
            _ => None,
        };
        let unknown = || {
            format!(
                "{level} is no level; there are \"eventual\", \"session\", \"linearizable\", {{\"at_least\": i}}, \
                 {{\"bounded_ms\": n}} and {{\"at_index\": i}}"
            )
        };
        named.or_else(bounded).map(Some).ok_or_else(unknown)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Level::AtLeast(bound) | Level::BoundedMs(bound) | Level::AtIndex(bound) => {
                write!(f, "{} {bound}", self.name())
            }
            plain => f.write_str(plain.name()),
        }
    }
}

/// What an operation asked and heard.
pub(super) enum Action {
    Observe { row: usize, sequence: Option<u64>, log_index: Option<u64> },
    Forget { rows: Vec<usize>, log_index: Option<u64> },
    Recall(Recall),
}

/// A read and its answer.
pub(super) struct Recall {
    pub level: Level,
    pub token: Option<u64>,
    pub applied_index: Option<u64>,
    /// Everything that it could see.
    pub rows: Option<Vec<usize>>,
    /// Some of it.
    pub hits: Vec<usize>,
}

/// A history in numbers.
pub(super) struct Parsed {
    /// Names of sessions, for people.
    pub sessions: Vec<String>,
    /// Names of rows.
    pub rows: Vec<String>,
    /// Where each row was first sent; past the end for one that the history never sends.
    pub sent_at: Vec<usize>,
    pub session_of: Vec<usize>,
    pub actions: Vec<Action>,
}

impl Parsed {
    /// How many reads each level had that were answered.
    fn reads(&self) -> BTreeMap<&'static str, usize> {
        let mut reads = BTreeMap::new();
        for action in &self.actions {
            if let Action::Recall(recall) = action
                && (recall.applied_index.is_some() || recall.rows.is_some())
            {
                *reads.entry(recall.level.name()).or_default() += 1;
            }
        }
        reads
    }

    pub fn sentence(&self) -> String {
        let reads: Vec<String> = self.reads().iter().map(|(level, count)| format!("{count} {level}")).collect();
        if reads.is_empty() { "no read was answered".into() } else { format!("reads: {}", reads.join(", ")) }
    }

    pub fn figures(&self) -> Figures {
        Figures::from([("reads", json!(self.reads()))])
    }
}

/// Names for people beside the numbers.
#[derive(Default)]
struct Told {
    numbers: Names,
    names: Vec<String>,
}

impl Told {
    fn number(&mut self, value: &Value) -> usize {
        let number = self.numbers.number(value);
        if number == self.names.len() {
            self.names.push(value.as_str().map_or_else(|| canonical(value), String::from));
        }
        number
    }
}

/// Reads what each operation says.
pub(super) fn parse(history: &History, operations: &[Operation<'_>]) -> Result<Parsed, InputError> {
    let (mut sessions, mut rows) = (Told::default(), Told::default());
    let (mut session_of, mut actions) = (Vec::with_capacity(operations.len()), Vec::with_capacity(operations.len()));
    for operation in operations {
        let invoke = operation.invoke;
        let name = match &invoke.key {
            Value::Null => format!("process {}", invoke.process),
            key => format!("session {}", canonical(key)),
        };
        session_of.push(sessions.number(&Value::String(name)));
        let asked = |why: String| history.error_at(operation.invoke_at, why);
        let told = |why: String| history.error_at(operation.complete_at, why);
        let answer = if operation.outcome == Outcome::Ok { operation.returned() } else { &Value::Null };
        actions.push(match invoke.f.as_str() {
            "observe" => {
                let sequence = natural(&invoke.value, "sequence").map_err(asked)?;
                let id = match (invoke.value.get("id"), sequence) {
                    (Some(id), _) => id.clone(),
                    (None, Some(sequence)) => json!([invoke.key, sequence]),
                    (None, None) => return Err(asked("an observe needs \"id\" or \"sequence\"".into())),
                };
                let log_index = natural(answer, "log_index").map_err(told)?;
                Action::Observe { row: rows.number(&id), sequence, log_index }
            }
            "forget" => {
                let ids = list(&invoke.value, "ids").and_then(|ids| ids.ok_or("a forget needs \"ids\"".into()));
                let ids = ids.map_err(asked)?.iter().map(|id| rows.number(id)).collect();
                Action::Forget { rows: ids, log_index: natural(answer, "log_index").map_err(told)? }
            }
            "recall" => {
                let level = Level::of(&invoke.value).map_err(asked)?.unwrap_or(Level::Session);
                let token = natural(&invoke.value, "token").map_err(asked)?;
                let applied_index = natural(answer, "applied_index").map_err(told)?;
                let mut numbers = |field| -> Result<Option<Vec<usize>>, InputError> {
                    let ids = list(answer, field).map_err(told)?;
                    Ok(ids.map(|ids| ids.iter().map(|id| rows.number(row_id(id))).collect()))
                };
                let (all, some) = (numbers("rows")?, numbers("hits")?.unwrap_or_default());
                if operation.outcome == Outcome::Ok && applied_index.is_none() && all.is_none() {
                    return Err(told("an ok recall needs \"applied_index\" or \"rows\"".into()));
                }
                Action::Recall(Recall { level, token, applied_index, rows: all, hits: some })
            }
            other => {
                let why = format!("{other:?} is no operation of this model, which has observe, forget and recall");
                return Err(asked(why));
            }
        });
    }
    let mut sent_at = vec![usize::MAX; rows.names.len()];
    for (operation, action) in operations.iter().zip(&actions) {
        if let Action::Observe { row, .. } = action {
            sent_at[*row] = sent_at[*row].min(operation.invoke_at);
        }
    }
    Ok(Parsed { sessions: sessions.names, rows: rows.names, sent_at, session_of, actions })
}

/// The id of a row that an answer holds: the row's own, or the field "id" of what is told about it.
fn row_id(told: &Value) -> &Value {
    told.get("id").unwrap_or(told)
}

/// An optional integer from 0 on.
pub(crate) fn natural(value: &Value, field: &str) -> Result<Option<u64>, String> {
    match value.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(number) => number.as_u64().map(Some).ok_or(format!("{field:?} is an integer from 0 on, not {number}")),
    }
}

fn list<'v>(value: &'v Value, field: &str) -> Result<Option<&'v Vec<Value>>, String> {
    match value.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(list) => list.as_array().map(Some).ok_or(format!("{field:?} is an array")),
    }
}
