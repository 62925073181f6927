//! One WebSocket: its frames become a memory stream's requests, the stream's answers become frames.
//!
//! Each binary frame is one message. One task reads, writes and keeps time. What waits is bounded: a message on its
//! way out, one read and not yet taken, and the stream's own boxes; a client that does not read stops being read.
//!
//! Life: a silent client is pinged every [`TICK`] and dropped after [`SILENT_TICKS`] of them without a byte; one that
//! takes nothing of what is written for [`STALLED_TICKS`] is dropped too. Its session can be resumed.

use super::super::{Answers, memory, outbox};
use super::close::{Breach, Close};
use crate::env::Rt;
use crate::node::Node;
use crate::spans::Context;
use engram_probes::probe;
use engram_proto::limits::MESSAGE_BYTES_MAX;
use engram_proto::transport::timeout;
use engram_proto::wire::v1::{MemoryRequest, MemoryResponse, memory_response};
use futures_util::future::BoxFuture;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use openraft::AsyncRuntime;
use prost::Message as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};
use tonic::Status;

/// Between two looks at the link; a silent client is pinged at each.
const TICK: Duration = Duration::from_secs(5);
/// Looks without a byte from the client, after which it is dead.
const SILENT_TICKS: u32 = 4;
/// Looks without the end of a write, after which the client is dead.
const STALLED_TICKS: u32 = 12;
/// What a stopping node gives a stream to say so itself.
const STOP_GRACE: Duration = Duration::from_millis(500);
/// For the last words, and then for the client to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages read that wait for the stream's handler, besides the one in hand.
const REQUESTS: usize = 1;
const READ_BUFFER_BYTES: usize = 32 * 1024;
/// Bytes that wait to be written at most; a page of a recall is under it.
const WRITE_BUFFER_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;

type Socket = WebSocketStream<TokioIo<Upgraded>>;
type Received = Result<MemoryRequest, Status>;

/// Serves an upgraded connection to its end; with `refusal` it only says that.
pub async fn run(node: Arc<Node>, caller: Option<Context>, io: Upgraded, refusal: Option<Close>) {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let socket = Socket::from_raw_socket(TokioIo::new(io), Role::Server, Some(config)).await;
    let (sink, stream) = socket.split();
    if let Some(close) = refusal {
        return finish(&node, sink, stream, &close).await;
    }
    let (requests, mut inbox) = mpsc::channel(REQUESTS);
    let (out, answers) = outbox();
    let incoming = futures_util::stream::poll_fn(move |cx| inbox.poll_recv(cx));
    drop(Rt::spawn(memory::run(node.clone(), caller, incoming, out)));
    let requests = Some(requests);
    let mut link = Link {
        node: node.clone(),
        sink,
        stream,
        requests,
        answers,
        in_hand: None,
        breach: None,
        unflushed: false,
        pong_owed: false,
        silent: 0,
        stalled: 0,
    };
    match link.pump().await {
        End::Close(close) => {
            let Link { sink, stream, .. } = link;
            finish(&node, sink, stream, &close).await;
        }
        End::Closed => drop(timeout(&*node.world, CLOSE_TIMEOUT, link.sink.close()).await),
        End::Gone(why) => tracing::debug!(node = node.id, why, "a WebSocket is gone"),
    }
}

/// Says why, then waits for the client to close: an end with unread bytes would destroy what was said.
async fn finish(node: &Node, mut sink: SplitSink<Socket, Message>, mut stream: SplitStream<Socket>, close: &Close) {
    let last_words = async {
        if let Some(detail) = close.detail() {
            let ended = MemoryResponse { message: Some(memory_response::Message::Ended(detail)) };
            sink.feed(Message::Binary(ended.encode_to_vec().into())).await?;
        }
        sink.send(Message::Close(Some(close.frame()))).await
    };
    if !matches!(timeout(&*node.world, CLOSE_TIMEOUT, last_words).await, Some(Ok(()))) {
        return;
    }
    let closing = async {
        while let Some(Ok(_)) = stream.next().await {}
        // What comes after a breach is no frame any more.
        let Ok(socket) = sink.reunite(stream) else { return };
        let mut io = socket.into_inner();
        let mut sink = vec![0; READ_BUFFER_BYTES];
        if io.shutdown().await.is_ok() {
            while io.read(&mut sink).await.is_ok_and(|read| read > 0) {}
        }
    };
    timeout(&*node.world, CLOSE_TIMEOUT, closing).await;
}

struct Link {
    node: Arc<Node>,
    sink: SplitSink<Socket, Message>,
    stream: SplitStream<Socket>,
    /// `None` once nothing more is read.
    requests: Option<mpsc::Sender<Received>>,
    answers: Answers<MemoryResponse>,
    /// Read, and waiting for room.
    in_hand: Option<Received>,
    breach: Option<Breach>,
    unflushed: bool,
    /// A ping is to be answered before the next message is read: pongs must not pile up.
    pong_owed: bool,
    silent: u32,
    stalled: u32,
}

/// How it ended.
enum End {
    /// The client is to be told.
    Close(Close),
    /// The client closed.
    Closed,
    /// The connection broke, or the client is dead.
    Gone(&'static str),
}

type SocketError = tokio_tungstenite::tungstenite::Error;

enum Step {
    Flushed(Result<(), SocketError>),
    Answer(Option<Result<MemoryResponse, Status>>),
    Taken(bool),
    Message(Option<Result<Message, SocketError>>),
    Tick,
    Stop,
    Leave,
}

impl Link {
    async fn pump(&mut self) -> End {
        let world = self.node.world.clone();
        let mut stopping = self.node.stopping.clone();
        let (mut tick, mut leave): (_, Option<BoxFuture<'static, ()>>) = (world.sleep(TICK), None);
        loop {
            let reads = self.requests.is_some() && self.in_hand.is_none() && !self.pong_owed;
            let step = tokio::select! {
                biased; // what is begun is written out; answers, which free credit; then what came in; then time
                flushed = self.sink.flush(), if self.unflushed => Step::Flushed(flushed),
                answer = self.answers.next(), if !self.unflushed => Step::Answer(answer),
                taken = hand_over(self.requests.as_ref(), &mut self.in_hand), if self.in_hand.is_some() => {
                    Step::Taken(taken)
                }
                message = self.stream.next(), if reads => Step::Message(message),
                () = &mut tick => Step::Tick,
                () = async { leave.as_mut().expect("guarded").await }, if leave.is_some() => Step::Leave,
                _ = stopping.wait_for(|stop| *stop), if leave.is_none() => Step::Stop,
            };
            let going_on = match step {
                Step::Flushed(flushed) => {
                    (self.unflushed, self.pong_owed, self.stalled) = (false, false, 0);
                    flushed.map_err(|_| End::Gone("a write failed"))
                }
                Step::Answer(answer) => self.answer(answer).await,
                Step::Taken(taken) => {
                    if !taken || self.breach.is_some() {
                        self.requests = None;
                    }
                    Ok(())
                }
                Step::Message(message) => self.message(message),
                Step::Tick => {
                    tick = world.sleep(TICK);
                    self.look(reads).await
                }
                Step::Stop => {
                    leave = Some(world.sleep(STOP_GRACE));
                    Ok(())
                }
                Step::Leave => Err(End::Close(Close::going_away(self.node.id))),
            };
            if let Err(end) = going_on {
                return end;
            }
        }
    }

    async fn answer(&mut self, answer: Option<Result<MemoryResponse, Status>>) -> Result<(), End> {
        match answer {
            Some(Ok(answer)) => self.write(Message::Binary(answer.encode_to_vec().into())).await,
            Some(Err(status)) => Err(End::Close(Close::of(&status, self.breach))),
            None => Err(End::Close(Close::normal())),
        }
    }

    /// Begins to write; nothing else is begun before it is out.
    async fn write(&mut self, message: Message) -> Result<(), End> {
        self.unflushed = true;
        self.sink.feed(message).await.map_err(|_| End::Gone("a write failed"))
    }

    fn message(&mut self, message: Option<Result<Message, SocketError>>) -> Result<(), End> {
        self.silent = 0;
        let breached = match message {
            Some(Ok(Message::Binary(bytes))) => match MemoryRequest::decode(bytes) {
                Ok(request) => {
                    self.in_hand = Some(Ok(request));
                    return Ok(());
                }
                Err(error) => (Breach::Undecodable, error.to_string()),
            },
            Some(Ok(Message::Text(_))) => (Breach::Text, String::new()),
            Some(Ok(Message::Ping(_))) => {
                // The pong is queued already.
                (self.pong_owed, self.unflushed) = (true, true);
                return Ok(());
            }
            Some(Ok(Message::Pong(_) | Message::Frame(_))) => return Ok(()),
            Some(Ok(Message::Close(_))) => return Err(End::Closed),
            Some(Err(error)) => match Breach::of(&error) {
                Some(breach) => (breach, error.to_string()),
                None => return Err(End::Gone("a read failed")),
            },
            None => return Err(End::Gone("the end of the bytes")),
        };
        // The stream's handler says it, because it knows what is in flight.
        let (breach, what) = breached;
        self.breach = Some(breach);
        self.in_hand = Some(Err(breach.status(&what)));
        Ok(())
    }

    /// A client whose messages wait is not silent: nobody listens to it. Nor is one to whom no ping can be written.
    async fn look(&mut self, reads: bool) -> Result<(), End> {
        self.silent = if reads && !self.unflushed { self.silent + 1 } else { 0 };
        self.stalled = if self.unflushed { self.stalled + 1 } else { 0 };
        if self.stalled > 0 {
            probe!("websocket_is_not_read");
        }
        if self.silent >= SILENT_TICKS {
            return Err(End::Gone("a silent client"));
        }
        if self.stalled >= STALLED_TICKS {
            return Err(End::Gone("a client that does not read"));
        }
        match self.silent > 0 {
            true => self.write(Message::Ping(bytes::Bytes::new())).await,
            false => Ok(()),
        }
    }
}

/// Waits for room. False when the handler has ended. Cancel safe: what is in hand stays there.
async fn hand_over(requests: Option<&mpsc::Sender<Received>>, in_hand: &mut Option<Received>) -> bool {
    let Some(requests) = requests else { return false };
    let room = requests.reserve().await;
    let Some(message) = in_hand.take() else { return true };
    room.map(|room| room.send(message)).is_ok()
}
