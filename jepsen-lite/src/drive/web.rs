//! The WebSocket client: rows, acks and recalls on one stream, resumed on the next node when the connection dies.
//!
//! It is written without the client library, from the protocol alone: what it has not seen acked it sends again under
//! the same numbers. Its rows are those of session `websocket`; there is nothing like it in the simulator's runs of plans.

use crate::drive::Broken;
use crate::drive::record::{Asked, Fresh, From, Recorder, SPACE, Sent};
use crate::drive::workload::{ACK_LIMIT, stream, vector};
use engram_client::{Answer, Level};
use engram_proto::wire::v1::{
    Ack, Linearizable, MemoryRequest, MemoryResponse, Observation, ObserveBatch, ObserveRequest, OpenSession,
    RecallRequest, ResumeSession, SessionOpened, memory_request, memory_response, observe_request, observe_response,
    recall_request, recall_response,
};
use futures_util::{SinkExt, StreamExt};
use prost::Message as _;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

const NAME: &str = "websocket";
/// Rows of a batch, and the time between two.
const BATCH: u64 = 5;
const PACE: Duration = Duration::from_millis(500);
/// A recall follows every so many batches.
const RECALL_EVERY: u64 = 4;
/// Without a byte for so long, not even a ping, the connection is dead.
const SILENCE_MAX: Duration = Duration::from_secs(8);
/// Before rows that a full server refused go again.
const RESEND_PAUSE: Duration = Duration::from_millis(100);
const K: u32 = 10;

type Socket = WebSocketStream<TcpStream>;

struct Row {
    text: String,
    embedding: Vec<f32>,
    /// Until it is acked.
    sent: Option<Sent>,
}

struct Web {
    endpoints: Vec<String>,
    recorder: Recorder,
    /// Connections made so far: each is to the next node.
    connections: usize,
    session: Option<SessionOpened>,
    rows: Vec<Row>,
    asked: Option<(u64, Asked)>,
    answered: u64,
    /// When the last byte came.
    heard: Duration,
}

/// Streams until `until`, then waits for the last acks: how many rows were acked and recalls answered.
pub async fn run(endpoints: Vec<String>, seed: u64, recorder: Recorder, until: Duration) -> Result<(u64, u64), Broken> {
    let (heard, rows) = (recorder.now(), Vec::new());
    let mut web = Web { endpoints, recorder, connections: 0, session: None, rows, asked: None, answered: 0, heard };
    let mut rng = stream(seed, "websocket rows");
    let mut socket = web.connect().await?;
    let mut batches = 0;
    while web.recorder.now() < until {
        let first = web.rows.len() as u64 + 1;
        let session = web.session.as_ref().map_or(0, |session| session.session);
        for sequence in first..first + BATCH {
            let (text, embedding) = (format!("websocket row {sequence}"), vector(&mut rng));
            let from = From { client: NAME, session, space: SPACE };
            let sent = Some(web.recorder.observes(&from, sequence, &text, &embedding));
            web.rows.push(Row { text, embedding, sent });
        }
        batches += 1;
        web.batch(&mut socket, first).await;
        if batches % RECALL_EVERY == 0 && web.asked.is_none() {
            web.ask(&mut socket, batches).await;
        }
        web.hear(&mut socket, PACE).await?;
    }
    let settled = timeout(ACK_LIMIT, async {
        while web.first_open().is_some() {
            web.hear(&mut socket, PACE).await?;
        }
        Ok(())
    });
    let settled =
        settled.await.unwrap_or_else(|_| Err(format!("liveness: {NAME} has rows without an ack after {ACK_LIMIT:?}")));
    if let Some((_, asked)) = web.asked.take() {
        web.recorder.unanswered(asked, "the run was over");
    }
    let acked = web.rows.iter().filter(|row| row.sent.is_none()).count() as u64;
    web.rows.iter_mut().filter_map(|row| row.sent.take()).for_each(|sent| web.recorder.lost_sight(sent));
    settled.map(|()| (acked, web.answered))
}

impl Web {
    /// Connects to the next node that takes the session; rows that it knows as committed are acked by that.
    async fn connect(&mut self) -> Result<Socket, Broken> {
        if let Some((_, asked)) = self.asked.take() {
            self.recorder.unanswered(asked, "the connection was lost");
        }
        let deadline = self.recorder.now() + ACK_LIMIT;
        while self.recorder.now() < deadline {
            let address = self.endpoints[self.connections % self.endpoints.len()].clone();
            self.connections += 1;
            if let Ok(Some((socket, opened))) = timeout(SILENCE_MAX, self.open(&address)).await {
                (1..=opened.last_sequence).for_each(|sequence| self.committed(sequence, None));
                self.session = Some(opened);
                self.heard = self.recorder.now();
                return Ok(socket);
            }
            sleep(Duration::from_millis(300)).await;
        }
        Err(format!("liveness: no node took the WebSocket for {ACK_LIMIT:?}"))
    }

    async fn open(&self, address: &str) -> Option<(Socket, SessionOpened)> {
        let mut request = format!("ws://{address}/v1/stream").into_client_request().ok()?;
        request.headers_mut().insert("sec-websocket-protocol", "engram.v1".parse().ok()?);
        let (mut socket, _) = client_async(request, TcpStream::connect(address).await.ok()?).await.ok()?;
        let first = match &self.session {
            None => observe_request::Message::Open(OpenSession { space: SPACE.into(), ..OpenSession::default() }),
            Some(SessionOpened { session, incarnation, .. }) => {
                let (session, incarnation) = (*session, *incarnation);
                observe_request::Message::Resume(ResumeSession { session, incarnation, ..ResumeSession::default() })
            }
        };
        tell(&mut socket, observe(first)).await?;
        loop {
            match next(&mut socket).await?.message? {
                memory_response::Message::Observe(answer) => match answer.message? {
                    observe_response::Message::Opened(opened) => return Some((socket, opened)),
                    observe_response::Message::Flow(_) => {}
                    _ => return None,
                },
                _ => return None,
            }
        }
    }

    fn first_open(&self) -> Option<u64> {
        self.rows.iter().position(|row| row.sent.is_some()).map(|at| at as u64 + 1)
    }

    /// Sends every row from a sequence on. What a lost connection swallows is sent again after the resume.
    async fn batch(&self, socket: &mut Socket, first_sequence: u64) {
        let observation = |row: &Row| Observation {
            text: row.text.clone(),
            embedding: bytes(&row.embedding).into(),
            ..Observation::default()
        };
        // The server's credit is far above this client's pace, but for a long standstill.
        for (at, rows) in self.rows[first_sequence as usize - 1..].chunks(500).enumerate() {
            let (first_sequence, observations) =
                (first_sequence + at as u64 * 500, rows.iter().map(observation).collect());
            let batch = ObserveBatch { first_sequence, observations };
            if tell(socket, observe(observe_request::Message::Batch(batch))).await.is_none() {
                return;
            }
        }
    }

    /// Asks for the neighbours of the last row, at the linearizable level.
    async fn ask(&mut self, socket: &mut Socket, request_id: u64) {
        let Some(cue) = self.rows.last().map(|row| row.embedding.clone()) else { return };
        let fresh = Fresh::Level(Level::Linearizable);
        let asked = self.recorder.recalls(NAME, SPACE, &cue, K, fresh, 0);
        let request = RecallRequest {
            request_id,
            space: SPACE.into(),
            cue: bytes(&cue).into(),
            k: K,
            consistency: Some(recall_request::Consistency::Linearizable(Linearizable {})),
            ..RecallRequest::default()
        };
        self.asked = Some((request_id, asked));
        // A connection that is lost is found by whoever listens next.
        let _ = tell(socket, memory_request::Message::Recall(request)).await;
    }

    /// Listens for so long; makes another connection if this one is lost, or silent without even a ping.
    async fn hear(&mut self, socket: &mut Socket, length: Duration) -> Result<(), Broken> {
        let until = self.recorder.now() + length;
        loop {
            let left = until.saturating_sub(self.recorder.now());
            match timeout(left, socket.next()).await {
                Err(_) if self.recorder.now() < self.heard + SILENCE_MAX => return Ok(()),
                Ok(Some(Ok(Message::Binary(message)))) => {
                    self.heard = self.recorder.now();
                    if let Ok(message) = MemoryResponse::decode(message) {
                        self.take(socket, message).await;
                    }
                }
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => self.heard = self.recorder.now(),
                Err(_) | Ok(_) => {
                    *socket = self.connect().await?;
                    if let Some(first) = self.first_open() {
                        self.batch(socket, first).await;
                    }
                }
            }
        }
    }

    async fn take(&mut self, socket: &mut Socket, response: MemoryResponse) {
        match response.message {
            Some(memory_response::Message::Observe(answer)) => match answer.message {
                Some(observe_response::Message::Ack(ack)) => self.ack(&ack),
                Some(observe_response::Message::Refused(refused)) => {
                    sleep(RESEND_PAUSE).await;
                    self.batch(socket, refused.expected.max(1)).await;
                }
                _ => {}
            },
            Some(memory_response::Message::Recall(answer)) => {
                let Some((id, asked)) = self.asked.take() else { return };
                match answer.outcome {
                    Some(recall_response::Outcome::Result(result)) if answer.request_id == id => {
                        let snapshot = result.snapshot.unwrap_or_default();
                        self.recorder.answered(asked, &Answer { snapshot, hits: result.hits });
                        self.answered += 1;
                    }
                    other => self.recorder.unanswered(asked, &format!("{other:?}")),
                }
            }
            _ => {}
        }
    }

    fn ack(&mut self, ack: &Ack) {
        for sequence in ack.first_sequence..=ack.last_sequence {
            self.committed(sequence, (!ack.repeat && ack.log_index > 0).then_some(ack.log_index));
        }
    }

    fn committed(&mut self, sequence: u64, log_index: Option<u64>) {
        let sent = self.rows.get_mut(sequence as usize - 1).and_then(|row| row.sent.take());
        if let Some(sent) = sent {
            self.recorder.committed(sent, log_index);
        }
    }
}

fn bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn observe(message: observe_request::Message) -> memory_request::Message {
    memory_request::Message::Observe(ObserveRequest { message: Some(message) })
}

async fn tell(socket: &mut Socket, message: memory_request::Message) -> Option<()> {
    let bytes = MemoryRequest { message: Some(message) }.encode_to_vec();
    timeout(SILENCE_MAX, socket.send(Message::Binary(bytes.into()))).await.ok()?.ok()
}

async fn next(socket: &mut Socket) -> Option<MemoryResponse> {
    loop {
        match socket.next().await?.ok()? {
            Message::Binary(message) => return MemoryResponse::decode(message).ok(),
            Message::Ping(_) | Message::Pong(_) => {}
            _ => return None,
        }
    }
}
