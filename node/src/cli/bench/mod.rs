//! `engram bench`: figures of this machine, for people and programs.
//!
//! Place: beside the corridor; it drives parts of it without a server. Invariant: a figure is printed as it was measured,
//! and a promise that is not met is printed as not met. Leaves out: benches of single functions; those are cargo's.

mod index;

use super::exit::Failure;
use clap::Subcommand;

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// The index alone: insertion, recall against rate, memory, batches; beside other libraries with --peers.
    Index(Box<index::IndexArgs>),
}

/// Measures it.
pub fn run(command: BenchCommand) -> Result<(), Failure> {
    match command {
        BenchCommand::Index(args) => index::run(*args),
    }
}
