//! `engram export`: a space's rows as JSON lines, as `engram import` reads them.
//!
//! All rows are of one snapshot. A file is there whole or not at all: it is written beside itself and renamed.
//! Embeddings are as the space keeps them: half floats, unless it was made otherwise. Leaves out: sessions, log indexes and
//! forgotten rows; `engram backup` has those.
#![expect(clippy::disallowed_methods, reason = "the command writes the person's files; there is no Env here")]

use super::exit::Failure;
use super::recall::{level, metadata};
use super::terms::FilterArgs;
use super::{Target, out};
use clap::Args;
use engram_client::{Level, List, Row};
use serde::Serialize;
use std::fs::File;
use std::io::{BufWriter, Write, stdout};
use std::path::{Path, PathBuf};

/// What to export, and where to.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The space.
    #[arg(long)]
    space: String,
    #[command(flatten)]
    filter: FilterArgs,
    /// How fresh: eventual, bounded=MS, at-least=INDEX or linearizable.
    #[arg(long, default_value = "linearizable", value_parser = level)]
    level: Level,
    /// Write to this file, which must not be there, instead of the standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

/// What `engram import` reads; nothing that is empty.
#[derive(Serialize)]
struct Line {
    text: String,
    embedding: Vec<f32>,
    #[serde(skip_serializing_if = "is_zero")]
    time_ms: i64,
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    metadata: serde_json::Map<String, serde_json::Value>,
    #[serde(skip_serializing_if = "String::is_empty")]
    id: String,
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

impl From<Row> for Line {
    fn from(row: Row) -> Self {
        let observation = row.observation.unwrap_or_default();
        let component = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes);
        Self {
            text: observation.text,
            embedding: observation.embedding.as_chunks().0.iter().map(component).collect(),
            time_ms: observation.time_ms,
            metadata: metadata(&observation.metadata),
            id: observation.id,
        }
    }
}

/// Writes all rows; words about it go to stderr.
pub async fn run(args: ExportArgs) -> Result<(), Failure> {
    if let Some(path) = args.out.as_deref().filter(|path| path.exists()) {
        return Err(Failure::input(format!("{} is there; name another file", path.display())));
    }
    let list = List { filter: args.filter.filter(), level: args.level, with_embedding: true, ..List::new(&args.space) };
    let list = List { deadline: args.target.deadline(), ..list };
    let mut pages = args.target.client()?.list(list).await?;
    let applied = pages.snapshot().applied_index;
    let beside = args.out.as_ref().map(|path| path.with_added_extension("part"));
    let mut sink: Box<dyn Write + Send> = match &beside {
        Some(path) => Box::new(BufWriter::new(File::create(path).map_err(|e| unwritable(path, &e))?)),
        None => Box::new(BufWriter::new(stdout())),
    };
    let place = beside.as_deref().unwrap_or(Path::new("the standard output"));
    let mut rows = 0;
    while let Some(page) = pages.next_page().await? {
        for row in page {
            let line = serde_json::to_string(&Line::from(row)).expect("plain fields and finite numbers");
            writeln!(sink, "{line}").map_err(|e| unwritable(place, &e))?;
            rows += 1;
        }
    }
    sink.flush().map_err(|e| unwritable(place, &e))?;
    drop(sink);
    if let Some((beside, path)) = beside.as_ref().zip(args.out.as_ref()) {
        let durable = File::open(beside).and_then(|file| file.sync_all());
        durable.and_then(|()| std::fs::rename(beside, path)).map_err(|e| unwritable(path, &e))?;
    }
    out::note(format_args!("{rows} rows of {} at log index {applied}", args.space));
    Ok(())
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("{}: {error}; the export is not whole", path.display()))
}
