//! Registers, sets and counters.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Question, Rng, Shape, System};

/// How many operations a set of a large run gets before the next one is begun: reads tell all elements.
const OPERATIONS_PER_SET: usize = 500;

/// Registers by key, null at first.
pub(super) struct Registers {
    cas: bool,
    keys: usize,
    held: BTreeMap<usize, Value>,
}

pub(super) struct RegisterTask {
    key: usize,
    f: &'static str,
    asked: Value,
    told: (Value, Option<bool>),
}

impl Registers {
    pub fn new(cas: bool, shape: &Shape) -> Self {
        let keys = if shape.whole_reads { 1 } else { 10 };
        Self { cas, keys, held: BTreeMap::new() }
    }
}

impl System for Registers {
    type Task = RegisterTask;

    fn ask(&mut self, _client: usize, _time: u64, rng: &mut Rng) -> Question<RegisterTask> {
        let key = rng.below(self.keys);
        let (f, value) = match rng.below(if self.cas { 4 } else { 2 }) {
            0 => ("read", Value::Null),
            1 => ("write", json!(rng.below(5))),
            _ => ("cas", json!([rng.below(5), rng.below(5)])),
        };
        let task = RegisterTask { key, f, asked: value.clone(), told: (Value::Null, None) };
        Question { f, key: json!(key), value, task }
    }

    fn apply(&mut self, task: &mut RegisterTask, _rng: &mut Rng) {
        let held = self.held.entry(task.key).or_default();
        task.told = match task.f {
            "read" => (held.clone(), None),
            "write" => {
                *held = task.asked.clone();
                (task.asked.clone(), None)
            }
            _ => {
                let swaps = *held == task.asked[0];
                if swaps {
                    *held = task.asked[1].clone();
                }
                (task.asked.clone(), Some(swaps))
            }
        };
    }

    fn answer(&mut self, task: &RegisterTask) -> (Value, Option<bool>) {
        task.told.clone()
    }
}

/// Sets that grow.
pub(super) struct Sets {
    read_all_along: bool,
    per_set: usize,
    asked: usize,
    held: BTreeMap<usize, Vec<usize>>,
}

pub(super) struct SetTask {
    set: usize,
    /// The element to add; nothing for a read.
    element: Option<usize>,
    told: Value,
}

impl Sets {
    pub fn new(read_all_along: bool, shape: &Shape) -> Self {
        let per_set = if read_all_along && !shape.whole_reads { OPERATIONS_PER_SET } else { usize::MAX };
        Self { read_all_along, per_set, asked: 0, held: BTreeMap::new() }
    }

    fn question(&self, set: usize, element: Option<usize>) -> Question<SetTask> {
        let f = if element.is_some() { "add" } else { "read" };
        let task = SetTask { set, element, told: Value::Null };
        Question { f, key: json!(set), value: json!(element), task }
    }
}

impl System for Sets {
    type Task = SetTask;

    fn ask(&mut self, _client: usize, _time: u64, rng: &mut Rng) -> Question<SetTask> {
        self.asked += 1;
        let set = self.asked / self.per_set;
        self.held.entry(set).or_default();
        let read = self.read_all_along && rng.chance(30);
        self.question(set, (!read).then_some(self.asked))
    }

    fn apply(&mut self, task: &mut SetTask, _rng: &mut Rng) {
        let held = self.held.entry(task.set).or_default();
        held.extend(task.element);
        task.told = task.element.map_or_else(|| json!(held), |element| json!(element));
    }

    fn answer(&mut self, task: &SetTask) -> (Value, Option<bool>) {
        (task.told.clone(), None)
    }

    fn last(&mut self) -> Vec<Question<SetTask>> {
        self.held.keys().map(|set| self.question(*set, None)).collect()
    }
}

/// Ten counters.
#[derive(Default)]
pub(super) struct Counters {
    values: [i64; 10],
}

pub(super) struct CounterTask {
    counter: usize,
    by: Option<i64>,
    told: i64,
}

impl System for Counters {
    type Task = CounterTask;

    fn ask(&mut self, _client: usize, _time: u64, rng: &mut Rng) -> Question<CounterTask> {
        let (counter, read) = (rng.below(10), rng.chance(40));
        let by = (!read).then(|| rng.below(11) as i64 - 5);
        let f = if read { "read" } else { "add" };
        Question { f, key: json!(counter), value: json!(by), task: CounterTask { counter, by, told: 0 } }
    }

    fn apply(&mut self, task: &mut CounterTask, _rng: &mut Rng) {
        let value = &mut self.values[task.counter];
        *value += task.by.unwrap_or(0);
        task.told = task.by.unwrap_or(*value);
    }

    fn answer(&mut self, task: &CounterTask) -> (Value, Option<bool>) {
        (json!(task.told), None)
    }
}
