//! Seeded clients: observers that write, one reader that recalls; each operation goes into the history.

use engram_client::{AckStage, Client, Event, Level, ObserveOptions, Observer, Priority, Recall, observation};
use engram_jepsen_lite::history::{History, Writer};
use engram_node::env::{Clock, Seed};
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The space that everybody uses.
pub const SPACE: &str = "memories";
/// Its dimension: small, so that minutes are cheap.
pub const DIM: usize = 32;

/// The history of all clients.
#[derive(Clone)]
pub struct Recorder(Arc<Mutex<Recorded>>, fn() -> Duration);

struct Recorded {
    writer: Writer,
    /// The highest log index that was acked, each time it rose.
    acked: Vec<(Duration, u64)>,
}

impl Recorder {
    /// On the world's time.
    pub fn new(now: fn() -> Duration) -> Self {
        Self(Arc::new(Mutex::new(Recorded { writer: Writer::new("simulation"), acked: Vec::new() })), now)
    }

    fn recorded(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, work: impl FnOnce(&mut Writer, u64) -> T) -> T {
        let now = (self.1)().as_nanos() as u64;
        work(&mut self.recorded().writer, now)
    }

    /// Everything so far; operations still open count as unknown.
    pub fn history(&self) -> History {
        self.with(|writer, now| {
            writer.close_all(now);
            writer.history().clone()
        })
    }

    /// A row is sent for the first time: the process of its operation.
    pub fn observes(&self, session: u64, sequence: u64, text: &str) -> i64 {
        self.with(|writer, now| {
            let process = writer.process();
            let value = json!({"sequence": sequence, "payload": text});
            writer.invoke(process, "observe", json!(session), value, now);
            process
        })
    }

    /// The row is committed, at a log index if that is known.
    pub fn committed(&self, process: i64, sequence: u64, text: &str, log_index: Option<u64>) {
        let mut value = json!({"sequence": sequence, "payload": text});
        if let Some(log_index) = log_index {
            value["log_index"] = json!(log_index);
        }
        self.with(|writer, now| writer.ok(process, value, now));
        let mut recorded = self.recorded();
        let highest = recorded.acked.last().map_or(0, |acked| acked.1);
        if let Some(index) = log_index.filter(|index| *index > highest) {
            recorded.acked.push(((self.1)(), index));
        }
    }

    /// The highest log index that was acked to anybody this long ago or longer.
    pub fn acked_before(&self, age: Duration) -> u64 {
        let Some(then) = (self.1)().checked_sub(age) else { return 0 };
        let recorded = self.recorded();
        let passed = recorded.acked.partition_point(|acked| acked.0 <= then);
        passed.checked_sub(1).map_or(0, |last| recorded.acked[last].1)
    }

    /// What a node holds in the end.
    pub fn read_all(&self, node: u64, rows: Value) {
        self.with(|writer, now| {
            let process = writer.process();
            writer.invoke(process, "read-all", json!(node), Value::Null, now);
            writer.ok(process, rows, now);
        });
    }
}

/// A unit vector drawn from a generator.
pub fn vector(rng: &mut StdRng) -> Vec<f32> {
    (0..DIM).map(|_| rng.random_range(-1.0f32..1.0)).collect()
}

/// A twentieth and a little more is what a plan's clocks may drift.
const DRIFT_SHARE: u32 = 18;

/// The most rows of a burst that a writer takes at a time.
const BURST_ROWS: u64 = 64;

/// What one observer did.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// Rows acked as committed.
    pub acked: u64,
    /// Rows with an unknown outcome.
    pub unknown: u64,
}

/// Rows that writers offer beside their own pace; cheap to clone.
#[derive(Clone, Default)]
pub struct Load(Arc<AtomicU64>);

impl Load {
    /// So many more.
    pub fn add(&self, rows: u64) {
        self.0.fetch_add(rows, Ordering::Relaxed);
    }

    /// Takes up to `most` of them.
    fn take(&self, most: u64) -> u64 {
        let taken = self.0.load(Ordering::Relaxed).min(most);
        self.0.fetch_sub(taken, Ordering::Relaxed);
        taken
    }
}

/// One client that streams rows.
pub struct Streamer {
    /// Its own.
    pub client: Client,
    /// In its rows' texts; decides its priority.
    pub name: u64,
    /// How many rows.
    pub rows: u64,
    /// Rows are acked once searchable on so many nodes; as committed if 0.
    pub nodes: u32,
    /// The client host's.
    pub clock: Arc<dyn Clock>,
    /// The history.
    pub recorder: Recorder,
    /// What it offers beside its own pace.
    pub load: Load,
}

impl Streamer {
    /// Streams its rows at a drawn pace, and what is left of them after `until` at once; then waits for the last acks. Which
    /// rows they are depends on the seed alone, so that two worlds can be compared.
    pub async fn run(self, seed: Seed, until: Duration) -> Result<Written, String> {
        let Self { client, name, rows: total, nodes, clock, recorder, load } = self;
        let (mut rng, mut pace) = (seed.stream("rows"), seed.stream("pace"));
        let priority = [Priority::Normal, Priority::High, Priority::Low][name as usize % 3];
        let options = ObserveOptions { stage: AckStage::Committed, priority, ..ObserveOptions::default() };
        let options = if nodes > 0 { options.searchable_on(nodes) } else { options };
        let observer = client.observe(SPACE, options).await.map_err(|e| format!("client {name} cannot open: {e}"))?;
        let session = observer.session();
        let mut rows = Rows { session, open: BTreeMap::new(), recorder, written: Written::default() };
        let mut count = 0u64;
        while count < total {
            let late = clock.monotonic() >= until;
            let more = if late { BURST_ROWS } else { pace.random_range(1..8u64) + load.take(BURST_ROWS) };
            for _ in 0..more.min(total - count) {
                count += 1;
                let text = format!("client {name} row {count}");
                rows.invoke(count, &text);
                let pushed = observer.push(observation(text, &vector(&mut rng))).await;
                pushed.map_err(|e| format!("client {name} cannot push: {e}"))?;
            }
            rows.take(&observer);
            clock.sleep(Duration::from_millis(pace.random_range(40..200))).await;
        }
        observer.flush().await.map_err(|e| format!("client {name} cannot flush: {e}"))?;
        rows.take(&observer);
        rows.written.unknown = rows.open.len() as u64;
        Ok(rows.written)
    }
}

/// The rows of one observer that have no outcome yet: ticket to (process, payload).
struct Rows {
    session: u64,
    open: BTreeMap<u64, (i64, String)>,
    recorder: Recorder,
    written: Written,
}

impl Rows {
    fn invoke(&mut self, ticket: u64, text: &str) {
        // No row of this workload is invalid, so tickets are sequences.
        let process = self.recorder.observes(self.session, ticket, text);
        self.open.insert(ticket, (process, text.to_string()));
    }

    fn take(&mut self, observer: &Observer) {
        while let Some(event) = observer.try_event() {
            let Event::Acked { tickets, sequences, log_index, repeat, .. } = event else { continue };
            for (ticket, sequence) in tickets.zip(sequences) {
                let Some((process, text)) = self.open.remove(&ticket) else { continue };
                self.written.acked += 1;
                // After a resume the index of a repeat is an upper bound only.
                let log_index = (!repeat && log_index > 0).then_some(log_index);
                self.recorder.committed(process, sequence, &text, log_index);
            }
        }
    }
}

/// Recalls from drawn nodes at drawn levels; an answer outside its own snapshot is an error, or one that lacks what its
/// level promises.
pub async fn recall(
    client: Client,
    seed: Seed,
    clock: Arc<dyn Clock>,
    until: Duration,
    recorder: Recorder,
) -> Result<u64, String> {
    let mut rng = seed.stream("recalls");
    let mut answered = 0;
    let mut session_index = 0;
    while clock.monotonic() < until {
        let level = match rng.random_range(0..4) {
            0 => Level::Eventual,
            1 => Level::Session,
            2 => Level::Bounded(Duration::from_millis(rng.random_range(0..500))),
            _ => Level::Linearizable,
        };
        let needs = match level {
            Level::Linearizable => recorder.acked_before(Duration::ZERO),
            // By the node's own clock, which may run slow by as much as a plan can make it.
            Level::Bounded(age) => recorder.acked_before(age + age / DRIFT_SHARE),
            _ => 0,
        };
        let mut recall = Recall::new(SPACE, vector(&mut rng), 10);
        recall.level = level;
        recall.deadline = Duration::from_secs(2);
        if let Ok(answer) = client.recall(recall).await {
            answered += 1;
            let applied = answer.snapshot.applied_index;
            if let Some(hit) = answer.hits.iter().find(|hit| hit.log_index > applied) {
                return Err(format!("answer_within_snapshot: a hit of log index {} at {applied}", hit.log_index));
            }
            let rows: BTreeSet<u64> = answer.hits.iter().map(|hit| hit.row).collect();
            if rows.len() < answer.hits.len() {
                return Err(format!("answer_within_snapshot: a row twice among {:?}", answer.hits));
            }
            if applied < needs {
                return Err(format!("fresh_enough: {level:?} at {applied}, where {needs} had been acked"));
            }
            let proved = answer.snapshot.staleness_ms.filter(|_| matches!(level, Level::Bounded(_)));
            if let (Some(ms), Level::Bounded(age)) = (proved, level)
                && answer.snapshot.read_index.is_none()
                && u128::from(ms) > age.as_millis() + 1
            {
                return Err(format!("fresh_enough: {ms} ms are stated, {age:?} were asked for"));
            }
            if level == Level::Session && applied < session_index {
                return Err(format!("monotonic_reads: applied {applied} after {session_index}"));
            }
            if level == Level::Session {
                session_index = applied;
            }
        }
        clock.sleep(Duration::from_millis(rng.random_range(20..200))).await;
    }
    Ok(answered)
}
