//! The Engram server: a replicated service that remembers.
//!
//! ```text
//! client ─ edge ─ session ─ admission ─ proposer ─ raft(log, net) ─ state ─ tail ─ indexer ─ graph
//!            ▲       ▲                    │                           │
//!            └─ Ack ─┴────── Credit ──────┘             (the only two wires back)
//! recall ─ edge ─ consistency gate ─ view ─ (graph hits ⊎ tail hits) ─ rescoring ─ results, best first
//! ```
//!
//! [`run`] starts a node in any world: [`env::Env`] is network, disk, clock, pool and seed as a value.
#![forbid(unsafe_code)]

#[cfg(not(tokio_unstable))]
compile_error!(
    "build with --cfg tokio_unstable, which .cargo/config.toml sets: a RUSTFLAGS environment variable replaces that \
     file's flags, so say RUSTFLAGS=\"--cfg tokio_unstable …\" (for madsim: \"--cfg madsim --cfg tokio_unstable\")"
);

mod admin;
mod admission;
mod aging;
mod applied;
pub mod backup;
#[doc(hidden)]
pub mod bench;
pub mod config;
#[cfg(test)]
mod documents;
mod edge;
pub mod env;
mod erasure;
mod forward;
mod gate;
mod identity;
mod indexer;
mod integrity;
mod leader;
mod live;
mod mend;
mod metrics;
mod node;
#[doc(hidden)]
pub mod probe;
mod proposer;
pub mod raft;
mod recall;
mod run;
mod session;
mod spans;
pub mod state;
#[cfg(feature = "cli")]
mod verify;
mod watch;

#[cfg(feature = "cli")]
pub mod cli;

pub use config::Config;
#[doc(hidden)]
pub use run::run_with;
pub use run::{RunError, run};
