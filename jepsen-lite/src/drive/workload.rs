//! The streams: six clients over the Rust library, with the rows that the simulator's six clients send for the same seed.
//!
//! Which rows a client sends, in which order, is a function of the seed, the plan's length and its bursts, here as
//! there (`sim/src/workload.rs`): the same names, texts and embeddings, so that what two worlds committed can be compared.
//! When it sends them is the driver's own: evenly over the run, and a burst at once.
//!
//! The last client has its rows acked once they are searchable on two nodes. Every client recalls at its session's
//! level now and then: what it was told, it must see.

use crate::drive::Broken;
use crate::drive::reads::ask;
use crate::drive::record::{Fresh, From, Recorder, SPACE, Sent};
use engram_chaos::{Kind, Plan};
use engram_client::{AckStage, Client, Event, Level, ObserveOptions, Observer, Priority, observation};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Its dimension.
pub const DIM: usize = 32;
/// How many clients stream.
pub const STREAMS: u64 = 6;
/// Rows of each of them, a second of the plan.
const ROWS_PER_SECOND: u64 = 16;
/// The last one's rows are acked once they are searchable on so many nodes.
const SEARCHABLE_NODES: u32 = 2;
/// How often a client looks whether rows are due.
const TICK: Duration = Duration::from_millis(20);
/// The most rows that it offers at a time.
const ROWS_AT_ONCE: u64 = 256;
/// Between two recalls of a client that streams.
const RECALL_PAUSE: Duration = Duration::from_millis(1500);
/// Rows still unacked so long after the faults have stopped are late.
pub const ACK_LIMIT: Duration = Duration::from_secs(60);

/// The stream of draws for one purpose, as in the simulator.
pub fn stream(seed: u64, name: &str) -> StdRng {
    StdRng::seed_from_u64(xxh3_64_with_seed(name.as_bytes(), seed))
}

/// An embedding, `[f32; DIM]`.
pub fn vector(rng: &mut StdRng) -> Vec<f32> {
    (0..DIM).map(|_| rng.random_range(-1.0f32..1.0)).collect()
}

/// The draws of the embeddings of one client's rows.
fn rows_of(seed: u64, name: u64) -> StdRng {
    stream(seed ^ (name << 40), "rows")
}

/// Rows of one client without the bursts, and of all bursts.
fn rows(plan: &Plan) -> (u64, u64) {
    let bursts = plan.faults.iter().filter_map(|fault| match fault.kind {
        Kind::Burst { rows } => Some(rows / STREAMS),
        _ => None,
    });
    (plan.duration_ms * ROWS_PER_SECOND / 1000, bursts.sum())
}

/// Rows that bursts offer, beside the even pace; each client has its share.
#[derive(Clone, Default)]
pub struct Load(Arc<AtomicU64>);

impl Load {
    /// So many more, for all clients together.
    pub fn add(&self, rows: u64) {
        self.0.fetch_add(rows / STREAMS, Ordering::Relaxed);
    }

    fn each(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One client that streams.
pub struct Streamer {
    /// Its own.
    pub client: Client,
    /// 1 to `STREAMS`.
    pub number: u64,
    /// The histories.
    pub recorder: Recorder,
    /// What bursts offer.
    pub load: Load,
    /// When the plan's time began.
    pub started: Duration,
    /// How many nodes there are.
    pub nodes: u64,
}

/// Rows without an ack, by ticket.
type Open = Mutex<BTreeMap<u64, Sent>>;

impl Streamer {
    /// Streams all its rows and waits for their acks. The error is a broken promise.
    pub async fn run(self, plan: Plan) -> Result<(), Broken> {
        let name = format!("client {}", self.number);
        let options = ObserveOptions {
            stage: AckStage::Committed,
            priority: [Priority::Normal, Priority::High, Priority::Low][self.number as usize % 3],
            ..ObserveOptions::default()
        };
        let last = self.number == STREAMS && self.nodes > 1;
        let options = if last { options.searchable_on(SEARCHABLE_NODES) } else { options };
        let observer = self.client.observe(SPACE, options).await;
        let observer = observer.map_err(|e| format!("liveness: {name} cannot open a session: {e}"))?;
        let open = Open::default();
        let work = async {
            self.push(&plan, &name, &observer, &open).await?;
            observer.flush().await.map(drop).map_err(|e| format!("liveness: {name}: {e}"))
        };
        let limit = self.started + Duration::from_millis(plan.duration_ms) + ACK_LIMIT;
        let work = async {
            let left = limit.saturating_sub(self.recorder.now());
            let late = |_| Err(format!("liveness: {name} has rows without an ack {ACK_LIMIT:?} after the faults"));
            timeout(left, work).await.unwrap_or_else(late)
        };
        let worked = tokio::select! {
            biased; // acks are heard before more is sent; only the work ends
            () = self.hear(&observer, &open) => unreachable!("it hears until it is dropped"),
            () = recall_own(&self.client, &name, &self.recorder, plan.seed) => unreachable!("it asks until it is dropped"),
            worked = work => worked,
        };
        while let Some(event) = observer.try_event() {
            self.take(event, &open);
        }
        let left = std::mem::take(&mut *open.lock().unwrap_or_else(PoisonError::into_inner));
        left.into_values().for_each(|sent| self.recorder.lost_sight(sent));
        worked
    }

    /// Records acks as they come; never ends.
    async fn hear(&self, observer: &Observer, open: &Open) {
        while let Some(event) = observer.next_event().await {
            self.take(event, open);
        }
        // The stream has ended: whoever pushes or flushes says so.
        std::future::pending().await
    }

    fn take(&self, event: Event, open: &Open) {
        let Event::Acked { tickets, log_index, repeat, .. } = event else { return };
        for ticket in tickets {
            let sent = open.lock().unwrap_or_else(PoisonError::into_inner).remove(&ticket);
            if let Some(sent) = sent {
                // After a resume the index of a repeat is an upper bound only.
                self.recorder.committed(sent, (!repeat && log_index > 0).then_some(log_index));
            }
        }
    }

    async fn push(&self, plan: &Plan, name: &str, observer: &Observer, open: &Open) -> Result<(), Broken> {
        let (even, bursts) = rows(plan);
        let from = From { client: name, session: observer.session(), space: SPACE };
        let mut rng = rows_of(plan.seed, self.number);
        let mut count = 0;
        while count < even + bursts {
            let passed = (self.recorder.now() - self.started).as_millis() as u64;
            let due = match passed >= plan.duration_ms {
                true => even + bursts,
                false => even * passed / plan.duration_ms + self.load.each().min(bursts),
            };
            for _ in 0..due.saturating_sub(count).min(ROWS_AT_ONCE) {
                count += 1;
                let (text, embedding) = (format!("{name} row {count}"), vector(&mut rng));
                // No row of this workload is refused, so tickets are sequences.
                let sent = self.recorder.observes(&from, count, &text, &embedding);
                open.lock().unwrap_or_else(PoisonError::into_inner).insert(count, sent);
                let pushed = observer.push(observation(text, &embedding)).await;
                pushed.map_err(|e| format!("liveness: {name} cannot send row {count}: {e}"))?;
            }
            sleep(TICK).await;
        }
        Ok(())
    }
}

/// Recalls at the session's level, through the client that streams; never ends.
async fn recall_own(client: &Client, name: &str, recorder: &Recorder, seed: u64) {
    let mut rng = stream(seed, &format!("own recalls of {name}"));
    loop {
        sleep(RECALL_PAUSE).await;
        ask(client, name, recorder, SPACE, &vector(&mut rng), Fresh::Level(Level::Session)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_those_of_the_simulator() {
        // From rows that `engram-sim` had committed with seed 7 (`jepsen-lite compare`): a change here is one there.
        let first =
            |name| vector(&mut rows_of(7, name))[..2].iter().map(|value| value.to_le_bytes()).collect::<Vec<_>>();
        assert_eq!(first(1), [[0x70, 0xd3, 0xd6, 0xbe], [0x8c, 0x92, 0x0c, 0xbf]]);
        assert_eq!(first(2), [[0xe0, 0x58, 0x2e, 0x3f], [0x70, 0x66, 0xa8, 0x3e]]);
    }

    #[test]
    fn a_burst_adds_its_share_to_every_client() {
        let text = r#"{"version":1,"seed":1,"profile":"p","duration_ms":10000,"nodes":3,"faults":[
            {"at_ms":1,"until_ms":2,"kind":{"burst":{"rows":10000}}}]}"#;
        assert_eq!(rows(&Plan::from_json(text).expect("valid")), (160, 1666));
    }
}
