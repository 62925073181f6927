//! A space as the history tells it: its rows, its forgets, its recalls; and what of it a recall may or must see.
//!
//! Invariant: what *surely* lives lives in every state that explains the history; what *may* live, in some state at
//! most. Nothing is said to be missing that does not surely live, and nothing to be wrong that may be right.
//!
//! Leaves out: what follows for an answer ([`super::judge`]).

use std::collections::BTreeMap;

use super::vector::{Matrix, Metric};
use crate::sessions::parse::Level;

/// One row: all attempts to observe one id.
#[derive(Debug)]
pub(super) struct Row {
    pub name: String,
    /// When it was first sent by an attempt that was not refused; past the end if there is none.
    pub sent_at: usize,
    /// An attempt that was refused, if one was.
    pub refused: Option<usize>,
    /// When it was first acknowledged.
    pub acked_at: Option<usize>,
    /// Its log index, from an ack or, if none stated it, from a hit; and the operation that stated it.
    pub placed: Option<(u64, usize)>,
    /// Its embedding's number.
    pub vector: Option<usize>,
    /// The forgets that name it.
    pub forgets: Vec<usize>,
}

/// A forget that was not refused.
#[derive(Debug)]
pub(super) struct Forget {
    pub operation: usize,
    pub sent_at: usize,
    pub acked_at: Option<usize>,
    pub log_index: Option<u64>,
}

/// A recall that was answered.
#[derive(Debug)]
pub(super) struct Recall {
    pub operation: usize,
    pub begun_at: usize,
    pub ended_at: usize,
    /// Held to every ack before it.
    pub linearizable: bool,
    pub level: Option<Level>,
    pub applied: Option<u64>,
    pub cue: Option<Vec<f32>>,
    pub k: Option<usize>,
    pub guarantee: usize,
    pub score_min: Option<f64>,
    pub filtered: bool,
    pub hits: Vec<Hit>,
    /// The question, for recalls at a log index: equal questions have equal answers.
    pub question: Option<String>,
    pub answer: String,
    pub bytes: Option<String>,
}

/// One row of an answer.
#[derive(Debug)]
pub(super) struct Hit {
    pub row: usize,
    pub score: Option<f64>,
    pub log_index: Option<u64>,
}

/// A space.
#[derive(Debug, Default)]
pub(super) struct Space {
    pub metric: Metric,
    pub score_error_max: Option<f64>,
    pub recall_at_10_min: Option<f64>,
    /// The operation that said so.
    pub stated: Option<usize>,
    pub numbers: BTreeMap<String, usize>,
    pub rows: Vec<Row>,
    pub vectors: Matrix,
    pub forgets: Vec<Forget>,
    /// Forgets whose rows nobody knows.
    pub forgets_of_any: Vec<usize>,
    pub recalls: Vec<Recall>,
    /// What most recalls need to know of a row, close together: every recall looks at every row.
    pub glances: Vec<Glance>,
    /// Acks that state another log index for a row than an earlier one did: the two operations.
    pub displaced: Vec<(usize, usize)>,
}

impl Space {
    /// How far a score may be off, in units of its scale; the exact one is a sum of `f32`s and no better than this.
    pub fn error_max(&self) -> f32 {
        self.score_error_max.unwrap_or(0.002).max(1e-5) as f32
    }

    /// The number of a row, made if it is new.
    pub fn row(&mut self, name: String) -> usize {
        *self.numbers.entry(name).or_insert_with_key(|name| {
            self.rows.push(Row {
                name: name.clone(),
                sent_at: usize::MAX,
                refused: None,
                acked_at: None,
                placed: None,
                vector: None,
                forgets: Vec::new(),
            });
            self.rows.len() - 1
        })
    }
}

/// The simple part of a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Glance {
    sent_at: usize,
    /// Its log index, if that and no forget decides; else 0.
    index: u64,
    pub vector: Option<u32>,
}

/// What a recall may make of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// It is in the answer's state for sure.
    Lives,
    /// It may be, or may not.
    May,
    /// Nobody sent it by then, or every attempt was refused.
    Invented,
    /// Its log index is above the answer's.
    Newer,
    /// This forget was in effect.
    Forgotten(usize),
}

impl Space {
    /// Takes note of every row; they are not changed after this.
    pub fn glance(&mut self) {
        let simple = |row: &Row| row.forgets.is_empty() && self.forgets_of_any.is_empty();
        let glance = |row: &Row| Glance {
            sent_at: row.sent_at,
            index: row.placed.filter(|_| simple(row)).map_or(0, |(index, _)| index),
            vector: row.vector.map(|number| number as u32),
        };
        self.glances = self.rows.iter().map(glance).collect();
    }

    /// Whether the row may be in the answer's state, and if so, whether it surely is.
    pub fn lives(&self, row: usize, recall: &Recall) -> Option<bool> {
        let glance = self.glances[row];
        match recall.applied {
            _ if glance.sent_at >= recall.ended_at => None,
            Some(applied) if glance.index > 0 => (glance.index <= applied).then_some(true),
            _ => match self.sight(&self.rows[row], recall) {
                Sight::Lives => Some(true),
                Sight::May => Some(false),
                Sight::Invented | Sight::Newer | Sight::Forgotten(_) => None,
            },
        }
    }

    /// What `recall` may make of `row`.
    pub fn sight(&self, row: &Row, recall: &Recall) -> Sight {
        if row.sent_at >= recall.ended_at {
            return Sight::Invented;
        }
        let within = |index: Option<u64>| Some(index? <= recall.applied?);
        let before = |acked: Option<usize>| recall.linearizable && acked.is_some_and(|at| at < recall.begun_at);
        let placed = within(row.placed.map(|(index, _)| index));
        if placed == Some(false) {
            return Sight::Newer;
        }
        let mut sure = placed == Some(true) || before(row.acked_at);
        let may_count = |forget: &Forget| forget.sent_at < recall.ended_at && within(forget.log_index) != Some(false);
        for forget in row.forgets.iter().map(|number| &self.forgets[*number]) {
            // A forget that came before the row met nothing.
            let met = match (row.placed, forget.log_index) {
                (Some((row, _)), Some(forget)) if forget < row => continue,
                (Some(_), Some(_)) => true,
                _ => row.acked_at.is_some_and(|acked| acked < forget.sent_at),
            };
            if met && (within(forget.log_index) == Some(true) || before(forget.acked_at)) {
                return Sight::Forgotten(forget.operation);
            }
            sure &= !may_count(forget);
        }
        sure &= !self.forgets_of_any.iter().any(|number| may_count(&self.forgets[*number]));
        if sure { Sight::Lives } else { Sight::May }
    }
}
