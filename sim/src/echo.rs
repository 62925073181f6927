//! A client without the library's care: it sends every batch twice on one connection, in sessions of its own.
//!
//! Checks `once_per_sequence` where the library would never come: what is sent again is acked again with its first log index,
//! and is there once.

use crate::cluster::Cluster;
use crate::workload::{DIM, vector};
use engram_client::{Client, Level, List, SpaceConfig, observation};
use engram_node::env::{Env, Seed};
use engram_proto::transport::{Channel, timeout};
use engram_proto::wire::v1::memory_client::MemoryClient;
use engram_proto::wire::v1::{
    ObserveBatch, ObserveRequest, ObserveResponse, OpenSession, observe_request, observe_response,
};
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::{Status, Streaming};

const SPACE: &str = "echo";
/// How long a node may be silent, or take to answer, before the client goes elsewhere.
const PATIENCE: Duration = Duration::from_secs(2);
/// Rows of a batch.
const ROWS: u64 = 3;
/// Batches of a session, each of them twice.
const BATCHES: u64 = 4;

/// Works until `until`; how many rows were acked twice. The error is a broken promise.
pub async fn run(client: Client, cluster: Cluster, env: Env, seed: Seed, until: Duration) -> Result<u64, String> {
    let mut rng = seed.stream("echo");
    let config = SpaceConfig { name: SPACE.into(), dim: DIM as u32, ..SpaceConfig::default() };
    let mut twice = 0;
    while env.clock.monotonic() < until {
        drop(client.create_space(config.clone()).await); // there already, or tried again
        let endpoints = cluster.endpoints();
        let endpoint = &endpoints[rng.random_range(0..endpoints.len())];
        // What the moment refuses is none of the promises.
        if let Ok(acked) = session(endpoint, &env, &mut rng).await? {
            twice += acked;
        }
        env.clock.sleep(Duration::from_millis(rng.random_range(200..800))).await;
    }
    Ok(twice)
}

/// One session: its rows that were acked twice, or why it ended early.
async fn session(endpoint: &str, env: &Env, rng: &mut StdRng) -> Result<Result<u64, Status>, String> {
    let channel = Channel::new(env.world(), endpoint, PATIENCE);
    let origin = channel.origin();
    let mut messages = vec![observe_request::Message::Open(OpenSession { space: SPACE.into(), ..Default::default() })];
    for batch in 0..BATCHES {
        let rows = (0..ROWS).map(|row| observation(format!("echo {}", batch * ROWS + row + 1), &vector(rng))).collect();
        let batch = ObserveBatch { first_sequence: batch * ROWS + 1, observations: rows };
        messages.extend([batch.clone(), batch].map(observe_request::Message::Batch));
    }
    let messages = messages.into_iter().map(|message| ObserveRequest { message: Some(message) });
    let requests = futures_util::stream::iter(messages.collect::<Vec<_>>());
    let mut memory = MemoryClient::with_origin(channel, origin);
    let opened = timeout(&*env.world(), PATIENCE, memory.observe_stream(requests)).await;
    match opened.unwrap_or_else(|| Err(Status::deadline_exceeded("not opened"))) {
        Ok(answers) => listen(answers.into_inner(), env).await,
        Err(status) => Ok(Err(status)),
    }
}

async fn listen(mut answers: Streaming<ObserveResponse>, env: &Env) -> Result<Result<u64, Status>, String> {
    let (mut first, mut repeats) = (BTreeMap::new(), 0);
    loop {
        let next = timeout(&*env.world(), PATIENCE, answers.message()).await;
        let ack = match next.unwrap_or_else(|| Err(Status::deadline_exceeded("silent"))) {
            Err(status) => return Ok(Err(status)),
            Ok(None) => return Ok(Ok(repeats)),
            Ok(Some(answer)) => match answer.message {
                Some(observe_response::Message::Ack(ack)) => ack,
                _ => continue,
            },
        };
        for sequence in ack.first_sequence..=ack.last_sequence {
            let known = *first.entry(sequence).or_insert(ack.log_index);
            if known != ack.log_index {
                let again = ack.log_index;
                return Err(format!("once_per_sequence: echo {sequence} was acked at {known}, then at {again}"));
            }
            repeats += u64::from(ack.repeat);
        }
    }
}

/// On every node each number of a session is there once.
pub async fn check(cluster: &Cluster, client: &Client) -> Result<(), String> {
    sessions(cluster, client, SPACE).await.map(drop)
}

/// The same of any space whose rows say their number; how many rows each session has.
pub async fn sessions(cluster: &Cluster, client: &Client, space: &str) -> Result<BTreeMap<u64, u64>, String> {
    let spaces = client.list_spaces().await.map_err(|e| format!("liveness: no list of spaces: {e}"))?;
    let mut counts = BTreeMap::new();
    if !spaces.iter().any(|made| made.config.as_ref().is_some_and(|config| config.name == space)) {
        return Ok(counts);
    }
    for endpoint in cluster.endpoints() {
        let list = List { level: Level::Linearizable, ..List::new(space) };
        let listing = client.on(&endpoint).list_all(list).await;
        let rows = listing.map_err(|e| format!("liveness: no list from {endpoint}: {e}"))?.rows;
        let mut seen = BTreeMap::new();
        counts.clear();
        for row in &rows {
            *counts.entry(row.session).or_default() += 1;
            let text = row.observation.as_ref().map_or("", |observation| &observation.text);
            if text != format!("{space} {}", row.sequence) {
                return Err(format!("once_per_sequence: {endpoint} has {text:?} at sequence {}", row.sequence));
            }
            if let Some(before) = seen.insert((row.session, row.sequence), row.log_index) {
                let (session, sequence, index) = (row.session, row.sequence, row.log_index);
                let place = format!("session {session} sequence {sequence}");
                return Err(format!("once_per_sequence: {endpoint} has {place} at {before} and at {index}"));
            }
        }
    }
    Ok(counts)
}
