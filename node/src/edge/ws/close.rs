//! How a WebSocket ends: the close code and the reason that say what gRPC says in a status.
//!
//! Breaches of the framing have the standard's codes; an error of the service has 4000 + its gRPC code. The table
//! for clients is in docs/protocol.md.

use engram_proto::error::{Error, Kind};
use engram_proto::limits::MESSAGE_BYTES_MAX;
use engram_proto::wire::v1::ErrorDetail;
use tokio_tungstenite::tungstenite::error::Error as SocketError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tonic::Status;

/// Bytes of a reason: what a control frame holds after the code.
pub const REASON_BYTES_MAX: usize = 123;
/// Close codes of the service: this plus the gRPC code.
const SERVICE_CODES: u16 = 4000;

/// What a client did that no stream of messages can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// The frames themselves are wrong.
    Framing,
    /// A text frame: messages are binary.
    Text,
    /// Bytes that are no message.
    Undecodable,
    /// A message over the limit.
    TooLarge,
}

impl Breach {
    /// Of an error that ends the reading; `None` when the connection broke.
    pub fn of(error: &SocketError) -> Option<Self> {
        use tokio_tungstenite::tungstenite::error::ProtocolError;
        match error {
            SocketError::Capacity(_) => Some(Self::TooLarge),
            // Only text frames are looked at as text.
            SocketError::Utf8(_) => Some(Self::Text),
            SocketError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
            SocketError::Protocol(_) => Some(Self::Framing),
            _ => None,
        }
    }

    /// As the stream's handlers see it: what gRPC's decoder would say.
    pub fn status(self, what: &str) -> Status {
        match self {
            Self::TooLarge => Status::out_of_range(format!("it is too large: the limit is {MESSAGE_BYTES_MAX} bytes")),
            Self::Text => Status::internal("it is a text frame, and messages are binary"),
            Self::Framing | Self::Undecodable => Status::internal(what),
        }
    }

    fn code(self) -> u16 {
        match self {
            Self::Framing => 1002,
            Self::Text => 1003,
            Self::Undecodable => 1007,
            Self::TooLarge => 1009,
        }
    }
}

/// The end of a WebSocket, as its client is told.
#[derive(Debug)]
pub struct Close {
    code: u16,
    error: Option<Error>,
}

impl Close {
    /// Everything was answered.
    pub fn normal() -> Self {
        Self { code: 1000, error: None }
    }

    /// The node stops, and no stream said so first.
    pub fn going_away(node: u64) -> Self {
        let error = Error::in_doubt(format!("node {node} is stopping; resume on another"));
        Self { code: 1001, error: Some(error) }
    }

    /// The client offered other versions only.
    pub fn unsupported(offered: &str, spoken: &str) -> Self {
        let error = Error::new(Kind::Unsupported, format!("this node speaks {spoken}, not {offered}; upgrade"));
        Self::of(&error.into(), None)
    }

    /// What ended the stream's handlers, and what the client did to cause it.
    pub fn of(status: &Status, breach: Option<Breach>) -> Self {
        let code = breach.map_or(SERVICE_CODES + status.code() as u16, Breach::code);
        Self { code, error: Some(Error::from_status(status)) }
    }

    /// The whole error, for a last message before the close frame.
    pub fn detail(&self) -> Option<ErrorDetail> {
        self.error.clone().map(Into::into)
    }

    /// The close frame: `KIND CLASS: message`, cut to what fits.
    pub fn frame(&self) -> CloseFrame {
        let reason = self.error.as_ref().map(reason).unwrap_or_default();
        CloseFrame { code: self.code.into(), reason: reason.into() }
    }
}

fn reason(error: &Error) -> String {
    let kind = error.kind().as_str_name().trim_start_matches("ERROR_KIND_");
    let class = error.0.class().as_str_name().trim_start_matches("WRITE_CLASS_");
    let mut text = format!("{kind} {class}: {error}");
    text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_carries_kind_class_and_as_much_of_the_message_as_fits() {
        let close = Close::of(&Error::session_lost("session 7 expired; open a new one", Some(41)).into(), None);
        let frame = close.frame();
        assert_eq!(u16::from(frame.code), 4005);
        assert_eq!(frame.reason.as_str(), "SESSION_LOST REJECTED: session 7 expired; open a new one");
        assert_eq!(close.detail().and_then(|detail| detail.last_sequence), Some(41));
        let long = Close::of(&Error::in_doubt("é".repeat(200)).into(), Some(Breach::TooLarge)).frame();
        assert_eq!(u16::from(long.code), 1009);
        assert!(long.reason.starts_with("IN_DOUBT UNKNOWN: é"));
        assert!((REASON_BYTES_MAX - 1..=REASON_BYTES_MAX).contains(&long.reason.len()));
    }
}
