//! Why a spool did not do what it was asked to: what, where, what to do.

use crate::{Error, Stopped};
use std::path::PathBuf;

/// An error of a [`Spool`](super::Spool). Rows that were spooled stay spooled, whatever it is.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Another process, or another `Spool` of this one, has the directory.
    #[error("spool {}: in use by another process; stop that one, or use another directory", .0.display())]
    Busy(PathBuf),
    /// The directory is of another space, or of another version of this library.
    #[error("spool {}: {what}", .dir.display())]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// What is there instead, and what to do.
        what: String,
    },
    /// The rows do not fit. None of them was taken.
    #[error(
        "spool {}: {waiting} bytes of rows wait and {more} more do not fit into the {max} allowed; deliver what waits, \
         or allow more", .dir.display()
    )]
    Full {
        /// The directory.
        dir: PathBuf,
        /// Bytes of rows that wait.
        waiting: u64,
        /// Bytes that were to be added.
        more: u64,
        /// Bytes allowed.
        max: u64,
    },
    /// A row that can't be sent. None of those given with it was taken.
    #[error("observation refused: {0}")]
    Refused(Error),
    /// The disk or its files; the spool takes nothing more, and must be opened again.
    #[error("spool {}: {what}; look at the disk, then open the spool again", .dir.display())]
    Disk {
        /// The directory.
        dir: PathBuf,
        /// What failed.
        what: String,
    },
    /// The session is gone and nobody knows how far it came. Sending again could double rows, going on could lose some.
    #[error(
        "spool {}: session {session} is gone, and the cluster does not know any more how far it came: of the {rows} rows \
         that wait, those from sequence {} on may or may not be in the space. Look for the largest sequence of session \
         {session} there, and state it; {acked} if there is none", .dir.display(), .acked + 1
    )]
    Doubt {
        /// The directory.
        dir: PathBuf,
        /// The session.
        session: u64,
        /// Surely committed up to here.
        acked: u64,
        /// Rows that wait.
        rows: u64,
    },
    /// The session has numbers that this spool never gave out: somebody else writes to it.
    #[error(
        "spool {}: session {session} stands at sequence {last_sequence}, but what was spooled reaches from {acked} to \
         {through}; another process writes to the session: the spool was copied, or restored from a backup", .dir.display()
    )]
    Contradiction {
        /// The directory.
        dir: PathBuf,
        /// The session.
        session: u64,
        /// Where it stands.
        last_sequence: u64,
        /// Acked to this spool.
        acked: u64,
        /// The number that the last row that waits would have.
        through: u64,
    },
    /// No session could be opened or resumed. What waits can be delivered later.
    #[error("{0}")]
    Session(Error),
    /// The stream ended. What waits can be delivered later: the spool knows the session.
    #[error("{0}")]
    Stopped(Box<Stopped>),
}
