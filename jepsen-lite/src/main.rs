//! The `jepsen-lite` command: checks histories and says what it found, converts those of other tools, and makes histories
//! of real processes.
//!
//! Exit codes: see [`cli::check`], [`cli::convert`], `drive::run` and `drive::compare`; bad arguments exit with 2 as well.
//!
//! Leaves out: deciding anything; the library does.

#![allow(clippy::disallowed_methods, reason = "a command line tool outside the simulated corridor: it opens files")]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "verdicts go to standard output, errors to standard error"
)]

mod cli;
#[cfg(feature = "drive")]
mod drive;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Histories in, verdicts out; and the driver that makes histories.
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
    /// Run real processes under real faults, and decide whether every promise held.
    ///
    /// Exit code: 0 all held, 1 one was broken, 2 it could not be run.
    #[cfg(feature = "drive")]
    Run(drive::run::Arguments),
    /// Compare a plan's run in the simulator with its run on real processes.
    ///
    /// Exit code: 0 equal, 1 different, 2 nothing can be said.
    #[cfg(feature = "drive")]
    Compare(drive::compare::Arguments),
    /// Become a process that dies with the driver.
    #[cfg(feature = "drive")]
    #[command(hide = true)]
    Child(drive::child::Child),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Check(check) => cli::check::run(&check),
        Command::Convert(convert) => cli::convert::run(&convert),
        #[cfg(feature = "drive")]
        Command::Run(arguments) => drive::run::run(&arguments),
        #[cfg(feature = "drive")]
        Command::Compare(arguments) => drive::compare::run(&arguments),
        #[cfg(feature = "drive")]
        Command::Child(child) => drive::child::become_it(&child),
    }
}
