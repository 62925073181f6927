//! What clients did and heard, as three histories of one run, and as samples for the page.
//!
//! One lock orders all events. Rows of the space that every node must hold whole go into the history of observations;
//! rows, forgets and recalls of both spaces go into that of sessions (key: the client) and that of recalls (key: the
//! space). A row is called by its text, which no other row has.
//!
//! Invariant: an operation is invoked here before it is sent, and completed here after its answer has come; so whatever
//! a history calls *before* was before.

use engram_client::{Answer, Level};
use engram_jepsen_lite::history::{History, Writer};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::Xxh3;

/// The space of streams.
pub const SPACE: &str = "memories";

/// Between two looks at the driver's own punctuality.
const NAP: Duration = Duration::from_millis(20);

/// The histories of all clients; cheap to clone.
#[derive(Clone)]
pub struct Recorder(Arc<Mutex<Recorded>>, Instant);

struct Recorded {
    observations: Writer,
    sessions: Writer,
    recalls: Writer,
    samples: Samples,
    unknown: u64,
    streams_in_doubt: u64,
    /// Rows of streams, in the order of their acks.
    acked: Vec<String>,
}

/// Times of what was answered, for the page.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// When each acked row was offered and when its ack came.
    pub acks: Vec<(Duration, Duration)>,
    /// When each recall began, how long it took, and whether it was answered.
    pub recalls: Vec<(Duration, Duration, bool)>,
    /// How late a task of the driver woke, each time: what the machine lacks.
    pub late: Vec<Duration>,
}

/// The three histories.
pub struct Histories {
    /// For the model `observations`.
    pub observations: History,
    /// For the model `sessions`.
    pub sessions: History,
    /// For the models `recall` and `linearizable-recall`.
    pub recalls: History,
}

/// A row that was sent.
pub struct Sent {
    text: String,
    sequence: u64,
    began: Duration,
    observation: Option<i64>,
    session: i64,
    recall: i64,
}

impl Sent {
    /// What the row is called.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A recall or forget that was sent.
pub struct Asked {
    began: Duration,
    session: i64,
    recall: i64,
}

/// Who sends a row, and where.
pub struct From<'a> {
    /// The client's name.
    pub client: &'a str,
    /// The session's id.
    pub session: u64,
    /// The space.
    pub space: &'a str,
}

impl Recorder {
    /// Time counts from now.
    pub fn new() -> Self {
        let mut recalls = Writer::new("recalls");
        for space in [SPACE, super::names::SPACE] {
            let process = recalls.process();
            recalls.invoke(process, "space", json!(space), json!({"metric": "cosine"}), 0);
            recalls.ok(process, Value::Null, 0);
        }
        let recorded = Recorded {
            observations: Writer::new("observations"),
            sessions: Writer::new("sessions"),
            recalls,
            samples: Samples::default(),
            unknown: 0,
            streams_in_doubt: 0,
            acked: Vec::new(),
        };
        Self(Arc::new(Mutex::new(recorded)), Instant::now())
    }

    /// How long the run has lasted.
    pub fn now(&self) -> Duration {
        self.1.elapsed()
    }

    /// The recorder, and the time: in this order, so that times never go back from line to line.
    fn hold(&self) -> (MutexGuard<'_, Recorded>, u64, Duration) {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        (held, now.as_nanos() as u64, now)
    }

    /// A row is about to be sent.
    pub fn observes(&self, from: &From<'_>, sequence: u64, text: &str, embedding: &[f32]) -> Sent {
        let (mut held, ns, began) = self.hold();
        let observation = (from.space == SPACE).then(|| {
            let value = json!({"sequence": sequence, "payload": text});
            begin(&mut held.observations, "observe", json!(from.session), value, ns)
        });
        let session =
            begin(&mut held.sessions, "observe", json!(from.client), json!({"id": text, "sequence": sequence}), ns);
        let value = json!({"id": text, "embedding": hex(embedding)});
        let recall = begin(&mut held.recalls, "observe", json!(from.space), value, ns);
        Sent { text: text.to_string(), sequence, began, observation, session, recall }
    }

    /// The row is committed, at a log index if that is known.
    pub fn committed(&self, sent: Sent, log_index: Option<u64>) {
        let (mut held, ns, now) = self.hold();
        let mut told = json!({});
        let mut acked = json!({"sequence": sent.sequence, "payload": sent.text});
        if let Some(index) = log_index {
            (told["log_index"], acked["log_index"]) = (json!(index), json!(index));
        }
        if let Some(process) = sent.observation {
            held.observations.ok(process, acked, ns);
            held.acked.push(sent.text);
        }
        held.sessions.ok(sent.session, told.clone(), ns);
        held.recalls.ok(sent.recall, told, ns);
        held.samples.acks.push((sent.began, now));
    }

    /// Nobody will learn what became of a row.
    pub fn lost_sight(&self, sent: Sent) {
        let (mut held, ns, _) = self.hold();
        if let Some(process) = sent.observation {
            held.observations.info(process, Value::Null, ns);
            held.streams_in_doubt += 1;
        }
        held.sessions.info(sent.session, Value::Null, ns);
        held.recalls.info(sent.recall, Value::Null, ns);
        held.unknown += 1;
    }

    /// A recall is about to be sent. `token` is what the client's reads must reach.
    pub fn recalls(&self, client: &str, space: &str, cue: &[f32], k: u32, level: Fresh, token: u64) -> Asked {
        let (mut held, ns, began) = self.hold();
        let level_told = level.told();
        let mut asked = json!({"level": level_told});
        if level == Fresh::Level(Level::Session) {
            asked["token"] = json!(token);
        }
        let session = begin(&mut held.sessions, "recall", json!(client), asked, ns);
        let value = json!({"cue": hex(cue), "k": k, "level": level_told});
        let recall = begin(&mut held.recalls, "recall", json!(space), value, ns);
        Asked { began, session, recall }
    }

    /// The recall was answered.
    pub fn answered(&self, asked: Asked, answer: &Answer) {
        let hits: Vec<Value> = answer
            .hits
            .iter()
            .map(|hit| json!({"id": hit.text, "score": hit.score, "log_index": hit.log_index}))
            .collect();
        let ids: Vec<&str> = answer.hits.iter().map(|hit| &*hit.text).collect();
        let (applied, node) = (answer.snapshot.applied_index, answer.snapshot.node);
        let (mut held, ns, now) = self.hold();
        held.sessions.ok(asked.session, json!({"applied_index": applied, "node": node, "hits": ids}), ns);
        let told = json!({"applied_index": applied, "node": node, "hits": hits, "bytes": bytes(answer)});
        held.recalls.ok(asked.recall, told, ns);
        held.samples.recalls.push((asked.began, now - asked.began, true));
    }

    /// The recall had no answer.
    pub fn unanswered(&self, asked: Asked, why: &str) {
        let (mut held, ns, now) = self.hold();
        held.sessions.fail(asked.session, json!(why), ns);
        held.recalls.fail(asked.recall, json!(why), ns);
        held.samples.recalls.push((asked.began, now - asked.began, false));
    }

    /// Rows are about to be forgotten.
    pub fn forgets(&self, client: &str, space: &str, ids: &[String]) -> Asked {
        let (mut held, ns, began) = self.hold();
        let session = begin(&mut held.sessions, "forget", json!(client), json!({"ids": ids}), ns);
        let recall = begin(&mut held.recalls, "forget", json!(space), json!({"ids": ids}), ns);
        Asked { began, session, recall }
    }

    /// They are forgotten (a log index), surely not (an error), or nobody knows.
    pub fn forgotten(&self, asked: Asked, done: Result<Option<u64>, String>) {
        let (mut held, ns, _) = self.hold();
        let Asked { session, recall, .. } = asked;
        match done {
            Ok(Some(index)) => {
                held.sessions.ok(session, json!({"log_index": index}), ns);
                held.recalls.ok(recall, json!({"log_index": index}), ns);
            }
            Ok(None) => {
                held.sessions.info(session, Value::Null, ns);
                held.recalls.info(recall, Value::Null, ns);
            }
            Err(why) => {
                held.sessions.fail(session, json!(why), ns);
                held.recalls.fail(recall, json!(why), ns);
            }
        }
    }

    /// Sleeps again and again, and notes by how much too long; never ends.
    pub async fn watch_itself(self) {
        loop {
            let due = self.now() + NAP;
            tokio::time::sleep(NAP).await;
            let late = self.now().saturating_sub(due);
            self.hold().0.samples.late.push(late);
        }
    }

    /// What a node holds in the end.
    pub fn read_all(&self, node: u64, rows: Value) {
        let (mut held, ns, _) = self.hold();
        let process = begin(&mut held.observations, "read-all", json!(node), Value::Null, ns);
        held.observations.ok(process, rows, ns);
    }

    /// How many rows are acked, and how many nobody will ever know about.
    pub fn counts(&self) -> (u64, u64) {
        let (held, ..) = self.hold();
        (held.samples.acks.len() as u64, held.unknown)
    }

    /// The streams' rows that were acked first, as many as `count`; or all so far.
    pub fn acked(&self, count: Option<usize>) -> Vec<String> {
        let (held, ..) = self.hold();
        held.acked[..count.unwrap_or(held.acked.len()).min(held.acked.len())].to_vec()
    }

    /// How many of them are acked.
    pub fn acked_count(&self) -> usize {
        self.hold().0.acked.len()
    }

    /// How many rows of streams nobody will ever know about.
    pub fn streams_in_doubt(&self) -> u64 {
        self.hold().0.streams_in_doubt
    }

    /// Takes everything out; operations still open count as unknown.
    pub fn take(&self) -> (Histories, Samples) {
        let (mut held, ns, _) = self.hold();
        let mut taken = |writer: fn(&mut Recorded) -> &mut Writer| {
            let mut whole = std::mem::replace(writer(&mut held), Writer::new("the end"));
            whole.close_all(ns);
            whole.into_history()
        };
        let histories = Histories {
            observations: taken(|held| &mut held.observations),
            sessions: taken(|held| &mut held.sessions),
            recalls: taken(|held| &mut held.recalls),
        };
        (histories, std::mem::take(&mut held.samples))
    }
}

/// How fresh an answer is asked to be: a level, or a point of the past.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fresh {
    /// A level.
    Level(Level),
    /// As of a log index.
    At(u64),
}

impl Fresh {
    fn told(self) -> Value {
        match self {
            Fresh::At(index) => json!({"at_index": index}),
            Fresh::Level(Level::Eventual) => json!("eventual"),
            Fresh::Level(Level::Session) => json!("session"),
            Fresh::Level(Level::Linearizable) => json!("linearizable"),
            Fresh::Level(Level::AtLeast(token)) => json!({"at_least": token.log_index}),
            Fresh::Level(Level::Bounded(age)) => json!({"bounded_ms": age.as_millis() as u64}),
        }
    }
}

fn begin(writer: &mut Writer, f: &str, key: Value, value: Value, ns: u64) -> i64 {
    let process = writer.process();
    writer.invoke(process, f, key, value, ns);
    process
}

fn hex(vector: &[f32]) -> String {
    vector.iter().flat_map(|value| value.to_le_bytes()).map(|byte| format!("{byte:02x}")).collect()
}

/// A digest of an answer's hits to the bit.
pub fn bytes(answer: &Answer) -> String {
    let mut hash = Xxh3::new();
    for hit in &answer.hits {
        hash.update(&hit.row.to_le_bytes());
        hash.update(&hit.log_index.to_le_bytes());
        hash.update(&hit.score.to_bits().to_le_bytes());
        hash.update(hit.text.as_bytes());
    }
    format!("{:016x}", hash.digest())
}
