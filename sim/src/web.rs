//! The scenario of WebSockets: rows are observed while the node on the other end loses power, then recalled and watched
//! on the same stream; a client that goes mute is dropped in the stated time.
//!
//! The history goes to the same check as everybody's: each row exactly once, in order.

use crate::cluster::Cluster;
use crate::websocket::Socket;
use crate::workload::{Recorder, SPACE, vector};
use crate::world::{Act, Hands};
use engram_node::env::{Env, Seed};
use engram_proto::transport::timeout;
use engram_proto::wire::v1::{
    Ack, Linearizable, MemoryRequest, MemoryResponse, Observation, ObserveBatch, ObserveRequest, OpenSession,
    RecallRequest, ResumeSession, SessionOpened, WatchRequest, WatchRows, memory_request, memory_response,
    observe_request, observe_response, recall_request, recall_response, watch_rows_response,
};
use std::time::Duration;

/// Simulated time that it takes at most.
pub const LENGTH_MAX: Duration = Duration::from_secs(120);
const ROWS: u64 = 200;
const BATCH: u64 = 5;
/// The row before which the other end loses power, and for how long.
const LOST_AT: u64 = 100;
const LOST_FOR: Duration = Duration::from_secs(3);
/// Without a byte for so long, not even a ping, the connection is dead.
const SILENCE_MAX: Duration = Duration::from_secs(8);
/// A watch is not silent for longer: `node/src/edge/watch.rs`.
const WATCH_SILENCE_MAX: Duration = Duration::from_secs(12);
/// A mute client is dropped between these: `node/src/edge/ws/link.rs`.
const MUTE_MIN: Duration = Duration::from_secs(14);
const MUTE_MAX: Duration = Duration::from_secs(21);

struct Row {
    text: String,
    embedding: Vec<f32>,
    process: i64,
    acked: bool,
}

struct Web<'a> {
    cluster: &'a Cluster,
    env: &'a Env,
    recorder: &'a Recorder,
    seed: Seed,
    /// Connections made so far: each has masks of its own, and the next node.
    connections: usize,
    session: Option<SessionOpened>,
    rows: Vec<Row>,
}

/// Plays it: the rows that were acked.
pub async fn play(
    cluster: &Cluster,
    env: &Env,
    hands: &dyn Hands,
    seed: Seed,
    recorder: &Recorder,
) -> Result<u64, String> {
    let mut web = Web { cluster, env, recorder, seed, connections: 0, session: None, rows: Vec::new() };
    let mut rng = seed.stream("websocket rows");
    let mut socket = web.connect().await?;
    while web.rows.len() < ROWS as usize {
        let sequence = web.rows.len() as u64 + 1;
        let lost = web.session.as_ref().map_or(0, |session| session.node);
        if sequence == LOST_AT + 1 {
            hands.act(Act::Crash { node: lost, power: true });
        }
        for sequence in sequence..sequence + BATCH {
            let text = format!("websocket row {sequence}");
            let session = web.session.as_ref().map_or(0, |session| session.session);
            let process = recorder.observes(session, sequence, &text);
            web.rows.push(Row { text, embedding: vector(&mut rng), process, acked: false });
        }
        // What a lost connection swallows is sent again after the resume.
        drop(web.batch(&mut socket, sequence).await);
        env.clock.sleep(Duration::from_millis(30)).await;
        if sequence == LOST_AT + 1 {
            env.clock.sleep(LOST_FOR).await;
            hands.act(Act::Restart { node: lost });
            web.until_acked(&mut socket).await?;
        }
    }
    web.until_acked(&mut socket).await?;
    web.recall(&mut socket).await?;
    web.watch(&mut socket).await?;
    web.mute().await?;
    Ok(web.rows.iter().filter(|row| row.acked).count() as u64)
}

impl Web<'_> {
    /// Connects to the next node that takes the session. Rows that it knows as committed are acked by that.
    async fn connect(&mut self) -> Result<Socket, String> {
        let endpoints = self.cluster.endpoints();
        for _ in 0..20 {
            let address = endpoints[self.connections % endpoints.len()].clone();
            self.connections += 1;
            let masks = self.seed.stream(&format!("masks {}", self.connections));
            let opening = self.open(address, masks);
            if let Some(Ok((socket, opened))) = timeout(&*self.env.world(), SILENCE_MAX, opening).await {
                for sequence in 1..=opened.last_sequence {
                    self.committed(sequence, None);
                }
                self.session = Some(opened);
                return Ok(socket);
            }
            self.env.clock.sleep(Duration::from_millis(500)).await;
        }
        Err("liveness: no node took a WebSocket".into())
    }

    async fn open(&self, address: String, masks: rand::rngs::StdRng) -> Result<(Socket, SessionOpened), String> {
        let mut socket = Socket::connect(&*self.env.net, address, masks).await.map_err(|e| e.to_string())?;
        let first = match &self.session {
            None => observe_request::Message::Open(OpenSession { space: SPACE.into(), ..OpenSession::default() }),
            Some(SessionOpened { session, incarnation, .. }) => {
                let (session, incarnation) = (*session, *incarnation);
                observe_request::Message::Resume(ResumeSession { session, incarnation, ..ResumeSession::default() })
            }
        };
        socket.send(&observe(first)).await.map_err(|e| e.to_string())?;
        match socket.next().await.map_err(|e| e.to_string())?.and_then(observed) {
            Some(observe_response::Message::Opened(opened)) => Ok((socket, opened)),
            other => Err(format!("not opened: {other:?}")),
        }
    }

    /// Sends every row from a sequence on.
    async fn batch(&self, socket: &mut Socket, first_sequence: u64) -> std::io::Result<()> {
        let observation = |row: &Row| Observation {
            text: row.text.clone(),
            embedding: row.embedding.iter().flat_map(|v| v.to_le_bytes()).collect(),
            ..Observation::default()
        };
        let observations = self.rows[first_sequence as usize - 1..].iter().map(observation).collect();
        socket.send(&observe(observe_request::Message::Batch(ObserveBatch { first_sequence, observations }))).await
    }

    fn committed(&mut self, sequence: u64, log_index: Option<u64>) {
        let row = &mut self.rows[sequence as usize - 1];
        if !row.acked {
            row.acked = true;
            self.recorder.committed(row.process, sequence, &row.text, log_index);
        }
    }

    /// Reads acks until all are there; resumes whenever the connection dies.
    async fn until_acked(&mut self, socket: &mut Socket) -> Result<(), String> {
        while let Some(first) = self.rows.iter().position(|row| !row.acked) {
            let said = timeout(&*self.env.world(), SILENCE_MAX, socket.next()).await;
            match said {
                Some(Ok(Some(message))) => match observed(message) {
                    Some(observe_response::Message::Ack(ack)) => self.ack(&ack),
                    Some(observe_response::Message::Refused(refused)) => {
                        let from = refused.expected.max(1);
                        drop(self.batch(socket, from).await);
                    }
                    _ => {}
                },
                _ => {
                    *socket = self.connect().await?;
                    let from = self.rows.iter().position(|row| !row.acked).unwrap_or(first) as u64 + 1;
                    drop(self.batch(socket, from).await);
                }
            }
        }
        Ok(())
    }

    fn ack(&mut self, ack: &Ack) {
        for sequence in ack.first_sequence..=ack.last_sequence {
            self.committed(sequence, (!ack.repeat).then_some(ack.log_index));
        }
    }

    /// The last row is found by its own embedding, on the stream that observed it.
    async fn recall(&self, socket: &mut Socket) -> Result<(), String> {
        let last = self.rows.last().expect("rows were sent");
        let request = RecallRequest {
            request_id: 1,
            space: SPACE.into(),
            cue: last.embedding.iter().flat_map(|v| v.to_le_bytes()).collect(),
            k: 1,
            consistency: Some(recall_request::Consistency::Linearizable(Linearizable {})),
            ..RecallRequest::default()
        };
        let request = MemoryRequest { message: Some(memory_request::Message::Recall(request)) };
        socket.send(&request).await.map_err(|e| format!("visible: no recall: {e}"))?;
        loop {
            let answer = socket.next().await.map_err(|e| format!("visible: no answer: {e}"))?;
            match answer.ok_or("visible: closed before the answer")?.message {
                Some(memory_response::Message::Recall(answer)) => match answer.outcome {
                    Some(recall_response::Outcome::Result(result)) if result.hits[0].text == last.text => return Ok(()),
                    other => return Err(format!("visible: {:?} is not found by itself: {other:?}", last.text)),
                },
                Some(memory_response::Message::Observe(_)) => {}
                other => return Err(format!("visible: {other:?} instead of an answer")),
            }
        }
    }

    /// A watch from the beginning gives every row once, in order.
    async fn watch(&self, socket: &mut Socket) -> Result<(), String> {
        let request = WatchRequest { space: SPACE.into(), after_log_index: Some(0), ..WatchRequest::default() };
        let watch = memory_request::Message::Watch(WatchRows { watch_id: 1, request: Some(request) });
        let request = MemoryRequest { message: Some(watch) };
        socket.send(&request).await.map_err(|e| format!("watch: not asked: {e}"))?;
        let mut seen = 0;
        while seen < self.rows.len() {
            let said = timeout(&*self.env.world(), WATCH_SILENCE_MAX, socket.next()).await;
            let message = match said {
                Some(Ok(Some(MemoryResponse { message: Some(message) }))) => message,
                other => return Err(format!("watch: {other:?} after {seen} rows")),
            };
            match message {
                memory_response::Message::Watch(answer) => match answer.outcome {
                    Some(watch_rows_response::Outcome::Page(page)) => {
                        for row in page.rows {
                            let text = row.observation.unwrap_or_default().text;
                            if self.rows.get(seen).is_none_or(|expected| expected.text != text) {
                                return Err(format!("watch: {text:?} after {seen} rows"));
                            }
                            seen += 1;
                        }
                    }
                    other => return Err(format!("watch: {other:?} after {seen} rows")),
                },
                memory_response::Message::Observe(_) => {}
                other => return Err(format!("watch: {other:?} instead of a page")),
            }
        }
        Ok(())
    }

    /// A client that answers no ping.
    async fn mute(&mut self) -> Result<(), String> {
        let mut socket = self.connect().await?;
        socket.mute = true;
        let since = self.env.clock.monotonic();
        // Nothing is said to it but pings, which `next` passes over; then the end.
        let ended = timeout(&*self.env.world(), MUTE_MAX, socket.next()).await;
        let took = self.env.clock.monotonic() - since;
        match ended {
            Some(Ok(None) | Err(_)) if took >= MUTE_MIN => Ok(()),
            other => Err(format!("liveness: after {took:?} a mute client has {other:?}")),
        }
    }
}

fn observe(message: observe_request::Message) -> MemoryRequest {
    let observe = ObserveRequest { message: Some(message) };
    MemoryRequest { message: Some(memory_request::Message::Observe(observe)) }
}

fn observed(response: MemoryResponse) -> Option<observe_response::Message> {
    match response.message {
        Some(memory_response::Message::Observe(answer)) => answer.message,
        _ => None,
    }
}
