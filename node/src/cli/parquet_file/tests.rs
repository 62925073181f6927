//! Files as they should be, as they should not be, and with every byte of them changed.
#![expect(clippy::disallowed_methods, reason = "tests write files")]

use crate::cli::input::{Row, Source};
use engram_client::{Metric, Observation, Precision, value::Kind};
use engram_proto::observation::Shape;
use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use std::sync::Arc;

const SHAPE: Shape = Shape { dim: 2, precision: Precision::F16, metric: Metric::Cosine };
const TEXT: &str = "required binary text (UTF8);";
const EMBEDDING: &str = "optional group embedding (LIST) { repeated group list { optional float element; } }";

/// Values of a column with their levels, which may be empty.
enum Cells {
    Texts(Vec<&'static str>),
    Bytes(Vec<Vec<u8>>),
    Floats(Vec<f32>),
    Doubles(Vec<f64>),
    Ints(Vec<i32>),
    Longs(Vec<i64>),
    Booleans(Vec<bool>),
}
use Cells::{Booleans, Bytes, Doubles, Floats, Ints, Longs, Texts};

/// A column: its cells, definition levels, repetition levels.
type Column = (Cells, Vec<i16>, Vec<i16>);

fn plain(cells: Cells) -> Column {
    (cells, Vec::new(), Vec::new())
}

/// A list column of rows with two values each.
fn pairs(cells: Cells, rows: usize) -> Column {
    (cells, vec![3; 2 * rows], [0, 1].repeat(rows))
}

/// A file of these row groups.
fn written(fields: &str, groups: Vec<Vec<Column>>, compression: Compression) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(&format!("message rows {{ {fields} }}")).expect("a schema"));
    let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
    let mut bytes = Vec::new();
    let mut file = SerializedFileWriter::new(&mut bytes, schema, properties).expect("begins");
    for columns in groups {
        let mut group = file.next_row_group().expect("begins");
        for (cells, defined, repeated) in columns {
            let mut column = group.next_column().expect("begins").expect("as many columns");
            let some = |levels: Vec<i16>| Some(levels).filter(|levels| !levels.is_empty());
            let (defined, repeated) = (some(defined), some(repeated));
            let (defined, repeated) = (defined.as_deref(), repeated.as_deref());
            let binary = |all: Vec<Vec<u8>>| all.into_iter().map(ByteArray::from).collect::<Vec<_>>();
            match (column.untyped(), cells) {
                (ColumnWriter::ByteArrayColumnWriter(to), Texts(all)) => {
                    let all = binary(all.iter().map(|text| text.as_bytes().to_vec()).collect());
                    to.write_batch(&all, defined, repeated)
                }
                (ColumnWriter::ByteArrayColumnWriter(to), Bytes(all)) => {
                    to.write_batch(&binary(all), defined, repeated)
                }
                (ColumnWriter::FloatColumnWriter(to), Floats(all)) => to.write_batch(&all, defined, repeated),
                (ColumnWriter::DoubleColumnWriter(to), Doubles(all)) => to.write_batch(&all, defined, repeated),
                (ColumnWriter::Int32ColumnWriter(to), Ints(all)) => to.write_batch(&all, defined, repeated),
                (ColumnWriter::Int64ColumnWriter(to), Longs(all)) => to.write_batch(&all, defined, repeated),
                (ColumnWriter::BoolColumnWriter(to), Booleans(all)) => to.write_batch(&all, defined, repeated),
                _ => panic!("cells of another type"),
            }
            .expect("written");
            column.close().expect("closed");
        }
        group.close().expect("closed");
    }
    file.close().expect("closed");
    bytes
}

fn source(bytes: &[u8]) -> (tempfile::TempDir, Source) {
    let dir = tempfile::tempdir().expect("temporary");
    let path = dir.path().join("in.parquet");
    std::fs::write(&path, bytes).expect("written");
    let source = Source::file(&path).expect("readable");
    (dir, source)
}

fn read(bytes: &[u8]) -> Result<Vec<Observation>, String> {
    let (_dir, source) = source(bytes);
    assert!(matches!(source, Source::Parquet(_)));
    source.check(SHAPE).map_err(|failure| failure.message)?;
    let rows = source.rows().map_err(|failure| failure.message)?;
    let rows = rows.collect::<Result<Vec<Row>, _>>().map_err(|failure| failure.message)?;
    assert!(rows.iter().map(|row| row.line).eq(1..=rows.len()));
    Ok(rows.into_iter().map(|row| row.observation).collect())
}

fn refused(bytes: &[u8]) -> String {
    read(bytes).expect_err("refused")
}

fn kind(row: &Observation, key: &str) -> Option<Kind> {
    row.metadata.get(key).and_then(|value| value.kind.clone())
}

/// Every kind of column that has a place.
fn whole(compression: Compression) -> Vec<u8> {
    let fields = format!(
        "{TEXT} {EMBEDDING} optional binary id (UTF8); required int64 time_ms (TIMESTAMP(NANOS, true));
         optional int32 year; required double weight; required boolean warm; required int64 large (INTEGER(64, false));
         optional group metadata {{ optional binary place (UTF8); }}"
    );
    let columns = vec![
        plain(Texts(vec!["a", "b"])),
        pairs(Floats(vec![1.0, 0.0, 0.5, 2.0]), 2),
        (Texts(vec!["named"]), vec![1, 0], Vec::new()),
        plain(Longs(vec![1_700_000_000_000_999_999, -1])),
        (Ints(vec![1990]), vec![0, 1], Vec::new()),
        plain(Doubles(vec![0.5, f64::NAN])),
        plain(Booleans(vec![true, false])),
        plain(Longs(vec![7, i64::MAX])),
        (Texts(vec!["kitchen"]), vec![2, 1], Vec::new()),
    ];
    written(&fields, vec![columns], compression)
}

#[test]
fn columns_become_observations_by_their_names() {
    for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY] {
        let rows = read(&whole(compression)).expect("good");
        let [a, b] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!((a.text.as_str(), a.id.as_str(), a.time_ms), ("a", "named", 1_700_000_000_000));
        assert_eq!((b.text.as_str(), b.id.as_str(), b.time_ms), ("b", "", -1));
        let floats: Vec<u8> = [0.5f32, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(b.embedding, floats);
        assert_eq!(kind(a, "place"), Some(Kind::Text("kitchen".into())));
        assert_eq!((kind(a, "weight"), kind(a, "year")), (Some(Kind::Real(0.5)), None));
        assert_eq!((kind(b, "weight"), kind(b, "year")), (None, Some(Kind::Integer(1990))), "NaN is none");
        assert_eq!((kind(b, "warm"), kind(b, "large")), (Some(Kind::Boolean(false)), Some(Kind::Integer(i64::MAX))));
        assert_eq!((a.metadata.len(), b.metadata.len()), (4, 3));
    }
}

#[test]
fn rows_of_several_groups_and_batches_keep_their_order_and_maps_their_entries() {
    let fields = format!(
        "{TEXT} required group embedding (LIST) {{ repeated group list {{ required double element; }} }}
         optional group metadata (MAP) {{ repeated group key_value {{ required binary key (UTF8); optional int64 value; }} }}"
    );
    let group = |rows: usize| {
        // Two entries, of which the second is null, in every row but the first.
        let defined = [vec![1], [3, 2].repeat(rows - 1)].concat();
        let keys = [vec![1], [2, 2].repeat(rows - 1)].concat();
        let repeated = [vec![0], [0, 1].repeat(rows - 1)].concat();
        vec![
            plain(Texts((0..rows).map(|row| if row == 0 { "first" } else { "other" }).collect())),
            (Doubles((0..rows).flat_map(|row| [1.0, row as f64]).collect()), vec![1; 2 * rows], [0, 1].repeat(rows)),
            (Texts(["n", "none"].repeat(rows - 1)), keys, repeated.clone()),
            (Longs((1..rows as i64).collect()), defined, repeated),
        ]
    };
    let rows = read(&written(&fields, vec![group(700), group(3)], Compression::SNAPPY)).expect("good");
    assert_eq!(rows.len(), 703);
    for (at, row) in rows.iter().enumerate() {
        let number = if at < 700 { at } else { at - 700 };
        let floats: Vec<u8> = [1.0f32, number as f32].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!((&row.embedding[..], row.text == "first"), (&floats[..], number == 0), "row {at}");
        let expected = (number > 0).then_some(Kind::Integer(number as i64));
        assert_eq!((kind(row, "n"), row.metadata.len()), (expected, usize::from(number > 0)), "row {at}");
    }
}

#[test]
fn what_has_no_place_is_named_before_a_row_is_read() {
    let (texts, vectors) = (|| plain(Texts(vec!["a"])), || pairs(Floats(vec![1.0, 0.0]), 1));
    let file = |fields: &str, columns| written(fields, vec![columns], Compression::UNCOMPRESSED);
    let flat = "required float embedding;";
    let beside = |field: &str, cells| file(&format!("{TEXT} {EMBEDDING} {field}"), vec![texts(), vectors(), cells]);
    let one = || plain(Texts(vec!["x"]));
    let tags = "required group tags (LIST) { repeated group list { optional binary element (UTF8); } }";
    for (bytes, word) in [
        (file(TEXT, vec![texts()]), "there is no column embedding"),
        (file(EMBEDDING, vec![vectors()]), "there is no column text"),
        (
            file(&format!("required binary text; {EMBEDDING}"), vec![texts(), vectors()]),
            "column text is of type BYTE_ARRAY",
        ),
        (
            file(&format!("{TEXT} {flat}"), vec![texts(), plain(Floats(vec![1.0]))]),
            "column embedding is of type FLOAT; write a list of float or double",
        ),
        (
            beside("required int32 day (DATE);", plain(Ints(vec![1]))),
            "column day is of type Date; write texts, numbers",
        ),
        (beside("required binary raw;", one()), "column raw is of type BYTE_ARRAY"),
        (
            beside("required binary metadata (UTF8);", one()),
            "column metadata is one value a row; write a struct or a map",
        ),
        (beside("required int64 id;", plain(Longs(vec![1]))), "column id is of type INT64; write text"),
        (
            beside(tags, (Texts(vec!["x", "y"]), vec![2, 2], vec![0, 1])),
            "column tags.list.element is nested; flatten it, or leave it out",
        ),
    ] {
        let said = refused(&bytes);
        assert!(said.contains("in.parquet: ") && said.contains(word), "{word:?}: {said}");
    }
}

#[test]
fn bad_rows_are_named_by_file_and_number() {
    let fields = format!("optional binary text (UTF8); {EMBEDDING} optional int64 large (INTEGER(64, false));");
    let file = |text: (Vec<Vec<u8>>, Vec<i16>), numbers: Column, large: (Vec<i64>, Vec<i16>)| {
        let columns = vec![(Bytes(text.0), text.1, vec![]), numbers, (Longs(large.0), large.1, vec![])];
        written(&fields, vec![columns], Compression::SNAPPY)
    };
    let two = || (vec![b"a".to_vec(), b"b".to_vec()], vec![1, 1]);
    let vectors = || pairs(Floats(vec![1.0, 0.0, 0.0, 1.0]), 2);
    let none = || (vec![], vec![0, 0]);
    let long = vec![b'x'; 70_000];
    for (bytes, word) in [
        (file((vec![b"a".to_vec()], vec![1, 0]), vectors(), none()), "row 2: text is null"),
        (file((vec![b"a".to_vec(), vec![0xff]], vec![1, 1]), vectors(), none()), "row 2: its text or id is no UTF-8"),
        (file((vec![b"a".to_vec(), long], vec![1, 1]), vectors(), none()), "row 2: its text or id has 70000 bytes"),
        (file(two(), (Floats(vec![1.0, 0.0]), vec![3, 3, 0], vec![0, 1, 0]), none()), "row 2: "),
        (file(two(), (Floats(vec![1.0, 0.0, 1.0]), vec![3, 3, 3, 2], vec![0, 1, 0, 1]), none()), "row 2: "),
        (
            file(two(), vectors(), (vec![7, -1], vec![1, 1])),
            "row 2: metadata \"large\" is 18446744073709551615; too large",
        ),
    ] {
        let said = refused(&bytes);
        assert!(said.contains("in.parquet: ") && said.contains(word), "{word:?}: {said}");
    }
}

#[test]
fn a_file_that_is_cut_or_damaged_is_refused_or_read_and_never_breaks_the_reader() {
    let good = whole(Compression::SNAPPY);
    assert_eq!(read(&good).map(|rows| rows.len()), Ok(2));
    for length in (4..good.len()).step_by(7) {
        let said = refused(&good[..length]);
        assert!(said.contains("in.parquet"), "{said}");
    }
    let mut refusals = 0;
    for (at, change) in (4..good.len()).zip([0x01, 0x80, 0xff].into_iter().cycle()) {
        let mut damaged = good.clone();
        damaged[at] ^= change;
        // A value may have become another one.
        refusals += usize::from(read(&damaged).is_err());
    }
    assert!(refusals > good.len() / 4, "{refusals} of {}", good.len());
}
