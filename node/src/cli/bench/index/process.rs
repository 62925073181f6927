//! The most memory that a build took.
//!
//! Place: read before and after a build. Leaves out: systems without /proc; there the figures are 0.

use crate::env::process::status_bytes;
pub use crate::env::process::{cpu_seconds, resident_bytes};

/// Most resident bytes since the last [`reset_peak`].
pub fn peak_bytes() -> u64 {
    status_bytes("VmHWM:")
}

/// Forgets the peak so far. Where that is not allowed the next peak is of the whole run, which is never less.
#[expect(clippy::disallowed_methods, reason = "the process' own figures are files")]
pub fn reset_peak() {
    drop(std::fs::write("/proc/self/clear_refs", "5"));
}
