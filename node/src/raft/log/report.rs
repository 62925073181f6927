//! What opening says: what it found and did, or why it refuses, where, and what an operator does next.

use super::format::Flaw;
use crate::raft::types::{LogId, Vote};
use std::{fmt, io, path::PathBuf};

const REMEDY: &str = "this node can't vouch for its log: remove it from the cluster, give it an empty data directory \
                      and add it under a new node id (the other nodes have its entries)";

/// Why a log was not opened. Nothing was changed on disk.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Bytes that were durable once are not what was written.
    #[error("write-ahead log: {} is damaged at byte {offset}: {detail}; {REMEDY}", .file.display())]
    Rot {
        /// Which file.
        file: PathBuf,
        /// Bytes from its start.
        offset: u64,
        /// What is wrong there.
        detail: String,
    },
    /// Written by a later release.
    #[error(
        "write-ahead log: {} has format version {found}, this release knows version {}; start the release that wrote it",
        .file.display(), super::format::VERSION
    )]
    Version {
        /// Which file.
        file: PathBuf,
        /// Its version.
        found: u32,
    },
    /// Written for another data directory.
    #[error(
        "write-ahead log: {} belongs to the disk {}, this data directory is the disk {}; \
         put back this directory's own files", .file.display(), hex(found), hex(expected)
    )]
    OtherDisk {
        /// Which file.
        file: PathBuf,
        /// Whose it is.
        found: [u8; 16],
        /// Whose it should be.
        expected: [u8; 16],
    },
    /// The disk failed or refused.
    #[error("write-ahead log: {0}")]
    Io(#[from] io::Error),
}

fn hex(id: &[u8; 16]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl OpenError {
    /// Rot at one place.
    pub fn rot(file: PathBuf, offset: u64, detail: impl Into<String>) -> Self {
        Self::Rot { file, offset, detail: detail.into() }
    }

    /// A flaw that can't be a torn tail.
    pub fn flaw(file: PathBuf, offset: u64, flaw: Flaw, expected: &[u8; 16]) -> Self {
        match flaw {
            Flaw::Blank => Self::rot(file, offset, "zeros where records were"),
            Flaw::Damaged(detail) => Self::rot(file, offset, detail),
            Flaw::Version(found) => Self::Version { file, found },
            Flaw::OtherDisk(found) => Self::OtherDisk { file, found, expected: *expected },
        }
    }
}

/// What opening found and did.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// The folder.
    pub dir: PathBuf,
    /// Segments that hold the log.
    pub segments: usize,
    /// Live entries.
    pub entries: u64,
    /// Index of the first live entry.
    pub first_index: Option<u64>,
    /// Index of the last live entry.
    pub last_index: Option<u64>,
    /// The vote.
    pub vote: Option<Vote>,
    /// Committed up to here, as far as this log knows.
    pub committed: Option<LogId>,
    /// Bytes of an unfinished write that were cut off: nothing in them had been acknowledged.
    pub torn_bytes: u64,
    /// Where they were.
    pub torn_at: Option<(PathBuf, u64)>,
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "write-ahead log {}: {} segments, {} entries", self.dir.display(), self.segments, self.entries)?;
        if let (Some(first), Some(last)) = (self.first_index, self.last_index) {
            write!(f, " ({first} to {last})")?;
        }
        match self.vote {
            Some(vote) => write!(f, ", vote {vote}")?,
            None => write!(f, ", no vote")?,
        }
        match self.committed {
            Some(id) => write!(f, ", committed to index {}", id.index)?,
            None => write!(f, ", nothing committed")?,
        }
        match &self.torn_at {
            Some((file, offset)) => {
                write!(f, "; cut an unfinished write of {} bytes at {}:{offset}", self.torn_bytes, file.display())
            }
            None => write!(f, "; no unfinished write"),
        }
    }
}
