//! The cells of one column, read a batch of rows at a time.

use super::schema::{Kind, Leaf, Of};
use engram_proto::limits::TEXT_BYTES_MAX;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType, FixedLenByteArray};

/// A value of a cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    Text(String),
    Integer(i64),
    Real(f64),
    Boolean(bool),
    /// It cannot be taken: why.
    Wrong(String),
}

/// Values of a batch by row; a row of a column without lists has one. `None` where a cell is null.
pub struct Lists<T> {
    values: Vec<Option<T>>,
    /// Where each row ends.
    ends: Vec<usize>,
}

impl<T> Lists<T> {
    /// Those of one row.
    pub fn of(&self, row: usize) -> &[Option<T>] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.values[start..self.ends[row]]
    }
}

/// What a batch of a column is.
pub enum Cells {
    Scalars(Lists<Scalar>),
    /// Components of embeddings.
    Numbers(Lists<f32>),
}

/// A column of a row group.
pub struct Column {
    reader: ColumnReader,
    leaf: Leaf,
}

impl Column {
    pub fn new(leaf: &Leaf, reader: ColumnReader) -> Self {
        Self { reader, leaf: leaf.clone() }
    }

    /// The next so many rows, which must be there.
    pub fn read(&mut self, rows: usize) -> Result<Cells, String> {
        let (leaf, kind) = (&self.leaf, self.leaf.kind);
        if leaf.of == Of::Embedding {
            return match &mut self.reader {
                ColumnReader::FloatColumnReader(reader) => read(reader, leaf, rows, |number| number),
                ColumnReader::DoubleColumnReader(reader) => read(reader, leaf, rows, |number| number as f32),
                ColumnReader::FixedLenByteArrayColumnReader(reader) => read(reader, leaf, rows, |half| f16(&half)),
                _ => Err("its numbers are of another type than the file says".into()),
            }
            .map(Cells::Numbers);
        }
        match &mut self.reader {
            ColumnReader::BoolColumnReader(reader) => read(reader, leaf, rows, Scalar::Boolean),
            ColumnReader::Int32ColumnReader(reader) if kind == Kind::Unsigned => {
                read(reader, leaf, rows, |number| Scalar::Integer((number as u32).into()))
            }
            ColumnReader::Int32ColumnReader(reader) => {
                read(reader, leaf, rows, |number| Scalar::Integer(number.into()))
            }
            ColumnReader::Int64ColumnReader(reader) => read(reader, leaf, rows, |number| integer(kind, number)),
            ColumnReader::FloatColumnReader(reader) => read(reader, leaf, rows, |number| Scalar::Real(number.into())),
            ColumnReader::DoubleColumnReader(reader) => read(reader, leaf, rows, Scalar::Real),
            ColumnReader::FixedLenByteArrayColumnReader(reader) => {
                read(reader, leaf, rows, |half| Scalar::Real(f16(&half).into()))
            }
            ColumnReader::ByteArrayColumnReader(reader) => read(reader, leaf, rows, |bytes| text(&bytes)),
            ColumnReader::Int96ColumnReader(_) => Err("it is of a type that is not read".into()),
        }
        .map(Cells::Scalars)
    }
}

fn integer(kind: Kind, number: i64) -> Scalar {
    match kind {
        Kind::Unsigned if number < 0 => Scalar::Wrong(format!("is {}; too large", number as u64)),
        Kind::Time(per_ms) => Scalar::Integer(number.div_euclid(per_ms)),
        _ => Scalar::Integer(number),
    }
}

fn f16(bytes: &FixedLenByteArray) -> f32 {
    match *bytes.data() {
        [low, high] => half::f16::from_le_bytes([low, high]).to_f32(),
        _ => f32::NAN,
    }
}

/// What is too long for any place is not copied.
fn text(bytes: &ByteArray) -> Scalar {
    let data = bytes.data();
    match std::str::from_utf8(data) {
        _ if data.len() > TEXT_BYTES_MAX => {
            Scalar::Wrong(format!("has {} bytes; at most {TEXT_BYTES_MAX}; split it", data.len()))
        }
        Ok(text) => Scalar::Text(text.into()),
        Err(e) => Scalar::Wrong(format!("is no UTF-8: {e}")),
    }
}

/// Reads rows, and puts their values where the levels say. Errors: the file's own words, or that it has fewer rows.
fn read<T: DataType, X>(
    reader: &mut ColumnReaderImpl<T>,
    leaf: &Leaf,
    rows: usize,
    convert: impl Fn(T::T) -> X,
) -> Result<Lists<X>, String> {
    let (mut values, mut defined, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
    let mut have = 0;
    while have < rows {
        let read = reader.read_records(rows - have, Some(&mut defined), Some(&mut repeated), &mut values);
        match read.map_err(|e| e.to_string())?.0 {
            0 => return Err(format!("it ends {} rows early", rows - have)),
            more => have += more,
        }
    }
    // Without levels every row has one value.
    let levels = if leaf.defined == 0 { values.len() } else { defined.len() };
    let mut lists = Lists { values: Vec::with_capacity(levels), ends: Vec::with_capacity(rows) };
    let mut values = values.into_iter();
    for at in 0..levels {
        if at > 0 && repeated.get(at).is_none_or(|&level| level == 0) {
            lists.ends.push(lists.values.len());
        }
        let level = defined.get(at).copied().unwrap_or(leaf.defined);
        if level == leaf.defined {
            let value = values.next().ok_or("it has fewer values than it says")?;
            lists.values.push(Some(convert(value)));
        } else if leaf.optional && level == leaf.defined - 1 {
            lists.values.push(None);
        }
    }
    lists.ends.push(lists.values.len());
    match lists.ends.len() == rows {
        true => Ok(lists),
        false => Err(format!("it has {} rows where others have {rows}", lists.ends.len())),
    }
}
