//! The client's waits, each with its default. A simulation draws them too.

use std::time::Duration;

/// How long the client waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// For a connection, handshake included. Default 2 s.
    pub connect: Duration,
    /// A peer that owes an answer and was not heard for so long is taken for dead. Default 5 s; a paused stream,
    /// or one without credit, waits six times that.
    pub silence: Duration,
    /// The first wait between two attempts; it doubles from there, with jitter down to its half. Default 50 ms.
    pub backoff_min: Duration,
    /// The longest wait between two attempts, unless the server asks for more. Default 2 s.
    pub backoff_max: Duration,
    /// For an administrative call, or for the opening of a session, attempts included. Default 30 s.
    pub deadline: Duration,
    /// An observer that made no progress for so long, with rows waiting, gives up. Default 300 s, the age at which
    /// an idle session expires.
    pub give_up: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            silence: Duration::from_secs(5),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
            deadline: Duration::from_secs(30),
            give_up: Duration::from_secs(300),
        }
    }
}

/// The longest wait that a server's `retry_after_ms` may ask for.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
