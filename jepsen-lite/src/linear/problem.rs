//! One key's operations in the compact form that the search works on.
//!
//! Calls and returns of known operations are numbered 0, 1, 2… in real-time order (`event`s). Each known operation
//! has a slot, a small number that no other operation holds while it is open. Operations with unknown outcome never
//! return, so they are no events; equal ones form a class and are told apart only by when they became possible.
//!
//! Invariants: a slot has one holder at a time; the calls of a class ascend.
//!
//! Leaves out: the search.

use std::collections::BTreeMap;

/// What an operation does to the register. Values are numbers; 0 is the first value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Act {
    /// The register holds the value.
    Read(u32),
    /// It holds the value from now on.
    Write(u32),
    /// It holds the first and from now on the second; the two differ.
    Swap(u32, u32),
    /// It holds something else (a cas that did not swap).
    Differs(u32),
}

/// One operation on one key, in terms of the history.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RegisterOp {
    /// What it does.
    pub act: Act,
    /// Whether it certainly happened.
    pub known: bool,
    /// Place of its invocation among all events.
    pub from: usize,
    /// Place of its completion.
    pub to: usize,
    /// Its index among the history's operations.
    pub source: usize,
}

/// A known operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub act: Act,
    pub call: u32,
    pub ret: u32,
    pub slot: u32,
    /// Index among the operations that the problem was made from.
    pub source: u32,
}

/// Operations of unknown outcome that do the same thing.
#[derive(Debug, Clone)]
pub(crate) struct Class {
    /// What it must find; `None` for a write.
    pub from: Option<u32>,
    /// What it leaves behind.
    pub to: u32,
    /// How many events came before each of them was invoked, ascending.
    pub calls: Vec<u32>,
    /// Their indexes among the operations that the problem was made from.
    pub sources: Vec<u32>,
}

/// One key's history, ready to be searched.
#[derive(Debug)]
pub(crate) struct Problem {
    /// Known operations in the order of their calls.
    pub calls: Vec<Call>,
    /// The operation of each event, and whether the event is its return.
    pub events: Vec<(u32, bool)>,
    /// Operations of unknown outcome.
    pub classes: Vec<Class>,
    /// The classes that leave each value behind.
    pub classes_to: Vec<Vec<u32>>,
    /// How many slots there are: the largest number of known operations open at once.
    pub slots: u32,
    /// How many values there are.
    pub values: u32,
    /// Whether some operation saw that the register did not hold a value.
    pub has_differs: bool,
}

impl Problem {
    /// The problem of these operations, which come in the order of their invocations.
    pub fn new(operations: &[RegisterOp]) -> Self {
        let mut ends: Vec<(usize, u32, bool)> = Vec::new();
        for (index, operation) in operations.iter().enumerate().filter(|(_, operation)| operation.known) {
            ends.push((operation.from, index as u32, false));
            ends.push((operation.to, index as u32, true));
        }
        ends.sort_unstable();
        let values = 1 + operations.iter().map(|operation| largest(operation.act)).max().unwrap_or(0);
        let (calls, events, slots) = number(operations, &ends);
        let classes = classes(operations, &ends);
        let mut classes_to = vec![Vec::new(); values as usize];
        for (index, class) in classes.iter().enumerate() {
            classes_to[class.to as usize].push(index as u32);
        }
        let has_differs = calls.iter().any(|call| matches!(call.act, Act::Differs(_)));
        Self { calls, events, classes, classes_to, slots, values, has_differs }
    }
}

fn largest(act: Act) -> u32 {
    match act {
        Act::Read(value) | Act::Write(value) | Act::Differs(value) => value,
        Act::Swap(from, to) => from.max(to),
    }
}

fn number(operations: &[RegisterOp], ends: &[(usize, u32, bool)]) -> (Vec<Call>, Vec<(u32, bool)>, u32) {
    let (mut calls, mut events): (Vec<Call>, _) = (Vec::with_capacity(ends.len() / 2), Vec::with_capacity(ends.len()));
    let mut call_of = vec![0_u32; operations.len()];
    let (mut free, mut slots) = (Vec::new(), 0);
    for (event, (_, index, returns)) in ends.iter().enumerate() {
        let source = *index as usize;
        if *returns {
            let call = &mut calls[call_of[source] as usize];
            call.ret = event as u32;
            free.push(call.slot);
        } else {
            let slot = free.pop().unwrap_or_else(|| {
                slots += 1;
                slots - 1
            });
            call_of[source] = calls.len() as u32;
            let act = operations[source].act;
            calls.push(Call { act, call: event as u32, ret: u32::MAX, slot, source: *index });
        }
        events.push((call_of[source], *returns));
    }
    (calls, events, slots)
}

fn classes(operations: &[RegisterOp], ends: &[(usize, u32, bool)]) -> Vec<Class> {
    let mut classes: BTreeMap<Act, Class> = BTreeMap::new();
    for (source, operation) in operations.iter().enumerate().filter(|(_, operation)| !operation.known) {
        let (from, to) = match operation.act {
            Act::Write(to) => (None, to),
            Act::Swap(from, to) => (Some(from), to),
            Act::Read(_) | Act::Differs(_) => continue,
        };
        let before = ends.partition_point(|end| end.0 < operation.from) as u32;
        let none = || Class { from, to, calls: Vec::new(), sources: Vec::new() };
        let class = classes.entry(operation.act).or_insert_with(none);
        class.calls.push(before);
        class.sources.push(source as u32);
    }
    classes.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_reused_and_unknowns_are_classed_by_what_they_do() {
        let operation = |act, known, from, to| RegisterOp { act, known, from, to, source: 0 };
        let problem = Problem::new(&[
            operation(Act::Write(1), true, 0, 3),
            operation(Act::Write(2), false, 1, 99),
            operation(Act::Read(1), true, 2, 4),
            operation(Act::Write(2), false, 5, 99),
            operation(Act::Read(2), true, 6, 7),
        ]);
        assert_eq!(problem.calls.iter().map(|call| call.slot).collect::<Vec<_>>(), [0, 1, 1]);
        assert_eq!(problem.slots, 2);
        assert_eq!(problem.classes.len(), 1);
        assert_eq!(problem.classes[0].calls, [1, 4]);
    }
}
