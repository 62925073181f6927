//! Recalls of a vector memory: every answer is what its stated snapshot allows, judged by an exact scan.
//!
//! # Operations
//! The key is the space.
//! - `space` (at most one a key): invoke value = `{"metric": "cosine" | "dot" | "l2", "score_error_max": e,
//!   "recall_at_10_min": r}`; all may be left out, and so may the operation: cosine, 0.002, no minimum.
//! - `observe`: invoke value = `{"id": x, "embedding": v}`; ok value = `{"log_index": i}`. An embedding is an array of
//!   numbers or the hexadecimal digits of its little-endian `f32`s. Without it the row is not ranked. A resend has the
//!   same id and embedding; an id is never given to another row.
//! - `forget`: invoke value = `{"ids": [x, …]}`, ok value = `{"log_index": i}`. Where the caller can't know them (a
//!   filter, an age), the ids stand in the ok value.
//! - `recall`: invoke value = `{"cue": v, "k": n, "level": L, "guarantee": g, "score_min": s, "filter": …}`; ok value =
//!   `{"applied_index": a, "node": n, "hits": [{"id": x, "score": s, "log_index": i}, …], "bytes": digest}`, best first.
//!   Levels are those of [`crate::sessions`]. `guarantee` states that the exact g nearest are in the answer; `"exact":
//!   true` is short for g = k.
//!
//! # What is decided, for each ok recall
//! - `at_index`: a read at a log index states that index. `no_future`: what is first sent after an answer has a log
//!   index above the applied index.
//! - `within_snapshot`: no hit has a log index above the applied index. `nothing_invented`: every hit was sent by
//!   somebody, and not only refused. `forgotten_stays`: no hit was forgotten at or below the applied index.
//!   `no_duplicates`, `at_most_k`, `best_first`. `as_acknowledged`: a row has one log index, in acks and hits.
//! - `score_is_true`: a score differs from the exact one by `score_error_max` at most (times both lengths for dot, the
//!   sum of their squares for l2).
//! - `none_missing`: a row that surely lives in the snapshot is in the answer if fewer than k are, or if it surely
//!   ranks within the guarantee: if too few rows of the answer's state can come before it, given the error of scores.
//! - `same_answer`: recalls with equal questions at one `at_index` have equal hits, and equal `bytes` where stated,
//!   whatever node answered.
//! - `recall_at_10`: the mean share of the true ten nearest among the first ten hits is not below the space's minimum.
//!
//! The model `linearizable-recall` asks more of recalls at that level (and of those that name none):
//! - `saw_every_ack`: the applied index reaches every observation and forget of the space that was acknowledged before
//!   the recall began, and the answer is that of a state with all of them. Here `applied_index` may be missing.
//! - `linearizable_order`: it reaches what a linearizable recall stated that completed before.
//!
//! A row or forget of unknown outcome may count or not. Leaves out: what a filter means (an answer under one is not
//! searched for what is missing), and rows that leave by their age without a recorded forget.

mod judge;
mod parse;
mod space;
mod vector;

use serde_json::json;

use crate::history::{History, InputError};
use crate::operation::{Outcome, pair};
use crate::verdict::{Counterexample, Figures, Summary, Verdict};

use judge::Judge;

/// Decides whether every recall of `history` was answered as its snapshot allows; with `linearizable`, whether those at
/// that level saw every ack before them, too.
pub fn check(history: &History, linearizable: bool) -> Verdict {
    decide(history, linearizable).into()
}

fn decide(history: &History, linearizable: bool) -> Result<Verdict, InputError> {
    let operations = pair(history)?;
    let spaces = parse::parse(history, &operations, linearizable)?;
    let (mut violations, mut count, mut answers, mut compared) = (Vec::new(), 0, 0, 0);
    let mut measured = Measured::default();
    for (name, space) in &spaces {
        let mut judge = Judge::new(history, &operations, name, space);
        judge.recalls();
        answers += space.recalls.len();
        compared += judge.compared;
        measured.add(&judge.measured);
        count += judge.count;
        violations.extend(judge.first);
    }
    violations.sort_by_key(|(at, _)| *at);
    let figures = Figures::from([
        ("answers", json!(answers)),
        ("repeated_at_index", json!(compared)),
        ("recall_at_10", json!(measured.mean())),
        ("recall_at_10_least", json!(measured.least())),
        ("recall_at_10_measured", json!(measured.shares)),
    ]);
    let others = usize::saturating_sub(count, 1);
    if let Some((_, first)) = violations.into_iter().next() {
        return Ok(Verdict::Invalid(Counterexample { others, figures, ..first }));
    }
    let unknown = operations.iter().filter(|operation| operation.outcome == Outcome::Unknown).count();
    let recall = measured.mean().map_or(String::new(), |mean| {
        let (least, shares) = (measured.least().unwrap_or(mean), measured.shares);
        format!(", recall@10 {mean:.4} (least {least:.2}) over {shares} of them")
    });
    let notes = vec![format!("{answers} answers{recall}, {compared} repeated at one index")];
    Ok(Verdict::Valid(Summary { operations: operations.len(), unknown, parts: spaces.len(), notes, figures }))
}

/// Shares of the true ten nearest.
#[derive(Debug, Clone, Copy, Default)]
struct Measured {
    sum: f64,
    shares: usize,
    least: Option<f64>,
}

impl Measured {
    fn push(&mut self, share: f64) {
        self.add(&Measured { sum: share, shares: 1, least: Some(share) });
    }

    fn add(&mut self, other: &Measured) {
        self.sum += other.sum;
        self.shares += other.shares;
        self.least = match (self.least, other.least) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
    }

    fn mean(&self) -> Option<f64> {
        (self.shares > 0).then(|| self.sum / self.shares as f64)
    }

    fn least(&self) -> Option<f64> {
        self.least
    }
}
