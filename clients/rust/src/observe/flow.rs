//! Flow control as an observer's owner sees it: acks held back and let go, rows in flight, the server's credit.

use super::Observer;

/// What a server allows in flight on one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    /// Rows sent and not yet acked or refused.
    pub rows: usize,
    /// Their bytes.
    pub bytes: usize,
}

impl Observer {
    /// Asks the server to hold acks back. Rows are sent and committed all the same, until those in flight reach
    /// [`Observer::credit`]; then `push` fills the window and waits. Holds over resumes, though a resume itself tells
    /// what is committed.
    pub fn pause_acks(&self) {
        self.shared.nudge(|state| state.hold_acks = true);
    }

    /// Lets the acks go that were held back, and those to come. Ending an observer does so too.
    pub fn resume_acks(&self) {
        self.shared.nudge(|state| state.hold_acks = false);
    }

    /// Rows sent and not yet acked or refused.
    pub fn in_flight(&self) -> usize {
        self.shared.with(|state| state.window.in_flight())
    }

    /// What the server allows in flight.
    pub fn credit(&self) -> Credit {
        self.shared.with(|state| state.window.credit())
    }
}
