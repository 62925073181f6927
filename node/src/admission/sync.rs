//! What lanes and budgets are made of. `tests/permits.rs` puts a model checker's twins in its place.

pub use crossbeam_queue::SegQueue as Queue;
pub use std::sync::Arc;
pub use std::sync::atomic::{AtomicUsize, Ordering};
