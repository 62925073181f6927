//! `cargo run -p engram-index --example colours`: names of colours, found by nearness in red, green and blue.
//!
//! Place: the shortest use of the crate with two threads and originals. Leaves out: enough rows for a graph to matter.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use engram_index::{Index, Metric, Options, Originals, Pool, Search, Snapshot};
use std::{num::NonZeroUsize, ops::ControlFlow};

/// The colours of a cube with edges of eight steps; the caller's store of originals.
struct Colours;

impl Colours {
    fn of(row: u32) -> [f32; 3] {
        [row / 64, row / 8 % 8, row % 8].map(|step| step as f32 / 7.0)
    }
}

impl Originals for Colours {
    fn vector(&self, row: u32, into: &mut [f32]) -> bool {
        into.copy_from_slice(&Colours::of(row));
        row < 512
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let index = Index::new(Options::new(3, Metric::L2, 1))?;
    for row in 0..512 {
        index.push(&Colours::of(row))?;
    }
    index.build_all(&Pool::new(NonZeroUsize::MIN.saturating_add(1)), &mut |progress| {
        let epoch = progress.epoch;
        println!("epoch {}: {} of {} rows, digest {:016x}", epoch.number, epoch.rows, progress.rows, epoch.digest);
        ControlFlow::Continue(())
    });
    index.check()?;
    let cue = index.cue(&[0.95, 0.5, 0.1])?;
    let warm = |row: u32| Colours::of(row)[0] > Colours::of(row)[2];
    let found = index.search(&cue, Search { k: 5, ef: 64, at: Snapshot::LATEST }, &warm, Some(&Colours));
    for hit in &found.hits {
        println!("row {:3} {:.2?}: {:.4}", hit.row, Colours::of(hit.row), hit.score);
    }
    println!("{} rows were scanned beside the graph", found.tail_scanned);
    Ok(())
}
