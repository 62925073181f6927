//! A set that only grows, read again and again: what became of each element, and when it became visible.
//!
//! The analysis of `jepsen.checker/set-full`, with two deviations: what no `add` can have brought is a violation
//! here, and staleness is decided by the order of the lines, not by milliseconds.
//!
//! # Operations
//! - `add`: invoke value = the element. `read`: ok value = array of all elements. Keys are separate sets.
//!
//! # What is decided
//! An element is **known** once its first `add` was acknowledged or a read that holds it completed, whichever comes
//! first. A read counts for an element if it completed after the first `add` of it began. The element is
//! - **stable** if the counting read that began last holds it;
//! - **lost** if that read lacks it and began after the element was known;
//! - **never read** otherwise: nothing says whether it is there.
//!
//! A stable element is **stale** if a read that began after it was known lacks it. Its stable latency runs from known
//! to the invocation of the last read that lacks it; that of an element which is not stale is 0. The lost latency runs
//! from known to the invocation of the last read that holds it.
//!
//! - `nothing_lost`: no element is lost. `no_duplicates`: no read holds an element twice.
//! - `nothing_invented`: an element in a read has an `add` that began before the read ended and did not fail.
//! - `no_stale_read`: no element is stale; asked for with `linearizable` only.
//!
//! A history whose elements were all never read is unusable. Leaves out: whether concurrent reads agree on an order of
//! the elements; [`crate::linear`] decides linearizability, for registers.

mod tally;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::history::{History, InputError};
use crate::jsonl::canonical;
use crate::names::Names;
use crate::operation::{Operation, Outcome, pair};
use crate::verdict::{Counterexample, Summary, Verdict};

use tally::Tally;

/// Decides what became of the elements of each set in `history`; stale ones are violations if it is to be
/// `linearizable`.
pub fn check(history: &History, linearizable: bool) -> Verdict {
    decide(history, linearizable).into()
}

/// An element of one set.
struct Element<'h> {
    value: &'h Value,
    /// Its additions, in the order of their invocations.
    adds: Vec<Operation<'h>>,
    /// The reads that hold it, by their rank, ascending.
    held: Vec<usize>,
}

/// One set: its elements, and its ok reads in the order of their invocations.
#[derive(Default)]
struct Set<'h> {
    names: Names,
    elements: Vec<Element<'h>>,
    reads: Vec<Operation<'h>>,
}

impl<'h> Set<'h> {
    fn element(&mut self, value: &'h Value) -> usize {
        let number = self.names.number(value);
        if number == self.elements.len() {
            self.elements.push(Element { value, adds: Vec::new(), held: Vec::new() });
        }
        number
    }
}

/// What became of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stable,
    Lost,
    NeverRead,
}

/// The analysis of one element. Reads are given by rank.
struct Finding<'h> {
    fate: Fate,
    /// Place and time from which it was known.
    known: Option<(usize, u64)>,
    last_present: Option<Operation<'h>>,
    last_absent: Option<Operation<'h>>,
    stale: bool,
}

impl Finding<'_> {
    fn latency_ns(&self, until: Option<&Operation<'_>>) -> u64 {
        let known = self.known.map_or(0, |(_, time)| time);
        until.map_or(0, |read| (read.invoke.time.saturating_add(1)).saturating_sub(known))
    }

    fn stable_latency_ns(&self) -> u64 {
        if self.stale { self.latency_ns(self.last_absent.as_ref()) } else { 0 }
    }

    fn lost_latency_ns(&self) -> u64 {
        self.latency_ns(self.last_present.as_ref())
    }
}

fn decide(history: &History, linearizable: bool) -> Result<Verdict, InputError> {
    let operations = pair(history)?;
    let mut sets: BTreeMap<String, Set<'_>> = BTreeMap::new();
    for operation in &operations {
        let set = sets.entry(canonical(&operation.invoke.key)).or_default();
        match (operation.invoke.f.as_str(), operation.outcome) {
            ("add", _) => {
                let element = set.element(&operation.invoke.value);
                set.elements[element].adds.push(*operation);
            }
            ("read", Outcome::Ok) => set.reads.push(*operation),
            ("read", _) => {}
            (other, _) => {
                let why = format!("{other:?} is no operation of this model, which has add and read");
                return Err(history.error_at(operation.invoke_at, why));
            }
        }
    }
    let mut report = Report { history, linearizable, violations: Vec::new(), tally: Tally::default() };
    for (key, set) in &mut sets {
        gather(&mut report, key, set)?;
        let findings = findings(set);
        for (element, finding) in set.elements.iter().zip(&findings) {
            report.judge(key, element, finding);
        }
    }
    let Report { mut violations, tally, .. } = report;
    let others = violations.len().saturating_sub(1);
    let figures = tally.figures();
    if !violations.is_empty() {
        return Ok(Verdict::Invalid(Counterexample { others, figures, ..violations.swap_remove(0) }));
    }
    if tally.stable.is_empty() {
        let elements = tally.never_read.len();
        return Err(history.error(format!("nothing to check against: {elements} elements, none of them surely read")));
    }
    let unknown = operations.iter().filter(|operation| operation.outcome == Outcome::Unknown).count();
    let notes = vec![tally.sentence()];
    Ok(Verdict::Valid(Summary { operations: operations.len(), unknown, parts: sets.len(), notes, figures }))
}

/// Notes which reads hold which elements.
fn gather<'h>(report: &mut Report<'h>, key: &str, set: &mut Set<'h>) -> Result<(), InputError> {
    for (rank, read) in set.reads.clone().into_iter().enumerate() {
        let Some(list) = read.returned().as_array() else {
            return Err(report.history.error_at(read.complete_at, "a read of a set returns an array"));
        };
        for value in list {
            let number = set.element(value);
            let element = &mut set.elements[number];
            if element.held.last() == Some(&rank) {
                report.violation("no_duplicates", key, element, "is twice in a read", &read, element.adds.first());
                continue;
            }
            element.held.push(rank);
            let brought = |add: &Operation<'_>| add.outcome != Outcome::Fail && add.invoke_at < read.complete_at;
            if !element.adds.iter().any(brought) {
                let failed = element.adds.iter().find(|add| add.outcome == Outcome::Fail);
                let why =
                    if failed.is_some() { "was refused and is in a read" } else { "is in a read and nobody added it" };
                report.violation("nothing_invented", key, element, why, &read, failed);
            }
        }
    }
    Ok(())
}

/// The analysis of each element.
fn findings<'h>(set: &Set<'h>) -> Vec<Finding<'h>> {
    let begun = |element: &Element<'_>| {
        element.adds.iter().find(|add| add.outcome != Outcome::Fail).map_or(usize::MAX, |add| add.invoke_at)
    };
    let mut order: Vec<usize> = (0..set.elements.len()).collect();
    order.sort_by_key(|element| begun(&set.elements[*element]));
    let mut ends: Vec<(usize, usize)> =
        set.reads.iter().enumerate().map(|(rank, read)| (read.complete_at, rank)).collect();
    ends.sort_unstable();
    let (mut open, mut opened, mut closed) = (BTreeSet::new(), 0, 0);
    let mut findings: Vec<Option<Finding<'h>>> = set.elements.iter().map(|_| None).collect();
    for index in order {
        let element = &set.elements[index];
        let begun = begun(element);
        // The reads that were under way when the element's first add began; later ones count in any case.
        while set.reads.get(opened).is_some_and(|read| read.invoke_at < begun) {
            open.insert(opened);
            opened += 1;
        }
        while ends.get(closed).is_some_and(|end| end.0 < begun) {
            open.remove(&ends[closed].1);
            closed += 1;
        }
        let mut held = element.held.iter().rev().peekable();
        let later = (opened..set.reads.len()).rev().find(|rank| held.next_if_eq(&rank).is_none());
        let absent =
            later.or_else(|| open.iter().rev().copied().find(|rank| element.held.binary_search(rank).is_err()));
        findings[index] = Some(finding(set, element, absent));
    }
    findings.into_iter().flatten().collect()
}

fn finding<'h>(set: &Set<'h>, element: &Element<'h>, absent: Option<usize>) -> Finding<'h> {
    let acked = element.adds.iter().filter(|add| add.outcome == Outcome::Ok);
    let seen = element.held.iter().map(|rank| &set.reads[*rank]);
    let time = |operation: &Operation<'_>| operation.complete.map_or(0, |event| event.time);
    let known = acked.chain(seen).map(|operation| (operation.complete_at, time(operation))).min();
    let present = element.held.last().copied();
    let after = |read: usize| known.is_some_and(|(place, _)| place < set.reads[read].invoke_at);
    let fate = match (present, absent) {
        (Some(present), absent) if absent.is_none_or(|absent| absent < present) => Fate::Stable,
        (_, Some(absent)) if after(absent) => Fate::Lost,
        _ => Fate::NeverRead,
    };
    let stale = fate == Fate::Stable && absent.is_some_and(after);
    let read = |rank: Option<usize>| rank.map(|rank| set.reads[rank]);
    Finding { fate, known, last_present: read(present), last_absent: read(absent), stale }
}

struct Report<'h> {
    history: &'h History,
    linearizable: bool,
    violations: Vec<Counterexample>,
    tally: Tally,
}

impl<'h> Report<'h> {
    fn violation(
        &mut self,
        property: &'static str,
        key: &str,
        element: &Element<'h>,
        why: &str,
        read: &Operation<'h>,
        add: Option<&Operation<'h>>,
    ) {
        // The first is told in full; of the others the number.
        if !self.violations.is_empty() {
            self.violations.push(Counterexample::default());
            return;
        }
        let history = self.history;
        let mut spans: Vec<_> =
            add.iter().map(|add| add.span(history, format!("add {}", element.value), false)).collect();
        let count = read.returned().as_array().map_or(0, Vec::len);
        spans.push(read.span(history, format!("read → {count} elements"), true));
        let (from, to) = (history.line(read.invoke_at), history.line(read.complete_at));
        let sentence = format!("set {key}: element {} {why} (lines {from}–{to})", element.value);
        self.violations.push(Counterexample { property, sentence, spans, ..Counterexample::default() });
    }

    fn judge(&mut self, key: &str, element: &Element<'h>, finding: &Finding<'h>) {
        if element.adds.iter().all(|add| add.outcome == Outcome::Fail) {
            return; // Not in the set; if it was read all the same, that was reported.
        }
        let known = finding.known.map_or(0, |(place, _)| self.history.line(place));
        let add = element.adds.iter().find(|add| add.outcome == Outcome::Ok).or(element.adds.first());
        match (finding.fate, &finding.last_absent) {
            (Fate::Lost, Some(read)) => {
                let why = format!("was known from line {known} on and is missing from the last read that began");
                self.violation("nothing_lost", key, element, &why, read, add);
            }
            (Fate::Stable, Some(read)) if finding.stale && self.linearizable => {
                let why = format!("was known from line {known} on and is missing from a later read");
                self.violation("no_stale_read", key, element, &why, read, add);
            }
            _ => {}
        }
        self.tally.count(key, element.value, finding);
    }
}
