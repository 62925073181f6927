//! The canonical trace of a run: one line an event, (virtual time, text), folded into a hash.
//!
//! Invariant `replayable`: the same seed, plan and build give the same lines in any process. Lines hold no
//! address, no real time and no order of an unordered map.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use xxhash_rust::xxh3::Xxh3;

/// Cheap to clone; all clones write one trace.
#[derive(Clone)]
pub struct Trace(Arc<Mutex<Inner>>);

struct Inner {
    now: fn() -> Duration,
    hash: Xxh3,
    events: u64,
    last: Duration,
    file: Option<BufWriter<File>>,
}

impl Trace {
    /// An empty trace; `now` is the world's virtual time, `file` receives the lines too.
    #[expect(clippy::disallowed_methods, reason = "the trace is for people outside the simulation")]
    pub fn new(now: fn() -> Duration, file: Option<&Path>) -> std::io::Result<Self> {
        let file = file.map(File::create).transpose()?.map(BufWriter::new);
        Ok(Self(Arc::new(Mutex::new(Inner { now, hash: Xxh3::new(), events: 0, last: Duration::ZERO, file }))))
    }

    /// Virtual time.
    pub fn now(&self) -> Duration {
        let now = self.0.lock().unwrap_or_else(PoisonError::into_inner).now;
        now()
    }

    /// One event.
    pub fn event(&self, text: impl std::fmt::Display) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.last = (inner.now)();
        let line = format!("{:>14} {text}\n", inner.last.as_nanos());
        inner.hash.update(line.as_bytes());
        inner.events += 1;
        if let Some(file) = &mut inner.file {
            // The hash is the trace; a full disk outside loses the copy only, and `finish` says so.
            drop(file.write_all(line.as_bytes()));
        }
    }

    /// Virtual time at the last event; also where the world is gone.
    pub fn last(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last
    }

    /// The hash and the number of events.
    pub fn finish(&self) -> std::io::Result<(u64, u64)> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &mut inner.file {
            file.flush()?;
        }
        Ok((inner.hash.digest(), inner.events))
    }
}
