//! Held-out cues, recalled from followers and compared with an exact search over the same vectors.
#![expect(clippy::disallowed_methods, reason = "a command measures with the system's clock")]

use super::data::Data;
use crate::cli::exit::Failure;
use crate::cli::{feed, out};
use engram_client::{Client, Hit, Level, ReadToken, Recall};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::time::Instant;

/// Hits of each recall, and of the exact search.
pub const K: usize = 10;
/// Cues that are shown, and hits of each.
const SHOWN: usize = 6;
const SHOWN_HITS: usize = 3;

/// What came of the cues.
pub struct Recalled {
    /// How many were asked.
    pub count: u64,
    /// Microseconds.
    pub latency: Histogram<u64>,
    /// Share of the exact nearest that were among the hits.
    pub recall_at_10: f64,
    /// Cues to which the followers gave different answers.
    pub differing: u64,
    /// The cues whose nearest are nearest, for people.
    pub table: String,
}

/// Asks each follower each cue, one at a time.
pub async fn run(
    client: &Client,
    followers: &[String],
    space: &str,
    data: &Data,
    token: ReadToken,
) -> Result<Recalled, Failure> {
    let by_text: BTreeMap<&str, usize> = data.base.texts.iter().enumerate().map(|(at, text)| (*text, at)).collect();
    let mut latency = feed::histogram();
    let (mut good, mut wanted, mut differing, mut best) = (0, 0, 0, Vec::new());
    for (at, cue) in data.cues.vectors.iter().enumerate() {
        let exact = scores(cue, &data.base.vectors);
        let mut sorted = exact.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        // Rows as near as the last of the exact ones are as good: they are ties.
        let least = sorted[K.min(sorted.len()) - 1];
        let mut first: Option<Vec<Hit>> = None;
        for follower in followers {
            let recall = Recall {
                level: Level::AtLeast(token),
                node: Some(follower.clone()),
                ..Recall::new(space, cue.clone(), K as u32)
            };
            let asked = Instant::now();
            let answer = client.recall(recall).await;
            let answer = answer.map_err(|e| Failure::from(e).context(format_args!("recall from {follower}")))?;
            latency.saturating_record(asked.elapsed().as_micros() as u64);
            let near = |hit: &&Hit| by_text.get(&*hit.text).is_some_and(|row| exact[*row] >= least);
            good += answer.hits.iter().filter(near).count();
            wanted += K.min(exact.len());
            let first = first.get_or_insert_with(|| answer.hits.clone());
            differing += u64::from(*first != answer.hits);
        }
        best.push((at, first.unwrap_or_default()));
    }
    best.sort_by(|(_, a), (_, b)| score(b).total_cmp(&score(a)));
    let table = table(data, &best[..SHOWN.min(best.len())]);
    let recall_at_10 = good as f64 / f64::from(wanted.max(1) as u32);
    Ok(Recalled { count: latency.len(), latency, recall_at_10, differing, table })
}

fn score(hits: &[Hit]) -> f32 {
    hits.first().map_or(f32::NEG_INFINITY, |hit| hit.score)
}

/// Cosines, by row.
fn scores(cue: &[f32], rows: &[Vec<f32>]) -> Vec<f32> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let length = |a: &[f32]| dot(a, a).sqrt();
    let own = length(cue);
    rows.iter().map(|row| dot(cue, row) / (own * length(row))).collect()
}

fn table(data: &Data, best: &[(usize, Vec<Hit>)]) -> String {
    let mut table = out::Table::new(&["cue (not among the observations)", "score", "nearest observations"]);
    for (at, hits) in best {
        for (place, hit) in hits.iter().take(SHOWN_HITS).enumerate() {
            let cue = if place == 0 { out::short(data.cues.texts[*at], 48) } else { String::new() };
            table.row([cue, format!("{:.3}", hit.score), out::short(&hit.text, 62)]);
        }
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_cosines() {
        let scores = scores(&[2.0, 0.0], &[vec![3.0, 0.0], vec![0.0, 1.0], vec![-1.0, 0.0]]);
        assert_eq!(scores, [1.0, 0.0, -1.0]);
    }
}
