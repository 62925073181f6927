//! Errors, classed by what their reader does next, and their form on the wire.
//!
//! A gRPC status carries an `ErrorDetail` in its details. A status without one was made by a proxy or a
//! library: its class is [`WriteClass::Unknown`], whatever its code.

use crate::wire::v1::{self, ErrorDetail};
use prost::Message;
use tonic::{Code, Status};

pub use crate::wire::v1::ErrorKind as Kind;
pub use crate::wire::v1::WriteClass;

/// An error with its remedy: a message says what, where and what to do.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}", .0.message)]
pub struct Error(pub Box<ErrorDetail>);

/// The result of anything that can be told to a client.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error that surely had no effect, or of a read.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        let detail = ErrorDetail {
            kind: kind.into(),
            class: WriteClass::Rejected.into(),
            message: message.into(),
            ..ErrorDetail::default()
        };
        Self(Box::new(detail))
    }

    /// The request itself is wrong: correct it.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// Nothing has that name.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// The write may have had an effect: resend the same (session, sequence).
    pub fn in_doubt(message: impl Into<String>) -> Self {
        Self::new(Kind::InDoubt, message).with_class(WriteClass::Unknown)
    }

    /// No room now: resend after the given time.
    pub fn overloaded(message: impl Into<String>, retry_after_ms: u32) -> Self {
        let mut error = Self::new(Kind::Overloaded, message);
        error.0.retry_after_ms = retry_after_ms;
        error
    }

    /// Only the leader can do this; an empty hint means that no leader is known.
    pub fn not_leader(message: impl Into<String>, leader_address: impl Into<String>) -> Self {
        let mut error = Self::new(Kind::NotLeader, message);
        error.0.leader_address = leader_address.into();
        error
    }

    /// This node has not applied what the read asks for.
    pub fn behind(message: impl Into<String>, need_index: u64, have_index: u64) -> Self {
        let mut error = Self::new(Kind::Behind, message);
        (error.0.need_index, error.0.have_index) = (need_index, have_index);
        error
    }

    /// The session is not there any more; `last_sequence` is the last that was committed, if known.
    pub fn session_lost(message: impl Into<String>, last_sequence: Option<u64>) -> Self {
        let mut error = Self::new(Kind::SessionLost, message);
        error.0.last_sequence = last_sequence;
        error
    }

    /// The same error with another class.
    pub fn with_class(mut self, class: WriteClass) -> Self {
        self.0.class = class.into();
        self
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.0.kind()
    }

    /// Whether the attempt surely had no effect.
    pub fn is_rejected(&self) -> bool {
        self.0.class() == WriteClass::Rejected
    }

    /// What a peer or a server said.
    pub fn from_status(status: &Status) -> Self {
        if let Ok(detail) = ErrorDetail::decode(status.details())
            && detail.kind() != Kind::Unspecified
        {
            return Self(Box::new(detail));
        }
        let message = format!("{:?}: {}", status.code(), status.message());
        Self::new(Kind::InDoubt, message).with_class(WriteClass::Unknown)
    }

    /// The gRPC code of a kind.
    pub fn code(&self) -> Code {
        match self.kind() {
            Kind::Invalid => Code::InvalidArgument,
            Kind::NotLeader => Code::FailedPrecondition,
            Kind::Overloaded => Code::ResourceExhausted,
            Kind::SessionLost | Kind::NotFound => Code::NotFound,
            Kind::Exists => Code::AlreadyExists,
            Kind::InDoubt | Kind::Behind | Kind::Quarantined => Code::Unavailable,
            Kind::Poisoned => Code::Internal,
            Kind::Superseded => Code::Aborted,
            Kind::BelowFloor => Code::OutOfRange,
            Kind::Unsupported => Code::Unimplemented,
            Kind::Unspecified => Code::Unknown,
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Status::with_details(error.code(), error.0.message.clone(), error.0.encode_to_vec().into())
    }
}

impl From<Error> for v1::ErrorDetail {
    fn from(error: Error) -> Self {
        *error.0
    }
}

impl From<ErrorDetail> for Error {
    fn from(detail: ErrorDetail) -> Self {
        Self(Box::new(detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_the_status() {
        let error = Error::session_lost("session 7 expired; open a new one", Some(41));
        assert_eq!(Error::from_status(&Status::from(error.clone())), error);
    }

    #[test]
    fn a_status_without_details_is_doubt() {
        let error = Error::from_status(&Status::invalid_argument("from a proxy"));
        assert!(!error.is_rejected());
        assert_eq!(error.kind(), Kind::InDoubt);
    }
}
