//! The replicated log: openraft, bound to our runtime, our write-ahead log and our network.
//!
//! Invariant: only `proposer` and `admin` write through raft; only `log` writes the log's files.

pub mod log;
pub mod net;
pub mod ship;
mod silence;
pub mod types;
pub mod wire;
