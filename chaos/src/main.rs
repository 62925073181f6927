//! The `chaos` command: draws plans from seeds, runs them in the simulator, repeats and shrinks failures.
//!
//! Exit code: 0 every promise held; 1 one was broken; 2 unusable input, or something could not be run. Results go to
//! standard output, progress and the commands that are run to standard error.
//!
//! Leaves out: the simulator, which is a process of its own.

#![allow(
    clippy::disallowed_methods,
    reason = "a tool outside the simulated corridor: it starts processes and measures"
)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

mod args;
mod commands;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    let code = match Cli::parse().command {
        Command::Run(run) => commands::run(&run),
        Command::Sweep(sweep) => commands::sweep::sweep(&sweep),
        Command::Replay(replay) => commands::replay::replay(&replay),
        Command::Trace(trace) => commands::replay::trace(&trace),
        Command::Shrink(shrink) => commands::shrink(&shrink),
        Command::Plan(drawn) => commands::plan(&drawn),
        Command::Corpus(corpus) => commands::corpus(&corpus),
        Command::Mutants(mutants) => commands::mutants::mutants(&mutants),
        Command::Diff(diff) => commands::diff::diff(&diff),
    };
    match code {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("chaos: {error}");
            ExitCode::from(2)
        }
    }
}
