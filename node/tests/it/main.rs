//! The node as its users meet it: real TCP, real files, real processes, real gRPC.
//!
//! One binary, so that it is linked once. Tests poll a condition with a deadline; none waits for a fixed time.
#![cfg(feature = "cli")]
#![expect(clippy::disallowed_methods, reason = "tests use the real world directly")]

mod abuse;
mod backup;
mod bad_rows;
mod bad_starts;
mod command;
mod common;
mod documented;
mod drain;
mod errors;
mod examples;
mod failing_disk;
mod full_disk;
mod golden;
mod health;
mod lead;
mod metrics;
mod pace;
mod process;
mod records;
mod reindex;
mod rows;
mod spans;
mod spool;
mod three_nodes;
mod ws;
mod ws_calls;
mod ws_client;
mod ws_watch;
