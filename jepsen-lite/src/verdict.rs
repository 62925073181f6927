//! What a checker says, and the smallest part of the history that shows why.
//!
//! Invariant `verdict_exact`: `Valid` and `Invalid` are proofs; everything else is `Undecided` or `Unusable`.
//!
//! Leaves out: presentation as a page ([`crate::html`]).

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::history::InputError;

/// One operation of a counterexample, as a bar of a timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Span {
    /// Who did it.
    pub process: i64,
    /// What it was, such as `write 3` or `read → 1`.
    pub label: String,
    /// The line of its invocation.
    pub from_line: usize,
    /// The line of its completion, if it completed.
    pub to_line: Option<usize>,
    /// Time of the invocation, in nanoseconds.
    pub from_ns: u64,
    /// Time of the completion, in nanoseconds.
    pub to_ns: Option<u64>,
    /// Whether its outcome is known (`ok`).
    pub known: bool,
    /// Whether this is the operation that can't be explained.
    pub guilty: bool,
    /// Where it stands in an order in which each answer is right, if one was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point: Option<Point>,
}

/// The moment at which an operation may have taken effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Point {
    /// Its place in the order, from 1.
    pub place: usize,
    /// The line after which it is, and before the next one of the same part.
    pub after_line: usize,
}

/// Measures beside a verdict, by name; empty where a model has none.
pub type Figures = BTreeMap<&'static str, Value>;

/// Why a history is invalid.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counterexample {
    /// The promise that broke, such as `no_acked_loss` or `linearizable`.
    pub property: &'static str,
    /// One sentence for people.
    pub sentence: String,
    /// The operations that show it: few.
    pub spans: Vec<Span>,
    /// Further violations that were seen; this one is the smallest.
    pub others: usize,
    /// What was measured all the same.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: Figures,
    /// For registers: how far the history is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<Prefix>,
}

/// The longest valid prefix of the part of a history that is invalid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Prefix {
    /// The line of the completion that it ends before.
    pub before_line: usize,
    /// How many operations completed in it.
    pub operations: usize,
    /// The last of its operations, those that were open at its end, and the one that can't follow. Those that took effect in the
    /// order that was found have a point.
    pub spans: Vec<Span>,
}

/// What was looked at to say `valid`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Operations in the history.
    pub operations: usize,
    /// Of those, the ones with an unknown outcome.
    pub unknown: usize,
    /// Independent parts: keys or sessions.
    pub parts: usize,
    /// What a reader should know, such as times that disagree with the order of lines.
    pub notes: Vec<String>,
    /// What was measured.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: Figures,
}

/// A checker's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub enum Verdict {
    /// A correct system can give this history.
    Valid(Summary),
    /// No correct system can.
    Invalid(Counterexample),
    /// The search hit its memory limit: neither is proven.
    Undecided {
        /// Which limit, where, and what to do.
        reason: String,
    },
    /// The input breaks the format, or holds nothing to check against.
    Unusable(InputError),
}

impl Verdict {
    /// Proven correct.
    pub fn is_valid(&self) -> bool {
        matches!(self, Verdict::Valid(_))
    }

    /// The counterexample, if the history is proven wrong.
    pub fn counterexample(&self) -> Option<&Counterexample> {
        match self {
            Verdict::Invalid(counterexample) => Some(counterexample),
            _ => None,
        }
    }

    /// Exit code of the command: 0 valid, 1 invalid, 2 no verdict.
    pub fn exit_code(&self) -> u8 {
        match self {
            Verdict::Valid(_) => 0,
            Verdict::Invalid(_) => 1,
            Verdict::Undecided { .. } | Verdict::Unusable(_) => 2,
        }
    }

    /// One line for people, without the file's name.
    pub fn sentence(&self) -> String {
        match self {
            Verdict::Valid(summary) => {
                let Summary { operations, unknown, parts, notes, .. } = summary;
                let notes: String = notes.iter().map(|note| format!("; note: {note}")).collect();
                format!("valid ({operations} operations, {unknown} of them unknown, {parts} keys or sessions){notes}")
            }
            Verdict::Invalid(counterexample) => {
                let Counterexample { property, sentence, others, .. } = counterexample;
                let more = if *others == 0 { String::new() } else { format!(" ({others} more violations)") };
                format!("invalid: {property}: {sentence}{more}")
            }
            Verdict::Undecided { reason } => format!("undecided: {reason}"),
            Verdict::Unusable(error) => match error.line {
                Some(line) => format!("unusable: line {line}: {}", error.message),
                None => format!("unusable: {}", error.message),
            },
        }
    }
}

impl From<Result<Verdict, InputError>> for Verdict {
    fn from(result: Result<Verdict, InputError>) -> Self {
        result.unwrap_or_else(Verdict::Unusable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_zero_one_two() {
        let error = InputError { file: "h".into(), line: None, message: "empty".into() };
        let bad = Counterexample { property: "p", sentence: "s".into(), ..Counterexample::default() };
        assert_eq!(Verdict::Valid(Summary::default()).exit_code(), 0);
        assert_eq!(Verdict::Invalid(bad).exit_code(), 1);
        assert_eq!(Verdict::Undecided { reason: "r".into() }.exit_code(), 2);
        assert_eq!(Verdict::Unusable(error).exit_code(), 2);
    }
}
