//! A replicated memory: one log, three nodes that have applied a prefix of it each, sessions with tokens.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Question, Rng, Shape, System};

const NODES: usize = 3;
const DIM: usize = 16;

/// Streams of observations that are read from each node at the end.
#[derive(Default)]
pub(super) struct Streams {
    sent: BTreeMap<usize, u64>,
    rows: Vec<Value>,
}

pub(super) enum StreamTask {
    Observe(usize, u64, Value),
    ReadAll(Value),
}

impl System for Streams {
    type Task = StreamTask;

    /// A stream has one row under way; the next has its number if it failed.
    fn ask(&mut self, client: usize, _time: u64, _rng: &mut Rng) -> Question<StreamTask> {
        let sequence = self.sent.get(&client).copied().unwrap_or(0) + 1;
        let value = json!({"sequence": sequence, "payload": format!("row {client}/{sequence}")});
        Question { f: "observe", key: json!(client), value, task: StreamTask::Observe(client, sequence, Value::Null) }
    }

    fn apply(&mut self, task: &mut StreamTask, _rng: &mut Rng) {
        match task {
            StreamTask::Observe(client, sequence, told) => {
                let last = self.sent.entry(*client).or_default();
                let payload = format!("row {client}/{sequence}");
                if *last + 1 == *sequence {
                    *last = *sequence;
                    let log_index = 10 + self.rows.len();
                    self.rows.push(
                        json!({"session": *client, "sequence": *sequence, "payload": payload, "log_index": log_index}),
                    );
                    *told = json!({"sequence": *sequence, "payload": payload, "log_index": log_index});
                } else {
                    // A repeat: the row is there.
                    *told = json!({"sequence": *sequence, "payload": payload});
                }
            }
            StreamTask::ReadAll(told) => *told = json!(self.rows),
        }
    }

    fn answer(&mut self, task: &StreamTask) -> (Value, Option<bool>) {
        match task {
            StreamTask::Observe(_, _, told) | StreamTask::ReadAll(told) => (told.clone(), None),
        }
    }

    fn last(&mut self) -> Vec<Question<StreamTask>> {
        let read = |node| Question {
            f: "read-all",
            key: json!(node),
            value: Value::Null,
            task: StreamTask::ReadAll(Value::Null),
        };
        (1..=NODES).map(read).collect()
    }
}

/// An entry of the log.
enum Entry {
    Observe { row: usize, embedding: Vec<f32> },
    Forget { row: usize },
}

/// The memory.
pub(super) struct Memory {
    with_vectors: bool,
    whole_reads: bool,
    sessions: usize,
    log: Vec<Entry>,
    applied: [usize; NODES],
    tokens: Vec<usize>,
    rows: usize,
    /// Questions about the past that were answered, to be asked again.
    past: Vec<(usize, Vec<f32>)>,
}

pub(super) struct Task {
    session: usize,
    what: What,
    told: Value,
    /// What the session's token becomes.
    token: usize,
}

enum What {
    Observe { row: usize, embedding: Vec<f32> },
    Forget { row: usize },
    Recall { least: Least, cue: Vec<f32>, k: usize },
}

/// What an answer must hold.
enum Least {
    Index(usize),
    Everything,
    Exactly(usize),
}

impl Memory {
    /// Sessions that two clients share.
    pub fn sessions(shape: &Shape) -> Self {
        Self::new(false, shape)
    }

    /// One space of vectors.
    pub fn vectors(shape: &Shape) -> Self {
        Self::new(true, shape)
    }

    fn new(with_vectors: bool, shape: &Shape) -> Self {
        let sessions = shape.clients.div_ceil(2);
        let (log, applied, tokens, rows, past) = (Vec::new(), [0; NODES], vec![0; sessions], 0, Vec::new());
        Self { with_vectors, whole_reads: shape.whole_reads, sessions, log, applied, tokens, rows, past }
    }

    fn key(&self, session: usize) -> Value {
        if self.with_vectors { json!("notes") } else { json!(session) }
    }

    fn vector(rng: &mut Rng) -> Vec<f32> {
        (0..DIM).map(|_| (rng.below(2001) as f32 - 1000.0) / 1000.0).collect()
    }

    fn recall(&mut self, session: usize, rng: &mut Rng) -> Question<Task> {
        let (token, end) = (self.tokens[session], self.log.len());
        let mut cue = if self.with_vectors { Self::vector(rng) } else { Vec::new() };
        let (level, least) = match rng.below(7) {
            0 => (json!("eventual"), Least::Index(0)),
            1 => (json!("linearizable"), Least::Everything),
            2 => (json!({"at_least": end / 2}), Least::Index(end / 2)),
            3 => (json!({"bounded_ms": 1}), Least::Everything),
            4 => {
                let mut index = rng.below(end + 1);
                if rng.chance(50) && !self.past.is_empty() {
                    (index, cue) = self.past[rng.below(self.past.len())].clone();
                }
                self.past.push((index, cue.clone()));
                (json!({"at_index": index}), Least::Exactly(index))
            }
            _ => (json!("session"), Least::Index(token)),
        };
        let mut value = json!({"level": level});
        if self.with_vectors {
            (value["cue"], value["k"], value["exact"]) = (json!(cue), json!(10), json!(true));
        }
        let what = What::Recall { least, cue, k: 10 };
        let task = Task { session, what, told: Value::Null, token: 0 };
        Question { f: "recall", key: self.key(session), value, task }
    }

    /// The rows of the state at a log index.
    fn state(&self, applied: usize) -> BTreeMap<usize, (usize, &[f32])> {
        let mut rows = BTreeMap::new();
        for (at, entry) in self.log[..applied].iter().enumerate() {
            match entry {
                Entry::Observe { row, embedding } => {
                    rows.insert(*row, (at + 1, embedding.as_slice()));
                }
                Entry::Forget { row } => {
                    rows.remove(row);
                }
            }
        }
        rows
    }

    fn answer_at(&self, applied: usize, node: usize, cue: &[f32], k: usize) -> Value {
        if !self.with_vectors && !self.whole_reads {
            return json!({"applied_index": applied, "node": node});
        }
        let state = self.state(applied);
        if !self.with_vectors {
            let rows: Vec<usize> = state.into_keys().collect();
            return json!({"applied_index": applied, "node": node, "rows": rows});
        }
        let mut near: Vec<(f64, usize, usize)> =
            state.into_iter().map(|(row, (index, embedding))| (cosine(cue, embedding), row, index)).collect();
        near.sort_by(|one, two| two.0.total_cmp(&one.0).then(one.1.cmp(&two.1)));
        let hits: Vec<Value> = near
            .iter()
            .take(k)
            .map(|(score, row, index)| json!({"id": row, "score": score, "log_index": index}))
            .collect();
        json!({"applied_index": applied, "node": node, "hits": hits})
    }
}

fn cosine(one: &[f32], two: &[f32]) -> f64 {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let lengths = (product(one, one) * product(two, two)).sqrt();
    if lengths > 0.0 { product(one, two) / lengths } else { 0.0 }
}

impl System for Memory {
    type Task = Task;

    fn ask(&mut self, client: usize, _time: u64, rng: &mut Rng) -> Question<Task> {
        let session = client % self.sessions;
        let recalls = match (self.whole_reads, self.with_vectors) {
            (true, _) => 45,
            (false, false) => 30,
            (false, true) => 1,
        };
        let (told, token) = (Value::Null, 0);
        if rng.chance(recalls) {
            self.recall(session, rng)
        } else if self.rows > 0 && rng.chance(5) {
            let row = rng.below(self.rows);
            let task = Task { session, what: What::Forget { row }, told, token };
            Question { f: "forget", key: self.key(session), value: json!({"ids": [row]}), task }
        } else {
            let (row, embedding) = (self.rows, if self.with_vectors { Self::vector(rng) } else { Vec::new() });
            self.rows += 1;
            let mut value = json!({"id": row});
            if self.with_vectors {
                value["embedding"] = json!(embedding);
            }
            let task = Task { session, what: What::Observe { row, embedding }, told, token };
            Question { f: "observe", key: self.key(session), value, task }
        }
    }

    fn apply(&mut self, task: &mut Task, rng: &mut Rng) {
        let node = rng.below(NODES);
        let behind = self.log.len() - self.applied[node];
        self.applied[node] += rng.below(behind + 1);
        match &task.what {
            What::Observe { row, embedding } => {
                self.log.push(Entry::Observe { row: *row, embedding: embedding.clone() });
                task.told = json!({"log_index": self.log.len()});
            }
            What::Forget { row } => {
                self.log.push(Entry::Forget { row: *row });
                task.told = json!({"log_index": self.log.len()});
            }
            What::Recall { least, cue, k } => {
                let needed = match least {
                    Least::Index(index) | Least::Exactly(index) => *index,
                    Least::Everything => self.log.len(),
                };
                self.applied[node] = self.applied[node].max(needed);
                let applied = if matches!(least, Least::Exactly(_)) { needed } else { self.applied[node] };
                task.told = self.answer_at(applied, node + 1, cue, *k);
                task.token = applied;
                return;
            }
        }
        task.token = self.log.len();
    }

    fn answer(&mut self, task: &Task) -> (Value, Option<bool>) {
        let token = &mut self.tokens[task.session];
        *token = (*token).max(task.token);
        (task.told.clone(), None)
    }
}
