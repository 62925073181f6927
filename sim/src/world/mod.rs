//! A world runs a cluster and executes what the fault driver asks for. One of the two is built.

#[cfg(madsim)]
mod madsim;
#[cfg(not(madsim))]
mod turmoil;

#[cfg(madsim)]
pub use self::madsim::{NAME, address, now, run};
#[cfg(not(madsim))]
pub use self::turmoil::{NAME, address, now, run};

/// What can be done to nodes and links from inside a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The process dies; with `power`, what was not synced may be gone.
    Crash {
        /// Who.
        node: u64,
        /// The disk loses power too.
        power: bool,
    },
    /// A dead node starts again.
    Restart {
        /// Who.
        node: u64,
    },
    /// The process stands still, or goes on.
    Pause {
        /// Who.
        node: u64,
        /// Whether it stands still.
        still: bool,
    },
    /// Messages from `from` to `to` stop, or pass again.
    Passage {
        /// Sender.
        from: u64,
        /// Receiver.
        to: u64,
        /// Whether they pass.
        open: bool,
    },
    /// The link between two nodes gets this longest delay.
    Delay {
        /// One end.
        a: u64,
        /// The other.
        b: u64,
        /// Milliseconds.
        max_ms: u64,
    },
    /// The link between two nodes loses this share of messages.
    Loss {
        /// One end.
        a: u64,
        /// The other.
        b: u64,
        /// Of a thousand.
        per_mille: u32,
    },
}

/// The longest delay of a link without a fault, in milliseconds.
pub const CALM_DELAY_MS: u64 = 5;

/// The fault driver's hands.
pub trait Hands: Send + Sync {
    /// Does it, at once or at the next step of virtual time.
    fn act(&self, act: Act);
}
