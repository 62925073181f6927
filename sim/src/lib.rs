//! The stack inside a simulator: the same server, client and protocol as in production, on a simulated network,
//! disk, clock and pool, in one process and one thread, driven by one seed.
//!
//! Two worlds, chosen at build time: turmoil, and under `--cfg madsim` madsim. Everything above [`world`] is shared.
//! Invariant `replayable`: (seed, plan, build) determines every event; the trace's hash says so.
#![forbid(unsafe_code)]

#[cfg(not(tokio_unstable))]
compile_error!(
    "the simulators need --cfg tokio_unstable, which .cargo/config.toml sets; a RUSTFLAGS environment variable \
     replaces that file's flags: for madsim say RUSTFLAGS=\"--cfg madsim --cfg tokio_unstable\""
);

pub mod churn;
pub mod clock;
pub mod cluster;
pub mod disk;
pub mod echo;
pub mod faults;
pub mod follower;
pub mod invariants;
pub mod liveness;
pub mod net;
pub mod observe;
pub mod pool;
pub mod remedy;
pub mod run;
pub mod slow;
pub mod trace;
pub mod wear;
pub mod web;
pub mod websocket;
pub mod window;
pub mod workload;
pub mod world;
