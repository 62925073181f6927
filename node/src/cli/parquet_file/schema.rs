//! Which column of a Parquet file is what of an observation.

use engram_proto::limits::METADATA_ENTRIES_MAX;
use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type as Physical};
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};

const HINT: &str =
    "a file has the columns text and embedding (a list of float or double), perhaps id, time_ms and metadata";
/// Columns at most: those of an observation, and its metadata.
const COLUMNS_MAX: usize = METADATA_ENTRIES_MAX + 6;

/// What a column is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Of {
    Text,
    Id,
    TimeMs,
    Embedding,
    /// Keys and values of a map called `metadata`: in this order.
    MapKey,
    MapValue,
    /// An entry of the metadata, under this key.
    Metadata(String),
}

/// What its cells are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Boolean,
    Signed,
    Unsigned,
    Real,
    /// So many to a millisecond since 1970.
    Time(i64),
}

/// A column that is read.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// In the file.
    pub index: usize,
    pub name: String,
    pub of: Of,
    pub kind: Kind,
    /// The level at which a cell has a value; one below it, if `optional`, it is null.
    pub defined: i16,
    pub optional: bool,
}

/// What is read of a file.
pub struct Plan {
    pub leaves: Vec<Leaf>,
}

impl Plan {
    /// Errors name the column that has no place, or is not there.
    pub fn of(schema: &SchemaDescriptor) -> Result<Self, String> {
        if schema.num_columns() > COLUMNS_MAX {
            return Err(format!("{} columns; at most {COLUMNS_MAX}; leave some out", schema.num_columns()));
        }
        let leaves = schema.columns().iter().enumerate().map(|(index, column)| leaf(index, column));
        let leaves = leaves.collect::<Result<Vec<_>, _>>()?;
        for (of, name) in [(Of::Text, "text"), (Of::Embedding, "embedding")] {
            match leaves.iter().filter(|leaf| leaf.of == of).count() {
                1 => {}
                0 => return Err(format!("there is no column {name}; {HINT}")),
                _ => return Err(format!("the column {name} has parts, or is there twice; {HINT}")),
            }
        }
        Ok(Self { leaves })
    }
}

fn leaf(index: usize, column: &ColumnDescriptor) -> Result<Leaf, String> {
    let (path, repeated) = (column.path().parts(), column.max_rep_level());
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    let of = match (parts.as_slice(), repeated) {
        (["text"], 0) => Of::Text,
        (["id"], 0) => Of::Id,
        (["time_ms"], 0) => Of::TimeMs,
        (["embedding", ..], _) => Of::Embedding,
        (["metadata", _, "key"], 1) => Of::MapKey,
        (["metadata", _, "value"], 1) => Of::MapValue,
        (["metadata", key], 0) => Of::Metadata((*key).into()),
        (["metadata"], 0) => return Err("column metadata is one value a row; write a struct or a map".into()),
        ([key], 0) => Of::Metadata((*key).into()),
        _ => return Err(format!("column {} is nested; flatten it, or leave it out", path.join("."))),
    };
    let kind = kind(column);
    let fits = match of {
        Of::Text | Of::Id | Of::MapKey => kind == Some(Kind::Text),
        Of::TimeMs => matches!(kind, Some(Kind::Signed | Kind::Time(_))),
        Of::Embedding => repeated == 1 && kind == Some(Kind::Real),
        Of::MapValue | Of::Metadata(_) => kind.is_some_and(|kind| !matches!(kind, Kind::Time(_))),
    };
    let Some(kind) = kind.filter(|_| fits) else {
        let wanted = match of {
            Of::Text | Of::Id | Of::MapKey => "text",
            Of::TimeMs => "whole milliseconds, or a timestamp",
            Of::Embedding => "a list of float or double",
            Of::MapValue | Of::Metadata(_) => "texts, numbers or booleans",
        };
        let is =
            column.logical_type_ref().map_or(format!("{}", column.physical_type()), |logical| format!("{logical:?}"));
        return Err(format!("column {} is of type {is}; write {wanted}, or leave it out", path.join(".")));
    };
    let (defined, optional) = (column.max_def_level(), column.self_type().is_optional());
    Ok(Leaf { index, name: path.join("."), of, kind, defined, optional })
}

/// `None`: what an observation has no place for.
fn kind(column: &ColumnDescriptor) -> Option<Kind> {
    use ConvertedType as C;
    let converted = column.converted_type();
    if let Some(LogicalType::Timestamp(time)) = column.logical_type_ref() {
        return Some(Kind::Time(match time.unit {
            TimeUnit::MILLIS => 1,
            TimeUnit::MICROS => 1_000,
            TimeUnit::NANOS => 1_000_000,
        }));
    }
    match (column.physical_type(), converted) {
        (Physical::BOOLEAN, _) => Some(Kind::Boolean),
        (Physical::INT32, C::NONE | C::INT_8 | C::INT_16 | C::INT_32) => Some(Kind::Signed),
        (Physical::INT32, C::UINT_8 | C::UINT_16 | C::UINT_32) => Some(Kind::Unsigned),
        (Physical::INT64, C::NONE | C::INT_64) => Some(Kind::Signed)
            .filter(|_| column.logical_type_ref().is_none_or(|logical| matches!(logical, LogicalType::Integer(_)))),
        (Physical::INT64, C::UINT_64) => Some(Kind::Unsigned),
        (Physical::INT64, C::TIMESTAMP_MILLIS) => Some(Kind::Time(1)),
        (Physical::INT64, C::TIMESTAMP_MICROS) => Some(Kind::Time(1_000)),
        (Physical::FLOAT | Physical::DOUBLE, _) => Some(Kind::Real),
        (Physical::FIXED_LEN_BYTE_ARRAY, _) if column.logical_type_ref() == Some(&LogicalType::Float16) => {
            Some(Kind::Real)
        }
        (Physical::BYTE_ARRAY, C::UTF8) => Some(Kind::Text),
        _ => None,
    }
}
