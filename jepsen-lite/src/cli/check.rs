//! `jepsen-lite check --model NAME [--html FILE] [--json] FILE…`: one verdict a line, in the order of the files.
//!
//! Files are checked in parallel, as many at a time as there are cores. Exit code: 0 all valid, 1 some invalid, 2 some
//! without a verdict (unusable input, or a search over its memory limit); the highest wins.
//!
//! `--bench` adds how many operations a second were read and checked; without files it makes a history for each model.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use clap::Args;
use engram_jepsen_lite::history::{EventType, InputError};
use engram_jepsen_lite::linear::MEMORY_BYTES_DEFAULT;
use engram_jepsen_lite::model::Settings;
use engram_jepsen_lite::{History, Model, Verdict, html};

use super::bench;

/// What to check, and how.
#[derive(Args)]
pub struct Check {
    /// What the history is of: observations, register, cas-register, set, set-full, counter, sessions, recall or
    /// linearizable-recall.
    #[arg(long, required_unless_present = "bench")]
    model: Option<Model>,
    /// Write a page with a timeline of each invalid history's smallest bad part.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print each verdict as a JSON object.
    #[arg(long)]
    json: bool,
    /// For set-full: an element that is missing from a read after it was known makes the history invalid.
    #[arg(long)]
    linearizable: bool,
    /// How much memory the search may use for one key of a register, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = MEMORY_BYTES_DEFAULT >> 20, value_parser = memory_mb)]
    memory_mb: usize,
    /// Print how fast it was, too; without files, check a made history of each model (or of the one named).
    #[arg(long)]
    bench: bool,
    /// How many operations a made history has.
    #[arg(long, value_name = "N", default_value_t = 100_000, requires = "bench")]
    operations: usize,
    /// Histories: JSON lines, one event a line.
    #[arg(required_unless_present = "bench", requires = "model", value_name = "FILE")]
    files: Vec<PathBuf>,
}

fn memory_mb(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(mib @ 1..=16_384) => Ok(mib),
        _ => Err("from 1 to 16384 MiB".into()),
    }
}

/// A verdict and what it took.
struct Checked {
    file: String,
    verdict: Verdict,
    operations: usize,
    /// What reading and checking took together, and the check alone.
    seconds: f64,
    check_seconds: f64,
}

/// Checks the files and says what was found.
pub fn run(check: &Check) -> ExitCode {
    let settings = Settings { memory_bytes: check.memory_mb << 20, linearizable: check.linearizable };
    let model = match check.model {
        Some(model) if !check.files.is_empty() => model,
        model => return bench::run(model, check.operations, &settings),
    };
    if check.linearizable && model != Model::SetFull {
        eprintln!("--linearizable belongs to set-full; {model} has its own promise");
        return ExitCode::from(2);
    }
    let all = checked(&check.files, model, &settings);
    let mut code = 0;
    let mut out = std::io::stdout().lock();
    for one in &all {
        code = code.max(one.verdict.exit_code());
        let line = if check.json { json(one, check.bench) } else { text(one, check.bench) };
        if writeln!(out, "{line}").is_err() {
            break; // The reader of the pipe has gone; the exit code still tells.
        }
    }
    if let Some(path) = &check.html {
        let verdicts: Vec<(String, Verdict)> = all.into_iter().map(|one| (one.file, one.verdict)).collect();
        if let Err(error) = std::fs::write(path, html::page(model.name(), &verdicts)) {
            eprintln!("{}: can't be written: {error}; name a file in a directory that exists", path.display());
            code = 2;
        }
    }
    ExitCode::from(code)
}

/// Checks the files, as many at a time as there are cores; answers in their order.
fn checked(files: &[PathBuf], model: Model, settings: &Settings) -> Vec<Checked> {
    let results: Vec<Mutex<Option<Checked>>> = files.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(files.len());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((file, result)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    files.get(index).zip(results.get(index))
                } {
                    let one = one(file, model, settings);
                    *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(one);
                }
            });
        }
    });
    let finished = |result: Mutex<Option<Checked>>| result.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.into_iter().map(|result| finished(result).expect("each file was checked")).collect()
}

fn one(path: &Path, model: Model, settings: &Settings) -> Checked {
    let (file, start) = (path.display().to_string(), Instant::now());
    let unreadable = |error: std::io::Error| InputError {
        file: file.clone(),
        line: None,
        message: format!("can't be read: {error}"),
    };
    let history = File::open(path).map_err(unreadable).and_then(|open| History::read_from(&file, BufReader::new(open)));
    let read = start.elapsed().as_secs_f64();
    let (verdict, operations) = match history {
        Ok(history) => (model.check_with(&history, settings), operations(&history)),
        Err(error) => (Verdict::Unusable(error), 0),
    };
    let seconds = start.elapsed().as_secs_f64();
    Checked { file, verdict, operations, seconds, check_seconds: seconds - read }
}

/// How many operations a history has.
pub fn operations(history: &History) -> usize {
    history.events.iter().filter(|event| event.kind == EventType::Invoke).count()
}

fn text(one: &Checked, bench: bool) -> String {
    let line = match &one.verdict {
        Verdict::Unusable(error) => format!("{error} (unusable)"),
        other => format!("{}: {}", one.file, other.sentence()),
    };
    let Checked { operations, seconds, check_seconds, .. } = one;
    if !bench {
        return line;
    }
    let (read, rate) = (seconds - check_seconds, *operations as f64 / seconds);
    format!(
        "{line} [{operations} operations, read in {read:.4} s, checked in {check_seconds:.4} s: {rate:.0} operations/s]"
    )
}

fn json(one: &Checked, bench: bool) -> String {
    let mut value = serde_json::to_value(&one.verdict).expect("a verdict is plain data");
    value["file"] = one.file.as_str().into();
    if bench {
        value["operations_measured"] = one.operations.into();
        value["seconds"] = one.seconds.into();
        value["check_seconds"] = one.check_seconds.into();
        value["operations_per_s"] = (one.operations as f64 / one.seconds).into();
    }
    value.to_string()
}
