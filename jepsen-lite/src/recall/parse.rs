//! From operations to spaces.
//!
//! Leaves out: judging; what is refused here breaks the format.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::space::{Forget, Hit, Recall, Space};
use super::vector::{Metric, vector};
use crate::history::{History, InputError};
use crate::jsonl::canonical;
use crate::operation::{Operation, Outcome};
use crate::sessions::parse::{Level, natural};

/// All spaces by name. With `linearizable`, recalls of that level need not state an applied index.
pub(super) fn parse(
    history: &History,
    operations: &[Operation<'_>],
    linearizable: bool,
) -> Result<BTreeMap<String, Space>, InputError> {
    let mut spaces: BTreeMap<String, Space> = BTreeMap::new();
    for (number, operation) in operations.iter().enumerate() {
        let space = spaces.entry(canonical(&operation.invoke.key)).or_default();
        match operation.invoke.f.as_str() {
            "space" => configure(space, number, operation),
            "observe" => observe(space, number, operation),
            "forget" => forget(space, number, operation),
            "recall" if operation.outcome == Outcome::Ok => recall(space, number, operation, linearizable),
            "recall" => Ok(()),
            other => {
                let known = "space, observe, forget and recall";
                Err(Wrong::Asked(format!("{other:?} is no operation of this model, which has {known}")))
            }
        }
        .map_err(|wrong| match wrong {
            Wrong::Asked(why) => history.error_at(operation.invoke_at, why),
            Wrong::Told(why) => history.error_at(operation.complete_at, why),
        })?;
    }
    for space in spaces.values_mut() {
        place_by_hits(space);
        space.glance();
    }
    Ok(spaces)
}

/// What breaks the format, and in which of the two events.
enum Wrong {
    Asked(String),
    Told(String),
}

type Parsed = Result<(), Wrong>;

fn real(value: &Value, field: &str) -> Result<Option<f64>, String> {
    match value.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(number) => number.as_f64().map(Some).ok_or(format!("{field:?} is a number, not {number}")),
    }
}

fn configure(space: &mut Space, number: usize, operation: &Operation<'_>) -> Parsed {
    let asked = &operation.invoke.value;
    if space.stated.is_some() || !space.rows.is_empty() {
        return Err(Wrong::Asked("a space is described once, before all else".into()));
    }
    space.stated = Some(number);
    if let Some(name) = asked.get("metric") {
        space.metric = Metric::of(name.as_str().unwrap_or_default()).map_err(Wrong::Asked)?;
    }
    space.score_error_max = real(asked, "score_error_max").map_err(Wrong::Asked)?;
    space.recall_at_10_min = real(asked, "recall_at_10_min").map_err(Wrong::Asked)?;
    Ok(())
}

/// The id that `value` gives a row: its "id", or its session and sequence.
fn id(value: &Value) -> Option<String> {
    match (value.get("id"), value.get("session"), value.get("sequence")) {
        (Some(id), ..) => Some(canonical(id)),
        (None, Some(session), Some(sequence)) => Some(canonical(&json!([session, sequence]))),
        _ => None,
    }
}

fn observe(space: &mut Space, number: usize, operation: &Operation<'_>) -> Parsed {
    let asked = &operation.invoke.value;
    let name = id(asked).ok_or(Wrong::Asked("an observe needs \"id\", or \"session\" and \"sequence\"".into()))?;
    let row = space.row(name);
    if let Some(embedding) = asked.get("embedding").filter(|embedding| !embedding.is_null()) {
        let embedding = vector(embedding).map_err(Wrong::Asked)?;
        match space.rows[row].vector {
            Some(known) if space.vectors.get(known) != embedding => {
                let name = &space.rows[row].name;
                return Err(Wrong::Asked(format!("row {name} was sent before with another embedding")));
            }
            Some(_) => {}
            None => space.rows[row].vector = Some(space.vectors.push(&embedding).map_err(Wrong::Asked)?),
        }
    }
    let row = &mut space.rows[row];
    match operation.outcome {
        Outcome::Fail => {
            row.refused.get_or_insert(number);
        }
        Outcome::Ok | Outcome::Unknown => row.sent_at = row.sent_at.min(operation.invoke_at),
    }
    if operation.outcome == Outcome::Ok {
        let index = natural(operation.returned(), "log_index").map_err(Wrong::Told)?;
        row.acked_at = Some(row.acked_at.map_or(operation.complete_at, |at| at.min(operation.complete_at)));
        match (row.placed, index) {
            (Some((known, before)), Some(index)) if known != index => space.displaced.push((before, number)),
            (None, Some(index)) => row.placed = Some((index, number)),
            _ => {}
        }
    }
    Ok(())
}

fn forget(space: &mut Space, number: usize, operation: &Operation<'_>) -> Parsed {
    let ids = |value: &Value| -> Result<Option<Vec<String>>, String> {
        match value.get("ids") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Array(ids)) => Ok(Some(ids.iter().map(canonical).collect())),
            Some(_) => Err("\"ids\" is an array".into()),
        }
    };
    let acked = operation.outcome == Outcome::Ok;
    let asked = ids(&operation.invoke.value).map_err(Wrong::Asked)?;
    let told = if acked { ids(operation.returned()).map_err(Wrong::Told)? } else { None };
    if operation.outcome == Outcome::Fail {
        return Ok(());
    }
    let log_index = if acked { natural(operation.returned(), "log_index").map_err(Wrong::Told)? } else { None };
    let forget = space.forgets.len();
    let acked_at = acked.then_some(operation.complete_at);
    space.forgets.push(Forget { operation: number, sent_at: operation.invoke_at, acked_at, log_index });
    match told.or(asked) {
        None => space.forgets_of_any.push(forget),
        Some(names) => {
            for name in names {
                let row = space.row(name);
                space.rows[row].forgets.push(forget);
            }
        }
    }
    Ok(())
}

fn recall(space: &mut Space, number: usize, operation: &Operation<'_>, linearizable: bool) -> Parsed {
    let (asked, told) = (&operation.invoke.value, operation.returned());
    let level = Level::of(asked).map_err(Wrong::Asked)?;
    let linearizable = linearizable && level.is_none_or(|level| level == Level::Linearizable);
    let cue = asked.get("cue").filter(|cue| !cue.is_null()).map(vector).transpose().map_err(Wrong::Asked)?;
    let k = natural(asked, "k").map_err(Wrong::Asked)?.map(|k| usize::try_from(k).unwrap_or(usize::MAX));
    let stated = natural(asked, "guarantee").map_err(Wrong::Asked)?.unwrap_or(0) as usize;
    let exact = asked.get("exact") == Some(&Value::Bool(true));
    let guarantee = if exact { k.unwrap_or(0) } else { stated.min(k.unwrap_or(stated)) };
    let score_min = real(asked, "score_min").map_err(Wrong::Asked)?;
    let filtered = asked.get("filter").is_some_and(|filter| !filter.is_null());
    let applied = natural(told, "applied_index").map_err(Wrong::Told)?;
    if applied.is_none() && !linearizable {
        return Err(Wrong::Told("an ok recall needs \"applied_index\"".into()));
    }
    let list = told.get("hits").and_then(Value::as_array);
    let list = list.ok_or(Wrong::Told("an ok recall needs \"hits\", an array".into()))?;
    let mut hits = Vec::with_capacity(list.len());
    for hit in list {
        let name = id(hit).unwrap_or_else(|| canonical(hit));
        let score = real(hit, "score").map_err(Wrong::Told)?;
        let log_index = natural(hit, "log_index").map_err(Wrong::Told)?;
        hits.push(Hit { row: space.row(name), score, log_index });
    }
    let question = match level {
        Some(Level::AtIndex(_)) => Some(question(asked)),
        _ => None,
    };
    let bytes = told.get("bytes").map(canonical);
    let (begun_at, ended_at, answer) = (operation.invoke_at, operation.complete_at, canonical(&told["hits"]));
    let answer = if question.is_some() { answer } else { String::new() };
    space.recalls.push(Recall {
        operation: number,
        begun_at,
        ended_at,
        linearizable,
        level,
        applied,
        cue,
        k,
        guarantee,
        score_min,
        filtered,
        hits,
        question,
        answer,
        bytes,
    });
    Ok(())
}

/// What was asked, without what changes nothing in an answer.
fn question(asked: &Value) -> String {
    let mut asked = asked.clone();
    if let Some(fields) = asked.as_object_mut() {
        for name in ["node", "deadline_ms", "guarantee", "exact"] {
            fields.remove(name);
        }
    }
    canonical(&asked)
}

/// A row whose acks stated no log index has that of the first hit that states one.
fn place_by_hits(space: &mut Space) {
    for recall in &space.recalls {
        for hit in &recall.hits {
            let row = &mut space.rows[hit.row];
            row.placed = row.placed.or(hit.log_index.map(|index| (index, recall.operation)));
        }
    }
}
