//! After the faults: within a stated time one leader, equal digests, fresh rows served and found, equal answers.
//!
//! The checks are those of the simulator's liveness phase (`sim/src/liveness.rs`), on real processes: every voter
//! applied the same index with the same digest of state and graphs, proves its graphs, lists the same rows, finds fresh ones
//! by their own embeddings, and answers a question about the past to the byte like the others.

use crate::drive::Broken;
use crate::drive::faults::Faults;
use crate::drive::nodes::Nodes;
use crate::drive::record::{Recorder, SPACE, bytes};
use crate::drive::workload::{stream, vector};
use engram_chaos::summary::{Committed, Summary};
use engram_client::{Client, Level, List, ObserveOptions, Recall, Row, StatusResponse, difference, observation};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long a healed cluster may take to converge.
pub const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);
/// Rows of the last phase, which are in no history.
const FRESH: usize = 10;
/// Questions about the past.
const QUESTIONS: usize = 20;

/// Looks at a cluster that is healed.
pub struct Settle {
    /// Who.
    pub nodes: Arc<Nodes>,
    /// A client of all voters.
    pub client: Client,
    /// Who removes what the plan added.
    pub faults: Faults,
    /// The histories.
    pub recorder: Recorder,
    /// Draws the fresh rows.
    pub seed: u64,
}

/// What was found.
pub struct Settled {
    /// How long the cluster took to converge.
    pub took: Duration,
    /// What was committed.
    pub summary: Summary,
    /// The applied index of all nodes in the end, and the digest of the state there.
    pub state: (u64, u64),
    /// Questions about the past that all nodes answered alike.
    pub compared: usize,
}

impl Settle {
    /// Waits and checks; the error is a broken promise.
    pub async fn run(&self) -> Result<Settled, Broken> {
        let began = self.recorder.now();
        self.converge(true).await?;
        let took = self.recorder.now() - began;
        self.faults.dismiss().await?;
        self.serve().await?;
        let state = self.converge(false).await?;
        self.prove().await?;
        let observations = self.scan().await?;
        let compared = self.past(state.0).await?;
        let unknown = self.recorder.streams_in_doubt() > 0;
        let digests = BTreeMap::from([(state.0, format!("{:016x}", state.1))]);
        Ok(Settled { took, summary: Summary::new(unknown, observations, digests), state, compared })
    }

    /// Waits until all voters of the plan agree, with or without guests that are still to be removed; the error says what
    /// differed last. The answer: the applied index, and its digest.
    async fn converge(&self, guests: bool) -> Result<(u64, u64), Broken> {
        let deadline = self.recorder.now() + LIMIT;
        loop {
            if let Some(failure) = self.nodes.failure() {
                return Err(failure);
            }
            let differs = match self.states().await {
                Ok(states) => match unsettled(&states, guests) {
                    None => return Ok((applied(&states[0]), states[0].state_digest)),
                    Some(differs) => differs,
                },
                Err(error) => error,
            };
            if self.recorder.now() >= deadline {
                return Err(format!("liveness: not converged {LIMIT:?} after the faults: {differs}"));
            }
            sleep(POLL).await;
        }
    }

    async fn states(&self) -> Result<Vec<StatusResponse>, String> {
        let mut states = Vec::new();
        for endpoint in self.nodes.endpoints() {
            let asked = timeout(Duration::from_secs(5), async { self.client.on(&endpoint).status().await }).await;
            let state = asked.map_err(|_| format!("{endpoint} does not answer"))?;
            states.push(state.map_err(|e| format!("{endpoint}: {e}"))?);
        }
        Ok(states)
    }

    /// Writes fresh rows, and finds each by its own embedding on every node.
    async fn serve(&self) -> Result<(), Broken> {
        let mut rng = stream(self.seed, "fresh");
        let observer = self.client.observe(SPACE, ObserveOptions::default()).await;
        let observer = observer.map_err(|e| format!("liveness: no session after the faults: {e}"))?;
        let fresh: Vec<(String, Vec<f32>)> = (0..FRESH).map(|row| (format!("fresh {row}"), vector(&mut rng))).collect();
        for (text, embedding) in &fresh {
            let pushed = observer.push(observation(text.clone(), embedding)).await;
            pushed.map_err(|e| format!("liveness: no push after the faults: {e}"))?;
        }
        let flushed = timeout(LIMIT, observer.flush()).await;
        flushed
            .map_err(|_| format!("liveness: no acks {LIMIT:?} after the faults"))?
            .map_err(|e| format!("liveness: {e}"))?;
        for endpoint in self.nodes.endpoints() {
            for (text, embedding) in &fresh {
                let recall = Recall { level: Level::Linearizable, ..Recall::new(SPACE, embedding.clone(), 10) };
                let answer = self.client.on(&endpoint).recall(recall).await;
                let answer = answer.map_err(|e| format!("liveness: no recall from {endpoint}: {e}"))?;
                if !answer.hits.iter().any(|hit| hit.text == *text) {
                    return Err(format!("visible: {text:?} is not found by its own embedding on {endpoint}"));
                }
            }
        }
        Ok(())
    }

    /// Has every node prove its graphs: links, levels, reachability, digest.
    async fn prove(&self) -> Result<(), Broken> {
        for endpoint in self.nodes.endpoints() {
            let proof = self.client.on(&endpoint).verify("").await;
            let proof = proof.map_err(|e| format!("liveness: no proof from {endpoint}: {e}"))?;
            if let Some(graph) = proof.graphs.iter().find(|graph| !graph.broken.is_empty()) {
                return Err(format!("graph_valid: node {}, space {}: {}", proof.node, graph.space, graph.broken));
            }
        }
        Ok(())
    }

    /// Reads everything from every node into the history; what there is, by client and number.
    async fn scan(&self) -> Result<Vec<Committed>, Broken> {
        let mut committed = Vec::new();
        for node in self.nodes.voters() {
            let endpoint = self.nodes.address(node).client_address;
            let list = List { level: Level::Linearizable, ..List::new(SPACE) };
            let listing = self.client.on(&endpoint).list_all(list).await;
            let listing = listing.map_err(|e| format!("liveness: no list from {endpoint}: {e}"))?;
            // The fresh rows are not of the history.
            let rows: Vec<&Row> = listing.rows.iter().filter(|row| !text(row).starts_with("fresh ")).collect();
            let counted = self.client.on(&endpoint).count(SPACE, None, Level::Linearizable).await;
            let (counted, _) = counted.map_err(|e| format!("liveness: no count from {endpoint}: {e}"))?;
            if listing.rows.len() - rows.len() != FRESH || counted != listing.rows.len() as u64 {
                let (listed, rows) = (listing.rows.len(), rows.len());
                return Err(format!(
                    "visible: {endpoint} lists {listed} rows, {rows} without the fresh, and counts {counted}"
                ));
            }
            let read = |row: &&Row| {
                let Row { session, sequence, log_index, .. } = row;
                json!({"session": session, "sequence": sequence, "payload": text(row), "log_index": log_index})
            };
            self.recorder.read_all(node, json!(rows.iter().map(read).collect::<Vec<_>>()));
            committed = rows.into_iter().map(named).collect();
        }
        Ok(committed)
    }

    /// Every node answers questions about one log index alike, to the byte.
    async fn past(&self, index: u64) -> Result<usize, Broken> {
        let mut rng = stream(self.seed, "questions");
        for question in 0..QUESTIONS {
            let cue = vector(&mut rng);
            let mut first: Option<(String, String)> = None;
            for endpoint in self.nodes.endpoints() {
                let recall =
                    Recall { at_index: Some(index), level: Level::Eventual, ..Recall::new(SPACE, cue.clone(), 100) };
                let answer = self.client.on(&endpoint).recall(recall).await;
                let answer = answer.map_err(|e| format!("liveness: no past from {endpoint}: {e}"))?;
                let digest = bytes(&answer);
                match &first {
                    Some((other, expected)) if *expected != digest => {
                        return Err(format!(
                            "one_past: {other} and {endpoint} differ about question {question} at {index}"
                        ));
                    }
                    Some(_) => {}
                    None => first = Some((endpoint, digest)),
                }
            }
        }
        Ok(QUESTIONS)
    }
}

fn applied(state: &StatusResponse) -> u64 {
    state.watermarks.map_or(0, |marks| marks.applied)
}

/// What keeps the cluster from being as it should be in the end.
fn unsettled(states: &[StatusResponse], guests: bool) -> Option<String> {
    let crowded = || states.iter().find(|state| !guests && state.members.len() != states.len());
    let crowded = || crowded().map(|state| format!("node {} knows {} members", state.node, state.members.len()));
    difference(states).or_else(crowded)
}

/// By its client's name: session ids are log indexes, which differ between worlds.
fn named(row: &Row) -> Committed {
    let session = text(row).split(" row ").next().unwrap_or_default().replace(' ', "-");
    Committed { session, sequence: row.sequence, payload: format!("{:016x}", row.payload_hash) }
}

fn text(row: &Row) -> &str {
    row.observation.as_ref().map_or("", |observation| &observation.text)
}
