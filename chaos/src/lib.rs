//! chaos: faults as data.
//!
//! A [`plan::Plan`] says which faults happen when. It is drawn from a seed, kept within a budget that leaves a
//! quorum able to recover, handed to the simulator (a child process: one seed, one process), and, if the run breaks
//! a promise, shrunk to the few faults that matter. A plan outlives refactoring; a seed is an address within one
//! commit.
//!
//! Boundary: this crate knows no other crate of the workspace. The simulator and the driver of real processes read
//! its plans and write its [`outcome::Outcome`]s; it never links them.
//!
//! Invariants: `equal_seed_equal_plan` ([`generate`]), `quorum_can_recover` ([`budget`]), `one_setting` ([`plan`]).

#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "a tool outside the simulated corridor: it reads files and the clock")]

pub mod binary;
pub mod breakpoint;
pub mod budget;
pub mod corpus;
pub mod diff;
pub mod generate;
pub mod guide;
pub mod kind;
pub mod mutants;
pub mod mutants_report;
pub mod outcome;
pub mod page;
pub mod plan;
pub mod profile;
pub mod report;
pub mod rng;
pub mod runner;
pub mod setting;
pub mod shrink;
pub mod summary;
pub mod sweep;
pub mod sweep_log;
pub mod trace;
pub mod world;

mod child;

pub use kind::{Kind, Lie};
pub use outcome::{Outcome, Violation};
pub use plan::{Fault, Plan};
pub use world::World;
