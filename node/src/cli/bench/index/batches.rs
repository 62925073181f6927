//! What a batch is worth: rows that come after most others, in batches of given sizes.
//!
//! Nine tenths of the rows are built first; then sizes and threads take turns, some rows each, in rounds, and the best
//! round of each counts, since the machine may be shared. An item's time has its encoding inside.
//! Leaves out: the digest; a cut is part of the input, so it is another than that of whole builds.

use super::args::{Batch, Plan};
use super::data::Data;
use super::step;
use super::subject::{Subject, now, pool};
use crate::cli::exit::Failure;
use std::collections::BTreeMap;

const ROUNDS_MAX: usize = 3;
/// Rows of a turn of single rows, each of which is slow.
const SINGLES: u32 = 200;
/// Rows of a turn of other batches, at least; and two batches.
const TURN: u32 = 1000;
/// Rows of the longest batch that an index cuts by itself.
const AUTO: u32 = 8192;

/// Microseconds an item by size of the batch, `auto` included.
pub type Items = BTreeMap<String, f64>;

/// What was measured.
#[derive(Debug, Default)]
pub struct Batches {
    /// One thread.
    pub alone: Items,
    /// All cores.
    pub all: Items,
}

impl Batches {
    /// How much faster items are than single rows, which are best built as is fastest: a pool has no use for one row.
    pub fn speedups(&self, items: &Items) -> BTreeMap<String, f64> {
        let singles = [&self.alone, &self.all].into_iter().filter_map(|items| items.get("1").copied());
        let Some(single) = singles.reduce(f64::min) else { return BTreeMap::new() };
        items.iter().map(|(batch, us)| (batch.clone(), single / us)).collect()
    }
}

/// Builds most rows, then times the rest.
pub fn measure(plan: &Plan, data: &Data) -> Result<Batches, Failure> {
    let mut batches = Batches::default();
    let turns = turns(&plan.batches, data.rows as u32);
    let (alone, all) = (pool(1), pool(plan.cores));
    let round: u32 = 2 * turns.iter().map(|turn| turn.1).sum::<u32>();
    if round == 0 {
        return Ok(batches);
    }
    let most = data.rows as u32 - round.max(data.rows as u32 / 10);
    step(format_args!("builds {most} rows, then times batches"));
    let subject = Subject::new(plan.options(data.dim)?, data)?;
    subject.build(most, Batch::Auto, &all)?;
    for _ in 0..((data.rows as u32 - most) / round).min(ROUNDS_MAX as u32) {
        for &(batch, rows) in &turns {
            for (pool, items) in [(&alone, &mut batches.alone), (&all, &mut batches.all)] {
                let started = now();
                subject.build(subject.built() + rows, batch, pool)?;
                let us = started.elapsed().as_secs_f64() * 1e6 / f64::from(rows);
                let best = items.entry(name(batch)).or_insert(us);
                *best = best.min(us);
            }
        }
    }
    Ok(batches)
}

/// Sizes, and the rows of a turn of each: those whose turns fit into three tenths of the rows. Single rows come along,
/// because the others are compared with them.
fn turns(batches: &[Batch], rows: u32) -> Vec<(Batch, u32)> {
    if batches.is_empty() {
        return Vec::new();
    }
    let others = batches.iter().copied().filter(|&batch| batch != Batch::Rows(1));
    let mut room = rows / 10 * 3 / 2;
    let mut turns = Vec::new();
    for batch in std::iter::once(Batch::Rows(1)).chain(others) {
        let wanted = match batch {
            Batch::Rows(1) => SINGLES.min(rows / 100),
            Batch::Rows(size) => size * (TURN / size).max(2),
            Batch::Auto => AUTO.min(rows / 9),
        };
        if wanted > room {
            step(format_args!("leaves out batches of {}: {rows} rows are too few", name(batch)));
            continue;
        }
        room -= wanted;
        turns.push((batch, wanted));
    }
    turns
}

fn name(batch: Batch) -> String {
    match batch {
        Batch::Rows(rows) => rows.to_string(),
        Batch::Auto => "auto".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_whole_batches_and_fit() {
        let wanted = [1, 100, 500].map(Batch::Rows);
        let of = |rows| turns(&wanted, rows).iter().map(|turn| turn.1).collect::<Vec<_>>();
        assert_eq!(of(100_000), [200, 1000, 1000]);
        assert_eq!(of(10_000), [100, 1000]);
        assert_eq!(turns(&[Batch::Auto], 100_000), [(Batch::Rows(1), 200), (Batch::Auto, 8192)]);
        assert_eq!(turns(&[], 100_000), []);
    }

    #[test]
    fn a_speedup_is_over_the_faster_way_to_build_single_rows() {
        let items = |single, many| Items::from([("1".to_string(), single), ("500".to_string(), many)]);
        let batches = Batches { alone: items(100.0, 50.0), all: items(150.0, 25.0) };
        assert_eq!(batches.speedups(&batches.all)["500"], 4.0);
        assert_eq!(batches.speedups(&batches.alone)["500"], 2.0);
        assert!(Batches::default().speedups(&batches.all).is_empty() && Batches::default().all.is_empty());
    }
}
