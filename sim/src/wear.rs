//! What a fault driver can turn at a node while it runs, read by its pool and its connections.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

/// One node's.
#[derive(Default)]
pub struct Wear {
    stall_ms: AtomicU64,
    worker_dies_every_ms: AtomicU64,
    resets: AtomicU64,
    deaf: AtomicBool,
    /// Readers that wait until it hears again.
    waiting: Mutex<Vec<Waker>>,
}

impl Wear {
    /// Every disk operation takes this much longer.
    pub fn stall(&self, ms: u64) {
        self.stall_ms.store(ms, Ordering::Relaxed);
    }

    /// How much longer a disk operation takes.
    pub fn stalled(&self) -> Duration {
        Duration::from_millis(self.stall_ms.load(Ordering::Relaxed))
    }

    /// A worker dies each time that so much has passed; 0 for never.
    pub fn kill_workers(&self, every_ms: u64) {
        self.worker_dies_every_ms.store(every_ms, Ordering::Relaxed);
    }

    /// How often a worker dies, if any does.
    pub fn worker_dies_every(&self) -> Option<Duration> {
        let every = self.worker_dies_every_ms.load(Ordering::Relaxed);
        (every > 0).then(|| Duration::from_millis(every))
    }

    /// All connections of now break.
    pub fn reset(&self) {
        self.resets.fetch_add(1, Ordering::Relaxed);
    }

    /// Nothing is read from its connections, until it is.
    pub fn deafen(&self, deaf: bool) {
        self.deaf.store(deaf, Ordering::Relaxed);
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Whether nothing may be read now; the reader is woken when that may have changed.
    pub fn is_deaf(&self, cx: &mut Context<'_>) -> bool {
        let deaf = self.deaf.load(Ordering::Relaxed);
        if deaf {
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(cx.waker().clone());
        }
        deaf
    }

    /// How often connections were broken so far: one that was made at another count is broken.
    pub fn resets(&self) -> u64 {
        self.resets.load(Ordering::Relaxed)
    }
}
