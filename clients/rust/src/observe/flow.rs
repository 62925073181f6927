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

    /// After a refusal nothing more is sent until [`Observer::refusal_noted`]: the refused row's number goes to no other
    /// row before.
    #[cfg(feature = "spool")]
    pub(crate) fn confirm_refusals(&self) {
        self.shared.with(|state| state.confirms_refusals = true);
    }

    /// The refusal that was heard is on disk.
    #[cfg(feature = "spool")]
    pub(crate) fn refusal_noted(&self) {
        self.shared.nudge(|state| state.refusal_open = false);
    }
}
