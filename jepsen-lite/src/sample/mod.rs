//! Histories that correct systems give, drawn from a seed: for measurements, and for tests that break them.
//!
//! Clients ask a system that is one value; each operation takes effect at one moment while it is open, an operation
//! of unknown outcome at any later moment or never, one that fails never.
//!
//! Invariant: a system here knows nothing of the checkers; what it answers follows from its own state alone.
//!
//! Leaves out: systems that are wrong; a test changes an answer.

mod memory;
mod simple;

use serde_json::Value;

use crate::history::{History, Writer};
use crate::model::Model;

/// Splitmix64.
#[derive(Debug, Clone)]
pub struct Rng(pub u64);

impl Rng {
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `bound` − 1.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.draw()) * bound as u128) >> 64) as usize
    }

    /// Whether something of this chance happens.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// What a run is like.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// How many operations.
    pub operations: usize,
    /// How many may be open at once.
    pub clients: usize,
    /// Of a hundred, how many fail without effect.
    pub fail_percent: usize,
    /// Of a thousand, how many end unknown.
    pub unknown_permille: usize,
    /// Whether reads of a memory tell everything they see (small runs only).
    pub whole_reads: bool,
}

impl Shape {
    /// A run of `operations` by ten clients, one in a thousand unknown.
    pub fn large(operations: usize) -> Self {
        Self { operations, clients: 10, fail_percent: 2, unknown_permille: 1, whole_reads: false }
    }

    /// A run of some operations with much doubt.
    pub fn small(rng: &mut Rng, operations: usize) -> Self {
        let (operations, clients) = (1 + rng.below(operations), 1 + rng.below(5));
        Self { operations, clients, fail_percent: 10, unknown_permille: 150, whole_reads: true }
    }
}

/// A history of `model` that is valid.
pub fn history(model: Model, shape: &Shape, rng: &mut Rng) -> History {
    match model {
        Model::Register => run(simple::Registers::new(false, shape), shape, rng),
        Model::CasRegister => run(simple::Registers::new(true, shape), shape, rng),
        Model::Set | Model::SetFull => run(simple::Sets::new(model == Model::SetFull, shape), shape, rng),
        Model::Counter => run(simple::Counters::default(), shape, rng),
        Model::Observations => run(memory::Streams::default(), shape, rng),
        Model::Sessions => run(memory::Memory::sessions(shape), shape, rng),
        Model::Recall | Model::LinearizableRecall => run(memory::Memory::vectors(shape), shape, rng),
    }
}

/// What a client asks.
struct Question<T> {
    f: &'static str,
    key: Value,
    value: Value,
    task: T,
}

/// A system that answers.
trait System {
    /// An operation under way.
    type Task;

    /// A client's next question.
    fn ask(&mut self, client: usize, time: u64, rng: &mut Rng) -> Question<Self::Task>;

    /// The operation takes effect.
    fn apply(&mut self, task: &mut Self::Task, rng: &mut Rng);

    /// What the client hears, after it took effect; and for a compare-and-set, whether it swapped.
    fn answer(&mut self, task: &Self::Task) -> (Value, Option<bool>);

    /// Questions to ask at the end, one after another.
    fn last(&mut self) -> Vec<Question<Self::Task>> {
        Vec::new()
    }
}

enum Fate {
    Ok,
    Fail,
    Unknown,
}

struct Open<T> {
    process: i64,
    task: T,
    fate: Fate,
    applied: bool,
}

fn run<S: System>(mut system: S, shape: &Shape, rng: &mut Rng) -> History {
    let mut writer = Writer::new("sample");
    let mut processes: Vec<i64> = (0..shape.clients).map(|_| writer.process()).collect();
    let mut open: Vec<Option<Open<S::Task>>> = (0..shape.clients).map(|_| None).collect();
    let mut late: Vec<S::Task> = Vec::new();
    let (mut begun, mut time) = (0, 0);
    while begun < shape.operations || open.iter().any(Option::is_some) {
        time += 1 + rng.below(20_000) as u64;
        if !late.is_empty() && rng.chance(5) {
            let mut task = late.swap_remove(rng.below(late.len()));
            system.apply(&mut task, rng);
        }
        let client = rng.below(shape.clients);
        let Some(mut pending) = open[client].take() else {
            if begun < shape.operations {
                begun += 1;
                let Question { f, key, value, task } = system.ask(client, time, rng);
                let process = processes[client];
                writer.invoke(process, f, key, value, time);
                let fate = match rng.below(1000) {
                    roll if roll < shape.unknown_permille => Fate::Unknown,
                    roll if roll < shape.unknown_permille + 10 * shape.fail_percent => Fate::Fail,
                    _ => Fate::Ok,
                };
                open[client] = Some(Open { process, task, fate, applied: false });
            }
            continue;
        };
        let effective = match pending.fate {
            Fate::Ok => true,
            Fate::Fail => false,
            Fate::Unknown => rng.chance(50),
        };
        if !pending.applied && effective {
            system.apply(&mut pending.task, rng);
            pending.applied = true;
            open[client] = Some(pending);
            continue;
        }
        match pending.fate {
            Fate::Ok => finish(&mut writer, &mut system, &pending, time),
            Fate::Fail => writer.fail(pending.process, Value::Null, time),
            Fate::Unknown => {
                processes[client] = writer.info(pending.process, Value::Null, time);
                late.extend((!pending.applied && rng.chance(50)).then_some(pending.task));
            }
        }
    }
    for Question { f, key, value, mut task } in system.last() {
        time += 1;
        let process = writer.process();
        writer.invoke(process, f, key, value, time);
        system.apply(&mut task, rng);
        finish(&mut writer, &mut system, &Open { process, task, fate: Fate::Ok, applied: true }, time + 1);
    }
    writer.into_history()
}

fn finish<S: System>(writer: &mut Writer, system: &mut S, done: &Open<S::Task>, time: u64) {
    match system.answer(&done.task) {
        (value, Some(swapped)) => writer.ok_cas(done.process, value, swapped, time),
        (value, None) => writer.ok(done.process, value, time),
    }
}
