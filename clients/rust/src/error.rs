//! What a caller hears when something failed, with doubt in the type.
//!
//! Reads give a plain [`Error`]: a read may always be sent again. Writes say whether they surely had no effect.

use engram_proto::Error;
use std::ops::RangeInclusive;

/// A write that did not succeed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ClientError {
    /// It surely had no effect.
    #[error("refused, without effect: {0}")]
    Refused(Error),
    /// It may have had its effect; it was not sent again. Look before you repeat it.
    #[error("outcome unknown, look before you repeat it: {0}")]
    Unknown(Error),
}

impl ClientError {
    /// What was said, without the class.
    pub fn error(&self) -> &Error {
        match self {
            Self::Refused(error) | Self::Unknown(error) => error,
        }
    }

    /// Whether it surely had no effect.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

/// An observation that was not accepted for sending, or a stream that ended.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ObserveError {
    /// This one observation can't be sent, and got no ticket; the stream goes on.
    #[error("observation refused: {0}")]
    Refused(Error),
    /// The stream ended; what was pushed before is told apart in [`Stopped`].
    #[error(transparent)]
    Stopped(Box<Stopped>),
}

/// Why a stream ended for good, and what became of the rows that had no ack. Rows acked or refused before are not
/// part of it. The client sends none of them again: under another session they could be written twice.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the stream ended: {error}; tickets in doubt: {}; surely not taken: {}", show(.unknown), show(.unsent))]
pub struct Stopped {
    /// The cause.
    pub error: Error,
    /// The first and last ticket of the rows that may or may not have been taken.
    pub unknown: Option<RangeInclusive<u64>>,
    /// The first and last ticket of the rows that were never sent.
    pub unsent: Option<RangeInclusive<u64>>,
}

fn show(tickets: &Option<RangeInclusive<u64>>) -> String {
    match tickets {
        None => "none".into(),
        Some(range) => format!("{} to {}", range.start(), range.end()),
    }
}
