//! `engram bench`: figures of this machine, for people and programs.
//!
//! Place: beside the corridor; `index` and `store` drive a part of it without a server, `ingest` and `failover` all of it
//! with servers of their own.
//! Invariant: a figure is printed as it was measured, and a promise that is not met is printed as not met. Leaves out:
//! benches of single functions; those are cargo's.

mod failover;
mod gate;
mod index;
mod ingest;
mod store;

use super::exit::Failure;
use clap::Subcommand;

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// The index alone: insertion, recall against rate, memory, batches; beside other libraries with --peers.
    Index(Box<index::IndexArgs>),
    /// Rows streamed into nodes that are started for it, recalls beside them: rates, times, memory, what was lost.
    Ingest(Box<ingest::IngestArgs>),
    /// How long nobody acks once the leader is killed, over many kills; and whether one that lives is ever replaced.
    Failover(failover::FailoverArgs),
    /// The write-ahead log alone: rates beside what the disk allows, bytes, opening, what a kill loses; sled beside it
    /// with --sled.
    Store(Box<store::StoreArgs>),
}

/// Measures it.
pub fn run(command: BenchCommand) -> Result<(), Failure> {
    match command {
        BenchCommand::Index(args) => index::run(*args),
        BenchCommand::Ingest(args) => super::client(ingest::run(*args)),
        BenchCommand::Failover(args) => super::client(failover::run(args)),
        BenchCommand::Store(args) => super::client(store::run(*args)),
    }
}
