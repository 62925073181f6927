//! Where clients, peers and probes come in: convert, forward, nothing else.

pub mod grpc;
pub mod observe;
pub mod peer;
pub mod read;
pub mod status;

use engram_proto::error::Error;
use futures_util::Stream;
use std::pin::Pin;
use tokio::sync::mpsc;
use tonic::Status;

/// Messages that wait for a slow reader before the stream stops reading its own input.
const OUTBOX_MESSAGES: usize = 64;

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
