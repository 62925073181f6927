//! The subcommands of `jepsen-lite`.
//!
//! Leaves out: deciding anything; the library does.

pub mod bench;
pub mod check;
pub mod convert;
