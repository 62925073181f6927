//! Parquet files as `engram import` takes them: columns by name, their rows read in batches.
//!
//! `text` and `embedding` must be there, `id`, `time_ms` and `metadata` may be; every other column is metadata under its
//! own name. Invariants: a file with a column that has no place is refused before its first row is read; of a file, no
//! more is in memory than a page of each column and a batch of rows.
//! Leaves out: codecs other than Snappy, which would bring C with them.

mod cells;
mod guard;
mod schema;
#[cfg(test)]
mod tests;

use super::exit::Failure;
use super::input::{Row, Rows};
use engram_client::{Observation, Value, observation, value};
use engram_proto::limits::{DIM_MAX, METADATA_ENTRIES_MAX};
use parquet::basic::Compression;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::path::Path;

use cells::{Cells, Column, Scalar};
use guard::guarded;
use schema::Plan;

/// Rows that are in memory at once.
const BATCH_ROWS: usize = 256;

/// The rows of a file, numbered from 1.
pub fn rows(path: &Path, file: File) -> Result<Rows<'static>, Failure> {
    let placed = {
        let path = path.to_path_buf();
        move |e: String| Failure::input(format!("{}: {e}", path.display()))
    };
    let mut table = guarded(|| Table::open(file)).map_err(&placed)?;
    let (mut number, mut ended) = (0, false);
    let next = move || {
        if ended {
            return None;
        }
        number += 1;
        let row = guarded(|| table.next()).transpose()?;
        // Nothing after a bad row is believed.
        ended = row.is_err();
        let placed = |e| placed(format!("row {number}: {e}"));
        Some(row.map(|observation| Row { observation, line: number }).map_err(placed))
    };
    Ok(Box::new(std::iter::from_fn(next)))
}

struct Table {
    reader: SerializedFileReader<File>,
    plan: Plan,
    /// The row group after the open one.
    next_group: usize,
    group: Option<Group>,
    /// Rows of the batch at hand.
    batch: VecDeque<Result<Observation, String>>,
}

/// A row group that is being read.
struct Group {
    columns: Vec<Column>,
    left: usize,
}

impl Table {
    fn open(file: File) -> Result<Self, String> {
        let reader = SerializedFileReader::new(file).map_err(|e| format!("{e}; is it a whole Parquet file?"))?;
        let plan = Plan::of(reader.metadata().file_metadata().schema_descr())?;
        Ok(Self { reader, plan, next_group: 0, group: None, batch: VecDeque::new() })
    }

    fn next(&mut self) -> Result<Option<Observation>, String> {
        loop {
            if let Some(row) = self.batch.pop_front() {
                return row.map(Some);
            }
            match self.group.as_mut().filter(|group| group.left > 0) {
                Some(group) => self.batch = group.batch(&self.plan)?,
                None if self.next_group == self.reader.num_row_groups() => return Ok(None),
                None => {
                    self.group = Some(self.open_group(self.next_group)?);
                    self.next_group += 1;
                }
            }
        }
    }

    fn open_group(&self, number: usize) -> Result<Group, String> {
        let named = |e: &dyn std::fmt::Display| format!("row group {number}: {e}");
        let group = self.reader.get_row_group(number).map_err(|e| named(&e))?;
        let left = usize::try_from(group.metadata().num_rows()).map_err(|e| named(&e))?;
        check(group.metadata(), left, &self.plan).map_err(|e| named(&e))?;
        let column = |leaf: &schema::Leaf| {
            let reader = group.get_column_reader(leaf.index).map_err(|e| format!("column {}: {e}", leaf.name))?;
            Ok(Column::new(leaf, reader))
        };
        let columns = self.plan.leaves.iter().map(column).collect::<Result<_, String>>();
        Ok(Group { columns: columns.map_err(|e| named(&e))?, left })
    }
}

/// What can be told before it is read: codecs, and lists that are longer than any row's may be, which would fill the memory
/// before there is a row to be refused.
fn check(group: &RowGroupMetaData, rows: usize, plan: &Plan) -> Result<(), String> {
    for leaf in &plan.leaves {
        let codec = group.column(leaf.index).compression();
        if !matches!(codec, Compression::UNCOMPRESSED | Compression::SNAPPY) {
            let name = &leaf.name;
            return Err(format!("column {name} is compressed with {codec}; write it with Snappy, or not compressed"));
        }
        let most = match leaf.of {
            schema::Of::Embedding => DIM_MAX,
            schema::Of::MapKey | schema::Of::MapValue => METADATA_ENTRIES_MAX,
            _ => 1,
        };
        let values = group.column(leaf.index).num_values();
        if values < 0 || values as u64 > rows as u64 * most as u64 {
            return Err(format!("column {} has {values} values in {rows} rows; a row has at most {most}", leaf.name));
        }
    }
    Ok(())
}

impl Group {
    fn batch(&mut self, plan: &Plan) -> Result<VecDeque<Result<Observation, String>>, String> {
        let count = self.left.min(BATCH_ROWS);
        let mut parts: Vec<Parts> = std::iter::repeat_with(Parts::default).take(count).collect();
        for (column, leaf) in self.columns.iter_mut().zip(&plan.leaves) {
            let cells = column.read(count).map_err(|e| format!("column {}: {e}", leaf.name))?;
            for (row, part) in parts.iter_mut().enumerate() {
                part.take(leaf, &cells, row);
            }
        }
        self.left -= count;
        Ok(parts.into_iter().map(Parts::finish).collect())
    }
}

/// What the columns say of one row.
#[derive(Default)]
struct Parts {
    text: Option<String>,
    embedding: Vec<f32>,
    time_ms: i64,
    id: String,
    metadata: BTreeMap<String, Value>,
    keys: Vec<Option<String>>,
    wrong: Option<String>,
}

impl Parts {
    fn take(&mut self, leaf: &schema::Leaf, cells: &Cells, row: usize) {
        match (&leaf.of, cells) {
            (schema::Of::Embedding, Cells::Numbers(numbers)) => {
                self.embedding = numbers.of(row).iter().map(|number| number.unwrap_or(f32::NAN)).collect();
            }
            (schema::Of::MapKey, Cells::Scalars(scalars)) => {
                let text = |key: &Option<Scalar>| match key {
                    Some(Scalar::Text(text)) => Some(text.clone()),
                    _ => None,
                };
                self.keys = scalars.of(row).iter().map(text).collect();
            }
            (schema::Of::MapValue, Cells::Scalars(scalars)) => {
                let keys = std::mem::take(&mut self.keys);
                for (key, value) in keys.into_iter().zip(scalars.of(row)) {
                    self.note(key.as_deref(), value.as_ref());
                }
            }
            (of, Cells::Scalars(scalars)) => self.single(of, scalars.of(row).first().and_then(Option::as_ref)),
            (_, Cells::Numbers(_)) => {}
        }
    }

    fn single(&mut self, of: &schema::Of, value: Option<&Scalar>) {
        match (of, value) {
            (schema::Of::Text, Some(Scalar::Text(text))) => self.text = Some(text.clone()),
            (schema::Of::Id, Some(Scalar::Text(id))) => self.id.clone_from(id),
            (schema::Of::TimeMs, Some(Scalar::Integer(time_ms))) => self.time_ms = *time_ms,
            (schema::Of::Metadata(key), value) => self.note(Some(key), value),
            (_, Some(Scalar::Wrong(why))) => self.wrong = Some(format!("its text or id {why}")),
            _ => {}
        }
    }

    /// One entry of the metadata; none where the cell is empty.
    fn note(&mut self, key: Option<&str>, value: Option<&Scalar>) {
        let (Some(key), Some(scalar)) = (key, value) else { return };
        let kind = match scalar {
            Scalar::Text(text) => value::Kind::Text(text.clone()),
            Scalar::Integer(integer) => value::Kind::Integer(*integer),
            // What a table writes where it has no number.
            Scalar::Real(real) if real.is_nan() => return,
            Scalar::Real(real) => value::Kind::Real(*real),
            Scalar::Boolean(boolean) => value::Kind::Boolean(*boolean),
            Scalar::Wrong(text) => {
                self.wrong.get_or_insert_with(|| format!("metadata {key:?} {text}"));
                return;
            }
        };
        if self.metadata.insert(key.into(), Value { kind: Some(kind) }).is_some() {
            self.wrong.get_or_insert_with(|| format!("metadata {key:?} is there twice; name it once"));
        }
    }

    fn finish(self) -> Result<Observation, String> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let text = self.text.ok_or("text is null; an observation needs a text")?;
        let (time_ms, metadata, id) = (self.time_ms, self.metadata, self.id);
        Ok(Observation { time_ms, metadata, id, ..observation(&text, &self.embedding) })
    }
}
