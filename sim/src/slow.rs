//! A client that stops reading its stream for a while, or reads it slowly, by gRPC or over a WebSocket, and then goes on.
//!
//! It observes rows and watches the space that everybody writes to, so there is always more to tell it. The node may drop it,
//! and nobody else may notice. Whatever happens, in the end its rows are acked, each with one log index, and are there once.

use crate::cluster::Cluster;
use crate::echo;
use crate::wear::Wear;
use crate::websocket::Socket;
use crate::workload::{self, DIM, vector};
use engram_client::{Client, SpaceConfig, observation};
use engram_node::env::{Env, Seed};
use engram_proto::transport::{Channel, timeout};
use engram_proto::wire::v1::memory_client::MemoryClient;
use engram_proto::wire::v1::{
    MemoryRequest, MemoryResponse, ObserveBatch, ObserveRequest, OpenSession, ResumeSession, SessionOpened,
    WatchRequest, WatchRows, memory_request, memory_response, observe_request, observe_response,
};
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::Streaming;

const SPACE: &str = "slow";
/// Rows, in batches, all of them on their way before it stops reading.
const ROWS: u64 = 60;
const BATCH: u64 = 10;
/// Without a word for so long the connection is dead: a watch is not silent for longer.
const SILENCE_MAX: Duration = Duration::from_secs(12);
/// After the fault, how long it may take until all its rows are acked.
const ACK_LIMIT: Duration = Duration::from_secs(60);
/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(300);

/// One open stream.
enum Link {
    Grpc(mpsc::Sender<MemoryRequest>, Streaming<MemoryResponse>),
    Web(Socket),
}

impl Link {
    async fn send(&mut self, message: memory_request::Message) -> bool {
        let request = MemoryRequest { message: Some(message) };
        match self {
            Link::Grpc(requests, _) => requests.send(request).await.is_ok(),
            Link::Web(socket) => socket.send(&request).await.is_ok(),
        }
    }

    /// `None` at the end, whatever ended it.
    async fn next(&mut self) -> Option<memory_response::Message> {
        let response = match self {
            Link::Grpc(_, responses) => responses.message().await.ok().flatten(),
            Link::Web(socket) => socket.next().await.ok().flatten(),
        };
        response?.message
    }
}

/// The client.
pub struct Slow {
    /// Its nodes.
    pub cluster: Cluster,
    /// A world of its own: its connections alone stop being read.
    pub env: Env,
    /// Of its connections.
    pub wear: Arc<Wear>,
    /// Makes the space.
    pub client: Client,
    /// Its rows, masks and nodes.
    pub seed: Seed,
    /// Over a WebSocket.
    pub web: bool,
    /// While it is slow it reads a message so often; none at all if this is zero.
    pub every: Duration,
}

/// What it knows of its rows.
struct Rows {
    rows: Vec<(String, Vec<f32>)>,
    session: Option<SessionOpened>,
    /// The log index that each was acked at, 0 where a resume alone said so.
    acked: BTreeMap<u64, u64>,
}

impl Slow {
    /// Is slow until `until`, then goes on until all is acked. The error is a broken promise.
    pub async fn run(self, until: Duration) -> Result<(), String> {
        let (clock, mut rng) = (&self.env.clock, self.seed.stream("slow"));
        let rows = (1..=ROWS).map(|row| (format!("slow {row}"), vector(&mut rng))).collect();
        let mut rows = Rows { rows, session: None, acked: BTreeMap::new() };
        let mut slow = true;
        while (rows.acked.len() as u64) < ROWS {
            if clock.monotonic() > until + ACK_LIMIT {
                return Err(format!("liveness: {} of a slow reader's {ROWS} rows are acked", rows.acked.len()));
            }
            let connected = timeout(&*self.env.world(), SILENCE_MAX, self.connect(&mut rows, &mut rng)).await;
            let Some(Some(mut link)) = connected else {
                clock.sleep(PAUSE).await;
                continue;
            };
            self.send(&mut link, &rows).await;
            if std::mem::take(&mut slow) {
                self.stall(&mut link, &mut rows, until).await?;
            }
            while (rows.acked.len() as u64) < ROWS {
                let Some(Some(message)) = timeout(&*self.env.world(), SILENCE_MAX, link.next()).await else { break };
                if !rows.hear(message)? {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn connect(&self, rows: &mut Rows, rng: &mut StdRng) -> Option<Link> {
        let config = SpaceConfig { name: SPACE.into(), dim: DIM as u32, ..SpaceConfig::default() };
        drop(self.client.create_space(config).await); // there already, or tried again
        let endpoints = self.cluster.endpoints();
        let endpoint = endpoints[rng.random_range(0..endpoints.len())].clone();
        let mut link = match self.web {
            true => {
                let masks = self.seed.stream(&format!("masks {}", rng.random::<u64>()));
                Link::Web(Socket::connect(&*self.env.net, endpoint, masks).await.ok()?)
            }
            false => self.dial(&endpoint).await?,
        };
        let first = match &rows.session {
            None => observe_request::Message::Open(OpenSession { space: SPACE.into(), ..OpenSession::default() }),
            Some(SessionOpened { session, incarnation, .. }) => {
                let (session, incarnation) = (*session, *incarnation);
                observe_request::Message::Resume(ResumeSession { session, incarnation, ..ResumeSession::default() })
            }
        };
        link.send(observe(first)).await;
        let memory_response::Message::Observe(answer) = link.next().await? else { return None };
        let Some(observe_response::Message::Opened(opened)) = answer.message else { return None };
        for sequence in 1..=opened.last_sequence {
            rows.acked.entry(sequence).or_insert(0);
        }
        rows.session = Some(opened);
        Some(link)
    }

    async fn dial(&self, endpoint: &str) -> Option<Link> {
        let channel = Channel::new(self.env.world(), endpoint, SILENCE_MAX);
        let origin = channel.origin();
        let (requests, mut inbox) = mpsc::channel(ROWS as usize);
        let requests_in = futures_util::stream::poll_fn(move |cx| inbox.poll_recv(cx));
        let answers = MemoryClient::with_origin(channel, origin).memory_stream(requests_in).await.ok()?;
        Some(Link::Grpc(requests, answers.into_inner()))
    }

    /// A watch of everything, and the rows that are not acked; what a lost connection swallows is sent on the next.
    async fn send(&self, link: &mut Link, rows: &Rows) {
        let everything = WatchRequest {
            space: workload::SPACE.into(),
            after_log_index: Some(0),
            with_embedding: true,
            ..WatchRequest::default()
        };
        let watch = WatchRows { watch_id: 1, request: Some(everything) };
        let mut going_on = link.send(memory_request::Message::Watch(watch)).await;
        let mut first_sequence = rows.acked.len() as u64 + 1;
        while going_on && first_sequence <= ROWS {
            let batch = &rows.rows[first_sequence as usize - 1..ROWS.min(first_sequence + BATCH - 1) as usize];
            let observations = batch.iter().map(|(text, vector)| observation(text.clone(), vector)).collect();
            let batch = ObserveBatch { first_sequence, observations };
            going_on = link.send(observe(observe_request::Message::Batch(batch))).await;
            first_sequence += BATCH;
        }
    }

    async fn stall(&self, link: &mut Link, rows: &mut Rows, until: Duration) -> Result<(), String> {
        let clock = &self.env.clock;
        self.cluster.trace(format_args!("a client reads slowly, {}", if self.web { "WebSocket" } else { "gRPC" }));
        while clock.monotonic() < until {
            let left = until.saturating_sub(clock.monotonic());
            if self.every.is_zero() {
                self.deaf(true);
                clock.sleep(left).await;
                self.deaf(false);
                break;
            }
            clock.sleep(self.every.min(left)).await;
            let Some(Some(message)) = timeout(&*self.env.world(), left, link.next()).await else { break };
            if !rows.hear(message)? {
                break;
            }
        }
        self.cluster.trace("the client reads again");
        Ok(())
    }

    /// gRPC's connection is read by a task of its own, so the socket itself stops.
    fn deaf(&self, deaf: bool) {
        if !self.web {
            self.wear.deafen(deaf);
        }
    }
}

impl Rows {
    /// False when the stream must be begun anew.
    fn hear(&mut self, message: memory_response::Message) -> Result<bool, String> {
        let memory_response::Message::Observe(answer) = message else { return Ok(true) };
        let ack = match answer.message {
            Some(observe_response::Message::Ack(ack)) => ack,
            // A node under pressure: what was refused is sent again after a resume.
            Some(observe_response::Message::Refused(_)) => return Ok(false),
            _ => return Ok(true),
        };
        for sequence in ack.first_sequence..=ack.last_sequence {
            let known = self.acked.entry(sequence).or_insert(0);
            if *known != 0 && *known != ack.log_index {
                return Err(format!(
                    "once_per_sequence: slow {sequence} was acked at {known} and at {}",
                    ack.log_index
                ));
            }
            *known = ack.log_index;
        }
        Ok(true)
    }
}

fn observe(message: observe_request::Message) -> memory_request::Message {
    memory_request::Message::Observe(ObserveRequest { message: Some(message) })
}

/// On every node each row of each session is there, once.
pub async fn check(cluster: &Cluster, client: &Client) -> Result<(), String> {
    for (session, rows) in echo::sessions(cluster, client, SPACE).await? {
        if rows != ROWS {
            return Err(format!("exactly_once: a slow reader's session {session} has {rows} rows of {ROWS}"));
        }
    }
    Ok(())
}
