//! The promises in terms of rows: what a read that tells everything it could see must hold.
//!
//! Lists only grow, and a moment is a length; so what an operation is held to is a prefix. A read's rows are marked,
//! and each prefix is walked up to the first row that is missing: no read costs more than its rows and its sessions.
//!
//! Leaves out: log indexes ([`super::track`]).

use std::collections::{BTreeMap, BTreeSet};

use crate::operation::Operation;

use super::Violation;
use super::parse::{Level, Parsed, Recall};
use super::track::Moment;

/// Rows with the operation that brought them, in the order in which that completed.
type Log = Vec<(usize, usize)>;

pub(super) struct Content<'h> {
    operations: &'h [Operation<'h>],
    parsed: &'h Parsed,
    written: Vec<Log>,
    seen: Vec<Log>,
    seen_rows: Vec<BTreeSet<usize>>,
    acked: Log,
    /// Writes of anybody, forgets among them: as many as there are moments to count.
    acked_lengths: Vec<usize>,
    /// Rows that may have been forgotten from an event on.
    may_be_gone: BTreeMap<usize, usize>,
    /// When each row was first acknowledged.
    acked_at: Vec<usize>,
    /// Rows that a session has forgotten, with the operation. One that was not surely there was not surely met.
    forgotten: Vec<Log>,
    /// The last read that held each row, plus one.
    marks: Vec<usize>,
}

impl<'h> Content<'h> {
    pub fn new(operations: &'h [Operation<'h>], parsed: &'h Parsed) -> Self {
        let sessions = parsed.sessions.len();
        Self {
            operations,
            parsed,
            written: vec![Vec::new(); sessions],
            seen: vec![Vec::new(); sessions],
            seen_rows: vec![BTreeSet::new(); sessions],
            acked: Vec::new(),
            acked_lengths: Vec::new(),
            may_be_gone: BTreeMap::new(),
            forgotten: vec![Vec::new(); sessions],
            acked_at: vec![usize::MAX; parsed.rows.len()],
            marks: vec![0; parsed.rows.len()],
        }
    }

    /// From now on these rows may be gone.
    pub fn may_go(&mut self, operation: usize, rows: &[usize]) {
        if self.operations[operation].outcome != crate::operation::Outcome::Fail {
            let at = self.operations[operation].invoke_at;
            rows.iter().for_each(|row| {
                self.may_be_gone.entry(*row).or_insert(at);
            });
        }
    }

    pub fn acked(&mut self, session: usize, operation: usize, row: usize) {
        self.acked_at[row] = self.acked_at[row].min(self.operations[operation].complete_at);
        self.written[session].push((row, operation));
        self.acked.push((row, operation));
        self.acked_lengths.push(self.acked.len());
    }

    pub fn forgot(&mut self, session: usize, operation: usize, rows: &[usize]) {
        let begun = self.operations[operation].invoke_at;
        let met = rows.iter().filter(|row| self.acked_at[**row] < begun);
        self.forgotten[session].extend(met.map(|row| (*row, operation)));
        self.acked_lengths.push(self.acked.len());
    }

    pub fn saw(&mut self, session: usize, operation: usize, recall: &Recall) {
        for row in recall.rows.iter().flatten().chain(&recall.hits) {
            if self.seen_rows[session].insert(*row) {
                self.seen[session].push((*row, operation));
            }
        }
    }

    /// Rows written and seen by the session, and acked writes of anybody.
    pub fn counts(&self, session: usize) -> (usize, usize, usize) {
        (self.written[session].len(), self.seen[session].len(), self.acked_lengths.len())
    }

    /// Holds an answer to what was complete at `moment`; to everything acked up to `acks`; and, if `held`, to what
    /// its session wrote and read.
    #[expect(clippy::too_many_arguments, reason = "what a read is held to has as many parts")]
    pub fn judge(
        &mut self,
        operation: usize,
        recall: &Recall,
        moment: &Moment,
        (property, acks): (&'static str, usize),
        held: bool,
        first_sent: &BTreeMap<usize, (usize, Moment)>,
        violations: &mut Vec<Violation>,
    ) {
        let session = self.parsed.session_of[operation];
        if held {
            self.shows_no_forgotten(("read_your_writes", session), operation, recall, violations);
        }
        if recall.level == Level::Linearizable {
            let others = (0..self.forgotten.len()).filter(|other| *other != session);
            others.for_each(|other| self.shows_no_forgotten((property, other), operation, recall, violations));
        }
        let ended = self.operations[operation].complete_at;
        let later = |row: &&usize| self.parsed.sent_at[**row] != usize::MAX && self.parsed.sent_at[**row] > ended;
        if let Some(row) = recall.rows.iter().flatten().chain(&recall.hits).find(later) {
            let why = format!("shows row {}, which is sent only later", self.parsed.rows[*row]);
            violations.push(Violation { property: "nothing_invented", why, earlier: None, guilty: operation });
        }
        let Some(rows) = &recall.rows else { return };
        rows.iter().for_each(|row| self.marks[*row] = operation + 1);
        let mut need = |property, log: &Log, length: usize| {
            if let Some((row, earlier)) = self.missing(operation, &log[..length]) {
                let why = format!("does not show row {}", self.parsed.rows[row]);
                violations.push(Violation { property, why, earlier: Some(earlier), guilty: operation });
            }
        };
        if held {
            need("read_your_writes", &self.written[session], moment.written_count);
            need("monotonic_reads", &self.seen[session], moment.seen_count);
        }
        let acked = acks.checked_sub(1).map_or(0, |last| self.acked_lengths[last]);
        need(property, &self.acked, acked);
        // What each session had written and read when it first sent the latest of its rows that are shown.
        let mut latest: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        for (session, sent) in rows.iter().filter_map(|row| first_sent.get(row)) {
            let (written, seen) = latest.entry(*session).or_default();
            (*written, *seen) = ((*written).max(sent.written_count), (*seen).max(sent.seen_count));
        }
        for (session, (written, seen)) in latest {
            need("monotonic_writes", &self.written[session], written);
            need("writes_follow_reads", &self.seen[session], seen);
        }
    }

    /// The first row of `log` that the read does not show, though nobody may have forgotten it.
    fn missing(&self, read: usize, log: &[(usize, usize)]) -> Option<(usize, usize)> {
        let ended = self.operations[read].complete_at;
        let gone = |row: &usize| self.may_be_gone.get(row).is_some_and(|at| *at < ended);
        log.iter().find(|(row, _)| self.marks[*row] != read + 1 && !gone(row)).copied()
    }

    /// What the session forgot before it asked is not shown to it.
    fn shows_no_forgotten(
        &self,
        (property, session): (&'static str, usize),
        operation: usize,
        recall: &Recall,
        violations: &mut Vec<Violation>,
    ) {
        let begun = self.operations[operation].invoke_at;
        let forgotten = &self.forgotten[session];
        if forgotten.is_empty() {
            return;
        }
        let shown: BTreeSet<usize> = recall.rows.iter().flatten().chain(&recall.hits).copied().collect();
        let before = |forget: &&(usize, usize)| self.operations[forget.1].complete_at < begun;
        if let Some((row, earlier)) = forgotten.iter().filter(before).find(|(row, _)| shown.contains(row)) {
            let why = format!("shows row {}, which was forgotten", self.parsed.rows[*row]);
            violations.push(Violation { property, why, earlier: Some(*earlier), guilty: operation });
        }
    }
}
