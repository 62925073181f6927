//! Seeds the real tokio's own generator around a madsim run.
//!
//! `tokio::sync::watch` and `tokio::select!` draw from it; outside a tokio runtime it is seeded from a counter
//! of the process, so a second run in one process would differ. A crate of its own, because Cargo lets no
//! package depend on `tokio` under two names, and under `cfg(madsim)` that name is madsim-tokio.
#![forbid(unsafe_code)]

use tokio::runtime::{Builder, RngSeed};

/// Runs `work` inside a bare tokio runtime whose generator starts from `seed`. It has no timers and no I/O: a
/// call that misses the simulation panics.
pub fn with_tokio_rng<R>(seed: u64, work: impl FnOnce() -> R) -> R {
    let mut runtime = Builder::new_current_thread();
    let runtime = runtime.rng_seed(RngSeed::from_bytes(&seed.to_le_bytes())).build().expect("no I/O driver to fail");
    // Unconstrained: inside block_on tokio's budget would run out, and its deferred wakes never fire.
    runtime.block_on(tokio::task::unconstrained(async { work() }))
}
