//! What the tests share: a seeded generator, a correct register store that records histories, and two referees.
//!
//! The referees know nothing of the checker: one enumerates every order, the other is the plain algorithm of Wing
//! and Gong with a memory of (operations done, register).

#![allow(dead_code, clippy::disallowed_types, reason = "each test uses its part; the set is only asked for membership")]

use std::collections::HashSet;

pub use engram_jepsen_lite::sample::Rng;

use engram_jepsen_lite::history::{Event, EventType, History};
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Read,
    Write(i64),
    Cas(i64, i64),
}

/// An operation on one register; -1 is null.
#[derive(Clone, Copy, Debug)]
pub struct Op {
    pub process: i64,
    pub kind: Kind,
    pub outcome: EventType,
    /// What a read returned; 1 or 0 for a cas that swapped or did not.
    pub answer: i64,
    pub from: usize,
    pub to: usize,
}

fn value(number: i64) -> Value {
    if number < 0 { Value::Null } else { json!(number) }
}

pub fn history(ops: &[Op]) -> History {
    let mut events: Vec<(usize, Event)> = Vec::new();
    for op in ops {
        let (f, argument) = match op.kind {
            Kind::Read => ("read", Value::Null),
            Kind::Write(to) => ("write", value(to)),
            Kind::Cas(from, to) => ("cas", json!([value(from), value(to)])),
        };
        let event = |kind, value, result, at: usize| {
            let (process, f, key, time) = (op.process, f.to_string(), json!("x"), at as u64);
            (at, Event { process, kind, f, key, value, result, time })
        };
        events.push(event(EventType::Invoke, argument.clone(), None, op.from));
        if op.outcome != EventType::Invoke {
            let ok = op.outcome == EventType::Ok;
            let returned = if ok && op.kind == Kind::Read { value(op.answer) } else { argument };
            let result = (ok && matches!(op.kind, Kind::Cas(..))).then_some(op.answer == 1);
            events.push(event(op.outcome, returned, result, op.to));
        }
    }
    events.sort_by_key(|(at, _)| *at);
    let mut history = History::new("test");
    events.into_iter().for_each(|(_, event)| history.push(event));
    history
}

pub struct Shape {
    pub ops: usize,
    pub processes: usize,
    pub values: usize,
    pub cas: bool,
    pub unknown_percent: usize,
    pub unique_writes: bool,
}

struct Open {
    op: Op,
    applied: bool,
}

fn apply(open: &mut Open, register: &mut i64) {
    if open.applied || open.op.outcome == EventType::Fail {
        return;
    }
    open.applied = true;
    match open.op.kind {
        Kind::Read => open.op.answer = *register,
        Kind::Write(to) => *register = to,
        Kind::Cas(from, to) => {
            open.op.answer = i64::from(*register == from);
            if *register == from {
                *register = to;
            }
        }
    }
}

/// A history that a correct register gave: each operation takes effect at one moment while it is open, those of
/// unknown outcome at any later moment or never.
pub fn correct(rng: &mut Rng, shape: &Shape) -> Vec<Op> {
    let (mut register, mut at, mut begun, mut process_next) = (-1, 0, 0, 0);
    let (mut open, mut late, mut done): (Vec<Open>, Vec<Open>, Vec<Op>) = Default::default();
    while begun < shape.ops || !open.is_empty() {
        at += 1;
        for pending in open.iter_mut().chain(&mut late) {
            if rng.chance(15) {
                apply(pending, &mut register);
            }
        }
        if begun < shape.ops && open.len() < shape.processes && rng.chance(55) {
            begun += 1;
            let fresh = if shape.unique_writes { begun as i64 } else { rng.below(shape.values) as i64 };
            let kind = match rng.below(if shape.cas { 4 } else { 2 }) {
                0 => Kind::Read,
                1 => Kind::Write(fresh),
                _ => Kind::Cas(if rng.chance(60) { register } else { rng.below(shape.values) as i64 }, fresh),
            };
            let outcome = match rng.below(100) {
                roll if roll < shape.unknown_percent => EventType::Info,
                roll if roll < shape.unknown_percent + 4 => EventType::Fail,
                _ => EventType::Ok,
            };
            process_next += 1;
            let op = Op { process: process_next, kind, outcome, answer: 0, from: at, to: usize::MAX };
            open.push(Open { op, applied: false });
        } else if !open.is_empty() {
            let mut closing = open.swap_remove(rng.below(open.len()));
            if closing.op.outcome == EventType::Ok {
                apply(&mut closing, &mut register);
            }
            closing.op.to = at;
            if closing.op.outcome == EventType::Info && rng.chance(30) {
                closing.op.outcome = EventType::Invoke;
            }
            done.push(closing.op);
            if closing.op.outcome != EventType::Ok {
                late.push(closing);
            }
        }
    }
    done.sort_by_key(|op| op.from);
    done
}

/// Changes one answer; the history may be invalid then, or not.
pub fn break_one(rng: &mut Rng, ops: &mut [Op], values: usize) {
    let answers: Vec<usize> = (0..ops.len())
        .filter(|index| ops[*index].outcome == EventType::Ok && !matches!(ops[*index].kind, Kind::Write(_)))
        .collect();
    if answers.is_empty() {
        return;
    }
    let op = &mut ops[answers[rng.below(answers.len())]];
    op.answer = match op.kind {
        Kind::Read => rng.below(values + 1) as i64 - 1,
        _ => 1 - op.answer,
    };
}

fn step(op: &Op, register: i64) -> Option<i64> {
    let known = op.outcome == EventType::Ok;
    match op.kind {
        Kind::Read => (!known || op.answer == register).then_some(register),
        Kind::Write(to) => Some(to),
        Kind::Cas(from, to) => {
            let swapped = register == from;
            (!known || swapped == (op.answer == 1)).then_some(if swapped { to } else { register })
        }
    }
}

fn may_begin(ops: &[Op], done: u64, index: usize) -> bool {
    (0..ops.len())
        .all(|other| done >> other & 1 == 1 || ops[other].outcome != EventType::Ok || ops[other].to > ops[index].from)
}

fn complete(ops: &[Op], done: u64) -> bool {
    (0..ops.len()).all(|index| done >> index & 1 == 1 || ops[index].outcome != EventType::Ok)
}

/// Tries every order of the known operations and of every subset of the unknown ones.
pub fn brute(ops: &[Op], done: u64, register: i64) -> bool {
    complete(ops, done)
        || (0..ops.len()).any(|index| {
            done >> index & 1 == 0
                && ops[index].outcome != EventType::Fail
                && may_begin(ops, done, index)
                && step(&ops[index], register).is_some_and(|register| brute(ops, done | 1 << index, register))
        })
}

/// Wing and Gong, with a memory of what was tried.
pub fn wing_gong(ops: &[Op]) -> bool {
    let mut seen = HashSet::new();
    let mut stack = vec![(0_u64, -1_i64)];
    while let Some((done, register)) = stack.pop() {
        if complete(ops, done) {
            return true;
        }
        if !seen.insert((done, register)) {
            continue;
        }
        for index in (0..ops.len()).filter(|index| done >> index & 1 == 0) {
            if ops[index].outcome != EventType::Fail && may_begin(ops, done, index) {
                stack.extend(step(&ops[index], register).map(|register| (done | 1 << index, register)));
            }
        }
    }
    false
}
