//! One stream over a WebSocket: binary messages at `/v1/stream`, as docs/protocol.md has them.
//!
//! Invariants: rows in flight stay within the credit that the node gave; after a refusal the rows go again, from the
//! number that is expected, under the same numbers.
#![expect(clippy::disallowed_methods, reason = "a command measures with the system's clock")]

use super::pace::Acks;
use super::stream::{Job, Streamed};
use crate::cli::exit::Failure;
use engram_client::{Error, Kind};
use engram_proto::wire::v1::{
    FlowKind, MemoryRequest, MemoryResponse, ObserveBatch, ObserveRequest, OpenSession, SessionOpened, memory_request,
    memory_response, observe_request, observe_response,
};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use prost::Message as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

type Socket = WebSocketStream<TcpStream>;

/// Bytes of a stored row beside its embedding, for a window in rows that the credit in bytes also allows.
const ROW_BYTES: u64 = 400;
/// Without any news while acks are owed.
const SILENCE: Duration = Duration::from_secs(30);

struct Shared {
    state: Mutex<State>,
    moved: Notify,
    window: u64,
    batch: u64,
}

struct State {
    /// The next to send.
    next: u64,
    /// The last that was ever sent.
    highest: u64,
    /// Refused: not before.
    held: Option<Instant>,
    acks: Acks,
    slowed: u64,
}

/// What may be sent.
struct Room {
    first: u64,
    last: u64,
    /// Not sent before.
    fresh: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room: for what must go again first, then for a new message if `more`. None: all is acked.
    async fn room(&self, more: bool) -> Option<Room> {
        loop {
            let held = {
                let mut state = self.state();
                let held = state.held.filter(|until| *until > Instant::now());
                if held.is_none() {
                    let first = state.next;
                    let fresh = first > state.highest;
                    let last = if fresh { first + self.batch - 1 } else { state.highest.min(first + self.batch - 1) };
                    if (!fresh || more) && last - state.acks.acked <= self.window {
                        state.next = last + 1;
                        state.highest = state.highest.max(last);
                        return Some(Room { first, last, fresh });
                    }
                    if fresh && !more && state.acks.acked >= state.highest {
                        return None;
                    }
                }
                held
            };
            match held {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                // News that came since the look above left a permit.
                None => self.moved.notified().await,
            }
        }
    }
}

fn broken(error: impl std::fmt::Display) -> Failure {
    Failure::failed(format!("WebSocket: {error}"))
}

fn message(message: observe_request::Message) -> Message {
    let observe = ObserveRequest { message: Some(message) };
    let request = MemoryRequest { message: Some(memory_request::Message::Observe(observe)) };
    Message::Binary(request.encode_to_vec().into())
}

/// Runs a stream to its last ack.
pub async fn run(address: &str, job: Job) -> Result<Streamed, Failure> {
    let tcp = TcpStream::connect(address).await.map_err(broken)?;
    tcp.set_nodelay(true).map_err(broken)?;
    let url = format!("ws://{address}/v1/stream");
    let (socket, _) = tokio_tungstenite::client_async(url, tcp).await.map_err(broken)?;
    let (mut sink, mut stream) = socket.split();
    let open = OpenSession { space: job.space.clone(), ack_stage: job.stage.into(), ..OpenSession::default() };
    sink.send(message(observe_request::Message::Open(open))).await.map_err(broken)?;
    let opened = match next(&mut stream).await? {
        observe_response::Message::Opened(opened) => opened,
        other => return Err(broken(format_args!("not opened: {other:?}"))),
    };
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            next: 1,
            highest: 0,
            held: None,
            acks: Acks::new(&job.pace, job.probes.clone()),
            slowed: 0,
        }),
        moved: Notify::new(),
        window: window(&opened, &job),
        batch: job.batch as u64,
    });
    let mut writing = JoinSet::new();
    writing.spawn(write(shared.clone(), sink, job.clone()));
    let written = loop {
        tokio::select! {
            biased; // news first
            said = next(&mut stream) => heard(&shared, &job, said?)?,
            written = writing.join_next() => break written,
        }
    };
    written.expect("one task").map_err(|e| broken(format_args!("the writing task: {e}")))??;
    let shared = Arc::into_inner(shared).expect("the writing task has ended");
    let State { acks, slowed, .. } = shared.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    let Acks { acked, in_time, latency, .. } = acks;
    Ok(Streamed { session: opened.session, acked, in_time, latency, slowed, rows: job.rows })
}

/// Rows that may be in flight.
fn window(opened: &SessionOpened, job: &Job) -> u64 {
    let credit = opened.credit.unwrap_or_default();
    let rows = credit.credit_bytes / (2 * u64::from(opened.dim) + ROW_BYTES);
    rows.min(credit.credit_rows.into()).max(job.batch as u64)
}

async fn write(shared: Arc<Shared>, mut sink: SplitSink<Socket, Message>, job: Job) -> Result<(), Failure> {
    let mut number = 0;
    loop {
        let due = job.pace.due(number).await;
        loop {
            let Some(Room { first, last, fresh }) = shared.room(due.is_some()).await else { return Ok(()) };
            if let Some(due) = due.filter(|_| fresh) {
                shared.state().acks.sent(last, job.pace.counted_from(due));
            }
            let observations = (first..=last).map(|sequence| job.data.observation(job.rows.of(sequence))).collect();
            let batch = ObserveBatch { first_sequence: first, observations };
            sink.send(message(observe_request::Message::Batch(batch))).await.map_err(broken)?;
            if fresh {
                break;
            }
        }
        number += 1;
    }
}

fn heard(shared: &Shared, job: &Job, said: observe_response::Message) -> Result<(), Failure> {
    match said {
        observe_response::Message::Ack(ack) => {
            shared.state().acks.acked(ack.last_sequence, ack.log_index, job.rows.of(ack.last_sequence));
        }
        observe_response::Message::Refused(refused) => {
            let error = Error::from(refused.error.unwrap_or_default());
            if error.kind() != Kind::Overloaded {
                return Err(broken(format_args!("row {} of the bench's own was refused: {error}", refused.sequence)));
            }
            let mut state = shared.state();
            state.slowed += 1;
            state.next = refused.expected;
            state.held = Some(Instant::now() + Duration::from_millis(error.0.retry_after_ms.into()));
        }
        observe_response::Message::Flow(flow) => shared.state().slowed += u64::from(flow.kind() == FlowKind::Slower),
        observe_response::Message::Opened(_) => return Err(broken("opened twice")),
    }
    shared.moved.notify_one();
    Ok(())
}

/// The next of the observe stream. Cancel safe.
async fn next(stream: &mut SplitStream<Socket>) -> Result<observe_response::Message, Failure> {
    loop {
        let frame = tokio::time::timeout(SILENCE, stream.next()).await;
        let frame = frame.map_err(|_| broken(format_args!("no news for {SILENCE:?}")))?;
        let bytes = match frame.ok_or_else(|| broken("the end of the bytes"))?.map_err(broken)? {
            Message::Binary(bytes) => bytes,
            Message::Close(frame) => return Err(broken(format_args!("closed: {frame:?}"))),
            _ => continue,
        };
        match MemoryResponse::decode(bytes).map_err(broken)?.message {
            Some(memory_response::Message::Observe(said)) => {
                if let Some(said) = said.message {
                    return Ok(said);
                }
            }
            Some(memory_response::Message::Ended(detail)) => return Err(broken(Error::from(detail))),
            _ => {}
        }
    }
}
