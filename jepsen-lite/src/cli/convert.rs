//! `jepsen-lite convert --from edn|etcd-log FILE`: another tool's history as this project's JSON lines.
//!
//! The history goes to standard output or to `--out`, notes and errors to standard error. Nothing is written of a
//! file that is refused. Exit code: 0 converted, 2 refused.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use engram_jepsen_lite::convert::{Converted, Format, Keys, Options, convert};
use serde_json::Value;

/// What to convert, and how.
#[derive(Args)]
pub struct Convert {
    /// What the file is written in: edn (a Jepsen history.edn) or etcd-log (Jepsen's log of etcd, 2014).
    #[arg(long)]
    from: Format,
    /// Write the history here instead of to standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How values name keys.
    #[arg(long, value_enum, default_value = "detect")]
    keys: KeysArgument,
    /// What each register holds at first, as JSON, if not null: a write of it comes first.
    #[arg(long, value_name = "JSON", value_parser = json)]
    initial: Option<Value>,
    /// An ok read of nil says nothing, as Knossos has it; else it says that the register held null.
    #[arg(long)]
    null_reads_unknown: bool,
    /// The file.
    file: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum KeysArgument {
    /// `[key value]` if tagged so, or if every operation has one and reads are invoked with [key nil].
    Detect,
    /// Every value is `[key value]` (jepsen.independent).
    Tuple,
    /// No value is, unless it is tagged so.
    None,
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))
}

/// Converts and writes.
pub fn run(arguments: &Convert) -> ExitCode {
    match attempt(arguments) {
        Ok(notes) => {
            notes.iter().for_each(|note| eprintln!("{}: note: {note}", arguments.file.display()));
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

fn attempt(arguments: &Convert) -> Result<Vec<String>, String> {
    let name = arguments.file.display().to_string();
    let text = text(&arguments.file)?;
    let keys = match arguments.keys {
        KeysArgument::Detect => Keys::Detect,
        KeysArgument::Tuple => Keys::Tuple,
        KeysArgument::None => Keys::None,
    };
    let options =
        Options { keys, initial: arguments.initial.clone(), null_reads_unknown: arguments.null_reads_unknown };
    let Converted { history, notes } =
        convert(arguments.from, &name, &text, &options).map_err(|error| error.to_string())?;
    let to = arguments.out.as_ref().map_or("standard output".into(), |path| path.display().to_string());
    let failed = |error: std::io::Error| format!("{to}: can't be written: {error}");
    let sink: Box<dyn Write> = match &arguments.out {
        Some(path) => Box::new(std::fs::File::create(path).map_err(failed)?),
        None => Box::new(std::io::stdout().lock()),
    };
    let mut sink = BufWriter::new(sink);
    history.write_to(&mut sink).and_then(|()| sink.flush()).map_err(failed)?;
    Ok(notes)
}

/// The file as text; bytes that are none are named by line and column.
fn text(path: &Path) -> Result<String, String> {
    let name = path.display();
    let bytes = std::fs::read(path).map_err(|error| format!("{name}: can't be read: {error}"))?;
    String::from_utf8(bytes).map_err(|error| {
        let good = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]).into_owned();
        let (line, column) =
            (good.matches('\n').count() + 1, good.chars().rev().take_while(|c| *c != '\n').count() + 1);
        format!("{name}:{line}:{column}: is not UTF-8")
    })
}
