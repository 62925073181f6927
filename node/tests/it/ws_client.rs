//! A WebSocket client without any help from the client library, for tests.

use engram_client::Observation;
use engram_proto::wire::v1::{
    CallRequest, ErrorDetail, MemoryRequest, MemoryResponse, ObserveBatch, ObserveRequest, OpenSession, RecallRequest,
    RecallResult, ResumeSession, SessionOpened, StopWatch, WatchRequest, WatchRows, call_request, call_response,
    memory_request, memory_response, observe_request, observe_response, recall_response, watch_rows_response,
};
use futures_util::{SinkExt, StreamExt};
use prost::Message as _;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::Response;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

const DEADLINE: Duration = Duration::from_secs(20);

/// What a server said.
#[derive(Debug)]
pub enum Said {
    Observe(observe_response::Message),
    Recall(u64, recall_response::Outcome),
    Watch(u64, watch_rows_response::Outcome),
    Call(u64, call_response::Outcome),
    Closed { code: u16, reason: String, detail: Option<ErrorDetail> },
}

pub struct Ws {
    pub socket: WebSocketStream<TcpStream>,
    ended: Option<ErrorDetail>,
}

/// What came of a handshake.
pub async fn handshake(
    address: &str,
    headers: &[(&'static str, &str)],
) -> Result<(Ws, Response<Option<Vec<u8>>>), Error> {
    let mut request = format!("ws://{address}/v1/stream").into_client_request()?;
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("a header value"));
    }
    let tcp = TcpStream::connect(address).await.expect("the node listens");
    let (socket, response) = client_async(request, tcp).await?;
    Ok((Ws { socket, ended: None }, response))
}

pub async fn connect(address: &str) -> Ws {
    handshake(address, &[]).await.expect("upgraded").0
}

impl Ws {
    /// Connects and opens a session.
    pub async fn open(address: &str, space: &str) -> (Self, SessionOpened) {
        let mut ws = connect(address).await;
        let open = OpenSession { space: space.into(), ..OpenSession::default() };
        ws.observe(observe_request::Message::Open(open)).await;
        let opened = ws.opened().await;
        (ws, opened)
    }

    /// Connects and resumes a session.
    pub async fn resume(address: &str, opened: &SessionOpened) -> (Self, SessionOpened) {
        let mut ws = connect(address).await;
        let (session, incarnation) = (opened.session, opened.incarnation);
        let resume = ResumeSession { session, incarnation, ..ResumeSession::default() };
        ws.observe(observe_request::Message::Resume(resume)).await;
        let opened = ws.opened().await;
        (ws, opened)
    }

    async fn opened(&mut self) -> SessionOpened {
        match self.next().await {
            Said::Observe(observe_response::Message::Opened(opened)) => opened,
            other => panic!("not opened: {other:?}"),
        }
    }

    pub async fn send(&mut self, message: memory_request::Message) {
        let bytes = MemoryRequest { message: Some(message) }.encode_to_vec();
        self.socket.send(Message::Binary(bytes.into())).await.expect("sent");
    }

    /// A message of no kind.
    pub async fn empty(&mut self) {
        self.socket.send(Message::Binary(Vec::new().into())).await.expect("sent");
    }

    pub async fn observe(&mut self, message: observe_request::Message) {
        self.send(memory_request::Message::Observe(ObserveRequest { message: Some(message) })).await;
    }

    pub async fn batch(&mut self, first_sequence: u64, observations: Vec<Observation>) {
        self.observe(observe_request::Message::Batch(ObserveBatch { first_sequence, observations })).await;
    }

    /// Waits until everything up to `last` is acked, in order.
    pub async fn acked(&mut self, last: u64) {
        let mut next = None;
        loop {
            match self.next().await {
                Said::Observe(observe_response::Message::Ack(ack)) => {
                    assert!(ack.log_index > 0 && next.is_none_or(|next| next == ack.first_sequence), "{ack:?}");
                    next = Some(ack.last_sequence + 1);
                    if ack.last_sequence >= last {
                        return;
                    }
                }
                other => panic!("no ack: {other:?}"),
            }
        }
    }

    pub async fn recall(&mut self, request: RecallRequest) -> RecallResult {
        let id = request.request_id;
        self.send(memory_request::Message::Recall(request)).await;
        match self.next().await {
            Said::Recall(answered, recall_response::Outcome::Result(result)) if answered == id => result,
            other => panic!("no result: {other:?}"),
        }
    }

    pub async fn watch(&mut self, watch_id: u64, request: WatchRequest) {
        self.send(memory_request::Message::Watch(WatchRows { watch_id, request: Some(request) })).await;
    }

    pub async fn stop_watch(&mut self, watch_id: u64) {
        self.send(memory_request::Message::StopWatch(StopWatch { watch_id })).await;
    }

    pub async fn call(&mut self, call_id: u64, request: call_request::Request) {
        self.send(memory_request::Message::Call(CallRequest { call_id, request: Some(request) })).await;
    }

    /// Calls, and reads the answer, which must come next.
    pub async fn ask(&mut self, call_id: u64, request: call_request::Request) -> call_response::Outcome {
        self.call(call_id, request).await;
        match self.next().await {
            Said::Call(answered, outcome) if answered == call_id => outcome,
            other => panic!("no answer: {other:?}"),
        }
    }

    /// The next message that is no flow control.
    pub async fn next(&mut self) -> Said {
        loop {
            let frame = tokio::time::timeout(DEADLINE, self.socket.next()).await.expect("in time");
            let bytes = match frame.expect("no end without a close frame").expect("no error") {
                Message::Binary(bytes) => bytes,
                Message::Close(Some(frame)) => {
                    let (code, reason) = (frame.code.into(), frame.reason.to_string());
                    return Said::Closed { code, reason, detail: self.ended.take() };
                }
                Message::Ping(_) | Message::Pong(_) => continue,
                other => panic!("{other:?}"),
            };
            match MemoryResponse::decode(bytes).expect("a message").message.expect("of a known kind") {
                memory_response::Message::Observe(answer) => match answer.message.expect("of a known kind") {
                    observe_response::Message::Flow(_) => {}
                    message => return Said::Observe(message),
                },
                memory_response::Message::Recall(answer) => {
                    return Said::Recall(answer.request_id, answer.outcome.expect("an outcome"));
                }
                memory_response::Message::Watch(answer) => {
                    return Said::Watch(answer.watch_id, answer.outcome.expect("an outcome"));
                }
                memory_response::Message::Call(answer) => {
                    return Said::Call(answer.call_id, answer.outcome.expect("an outcome"));
                }
                memory_response::Message::Ended(detail) => self.ended = Some(detail),
            }
        }
    }
}
