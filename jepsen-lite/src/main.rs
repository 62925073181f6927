//! The `jepsen-lite` command: checks histories and says what it found.
//!
//! `jepsen-lite check --model NAME [--html FILE] [--json] FILE…` prints one verdict a line, in the order of the
//! files. Exit code: 0 all valid, 1 some invalid, 2 some without a verdict (unusable input, or a search over its
//! memory limit); the highest wins. Bad arguments exit with 2 as well.
//!
//! Leaves out: deciding anything; the library does.

#![allow(clippy::disallowed_methods, reason = "a command line tool outside the simulated corridor: it opens files")]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "verdicts go to standard output, errors to standard error"
)]

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use clap::{Args, Parser, Subcommand};
use engram_jepsen_lite::history::InputError;
use engram_jepsen_lite::linear::MEMORY_BYTES_DEFAULT;
use engram_jepsen_lite::{History, Model, Verdict, html};

/// Histories in, verdicts out.
#[derive(Parser)]
#[command(name = "jepsen-lite", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Decide whether a correct system could have given these histories.
    ///
    /// Exit code: 0 all valid, 1 some invalid, 2 unusable input or undecided; the highest wins.
    Check(Check),
}

#[derive(Args)]
struct Check {
    /// What the history is of: observations, register, cas-register, set or counter.
    #[arg(long)]
    model: Model,
    /// Write a page with a timeline of each invalid history's smallest bad part.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print each verdict as a JSON object.
    #[arg(long)]
    json: bool,
    /// How much memory the search may use for one key of a register, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = MEMORY_BYTES_DEFAULT >> 20, value_parser = memory_mb)]
    memory_mb: usize,
    /// Histories: JSON lines, one event a line.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

fn memory_mb(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(mib @ 1..=16_384) => Ok(mib),
        _ => Err("from 1 to 16384 MiB".into()),
    }
}

fn main() -> ExitCode {
    let Command::Check(check) = Cli::parse().command;
    let verdicts = verdicts(&check);
    let mut code = 0;
    let mut out = std::io::stdout().lock();
    for (file, verdict) in &verdicts {
        code = code.max(verdict.exit_code());
        let line = if check.json { json(file, verdict) } else { text(file, verdict) };
        if writeln!(out, "{line}").is_err() {
            break; // The reader of the pipe has gone; the exit code still tells.
        }
    }
    if let Some(path) = &check.html
        && let Err(error) = std::fs::write(path, html::page(check.model.name(), &verdicts))
    {
        eprintln!("{}: can't be written: {error}; name a file in a directory that exists", path.display());
        code = 2;
    }
    ExitCode::from(code)
}

/// Checks the files, as many at a time as there are cores; answers in their order.
fn verdicts(check: &Check) -> Vec<(String, Verdict)> {
    let results: Vec<Mutex<Option<Verdict>>> = check.files.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(check.files.len());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((file, result)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    check.files.get(index).zip(results.get(index))
                } {
                    let verdict = verdict(file, check.model, check.memory_mb << 20);
                    *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
                }
            });
        }
    });
    let finished = |result: Mutex<Option<Verdict>>| result.into_inner().unwrap_or_else(PoisonError::into_inner);
    let verdicts = results.into_iter().map(|result| finished(result).expect("each file was checked"));
    check.files.iter().map(|file| file.display().to_string()).zip(verdicts).collect()
}

fn verdict(file: &PathBuf, model: Model, memory_bytes: usize) -> Verdict {
    let name = file.display().to_string();
    let unreadable = |error: std::io::Error| InputError {
        file: name.clone(),
        line: None,
        message: format!("can't be read: {error}"),
    };
    let history = File::open(file).map_err(unreadable).and_then(|file| History::read_from(&name, BufReader::new(file)));
    match history {
        Ok(history) => model.check(&history, memory_bytes),
        Err(error) => Verdict::Unusable(error),
    }
}

fn text(file: &str, verdict: &Verdict) -> String {
    match verdict {
        Verdict::Unusable(error) => format!("{error} (unusable)"),
        other => format!("{file}: {}", other.sentence()),
    }
}

fn json(file: &str, verdict: &Verdict) -> String {
    let mut value = serde_json::to_value(verdict).expect("a verdict is plain data");
    value["file"] = file.into();
    value.to_string()
}
