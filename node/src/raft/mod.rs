//! The replicated log: openraft, bound to our runtime, our write-ahead log and our network.
//!
//! Invariant: only `proposer` and `admin` write through raft; only `wal` writes the log's files.

pub mod net;
pub mod types;
pub mod wal;
pub mod wire;
