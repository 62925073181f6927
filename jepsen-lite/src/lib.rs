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
//! | `counter` | each read lies between the bounds that the additions allow | [`counter`] |

#![forbid(unsafe_code)]

pub mod counter;
pub mod history;
pub mod html;
pub mod linear;
pub mod model;
pub mod once;
pub mod operation;
pub mod set;
pub mod verdict;

mod durable;
mod jsonl;
mod order;
mod recorder;

pub use history::{Event, EventType, History, Writer};
pub use model::Model;
pub use verdict::{Counterexample, Verdict};
