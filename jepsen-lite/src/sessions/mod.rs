//! Session guarantees (Terry et al. 1994): what a session may rely on from one of its operations to the next, at the
//! level that each read asked for.
//!
//! # Operations
//! The key is the session; without one, each process is a session of its own.
//! - `observe`: invoke value = `{"id": x}` or `{"sequence": n}` (the row's id is then `[session, n]`), further fields
//!   allowed; ok value = `{"log_index": i}`. A resend has the same id.
//! - `forget`: invoke value = `{"ids": [x, …]}`, ok value = `{"log_index": i}`.
//! - `recall`: invoke value = `{"level": L, "token": t}`; ok value = `{"applied_index": a, "rows": […], "hits": […]}`.
//!   `rows` are the ids of everything that the read could see, `hits` of some of it.
//!   L is `"eventual"`, `"session"` (also if left out), `"linearizable"`, `{"at_least": i}`, `{"bounded_ms": n}` or
//!   `{"at_index": i}`.
//!
//! Log indexes are evidence, and so are rows: an answer needs `applied_index`, `rows` or both, a `log_index` may be
//! missing.
//!
//! # What is decided
//! *Before* means that an operation completed before the other was invoked, line by line.
//!
//! | property | who promises it | what it says |
//! |---|---|---|
//! | `read_your_writes` | reads at session, linearizable | the session's own observations and forgets acked before are in it |
//! | `monotonic_reads` | the same | it is no older than the session's reads before it, of any level but `at_index`: applied index and rows |
//! | `monotonic_writes` | every observation | its log index is above those of the session's writes acked before, and in sequence order; a read that shows it shows them |
//! | `writes_follow_reads` | every observation | its log index is above what the session read before; a read that shows it shows that too |
//! | `at_least` | reads with a token, or at that level | the applied index reaches it |
//! | `at_index` | reads at that level | the applied index is that one |
//! | `bounded` | reads at that level | every write acked to anybody more than n ms before is in it, by the recorder's times |
//! | `linearizable` | reads at that level | every write acked to anybody before is in it, and all that a linearizable read before stated |
//! | `nothing_invented` | every read | it shows no row that is first sent after it ended |
//!
//! A row that somebody may have forgotten by then need not be in an answer.
//!
//! Leaves out: rows that the history never sends ([`crate::once`]), what a recall ranks ([`crate::recall`]).

mod content;
pub(crate) mod parse;
mod track;

use crate::history::{EventType, History, InputError};
use crate::operation::{Operation, Outcome, pair};
use crate::verdict::{Counterexample, Summary, Verdict};

use parse::{Action, Parsed};
use track::Tracker;

/// Decides whether the sessions of `history` got what they were promised.
pub fn check(history: &History) -> Verdict {
    decide(history).into()
}

fn decide(history: &History) -> Result<Verdict, InputError> {
    let operations = pair(history)?;
    let parsed = parse::parse(history, &operations)?;
    let mut owner = vec![0; history.events.len()];
    for (index, operation) in operations.iter().enumerate() {
        owner[operation.invoke_at] = index;
        if operation.complete.is_some() {
            owner[operation.complete_at] = index;
        }
    }
    let mut tracker = Tracker::new(history, &operations, &parsed);
    for (at, event) in history.events.iter().enumerate() {
        match event.kind {
            EventType::Invoke => tracker.begin(owner[at]),
            EventType::Ok => tracker.end(owner[at]),
            EventType::Fail | EventType::Info => {}
        }
    }
    let violations = tracker.finish();
    let figures = parsed.figures();
    if let Some(first) = violations.first() {
        let others = violations.len() - 1;
        return Ok(Verdict::Invalid(Counterexample {
            figures,
            ..explain(history, &operations, &parsed, first, others)
        }));
    }
    let unknown = operations.iter().filter(|operation| operation.outcome == Outcome::Unknown).count();
    let notes = vec![parsed.sentence()];
    Ok(Verdict::Valid(Summary { operations: operations.len(), unknown, parts: parsed.sessions.len(), notes, figures }))
}

/// A broken promise.
struct Violation {
    property: &'static str,
    /// What the second of the operations got wrong; both are named around it.
    why: String,
    /// The operation that the guilty one should have heeded.
    earlier: Option<usize>,
    guilty: usize,
}

fn explain(
    history: &History,
    operations: &[Operation<'_>],
    parsed: &Parsed,
    violation: &Violation,
    others: usize,
) -> Counterexample {
    let label = |index: usize| {
        let (f, value) = (&operations[index].invoke.f, &operations[index].invoke.value);
        match &parsed.actions[index] {
            Action::Recall(recall) => format!("{f} at {}", recall.level),
            _ => format!("{f} {value}"),
        }
    };
    let lines = |index: usize| {
        let operation = &operations[index];
        format!("lines {}–{}", history.line(operation.invoke_at), history.line(operation.complete_at))
    };
    let Violation { property, why, earlier, guilty } = violation;
    let session = &parsed.sessions[parsed.session_of[*guilty]];
    let before = earlier.map_or(String::new(), |earlier| {
        let whose = &parsed.sessions[parsed.session_of[earlier]];
        format!(", after {} of {whose} ({})", label(earlier), lines(earlier))
    });
    let sentence = format!("{session}: {} ({}) {why}{before}", label(*guilty), lines(*guilty));
    let mut spans: Vec<_> = earlier.iter().map(|at| operations[*at].span(history, label(*at), false)).collect();
    spans.push(operations[*guilty].span(history, label(*guilty), true));
    Counterexample { property, sentence, spans, others, ..Counterexample::default() }
}
