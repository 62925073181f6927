//! The flags of `engram bench ingest`, and the plan that they make.
//!
//! Invariant: a plan's numbers are in range; what a flag may not be is said before a node is started.

use crate::cli::exit::Failure;
use clap::{Args, ValueEnum};
use engram_proto::limits::{BATCH_ROWS_MAX, DIM_MAX, DIM_MIN};
use std::path::PathBuf;
use std::str::FromStr;

/// What to stream, and into what.
#[derive(Debug, Args)]
pub struct IngestArgs {
    /// Nodes to start: 1 or 3, fresh, each a process of this binary with a temporary directory (TMPDIR says where).
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=7))]
    nodes: u64,
    /// How long to stream, acked as committed; then a fourth of it again, acked as searchable.
    #[arg(long, value_name = "S", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Rows a second over all streams, or `max`: as fast as credit comes back.
    #[arg(long, value_name = "R|max", default_value = "max")]
    rate: Rate,
    /// Dimensions of made vectors.
    #[arg(long, value_name = "D", default_value_t = 384, conflicts_with = "data")]
    dim: usize,
    /// Folder with base.f16.npy (rows, dim) and base.txt (a text a row), and query.f16.npy for the recalls. Streamed in
    /// order; from the second time on each vector gets a little noise, so that it can be told from its first.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Recalls a second beside the stream, k 10, from the nodes in turn.
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    recalls_per_s: f64,
    /// What carries the streams.
    #[arg(long, value_enum, default_value_t)]
    transport: Transport,
    /// Streams at once, each a session.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=256))]
    streams: u64,
    /// Rows a message.
    #[arg(long, value_name = "N", default_value_t = 100)]
    batch: usize,
    /// Print one JSON object on one line.
    #[arg(long)]
    pub json: bool,
}

/// How fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// As fast as credit comes back.
    Max,
    /// So many rows a second.
    Rows(f64),
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse::<f64>()) {
            ("max", _) => Ok(Self::Max),
            (_, Ok(rows)) if (1.0..=1e8).contains(&rows) => Ok(Self::Rows(rows)),
            _ => Err(format!("{text:?} is no rate; write rows a second, such as 8000, or max")),
        }
    }
}

/// What carries the streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// The client library.
    #[default]
    Grpc,
    /// Binary messages at `/v1/stream`.
    Ws,
}

/// What will be measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// To start.
    pub nodes: u64,
    /// Of the longer part.
    pub seconds: u64,
    /// Over all streams.
    pub rate: Rate,
    /// Of made vectors.
    pub dim: usize,
    /// Of stored ones.
    pub data: Option<PathBuf>,
    /// Beside the stream.
    pub recalls_per_s: f64,
    /// What carries the streams.
    pub transport: Transport,
    /// At once.
    pub streams: u64,
    /// Rows a message.
    pub batch: usize,
}

impl IngestArgs {
    /// The plan; an error says which flag to correct.
    pub fn plan(self) -> Result<Plan, Failure> {
        let wrong = |text: String| Err(Failure::input(text));
        if !matches!(self.nodes, 1 | 3 | 5 | 7) {
            return wrong(format!("--nodes {}: an odd number up to 7", self.nodes));
        }
        if !(DIM_MIN..=DIM_MAX).contains(&self.dim) {
            return wrong(format!("--dim {}: {DIM_MIN} to {DIM_MAX}", self.dim));
        }
        if !(1..=BATCH_ROWS_MAX).contains(&self.batch) {
            return wrong(format!("--batch {}: 1 to {BATCH_ROWS_MAX}", self.batch));
        }
        if !(0.0..=10_000.0).contains(&self.recalls_per_s) {
            return wrong(format!("--recalls-per-s {}: 0 to 10000", self.recalls_per_s));
        }
        let Self { nodes, seconds, rate, dim, data, recalls_per_s, transport, streams, batch, json: _ } = self;
        Ok(Plan { nodes, seconds, rate, dim, data, recalls_per_s, transport, streams, batch })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: IngestArgs,
    }

    fn plan(line: &str) -> Result<Plan, String> {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|e| e.to_string())?;
        line.args.plan().map_err(|e| e.message)
    }

    #[test]
    fn a_line_is_read() {
        let plan = plan("--nodes 3 --rate 8000 --transport ws").expect("a good line");
        assert_eq!((plan.nodes, plan.rate, plan.transport), (3, Rate::Rows(8000.0), Transport::Ws));
    }

    #[test]
    fn a_wrong_flag_is_named_with_what_to_write() {
        let says = |line: &str, words: &str| {
            let error = plan(line).expect_err("refused");
            assert!(error.contains(words), "{line}: {error}");
        };
        says("--nodes 2", "--nodes 2: an odd number");
        says("--rate fast", "such as 8000, or max");
        says("--batch 0", "--batch 0: 1 to 1000");
        says("--dim 1", "--dim 1: 2 to 4096");
        says("--recalls-per-s 20000", "0 to 10000");
    }
}
