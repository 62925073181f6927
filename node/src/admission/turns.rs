//! A lane in which sources take turns, so that one with much in it holds up none with little.
//!
//! Place: between the streams that put and the proposer that takes. Each source has a queue of its own; a lane is a queue
//! of the sources that have something waiting. Lock-free.
//! Invariants: `order_in_session`, what a source put comes out in that order; `once_in_turn`: a source waits for its turn
//! exactly while it has something, and in one place, so whoever takes its turn has it alone.

use super::sync::{Arc, AtomicUsize, Ordering, Queue};
use std::ops::ControlFlow;

/// What one stream has waiting.
pub struct Source<T> {
    queue: Queue<T>,
    /// Counted after each is in the queue: as many as counted are there.
    waiting: AtomicUsize,
}

impl<T> Default for Source<T> {
    fn default() -> Self {
        Self { queue: Queue::new(), waiting: AtomicUsize::new(0) }
    }
}

/// Sources in the order of their turns.
pub struct Turns<T>(Queue<Arc<Source<T>>>);

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self(Queue::new())
    }
}

impl<T> Turns<T> {
    /// Puts something at the end of its source's queue.
    pub fn put(&self, source: &Arc<Source<T>>, item: T) {
        source.queue.push(item);
        if source.waiting.fetch_add(1, Ordering::AcqRel) == 0 {
            self.0.push(source.clone());
        }
    }

    /// The turn of the source that waits longest: what it has goes to `take` until that breaks off. False when no source
    /// waits.
    pub fn turn(&self, mut take: impl FnMut(T) -> ControlFlow<()>) -> bool {
        let Some(source) = self.0.pop() else { return false };
        let waiting = source.waiting.load(Ordering::Acquire);
        let mut taken = 0;
        while taken < waiting {
            taken += 1;
            if take(source.queue.pop().expect("counted after it was put")).is_break() {
                break;
            }
        }
        if source.waiting.fetch_sub(taken, Ordering::AcqRel) > taken {
            self.0.push(source);
        }
        true
    }
}
