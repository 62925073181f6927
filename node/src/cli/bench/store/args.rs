//! The flags of `engram bench store`, and the plan that they make.
//!
//! Invariant: a plan's numbers are in range; what a flag may not be is said before a file is made.

use super::subject::Kind;
use crate::cli::exit::Failure;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// What an entry has at most.
const ROWS_MAX: usize = 1024;
/// Bytes of files by bytes of payload: sled's were 4.4 times as many at most.
const ROOM_TIMES: u64 = 5;
const MIB: u64 = 1 << 20;

/// What to append, how, and where.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// Folder on the disk to measure; a temporary folder is made in it and removed afterwards. Default: the current one.
    #[arg(long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    dir: PathBuf,
    /// Rows an entry, with commas: each is measured by itself. A row has 384 dimensions of 2 bytes and 100 bytes of text.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,16,256")]
    rows: Vec<usize>,
    /// Appends at once: those that wait together become one group, written and synced once.
    #[arg(long, value_name = "N", default_value_t = 16)]
    in_flight: usize,
    /// Seconds that each subject appends, in each round.
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    seconds: f64,
    /// MiB of payload after which an appending ends before its time.
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    most: u64,
    /// Rounds, subjects in turn in each: a figure is the median, with the least and the most.
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// MiB of payload in a log whose opening is timed, once with its files out of memory and once with them in it; 0: none.
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    open_bytes: u64,
    /// Processes that append, are killed with SIGKILL, and whose log is opened again to count what was acked and lost.
    #[arg(long, value_name = "N", default_value_t = 3)]
    kills: u64,
    /// Measure sled as the log beside the write-ahead log, in three ways: flushed before each ack; flushed and synced
    /// before each ack; and acked at once, flushed every 500 ms.
    #[arg(long)]
    sled: bool,
    /// Print one JSON object on one line.
    #[arg(long)]
    pub json: bool,
    /// Append to a log in this folder and print the index of each entry that is acked, until the end.
    #[arg(long, value_name = "KIND", value_enum, hide = true)]
    pub append: Option<Kind>,
}

/// What will be measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where a temporary folder goes.
    pub dir: PathBuf,
    /// Rows an entry.
    pub rows: Vec<usize>,
    /// Appends at once.
    pub in_flight: usize,
    /// Of each subject in each round.
    pub time: Duration,
    /// Payload bytes of each subject in each round.
    pub bytes: u64,
    /// Subjects in turn.
    pub rounds: usize,
    /// Payload bytes of a log that is opened; 0: none.
    pub open_bytes: u64,
    /// Of each subject.
    pub kills: u64,
    /// Beside the log.
    pub sled: bool,
}

impl StoreArgs {
    /// The plan; an error says which flag to correct.
    pub fn plan(self) -> Result<Plan, Failure> {
        let wrong = |text: String| Err(Failure::input(text));
        if let Some(rows) = self.rows.iter().find(|rows| !(1..=ROWS_MAX).contains(*rows)) {
            return wrong(format!("--rows {rows}: 1 to {ROWS_MAX}"));
        }
        if !(1..=4096).contains(&self.in_flight) {
            return wrong(format!("--in-flight {}: 1 to 4096", self.in_flight));
        }
        if !(0.01..=600.0).contains(&self.seconds) {
            return wrong(format!("--seconds {}: 0.01 to 600", self.seconds));
        }
        if !(1..=65_536).contains(&self.most) {
            return wrong(format!("--most {} (MiB): 1 to 65536", self.most));
        }
        if !(1..=100).contains(&self.rounds) {
            return wrong(format!("--rounds {}: 1 to 100", self.rounds));
        }
        if self.open_bytes > 65_536 {
            return wrong(format!("--open-bytes {} (MiB): 0 to 65536", self.open_bytes));
        }
        if self.kills > 100 {
            return wrong(format!("--kills {}: 0 to 100", self.kills));
        }
        if !self.dir.is_dir() {
            return wrong(format!("--dir {}: no folder; name one on the disk to measure", self.dir.display()));
        }
        Ok(Plan {
            dir: self.dir,
            rows: self.rows,
            in_flight: self.in_flight,
            time: Duration::from_secs_f64(self.seconds),
            bytes: self.most * MIB,
            rounds: self.rounds,
            open_bytes: self.open_bytes * MIB,
            kills: self.kills,
            sled: self.sled,
        })
    }
}

impl Plan {
    /// The most that is on the disk at once, in bytes.
    pub fn room(&self) -> u64 {
        ROOM_TIMES * self.bytes.max(self.open_bytes)
    }

    /// The subjects: the log, and the others if they are wanted.
    pub fn kinds(&self) -> Vec<Kind> {
        match self.sled {
            true => vec![Kind::Wal, Kind::SledFlush, Kind::SledSync, Kind::SledPeriodic],
            false => vec![Kind::Wal],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: StoreArgs,
    }

    fn plan(line: &str) -> Result<Plan, String> {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|e| e.to_string())?;
        line.args.plan().map_err(|e| e.message)
    }

    #[test]
    fn a_line_is_read() {
        let plan = plan("--rows 1,64 --in-flight 8 --most 4 --sled").expect("a good line");
        assert_eq!((plan.rows.as_slice(), plan.in_flight, plan.bytes), (&[1, 64][..], 8, 4 << 20));
        assert_eq!(plan.kinds().len(), 4);
    }

    #[test]
    fn a_wrong_flag_is_named_with_what_to_write() {
        let says = |line: &str, words: &str| {
            let error = plan(line).expect_err("refused");
            assert!(error.contains(words), "{line}: {error}");
        };
        says("--rows 0", "--rows 0: 1 to 1024");
        says("--in-flight 0", "--in-flight 0: 1 to 4096");
        says("--seconds 0", "0.01 to 600");
        says("--most 0", "--most 0 (MiB): 1 to 65536");
        says("--rounds 0", "--rounds 0: 1 to 100");
        says("--dir /nowhere/at/all", "no folder");
    }
}
