//! Values of EDN as JSON, so that different values stay different.
//!
//! | EDN | JSON |
//! |---|---|
//! | nil, booleans, strings, 64-bit integers, doubles with a fraction | the same |
//! | lists, vectors | arrays |
//! | sets | arrays in one order |
//! | maps | objects; a keyword key loses its colon, another key is written as EDN |
//! | keywords | strings with their colon, `":open"` |
//! | `[k v]` of jepsen.independent | arrays of two |
//! | anything else, and strings that begin with a colon | `{"edn": "…"}`, as it is written |
//!
//! Leaves out: telling a set from the list of its elements; no operation of a Jepsen test returns both.

use serde_json::{Map, Value, json};

use super::ConvertError;
use super::edn::{Data, Form};
use super::number::Number;

/// The form as JSON.
pub(super) fn value(source: &str, form: &Form) -> Result<Value, ConvertError> {
    let all = |items: &[Form]| items.iter().map(|item| value(source, item)).collect::<Result<Vec<_>, _>>();
    Ok(match &form.data {
        Data::Nil => Value::Null,
        Data::Bool(plain) => json!(plain),
        Data::Number(Number::Integer(number)) => Value::Number(number.clone()),
        Data::Number(Number::Float(number)) => json!(number),
        Data::Text(text) if !text.starts_with(':') => json!(text),
        Data::Keyword(name) => json!(format!(":{name}")),
        Data::Sequence(items) => Value::Array(all(items)?),
        Data::Set(items) => {
            let mut named: Vec<(String, &Form)> = items.iter().map(|item| (written(item), item)).collect();
            named.sort_by(|one, two| one.0.cmp(&two.0));
            if let Some(twice) = named.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                let message = format!("a set has {} twice", twice[1].0);
                return Err(ConvertError::new(source, twice[1].1.place, message));
            }
            Value::Array(named.iter().map(|(_, item)| value(source, item)).collect::<Result<_, _>>()?)
        }
        Data::Map(pairs) => match pairs.as_slice() {
            [(Form { data: Data::Keyword(name), .. }, _)] if name == "edn" => json!({"edn": written(form)}),
            pairs => {
                let field = |(key, item): &(Form, Form)| Ok((field_name(key), value(source, item)?));
                Value::Object(pairs.iter().map(field).collect::<Result<Map<_, _>, _>>()?)
            }
        },
        Data::Tagged(..) => match tuple(form) {
            Some((key, item)) => json!([value(source, key)?, value(source, item)?]),
            None => json!({"edn": written(form)}),
        },
        Data::Text(_) | Data::Atom(_) | Data::Number(Number::Other(_)) => json!({"edn": written(form)}),
    })
}

/// Key and value of a tagged tuple of jepsen.independent, in each of the forms that it was printed in.
pub(super) fn tuple(form: &Form) -> Option<(&Form, &Form)> {
    let Data::Tagged(tag, inner) = &form.data else { return None };
    let name = tag.to_ascii_lowercase();
    if !(name.ends_with("tuple") || name.ends_with("mapentry")) {
        return None;
    }
    match &inner.data {
        Data::Sequence(items) => match items.as_slice() {
            [key, item] => Some((key, item)),
            _ => None,
        },
        Data::Map(pairs) => {
            let field = |wanted: [&str; 2]| {
                let is = |key: &Form| matches!(&key.data, Data::Keyword(name) if wanted.contains(&name.as_str()));
                pairs.iter().find(|(key, _)| is(key)).map(|(_, item)| item)
            };
            Some((field(["key", "k"])?, field(["value", "val"])?))
        }
        _ => None,
    }
}

fn field_name(key: &Form) -> String {
    match &key.data {
        Data::Keyword(name) => name.clone(),
        _ => written(key),
    }
}

/// The form as EDN, in one spelling.
pub(super) fn written(form: &Form) -> String {
    let all = |items: &[Form]| items.iter().map(written).collect::<Vec<_>>();
    match &form.data {
        Data::Nil => "nil".into(),
        Data::Bool(plain) => plain.to_string(),
        Data::Number(Number::Integer(number)) => number.to_string(),
        Data::Number(Number::Float(number)) => number.to_string(),
        Data::Number(Number::Other(text)) | Data::Atom(text) => text.clone(),
        Data::Text(text) => json!(text).to_string(),
        Data::Keyword(name) => format!(":{name}"),
        Data::Sequence(items) => format!("[{}]", all(items).join(" ")),
        Data::Set(items) => {
            let mut items = all(items);
            items.sort();
            format!("#{{{}}}", items.join(" "))
        }
        Data::Map(pairs) => {
            let mut pairs: Vec<String> =
                pairs.iter().map(|(key, item)| format!("{} {}", written(key), written(item))).collect();
            pairs.sort();
            format!("{{{}}}", pairs.join(", "))
        }
        Data::Tagged(tag, inner) => format!("#{tag} {}", written(inner)),
    }
}
