//! The client against a fake cluster, whose faults are drawn and whose clock is the test's.
//!
//! One binary, so that it is linked once.

mod calls;
mod channel;
mod fake;
mod loris;
#[cfg(feature = "spool")]
mod spool;
mod streams;
#[cfg(feature = "tcp")]
mod tcp;
