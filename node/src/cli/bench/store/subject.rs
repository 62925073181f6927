//! What is measured: the write-ahead log, and sled in three ways, behind one set of calls.
//!
//! Place: between the parts of the bench and openraft's door. Invariant: a subject is opened, driven and closed as a node
//! would: the log has its `tend` beside it. Leaves out: the lock on the folder, which the bench alone uses.

use super::drive::{Driven, Work, drive};
use super::sled_log::{Mode, SledLog};
use crate::env::{Clock, Disk, Env, Pool};
use crate::raft::log::{Log, Options};
use crate::raft::types::Entry;
use clap::ValueEnum;
use openraft::storage::RaftLogReader;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

const IDENTITY: [u8; 16] = *b"a bench's folder";

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// The write-ahead log.
    Wal,
    /// sled, flushed before each ack.
    SledFlush,
    /// sled, flushed and synced before each ack.
    SledSync,
    /// sled, acked at once, flushed now and then.
    SledPeriodic,
}

impl Kind {
    /// For people and programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wal => "write-ahead log",
            Self::SledFlush => "sled, flush",
            Self::SledSync => "sled, flush and fdatasync",
            Self::SledPeriodic => "sled, every 500 ms",
        }
    }
}

/// The parts of the seam that a log needs.
pub struct World {
    /// Files; the bench's own is around it.
    pub disk: Arc<dyn Disk>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Lanes.
    pub pool: Arc<dyn Pool>,
}

impl World {
    /// This machine.
    pub fn os() -> io::Result<Self> {
        let Env { disk, clock, pool, .. } = Env::os(NonZeroUsize::MIN)?;
        Ok(Self { disk, clock, pool })
    }
}

/// An open log.
pub enum Subject {
    /// Ours.
    Wal(Log),
    /// The other.
    Sled(SledLog),
}

impl Subject {
    /// Opens or creates one in its own folder; the write-ahead log's files go through `disk`.
    pub fn open(kind: Kind, world: &World, disk: Arc<dyn Disk>, dir: &Path) -> io::Result<Self> {
        let pool = world.pool.clone();
        let mode = match kind {
            Kind::Wal => {
                let options = Options::new(dir.to_path_buf(), IDENTITY);
                let opened = Log::open(disk, pool, world.clock.clone(), options).map_err(io::Error::other)?;
                return Ok(Self::Wal(opened.0));
            }
            Kind::SledFlush => Mode::Flush,
            Kind::SledSync => Mode::Sync,
            Kind::SledPeriodic => Mode::Periodic,
        };
        Ok(Self::Sled(SledLog::open(dir, pool, mode)?))
    }

    /// Appends; see [`drive`].
    pub async fn drive(
        &mut self,
        clock: &dyn Clock,
        work: &Work<'_>,
        acked: impl FnMut(u64) -> bool,
    ) -> io::Result<Driven> {
        match self {
            Self::Wal(log) => {
                let tending = log.tend();
                tokio::select! {
                    biased; // the driver first: the tending only ends when the log is poisoned
                    driven = drive(log, clock, work, acked) => driven,
                    () = tending => Err(io::Error::other("the log is poisoned")),
                }
            }
            Self::Sled(log) => drive(log, clock, work, acked).await,
        }
    }

    /// Groups that appends waited for since it was opened; none where they do not wait.
    pub fn groups(&self) -> Option<u64> {
        match self {
            Self::Wal(log) => Some(log.counters().groups),
            Self::Sled(log) => log.flushes(),
        }
    }

    /// Entries that it holds.
    pub async fn read(&mut self, range: Range<u64>) -> io::Result<Vec<Entry>> {
        match self {
            Self::Wal(log) => log.try_get_log_entries(range).await,
            Self::Sled(log) => log.try_get_log_entries(range).await,
        }
    }

    /// Makes everything durable and lets go of the files.
    pub async fn close(self) -> io::Result<()> {
        match self {
            Self::Wal(log) => {
                log.close().await;
                Ok(())
            }
            Self::Sled(log) => log.close().await,
        }
    }
}
