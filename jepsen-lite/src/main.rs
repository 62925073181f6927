//! The `jepsen-lite` command: checks histories and says what it found, and converts those of other tools.
//!
//! Exit codes: see [`cli::check`] and [`cli::convert`]; bad arguments exit with 2 as well.
//!
//! Leaves out: deciding anything; the library does.

#![allow(clippy::disallowed_methods, reason = "a command line tool outside the simulated corridor: it opens files")]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "verdicts go to standard output, errors to standard error"
)]

mod cli;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    Check(cli::check::Check),
    /// Bring a history of another tool into the form that `check` reads.
    ///
    /// Exit code: 0 converted, 2 refused, with file, line and column.
    Convert(cli::convert::Convert),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Check(check) => cli::check::run(&check),
        Command::Convert(convert) => cli::convert::run(&convert),
    }
}
