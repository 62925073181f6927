//! jepsen-lite: histories in, verdicts out.
//!
//! A history says what clients asked and heard, in the order in which it happened; a checker decides whether a
//! correct system could have answered like that. The simulator, the driver of real processes and strangers with
//! histories of other systems use the same checkers.
//!
//! Boundary: this library reads no clock, opens no socket and starts no thread; it is a pure function of a history.
//!
//! Invariant `verdict_exact`: `Valid` and `Invalid` are proofs. Whatever can't be decided (an unreadable line, a
//! recording that breaks the format, a search over its memory) is `Unusable` or `Undecided`, never a guess.
//!
//! | model | what it decides | module |
//! |---|---|---|
//! | `observations` | each acked observation once in each final read, in its session's order | [`once`] |
//! | `register`, `cas-register` | linearizability, key by key | [`linear`] |
//! | `set` | the last read holds every acked element and nothing that was never added | [`set`] |
//! | `set-full` | what became of each element: stable, stale, lost or never read, and after how long | [`set_full`] |
//! | `counter` | each read lies between the bounds that the additions allow | [`counter`] |
//! | `sessions` | session guarantees by read level and token | [`sessions`] |
//! | `recall` | each answer is what its snapshot allows, by an exact scan | [`recall`] |
//! | `linearizable-recall` | the same, and linearizable recalls saw every ack before them | [`recall`] |
//!
//! [`convert`] reads histories of Jepsen; [`sample`] makes valid ones.

#![forbid(unsafe_code)]

pub mod convert;
pub mod counter;
pub mod history;
pub mod html;
pub mod linear;
pub mod model;
pub mod once;
pub mod operation;
pub mod recall;
pub mod sample;
pub mod sessions;
pub mod set;
pub mod set_full;
pub mod verdict;

mod durable;
mod jsonl;
mod names;
mod order;
mod recorder;

pub use history::{Event, EventType, History, Writer};
pub use model::Model;
pub use verdict::{Counterexample, Verdict};
