//! Where clients, peers and probes come in: convert, forward, nothing else.

mod backup;
mod calls;
#[cfg(test)]
mod documented;
mod fetch;
pub mod forget;
mod forwarded;
pub mod grpc;
pub mod health;
mod list;
pub mod memory;
pub mod observe;
mod own;
pub mod peer;
pub mod read;
mod recalls;
pub mod session;
mod spaces;
pub mod status;
pub mod watch;
mod watches;
pub mod ws;

use engram_proto::error::{Error, Kind};
use futures_util::Stream;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::{Code, Status};

/// Messages that wait for a slow reader before the stream stops reading its own input.
const OUTBOX_MESSAGES: usize = 64;

/// How long a new stream may stay silent before its first message.
const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a streaming call answers with.
pub type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A bounded outbox and the stream that empties it. The sender's failure means that the client is gone.
fn outbox<T: Send + 'static>() -> (mpsc::Sender<Result<T, Status>>, Answers<T>) {
    let (sender, mut receiver) = mpsc::channel(OUTBOX_MESSAGES);
    (sender, Box::pin(futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx))))
}

fn status(error: Error) -> Status {
    error.into()
}

/// Why a stream cannot go on after a message that could not be read; `None` when the transport broke: the client
/// knows.
fn unreadable(status: &Status) -> Option<Error> {
    let remedy = match status.code() {
        Code::OutOfRange => "send smaller ones",
        Code::Internal => "send what this protocol defines",
        _ => return None,
    };
    Some(Error::invalid(format!("a message cannot be read: {}; {remedy}, on a new stream", status.message())))
}

fn unknown_message() -> Error {
    Error::new(Kind::Unsupported, "a message of a kind not known to this version; upgrade the older side")
}
