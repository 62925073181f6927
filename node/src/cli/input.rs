//! Observations from files: JSON lines, an .npy array beside a text file, or Parquet.
//!
//! Invariant: a bad line is named as file:line, and a whole file is checked before its first row is sent.
#![expect(clippy::disallowed_methods, reason = "the command reads the person's files; there is no Env here")]

use super::exit::Failure;
use super::npy::Npy;
use engram_client::{Observation, Value, observation, value};
use engram_proto::limits::MESSAGE_BYTES_MAX;
use engram_proto::observation::{Shape, admit};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// One row and where it stands.
pub struct Row {
    /// What to observe.
    pub observation: Observation,
    /// From 1.
    pub line: usize,
}

/// Rows of a file, in its order.
pub type Rows<'a> = Box<dyn Iterator<Item = Result<Row, Failure>> + 'a>;

/// Where observations come from.
pub enum Source {
    /// `{"text", "embedding": [..], "time_ms"?, "metadata"?}` a line.
    Jsonl(PathBuf),
    /// A vector a row, a text a line.
    Npy {
        /// The vectors.
        vectors: Npy,
        /// As many texts.
        texts: Vec<String>,
        /// Of the texts, for messages.
        path: PathBuf,
    },
    /// Columns by name.
    #[cfg(feature = "parquet")]
    Parquet(PathBuf),
}

/// What a Parquet file begins with.
const PARQUET: &[u8] = b"PAR1";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    text: String,
    embedding: Vec<f32>,
    #[serde(default)]
    time_ms: i64,
    #[serde(default)]
    metadata: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    id: String,
}

/// Reads an .npy file whole.
pub fn npy(path: &Path) -> Result<Npy, Failure> {
    let bytes = std::fs::read(path).map_err(|e| unreadable(path, &e))?;
    Npy::parse(bytes).map_err(|e| Failure::input(format!("{}: {e}", path.display())))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::input(format!("{}: {error}; name a readable file", path.display()))
}

/// A pipe is not opened: its writer would take this for the reader of what it has to say.
fn is_parquet(path: &Path) -> Result<bool, Failure> {
    if !std::fs::metadata(path).map_err(|e| unreadable(path, &e))?.is_file() {
        return Ok(false);
    }
    let (mut file, mut head) = (File::open(path).map_err(|e| unreadable(path, &e))?, [0; PARQUET.len()]);
    Ok(file.read_exact(&mut head).is_ok() && head == *PARQUET)
}

impl Source {
    /// JSON lines, or Parquet by how it begins.
    pub fn file(path: &Path) -> Result<Self, Failure> {
        match is_parquet(path)? {
            #[cfg(feature = "parquet")]
            true => Ok(Self::Parquet(path.to_path_buf())),
            #[cfg(not(feature = "parquet"))]
            true => {
                let text = format!("{} is a Parquet file, which this build does not read", path.display());
                Err(Failure::input(format!("{text}; write JSON lines, or build with `cargo build --features parquet`")))
            }
            false => Ok(Self::Jsonl(path.to_path_buf())),
        }
    }

    /// An array and its texts.
    pub fn npy(vectors: &Path, texts: &Path) -> Result<Self, Failure> {
        let array = npy(vectors)?;
        let text = std::fs::read_to_string(texts).map_err(|e| unreadable(texts, &e))?;
        let lines: Vec<String> = text.lines().map(str::to_string).collect();
        if lines.len() != array.rows() {
            let (vectors, texts) = (vectors.display(), texts.display());
            let text = format!("{texts} has {} lines, {vectors} {} rows", lines.len(), array.rows());
            return Err(Failure::input(format!("{text}; they must be as many")));
        }
        Ok(Self::Npy { vectors: array, texts: lines, path: texts.to_path_buf() })
    }

    /// The rows, read as they are asked for.
    pub fn rows(&self) -> Result<Rows<'_>, Failure> {
        match self {
            Self::Jsonl(path) => jsonl(path),
            Self::Npy { vectors, texts, .. } => Ok(Box::new(texts.iter().enumerate().map(|(at, text)| {
                let vector = vectors.row(at).expect("as many rows as texts");
                Ok(Row { observation: observation(text, &vector), line: at + 1 })
            }))),
            #[cfg(feature = "parquet")]
            Self::Parquet(path) => {
                let file = File::open(path).map_err(|e| unreadable(path, &e))?;
                super::parquet_file::rows(path, file)
            }
        }
    }

    /// The file that names it.
    pub fn path(&self) -> &Path {
        match self {
            Self::Jsonl(path) | Self::Npy { path, .. } => path,
            #[cfg(feature = "parquet")]
            Self::Parquet(path) => path,
        }
    }

    /// Where a row stands.
    pub fn place(&self, line: usize) -> String {
        match self {
            #[cfg(feature = "parquet")]
            Self::Parquet(path) => format!("{}: row {line}", path.display()),
            _ => format!("{}:{line}", self.path().display()),
        }
    }

    /// Components of the first row's embedding.
    pub fn dim(&self) -> Result<u32, Failure> {
        let first = self.rows()?.next().transpose()?;
        let first = first.ok_or_else(|| Failure::input(format!("{}: no observations in it", self.place(1))))?;
        Ok((first.observation.embedding.len() / 4) as u32)
    }

    /// Checks every row as the server would; their count.
    pub fn check(&self, shape: Shape) -> Result<u64, Failure> {
        let mut count = 0;
        for row in self.rows()? {
            let Row { observation, line } = row?;
            admit(observation, shape).map_err(|e| Failure::input(format!("{}: {e}", self.place(line))))?;
            count += 1;
        }
        Ok(count)
    }
}

fn jsonl(path: &Path) -> Result<Rows<'static>, Failure> {
    let mut reader = BufReader::new(File::open(path).map_err(|e| unreadable(path, &e))?);
    let (path, mut number, mut ended) = (path.to_path_buf(), 0, false);
    let next = move || {
        while !ended {
            number += 1;
            let parsed = match read_line(&mut reader) {
                Ok(None) => return None,
                Ok(Some(line)) if line.trim().is_empty() => continue,
                Ok(Some(line)) => parse(&line),
                Err(e) => Err(e),
            };
            // Nothing after a bad line is believed.
            ended = parsed.is_err();
            let placed = |e| Failure::input(format!("{}:{number}: {e}", path.display()));
            return Some(parsed.map(|observation| Row { observation, line: number }).map_err(placed));
        }
        None
    };
    Ok(Box::new(std::iter::from_fn(next)))
}

/// A line of bounded length: a file without line breaks must not fill the memory.
fn read_line(reader: &mut impl BufRead) -> Result<Option<String>, String> {
    let mut line = String::new();
    let max = MESSAGE_BYTES_MAX as u64;
    match reader.by_ref().take(max).read_line(&mut line) {
        Ok(0) => Ok(None),
        Ok(read) if read as u64 == max => Err(format!("over {max} bytes in one line; write one object a line")),
        Ok(_) => Ok(Some(line)),
        Err(e) => Err(e.to_string()),
    }
}

fn parse(line: &str) -> Result<Observation, String> {
    let Line { text, embedding, time_ms, metadata, id } = serde_json::from_str(line).map_err(|e| {
        format!("{e}; a line is {{\"text\": \"…\", \"embedding\": [..], \"time_ms\"?: 0, \"metadata\"?: {{..}}, \"id\"?: \"…\"}}")
    })?;
    let mut values = BTreeMap::new();
    for (key, json) in metadata {
        let kind = match json {
            serde_json::Value::String(text) => value::Kind::Text(text),
            serde_json::Value::Bool(boolean) => value::Kind::Boolean(boolean),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(integer), _) => value::Kind::Integer(integer),
                (None, Some(real)) => value::Kind::Real(real),
                (None, None) => return Err(format!("metadata {key:?} is {number}; too large")),
            },
            other => return Err(format!("metadata {key:?} is {other}; write a text, a number, true or false")),
        };
        values.insert(key, Value { kind: Some(kind) });
    }
    Ok(Observation { time_ms, metadata: values, id, ..observation(text, &embedding) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use engram_client::{Metric, Precision};

    const SHAPE: Shape = Shape { dim: 2, precision: Precision::F16, metric: Metric::Cosine };

    fn file(text: &str) -> (tempfile::TempDir, Source) {
        let dir = tempfile::tempdir().expect("temporary");
        let path = dir.path().join("in.jsonl");
        std::fs::write(&path, text).expect("written");
        (dir, Source::Jsonl(path))
    }

    #[test]
    fn lines_become_observations() {
        let (_dir, source) = file(
            "{\"text\":\"a\",\"embedding\":[1,0],\"time_ms\":7,\"metadata\":{\"n\":1,\"x\":0.5,\"s\":\"t\",\"b\":true}}\n\n\
             {\"text\":\"b\",\"embedding\":[0,1]}",
        );
        assert_eq!((source.check(SHAPE).expect("valid"), source.dim().expect("valid")), (2, 2));
        let rows: Vec<Row> = source.rows().expect("readable").map(|row| row.expect("valid")).collect();
        assert_eq!((rows[0].observation.time_ms, rows[0].observation.metadata.len(), rows[1].line), (7, 4, 3));
    }

    #[test]
    fn bad_lines_are_named_by_file_and_line() {
        let good = "{\"text\":\"a\",\"embedding\":[1,0]}\n";
        for (bad, word) in [
            ("{\"text\":\"a\"}", "embedding"),
            ("{\"text\":\"a\",\"embedding\":[1,0],\"vector\":1}", "vector"),
            ("{\"text\":\"a\",\"embedding\":[1,0,0]}", "2 dimensions"),
            ("{\"text\":\"a\",\"embedding\":[1e39,0]}", "in.jsonl:2"),
            ("{\"text\":\"\",\"embedding\":[1,0]}", "text is empty"),
            ("{\"text\":\"a\",\"embedding\":[1,0],\"metadata\":{\"k\":[]}}", "metadata \"k\""),
            ("not json", "in.jsonl:2"),
        ] {
            let (_dir, source) = file(&format!("{good}{bad}\n{good}"));
            let failure = source.check(SHAPE).expect_err("refused");
            assert!(failure.message.contains("in.jsonl:2: ") && failure.message.contains(word), "{failure}");
        }
    }

    #[cfg(not(feature = "parquet"))]
    #[test]
    fn a_parquet_file_is_known_by_its_beginning_and_refused_with_what_reads_it() {
        let (_dir, source) = file("PAR1 and whatever follows");
        let failure = Source::file(source.path()).err().expect("refused");
        assert!(failure.message.contains("in.jsonl is a Parquet file"), "{failure}");
        assert!(failure.message.contains("--features parquet"), "{failure}");
        let (_dir, source) = file("PA");
        assert!(matches!(Source::file(source.path()), Ok(Source::Jsonl(_))));
    }

    #[test]
    fn a_missing_file_is_named() {
        let failure = Source::Jsonl("/nowhere/in.jsonl".into()).check(SHAPE).expect_err("refused");
        assert!(failure.message.contains("/nowhere/in.jsonl"), "{failure}");
    }
}
