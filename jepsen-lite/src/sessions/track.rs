//! What each session has written and read so far, event by event, and the promises in terms of log indexes.
//!
//! An operation is held to what was complete when it was invoked: `begin` takes note of that, `end` judges.
//!
//! Leaves out: promises in terms of rows ([`super::content`]).

use std::collections::BTreeMap;

use crate::history::History;
use crate::operation::{Operation, Outcome};

use super::Violation;
use super::content::Content;
use super::parse::{Action, Level, Parsed, Recall};

/// The highest index of a kind, and the operation that brought it.
type Highest = Option<(u64, usize)>;

fn raise(highest: &mut Highest, index: Option<u64>, operation: usize) {
    if let Some(index) = index
        && highest.is_none_or(|(so_far, _)| so_far < index)
    {
        *highest = Some((index, operation));
    }
}

/// What was complete at some moment: indexes, and how long each list was.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moment {
    /// Acked writes of the session: the highest log index, and how many.
    written: Highest,
    pub written_count: usize,
    /// Answered reads of the session: the highest applied index, and how many rows were seen.
    read: Highest,
    pub seen_count: usize,
    /// Acked writes of anybody.
    acked: Highest,
    pub acked_count: usize,
    /// Answered linearizable reads of anybody.
    linearizable: Highest,
}

/// One ack of anybody: the latest time among the acks so far, and the highest log index.
#[derive(Clone, Copy)]
struct Acked {
    time_ns: u64,
    highest: Highest,
}

pub(super) struct Tracker<'h> {
    history: &'h History,
    operations: &'h [Operation<'h>],
    parsed: &'h Parsed,
    content: Content<'h>,
    /// Each session's state now; the fields about anybody are those of `anybody`.
    sessions: Vec<Moment>,
    anybody: Moment,
    acks: Vec<Acked>,
    begun: BTreeMap<usize, Moment>,
    /// For each row, when it was first sent, and by which session.
    first_sent: BTreeMap<usize, (usize, Moment)>,
    violations: Vec<Violation>,
}

impl<'h> Tracker<'h> {
    pub fn new(history: &'h History, operations: &'h [Operation<'h>], parsed: &'h Parsed) -> Self {
        Self {
            history,
            operations,
            parsed,
            content: Content::new(operations, parsed),
            sessions: vec![Moment::default(); parsed.sessions.len()],
            anybody: Moment::default(),
            acks: Vec::new(),
            begun: BTreeMap::new(),
            first_sent: BTreeMap::new(),
            violations: Vec::new(),
        }
    }

    /// An operation is invoked.
    pub fn begin(&mut self, operation: usize) {
        let session = self.parsed.session_of[operation];
        let Moment { acked, acked_count, linearizable, .. } = self.anybody;
        let moment = Moment { acked, acked_count, linearizable, ..self.sessions[session] };
        if self.operations[operation].outcome == Outcome::Ok {
            self.begun.insert(operation, moment);
        }
        match &self.parsed.actions[operation] {
            Action::Observe { row, .. } => {
                self.first_sent.entry(*row).or_insert((session, moment));
            }
            Action::Forget { rows, .. } => self.content.may_go(operation, rows),
            Action::Recall(_) => {}
        }
    }

    /// An operation is answered.
    pub fn end(&mut self, operation: usize) {
        let Some(moment) = self.begun.remove(&operation) else { return };
        let session = self.parsed.session_of[operation];
        let parsed = self.parsed;
        match &parsed.actions[operation] {
            Action::Observe { row, log_index, .. } => {
                let sent = self.first_sent.get(row).map_or(moment, |(_, sent)| *sent);
                self.placed(operation, &sent, *log_index);
                self.wrote(session, operation, *log_index);
                self.content.acked(session, operation, *row);
            }
            Action::Forget { rows, log_index } => {
                self.placed(operation, &moment, *log_index);
                self.wrote(session, operation, *log_index);
                self.content.forgot(session, operation, rows);
            }
            Action::Recall(recall) => self.answered(session, operation, recall, &moment),
        }
        let (written, seen, acked) = self.content.counts(session);
        (self.sessions[session].written_count, self.sessions[session].seen_count) = (written, seen);
        self.anybody.acked_count = acked;
    }

    /// A write got its place in the log: `moment` is when it was first sent.
    fn placed(&mut self, operation: usize, moment: &Moment, log_index: Option<u64>) {
        let Some(index) = log_index else { return };
        for (property, before) in [("monotonic_writes", moment.written), ("writes_follow_reads", moment.read)] {
            if let Some((bound, earlier)) = before.filter(|(bound, _)| *bound >= index) {
                let why = format!("got log index {index}, not above {bound}");
                self.violations.push(Violation { property, why, earlier: Some(earlier), guilty: operation });
            }
        }
    }

    fn wrote(&mut self, session: usize, operation: usize, log_index: Option<u64>) {
        raise(&mut self.sessions[session].written, log_index, operation);
        raise(&mut self.anybody.acked, log_index, operation);
        let time = self.operations[operation].complete.map_or(0, |event| event.time);
        let time_ns = self.acks.last().map_or(time, |last| last.time_ns.max(time));
        self.acks.push(Acked { time_ns, highest: self.anybody.acked });
    }

    fn answered(&mut self, session: usize, operation: usize, recall: &'h Recall, moment: &Moment) {
        let held = matches!(recall.level, Level::Session | Level::Linearizable);
        let linear = recall.level == Level::Linearizable;
        let mut bounds: Vec<(&'static str, Highest)> = Vec::new();
        if held {
            bounds.push(("read_your_writes", moment.written));
            bounds.push(("monotonic_reads", moment.read));
        }
        if linear {
            bounds.push(("linearizable", moment.acked));
            bounds.push(("linearizable", moment.linearizable));
        }
        let old_count = self.old_acks(operation, recall.level).min(moment.acked_count);
        if let Some(last) = old_count.checked_sub(1) {
            bounds.push(("bounded", self.acks[last].highest));
        }
        if let Some(applied) = recall.applied_index {
            for (property, before) in bounds {
                if let Some((bound, earlier)) = before.filter(|(bound, _)| *bound > applied) {
                    let why = format!("states applied index {applied}, below {bound}");
                    self.violations.push(Violation { property, why, earlier: Some(earlier), guilty: operation });
                }
            }
            self.asked(operation, recall, applied);
        }
        let acks = if linear { moment.acked_count } else { old_count };
        let property = if linear { "linearizable" } else { "bounded" };
        self.content.judge(operation, recall, moment, (property, acks), held, &self.first_sent, &mut self.violations);
        if !matches!(recall.level, Level::AtIndex(_)) {
            raise(&mut self.sessions[session].read, recall.applied_index, operation);
            self.content.saw(session, operation, recall);
        }
        if linear {
            raise(&mut self.anybody.linearizable, recall.applied_index, operation);
        }
    }

    /// The index that the read itself asked for.
    fn asked(&mut self, operation: usize, recall: &Recall, applied: u64) {
        let level = match recall.level {
            Level::AtLeast(index) => Some(index),
            _ => None,
        };
        let least = level.max(recall.token);
        let mut violation = |property, bound: u64, how: &str| {
            let why = format!("states applied index {applied}, {how} {bound}");
            self.violations.push(Violation { property, why, earlier: None, guilty: operation });
        };
        match recall.level {
            Level::AtIndex(index) if index != applied => violation("at_index", index, "and not"),
            _ => {}
        }
        if let Some(bound) = least.filter(|bound| *bound > applied) {
            violation("at_least", bound, "below");
        }
    }

    /// How many acks, from the first on, are older than a bounded read allows to be missing.
    fn old_acks(&self, operation: usize, level: Level) -> usize {
        let Level::BoundedMs(bound) = level else { return 0 };
        let begun = self.operations[operation].invoke.time;
        let oldest = begun.saturating_sub(bound.saturating_mul(1_000_000));
        self.acks.partition_point(|ack| ack.time_ns < oldest)
    }

    /// Everything that was broken, in the order in which it was seen.
    pub fn finish(mut self) -> Vec<Violation> {
        self.sequence_order();
        let end = |violation: &Violation| self.operations[violation.guilty].complete_at;
        self.violations.sort_by_key(end);
        debug_assert!(self.violations.iter().all(|violation| end(violation) < self.history.events.len()));
        self.violations
    }

    /// Pipelined writes: a session's log indexes follow its sequences.
    fn sequence_order(&mut self) {
        let mut placed: BTreeMap<(usize, u64), (u64, usize)> = BTreeMap::new();
        for (operation, action) in self.parsed.actions.iter().enumerate() {
            if let Action::Observe { sequence: Some(sequence), log_index: Some(index), .. } = action {
                placed.entry((self.parsed.session_of[operation], *sequence)).or_insert((*index, operation));
            }
        }
        let mut before: Option<(usize, u64, usize)> = None;
        for ((session, sequence), (index, operation)) in placed {
            if let Some((_, highest, earlier)) =
                before.filter(|(other, highest, _)| *other == session && *highest > index)
            {
                let why = format!("got log index {index} for sequence {sequence}, below {highest}");
                let property = "monotonic_writes";
                self.violations.push(Violation { property, why, earlier: Some(earlier), guilty: operation });
            } else {
                before = Some((session, index, operation));
            }
        }
    }
}
