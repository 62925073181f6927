//! Operation maps of Jepsen: `{:process 0, :type :invoke, :f :read, :value nil, :time 1, :index 0}`, bare or as a
//! record (`#jepsen.history.Op{…}`).
//!
//! Client processes are integers; the others (`:nemesis`) are left out. `:value` and `:time` may be missing; other
//! keys (`:error`, `:node`) are ignored.
//!
//! Invariant `index_ascends`: where operations carry an `:index`, their order in the file is that of the indexes.

use serde_json::Value;

use super::edn::{Data, Form, Reader};
use super::json::{tuple, value};
use super::number::Number;
use super::{ConvertError, Op, Place};
use crate::history::EventType;

/// The operations of clients, in the order of the file, and what was left out.
pub(super) fn read(source: &str, text: &str) -> Result<(Vec<Op>, Vec<String>), ConvertError> {
    let (mut ops, mut others, mut clamped) = (Vec::new(), 0_usize, 0_usize);
    let mut index_last: Option<i128> = None;
    Reader::new(source, text, Place { line: 1, column: 1 }).each(|form| {
        let fields = fields(source, &form)?;
        if let Some(at) = fields.get("index")
            && !matches!(at.data, Data::Nil)
        {
            let index = integer(source, at, "index")?;
            if index_last.is_some_and(|last| index <= last) {
                let why = format!("index {index} comes after {}: sort by index first", index_last.unwrap_or_default());
                return Err(ConvertError::new(source, at.place, why));
            }
            index_last = Some(index);
        }
        match operation(source, &form, &fields, &mut clamped)? {
            Some(op) => ops.push(op),
            None => others += 1,
        }
        Ok(())
    })?;
    let mut notes = Vec::new();
    if others > 0 {
        notes.push(format!("{others} operations of other processes than clients were left out"));
    }
    if clamped > 0 {
        notes.push(format!("{clamped} times before 0 became 0"));
    }
    Ok((ops, notes))
}

/// The fields of one operation.
struct Fields<'f>(&'f [(Form, Form)]);

impl<'f> Fields<'f> {
    fn get(&self, name: &str) -> Option<&'f Form> {
        let is = |key: &Form| match &key.data {
            Data::Keyword(key) | Data::Text(key) => key == name,
            _ => false,
        };
        self.0.iter().find(|(key, _)| is(key)).map(|(_, value)| value)
    }
}

fn fields<'f>(source: &str, form: &'f Form) -> Result<Fields<'f>, ConvertError> {
    match &form.data {
        Data::Map(pairs) => Ok(Fields(pairs)),
        Data::Tagged(_, inner) => fields(source, inner),
        _ => Err(ConvertError::new(source, form.place, "an operation is a map such as {:process 0, :type :invoke, …}")),
    }
}

fn operation(source: &str, form: &Form, fields: &Fields<'_>, clamped: &mut usize) -> Result<Option<Op>, ConvertError> {
    let need = |name: &str| {
        let missing = || ConvertError::new(source, form.place, format!("an operation without :{name}"));
        fields.get(name).filter(|found| !matches!(found.data, Data::Nil)).ok_or_else(missing)
    };
    let process = need("process")?;
    if matches!(process.data, Data::Keyword(_) | Data::Text(_) | Data::Atom(_)) {
        return Ok(None);
    }
    let process_number = i64::try_from(integer(source, process, "process")?)
        .map_err(|_| ConvertError::new(source, process.place, "a process number of more than 64 bits"))?;
    let kind = need("type")?;
    let kind = match name(kind).as_deref() {
        Some("invoke") => EventType::Invoke,
        Some("ok") => EventType::Ok,
        Some("fail") => EventType::Fail,
        Some("info") => EventType::Info,
        _ => return Err(ConvertError::new(source, kind.place, ":type is :invoke, :ok, :fail or :info")),
    };
    let f = need("f")?;
    let f_name = name(f).ok_or_else(|| ConvertError::new(source, f.place, ":f is a keyword or a string"))?;
    let time = match fields.get("time").filter(|found| !matches!(found.data, Data::Nil)) {
        Some(time) => {
            let number = integer(source, time, "time")?;
            *clamped += usize::from(number < 0);
            Some(u64::try_from(number.max(0)).unwrap_or(u64::MAX))
        }
        None => None,
    };
    let (key, told) = match fields.get("value") {
        Some(form) => match tuple(form) {
            Some((key, item)) => (Some(value(source, key)?), value(source, item)?),
            None => (None, value(source, form)?),
        },
        None => (None, Value::Null),
    };
    Ok(Some(Op { place: form.place, process: process_number, kind, f: f_name, value: told, key, time }))
}

fn name(form: &Form) -> Option<String> {
    match &form.data {
        Data::Keyword(name) | Data::Text(name) => Some(name.clone()),
        _ => None,
    }
}

fn integer(source: &str, form: &Form, field: &str) -> Result<i128, ConvertError> {
    let number = match &form.data {
        Data::Number(Number::Integer(number)) => number.as_i64().map(i128::from).or(number.as_u64().map(i128::from)),
        _ => None,
    };
    number.ok_or_else(|| ConvertError::new(source, form.place, format!(":{field} is an integer of 64 bits")))
}
