//! Each answer against what its recall may and must see.
//!
//! Leaves out: how sight is decided ([`super::space`]).

use std::collections::{BTreeMap, BTreeSet};

use crate::history::History;
use crate::operation::Operation;
use crate::sessions::parse::Level;
use crate::verdict::Counterexample;

use super::Measured;
use super::space::{Hit, Recall, Row, Sight, Space};
use super::vector::dot;

/// How many of the nearest are measured.
const MEASURED: usize = 10;

/// The judge of one space.
pub(super) struct Judge<'h> {
    history: &'h History,
    operations: &'h [Operation<'h>],
    name: &'h str,
    space: &'h Space,
    /// What completed first of all that is wrong, and where; and how much is.
    pub first: Option<(usize, Counterexample)>,
    pub count: usize,
    pub measured: Measured,
    /// Answers that were compared with an earlier one.
    pub compared: usize,
}

/// A row that may be in an answer, and its exact score.
struct Ranked {
    row: usize,
    lives: bool,
    score: f32,
    scale: f32,
}

impl<'h> Judge<'h> {
    pub fn new(history: &'h History, operations: &'h [Operation<'h>], name: &'h str, space: &'h Space) -> Self {
        Self { history, operations, name, space, first: None, count: 0, measured: Measured::default(), compared: 0 }
    }

    /// Judges every answer.
    pub fn recalls(&mut self) {
        let mut first: BTreeMap<&str, &Recall> = BTreeMap::new();
        self.real_time();
        self.future();
        for (before, again) in &self.space.displaced {
            let why = "states another log index for its row than an ack before".to_string();
            self.accuse_operation(*again, "as_acknowledged", why, Some(*before));
        }
        for recall in &self.space.recalls {
            if let (Some(Level::AtIndex(index)), Some(applied)) = (recall.level, recall.applied)
                && index != applied
            {
                self.accuse(recall, "at_index", format!("states applied index {applied}, and not {index}"), None);
            }
            self.hits(recall);
            self.missing(recall);
            let Some(question) = &recall.question else { continue };
            match first.get(question.as_str()) {
                Some(before) => self.compare(before, recall),
                None => {
                    first.insert(question, recall);
                }
            }
        }
        let (mean, least) = (self.measured.mean(), self.space.recall_at_10_min);
        if let (Some(mean), Some(least), Some(last)) = (mean, least, self.space.recalls.last())
            && mean < least
        {
            let why = format!("is the last of those whose recall@10 is {mean:.4} on average, below {least}");
            self.accuse(last, "recall_at_10", why, self.space.stated);
        }
    }

    fn accuse(&mut self, recall: &Recall, property: &'static str, why: String, earlier: Option<usize>) {
        self.accuse_operation(recall.operation, property, why, earlier);
    }

    /// One violation is told, the others are counted.
    fn accuse_operation(&mut self, guilty: usize, property: &'static str, why: String, earlier: Option<usize>) {
        let operation = &self.operations[guilty];
        self.count += 1;
        if self.first.as_ref().is_some_and(|(at, _)| *at <= operation.complete_at) {
            return;
        }
        let lines = |operation: &Operation<'_>| {
            let (from, to) = (self.history.line(operation.invoke_at), self.history.line(operation.complete_at));
            format!("lines {from}–{to}")
        };
        let earlier = earlier.map(|number| &self.operations[number]);
        let after = earlier.map_or(String::new(), |earlier| format!(" ({} of {})", earlier.invoke.f, lines(earlier)));
        let f = &operation.invoke.f;
        let sentence = format!("space {}: the {f} of {} {why}{after}", self.name, lines(operation));
        let label = |operation: &Operation<'_>| match operation.invoke.value.get("id") {
            Some(id) => format!("{} {id}", operation.invoke.f),
            None => operation.invoke.f.clone(),
        };
        let mut spans: Vec<_> =
            earlier.iter().map(|earlier| earlier.span(self.history, label(earlier), false)).collect();
        spans.push(operation.span(self.history, label(operation), true));
        let found = Counterexample { property, sentence, spans, ..Counterexample::default() };
        self.first = Some((operation.complete_at, found));
    }

    /// Linearizable recalls: what had been acknowledged or stated when each began.
    fn real_time(&mut self) {
        let acks = self.space.rows.iter().filter_map(|row| {
            let (index, operation) = row.placed?;
            Some((row.acked_at?, index, operation))
        });
        let forgets = self.space.forgets.iter();
        let forgets = forgets.filter_map(|forget| Some((forget.acked_at?, forget.log_index?, forget.operation)));
        let told = self.space.recalls.iter().filter(|recall| recall.linearizable);
        let stated = told.clone().filter_map(|recall| Some((recall.ended_at, recall.applied?, recall.operation)));
        let bounds = [("saw_every_ack", rising(acks.chain(forgets))), ("linearizable_order", rising(stated))];
        for recall in told {
            let Some(applied) = recall.applied else { continue };
            for (property, bound) in &bounds {
                let count = bound.partition_point(|(at, ..)| *at < recall.begun_at);
                let Some((_, index, operation)) = count.checked_sub(1).map(|last| bound[last]) else { continue };
                if index > applied {
                    let why = format!("states applied index {applied}, though {index} was told before it began");
                    self.accuse(recall, property, why, Some(operation));
                }
            }
        }
    }

    /// What was sent after an answer has no place in its state.
    fn future(&mut self) {
        let rows = self.space.rows.iter().filter(|row| row.sent_at != usize::MAX);
        let rows = rows.filter_map(|row| row.placed.map(|(index, operation)| (row.sent_at, index, operation)));
        let forgets = self.space.forgets.iter();
        let forgets = forgets.filter_map(|forget| Some((forget.sent_at, forget.log_index?, forget.operation)));
        let mut sent: Vec<(usize, u64, usize)> = rows.chain(forgets).collect();
        sent.sort_unstable();
        // The lowest index that was sent from each place on.
        for at in (1..sent.len()).rev() {
            if sent[at].1 < sent[at - 1].1 {
                (sent[at - 1].1, sent[at - 1].2) = (sent[at].1, sent[at].2);
            }
        }
        for recall in &self.space.recalls {
            let Some(applied) = recall.applied else { continue };
            let later = sent.partition_point(|(at, ..)| *at < recall.ended_at);
            if let Some((_, index, operation)) = sent.get(later).filter(|(_, index, _)| *index <= applied) {
                let why = format!("states applied index {applied}, though log index {index} was sent after it ended");
                self.accuse(recall, "no_future", why, Some(*operation));
            }
        }
    }

    /// What is in the answer and should not be, or not like this.
    fn hits(&mut self, recall: &Recall) {
        if let Some(k) = recall.k.filter(|k| recall.hits.len() > *k) {
            self.accuse(recall, "at_most_k", format!("has {} hits, of at most {k}", recall.hits.len()), None);
        }
        let mut seen = BTreeSet::new();
        let mut before: Option<f64> = None;
        let cue_square = recall.cue.as_ref().map_or(0.0, |cue| dot(cue, cue));
        for hit in &recall.hits {
            let row = &self.space.rows[hit.row];
            let name = &row.name;
            if !seen.insert(hit.row) {
                self.accuse(recall, "no_duplicates", format!("has row {name} twice"), None);
            }
            match self.space.sight(row, recall) {
                Sight::Lives | Sight::May => {}
                Sight::Invented if row.refused.is_some() => {
                    self.accuse(recall, "nothing_invented", format!("has row {name}, which was refused"), row.refused);
                }
                Sight::Invented => {
                    self.accuse(recall, "nothing_invented", format!("has row {name}, which nobody had sent"), None);
                }
                Sight::Newer => self.newer(recall, row),
                Sight::Forgotten(forget) => {
                    let why = format!("has row {name}, which was forgotten");
                    self.accuse(recall, "forgotten_stays", why, Some(forget));
                }
            }
            if let (Some(told), Some((index, operation))) = (hit.log_index, row.placed)
                && told != index
            {
                let why = format!("has row {name} at log index {told}, which is {index}");
                self.accuse(recall, "as_acknowledged", why, Some(operation));
            }
            if let (Some(score), Some(least)) = (hit.score, before)
                && score > least
            {
                self.accuse(recall, "best_first", format!("has row {name} after worse ones"), None);
            }
            before = hit.score.or(before);
            self.score(recall, hit, cue_square);
        }
    }

    fn newer(&mut self, recall: &Recall, row: &Row) {
        let (index, operation) = row.placed.unwrap_or_default();
        let applied = recall.applied.unwrap_or_default();
        let why = format!("has row {} of log index {index}, above its applied index {applied}", row.name);
        self.accuse(recall, "within_snapshot", why, Some(operation));
    }

    fn score(&mut self, recall: &Recall, hit: &Hit, cue_square: f32) {
        let row = &self.space.rows[hit.row];
        let (Some(cue), Some(vector), Some(score)) = (&recall.cue, row.vector, hit.score) else { return };
        let (exact, scale) = self.space.vectors.score(self.space.metric, vector, cue, cue_square);
        if (score - f64::from(exact)).abs() > f64::from(self.space.error_max() * scale) {
            let why = format!("gives row {} the score {score}, which is {exact}", row.name);
            self.accuse(recall, "score_is_true", why, None);
        }
    }

    /// What is not in the answer and should be; and the share of the nearest that is.
    fn missing(&mut self, recall: &Recall) {
        if recall.filtered {
            return;
        }
        let ranked = self.ranked(recall);
        let held: BTreeSet<usize> = recall.hits.iter().map(|hit| hit.row).collect();
        let error = self.space.error_max();
        let good = |row: &Ranked| match recall.score_min {
            Some(least) => row.score.is_finite() && f64::from(row.score - error * row.scale) >= least,
            None => true,
        };
        // A row in doubt that is not in the answer is taken as not there: if it were, it would be missing itself.
        let there = ranked.iter().filter(|row| row.lives || held.contains(&row.row));
        let mut scores: Vec<f32> = there.map(|row| row.score).collect();
        let full = recall.k.is_none_or(|k| recall.hits.len() >= k);
        // The best score of those that can't be among the guaranteed.
        let beyond = if full { nth(&mut scores, recall.guarantee) } else { f32::NEG_INFINITY };
        let due = |row: &&Ranked| {
            let surely =
                beyond == f32::NEG_INFINITY || (row.score.is_finite() && row.score >= beyond + 2.0 * error * row.scale);
            row.lives && surely && good(row) && !held.contains(&row.row)
        };
        if (!full || recall.guarantee > 0)
            && let Some(row) = ranked.iter().find(due)
        {
            let row = &self.space.rows[row.row];
            let why = match full {
                false => format!("has {} hits and lacks row {}", recall.hits.len(), row.name),
                true => format!("lacks row {}, one of the {} nearest", row.name, recall.guarantee),
            };
            let operation = row.placed.map(|(_, operation)| operation);
            self.accuse(recall, "none_missing", why, operation);
        }
        if recall.score_min.is_none() && recall.cue.is_some() {
            self.measure(recall, &ranked);
        }
    }

    /// The rows that may be in the answer; those without an embedding may come before all others.
    fn ranked(&self, recall: &Recall) -> Vec<Ranked> {
        let cue_square = recall.cue.as_ref().map_or(0.0, |cue| dot(cue, cue));
        let mut ranked = Vec::new();
        for (number, glance) in self.space.glances.iter().enumerate() {
            let Some(lives) = self.space.lives(number, recall) else { continue };
            let (score, scale) = match (&recall.cue, glance.vector) {
                (Some(cue), Some(vector)) => {
                    self.space.vectors.score(self.space.metric, vector as usize, cue, cue_square)
                }
                _ => (f32::INFINITY, 1.0),
            };
            ranked.push(Ranked { row: number, lives, score, scale });
        }
        ranked
    }

    fn measure(&mut self, recall: &Recall, ranked: &[Ranked]) {
        let mut scores: Vec<f32> = ranked.iter().filter(|row| row.lives).map(|row| row.score).collect();
        let count = MEASURED.min(recall.k.unwrap_or(MEASURED)).min(scores.len());
        if count == 0 || scores.iter().any(|score| score.is_infinite()) {
            return;
        }
        let least = nth(&mut scores, count - 1);
        let (space, cue) = (self.space, recall.cue.as_deref().unwrap_or_default());
        let cue_square = dot(cue, cue);
        let near = |hit: &&Hit| match space.rows[hit.row].vector {
            Some(vector) if space.lives(hit.row, recall).is_some() => {
                space.vectors.score(space.metric, vector, cue, cue_square).0 >= least
            }
            _ => false,
        };
        // A row twice in an answer is found once.
        let first: BTreeSet<usize> = recall.hits.iter().take(count).filter(near).map(|hit| hit.row).collect();
        let found = first.len();
        self.measured.push(found as f64 / count as f64);
    }

    fn compare(&mut self, before: &Recall, recall: &Recall) {
        self.compared += 1;
        let bytes = before.bytes.is_some() && recall.bytes.is_some() && before.bytes != recall.bytes;
        if before.answer != recall.answer || bytes {
            let what = if bytes { "other bytes" } else { "other hits" };
            let why = format!("has {what} than the same question at the same log index before");
            self.accuse(recall, "same_answer", why, Some(before.operation));
        }
    }
}

/// The highest index so far, each time it rose: place, index, operation.
fn rising(told: impl Iterator<Item = (usize, u64, usize)>) -> Vec<(usize, u64, usize)> {
    let mut told: Vec<_> = told.collect();
    told.sort_unstable();
    let mut highest = None;
    told.retain(|(_, index, _)| {
        let rises = highest.is_none_or(|highest| *index > highest);
        highest = if rises { Some(*index) } else { highest };
        rises
    });
    told
}

/// The score that has `n` better ones before it; minus infinity if there are no more than `n`.
fn nth(scores: &mut [f32], n: usize) -> f32 {
    match scores.len() > n {
        true => *scores.select_nth_unstable_by(n, |one, two| two.total_cmp(one)).1,
        false => f32::NEG_INFINITY,
    }
}
