//! The smallest part of an invalid history that is still invalid, and the sentence that explains it.
//!
//! Only steps that keep the proof are taken: each makes a history that would be linearizable if the one before were.
//! - the shortest prefix, in which operations that return later count as unknown;
//! - a window at its end, which may start with any value in the register;
//! - without all operations on some values (if no swap ties them to others, and no failed cas looks at them);
//! - without some reads, failed cas, and writes that nobody in the rest reads.
//!
//! Invariant `witness_is_invalid`: the operations that are shown have no order by themselves, whatever came before.
//! A part that can't be decided within [`MEMORY_BYTES`] counts as valid, so that it is not taken.
//!
//! Leaves out: the smallest of all (that is hard); the result can't be shortened by any one of these steps, unless
//! the budget of operations looked at ran out first.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::History;
use crate::operation::Operation;
use crate::verdict::{Counterexample, Point, Prefix, Span};

use super::Key;
use super::config::DEAD;
use super::problem::{Act, Problem, RegisterOp};
use super::search::{Decision, decide, order};

/// Memory for deciding one part.
const MEMORY_BYTES: usize = 64 << 20;
/// Operations that may be looked at in all, over every attempt, besides twenty times the history.
const BUDGET: usize = 4_000_000;
/// Operations of the longest valid prefix that are shown: the last ones.
const PREFIX_SHOWN: usize = 30;
/// Operations that the sentence names, besides the one that fits nowhere.
const NAMED_MAX: usize = 6;

/// Explains why `key` has no order; `stuck` is the operation whose return could not be passed.
pub(super) fn explain(
    history: &History,
    operations: &[Operation<'_>],
    key: &Key,
    stuck: usize,
    others: usize,
) -> Counterexample {
    let mut shrink = Shrink { initials: vec![0], budget: BUDGET + 20 * key.operations.len() };
    let (mut part, end) = shrink.prefix(&key.operations, stuck);
    let prefix = prefix(history, operations, key, end);
    part = shrink.window(part);
    part = shrink.without_values(part);
    part = shrink.without_operations(part);
    let guilty = part.iter().find(|operation| operation.to == end).or(part.last()).map(|guilty| guilty.source);
    let span = |source: usize| {
        let operation = &operations[source];
        operation.span(history, label(operation), Some(source) == guilty)
    };
    let spans: Vec<_> = part.iter().map(|operation| span(operation.source)).collect();
    let name = |span: &Span| {
        let lines = match span.to_line {
            Some(to) => format!("lines {}–{to}", span.from_line),
            None => format!("line {}, never completed", span.from_line),
        };
        format!("{} by process {} ({lines})", span.label, span.process)
    };
    let accused: String = spans.iter().filter(|span| span.guilty).map(name).collect();
    let rest: Vec<String> = spans.iter().filter(|span| !span.guilty).map(name).collect();
    let shown = rest.iter().rev().take(NAMED_MAX).rev().cloned().collect::<Vec<_>>().join(", ");
    let hidden = rest.len().saturating_sub(NAMED_MAX);
    let hidden = if hidden == 0 { String::new() } else { format!("{hidden} earlier operations and ") };
    let start = if shrink.initials == [0] { "starting with null" } else { "whatever it held before" };
    let rest = if rest.is_empty() { String::new() } else { format!(", in no order of {hidden}{shown}") };
    let sentence = format!("register {}, {start}: {accused} can't be explained{rest}", key.name);
    Counterexample { property: "linearizable", sentence, spans, others, prefix, ..Counterexample::default() }
}

/// What precedes the completion at `end`, which can't be passed.
fn prefix(history: &History, operations: &[Operation<'_>], key: &Key, end: usize) -> Option<Prefix> {
    let begun: Vec<&RegisterOp> = key.operations.iter().filter(|operation| operation.from < end).collect();
    let completed = begun.iter().filter(|operation| operation.to < end).count();
    let last = begun.iter().rev().filter(|operation| operation.to < end).take(PREFIX_SHOWN).map(|last| last.from).min();
    let last = last.unwrap_or(0);
    let points = points(history, operations, &cut(&key.operations, end - 1));
    let first = begun.iter().filter(|operation| operation.from >= last).filter_map(|late| points.get(&late.source));
    let first = first.map(|point| point.place).min().unwrap_or(usize::MAX);
    // Operations that were open at its end may be among what can't be placed; those of old doubt are too many, but for those
    // that the order needs just then.
    let shown = begun.iter().filter(|operation| {
        let late = points.get(&operation.source).is_some_and(|point| point.place >= first);
        operation.from >= last || late || (operation.known && operation.to >= end)
    });
    let spans = shown
        .map(|operation| {
            let told = &operations[operation.source];
            let span = told.span(history, label(told), operation.to == end);
            Span { point: points.get(&operation.source).copied(), ..span }
        })
        .collect();
    Some(Prefix { before_line: history.line(end), operations: completed, spans })
}

/// Where each operation that takes effect stands in an order that explains this part; none if it is not found.
fn points(history: &History, operations: &[Operation<'_>], part: &[RegisterOp]) -> BTreeMap<usize, Point> {
    let order = order(&Problem::new(part), MEMORY_BYTES).unwrap_or_default();
    debug_assert!(explains(part, &order), "an order that explains nothing");
    let mut after_line = 0;
    let place = |(before, index): (usize, &u32)| {
        let source = part[*index as usize].source;
        // It is after its own invocation, and after those of all before it.
        after_line = after_line.max(history.line(operations[source].invoke_at));
        (source, Point { place: before + 1, after_line })
    };
    order.iter().enumerate().map(place).collect()
}

/// Whether every known operation is in the order once, where time and the register allow it.
fn explains(part: &[RegisterOp], order: &[u32]) -> bool {
    let mut register = 0;
    let (mut placed, mut begun) = (BTreeSet::new(), 0);
    let right = order.iter().all(|index| {
        let RegisterOp { act, known, from, to, .. } = part[*index as usize];
        begun = begun.max(from);
        let (fits, then) = match act {
            Act::Read(value) => (register == value, register),
            Act::Write(value) => (true, value),
            Act::Swap(value, then) => (register == value, then),
            Act::Differs(value) => (register != value, register),
        };
        register = then;
        fits && placed.insert(*index) && (!known || begun < to)
    });
    let missing = |(index, operation): (usize, &RegisterOp)| operation.known && !placed.contains(&(index as u32));
    right && (order.is_empty() || !part.iter().enumerate().any(missing))
}

fn label(operation: &Operation<'_>) -> String {
    let (f, value) = (&operation.invoke.f, &operation.invoke.value);
    match (f.as_str(), operation.complete.and_then(|event| event.result)) {
        ("read", _) => format!("read → {}", operation.returned()),
        ("cas", Some(result)) => format!("cas {value} → {result}"),
        _ => format!("{f} {value}"),
    }
}

struct Shrink {
    /// What the register may hold at the start.
    initials: Vec<u32>,
    budget: usize,
}

impl Shrink {
    fn invalid(&mut self, part: &[RegisterOp]) -> bool {
        if part.len() > self.budget {
            return false;
        }
        self.budget -= part.len();
        matches!(decide(&Problem::new(part), &self.initials, MEMORY_BYTES), Decision::Stuck { .. })
    }

    /// The shortest invalid prefix, and the place where it ends.
    fn prefix(&mut self, all: &[RegisterOp], stuck: usize) -> (Vec<RegisterOp>, usize) {
        let mut ends: Vec<usize> = all.iter().filter(|operation| operation.known).map(|known| known.to).collect();
        ends.sort_unstable();
        let last = ends.last().copied().unwrap_or(0);
        let guess = cut(all, all[stuck].to);
        let (mut best, mut end) = if self.invalid(&guess) { (guess, all[stuck].to) } else { (all.to_vec(), last) };
        let (mut low, mut high) = (0, ends.partition_point(|place| *place < end));
        while low < high {
            let middle = (low + high) / 2;
            let part = cut(all, ends[middle]);
            if self.invalid(&part) {
                (best, end, high) = (part, ends[middle], middle);
            } else {
                low = middle + 1;
            }
        }
        (best, end)
    }

    /// The shortest invalid window at the end of `part`, of lengths that double.
    fn window(&mut self, part: Vec<RegisterOp>) -> Vec<RegisterOp> {
        let mut length = 2;
        while length < part.len() {
            let start = part[part.len() - length].from;
            let window: Vec<RegisterOp> = part.iter().filter_map(|operation| from_on(operation, start)).collect();
            let mentioned: BTreeSet<u32> = window.iter().flat_map(|operation| values_of(operation.act)).collect();
            self.initials = mentioned.into_iter().chain([DEAD]).collect();
            if self.invalid(&window) {
                return window;
            }
            length *= 2;
        }
        self.initials = vec![0];
        part
    }

    /// Leaves out whole groups of values that swaps tie together.
    fn without_values(&mut self, mut part: Vec<RegisterOp>) -> Vec<RegisterOp> {
        let calm: Vec<RegisterOp> =
            part.iter().filter(|operation| !matches!(operation.act, Act::Differs(_))).copied().collect();
        if calm.len() < part.len() {
            if !self.invalid(&calm) {
                return part;
            }
            part = calm;
        }
        let groups = groups(&part);
        let units: BTreeSet<u32> = groups.values().copied().collect();
        let of = |operation: &RegisterOp| groups[&values_of(operation.act)[0]];
        let kept = self.minimise(units.into_iter().collect(), |kept| {
            let kept: BTreeSet<u32> = kept.iter().copied().collect();
            part.iter().filter(|operation| kept.contains(&of(operation))).copied().collect()
        });
        let kept: BTreeSet<u32> = kept.into_iter().collect();
        part.retain(|operation| kept.contains(&of(operation)));
        part
    }

    /// Leaves out single operations: those that only look, then changes that nobody sees.
    fn without_operations(&mut self, part: Vec<RegisterOp>) -> Vec<RegisterOp> {
        let looks = |operation: &RegisterOp| matches!(operation.act, Act::Read(_) | Act::Differs(_));
        let mut part = self.without(part, looks);
        loop {
            let before = part.len();
            part = self.without_unseen(part);
            if part.len() == before {
                return part;
            }
        }
    }

    fn without_unseen(&mut self, part: Vec<RegisterOp>) -> Vec<RegisterOp> {
        if part.iter().any(|operation| matches!(operation.act, Act::Differs(_))) {
            return part;
        }
        let needed: BTreeSet<u32> = part
            .iter()
            .filter_map(|operation| match operation.act {
                Act::Read(value) | Act::Swap(value, _) => Some(value),
                Act::Write(_) | Act::Differs(_) => None,
            })
            .collect();
        self.without(part, |operation| match operation.act {
            Act::Write(to) => !needed.contains(&to),
            Act::Swap(_, to) => !operation.known && !needed.contains(&to),
            Act::Read(_) | Act::Differs(_) => false,
        })
    }

    fn without(&mut self, part: Vec<RegisterOp>, may_go: impl Fn(&RegisterOp) -> bool) -> Vec<RegisterOp> {
        let units: Vec<usize> = (0..part.len()).filter(|index| may_go(&part[*index])).collect();
        let fixed: BTreeSet<usize> = (0..part.len()).filter(|index| !may_go(&part[*index])).collect();
        let select = |kept: &[usize]| -> Vec<RegisterOp> {
            let kept: BTreeSet<usize> = kept.iter().chain(&fixed).copied().collect();
            kept.into_iter().map(|index| part[index]).collect()
        };
        let kept = self.minimise(units, select);
        select(&kept)
    }

    /// Leaves out ever smaller runs of units as long as what remains is invalid.
    fn minimise<U: Copy>(&mut self, mut units: Vec<U>, select: impl Fn(&[U]) -> Vec<RegisterOp>) -> Vec<U> {
        let mut run = units.len().div_ceil(2).max(1);
        loop {
            let (mut at, mut shrunk) = (0, false);
            while at < units.len() {
                let rest: Vec<U> = units[..at].iter().chain(&units[(at + run).min(units.len())..]).copied().collect();
                if self.invalid(&select(&rest)) {
                    (units, shrunk) = (rest, true);
                } else {
                    at += run;
                }
            }
            match (run, shrunk) {
                (1, false) => return units,
                (1, true) => {}
                _ => run = run.div_ceil(2),
            }
        }
    }
}

/// What was known when the event at `end` happened.
fn cut(all: &[RegisterOp], end: usize) -> Vec<RegisterOp> {
    let begun = all.iter().filter(|operation| operation.from < end);
    begun.filter_map(|operation| if operation.to <= end { Some(*operation) } else { doubtful(operation) }).collect()
}

/// What an operation says about the time from `start` on.
fn from_on(operation: &RegisterOp, start: usize) -> Option<RegisterOp> {
    match operation {
        operation if operation.from >= start || !operation.known => Some(*operation),
        operation if operation.to < start => None,
        straddling => doubtful(straddling),
    }
}

/// The operation if nobody knew whether it happened.
fn doubtful(operation: &RegisterOp) -> Option<RegisterOp> {
    let changes = matches!(operation.act, Act::Write(_) | Act::Swap(..));
    changes.then_some(RegisterOp { known: false, ..*operation })
}

fn values_of(act: Act) -> Vec<u32> {
    match act {
        Act::Read(value) | Act::Write(value) | Act::Differs(value) => vec![value],
        Act::Swap(from, to) => vec![from, to],
    }
}

/// For each value, the smallest value of its group; a swap puts its two values into one group.
fn groups(part: &[RegisterOp]) -> BTreeMap<u32, u32> {
    let mut parent: BTreeMap<u32, u32> = BTreeMap::new();
    fn root(parent: &BTreeMap<u32, u32>, mut value: u32) -> u32 {
        while let Some(up) = parent.get(&value).filter(|up| **up != value) {
            value = *up;
        }
        value
    }
    for operation in part {
        let values = values_of(operation.act);
        values.iter().for_each(|value| {
            parent.entry(*value).or_insert(*value);
        });
        let roots: Vec<u32> = values.iter().map(|value| root(&parent, *value)).collect();
        let least = roots.iter().min().copied().unwrap_or(0);
        roots.into_iter().for_each(|root| {
            parent.insert(root, least);
        });
    }
    parent.keys().map(|value| (*value, root(&parent, *value))).collect()
}
