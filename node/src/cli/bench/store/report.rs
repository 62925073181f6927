//! All figures of a run, by the names that `--json` prints.
//!
//! Place: filled part by part, read by `text`. Invariant: a gate is of this run's medians; what was not measured has no
//! verdict. Leaves out: figures of rates; those are `figures`'.

use super::args::Plan;
use super::figures::Figures;
use super::payload::Payloads;
use super::subject::Kind;
use crate::cli::bench::gate::{Bound, Gate};
use serde::Serialize;

/// Entries of so many rows are large: the gate is of those.
const LARGE_ROWS: usize = 256;

/// Seconds, and by GB of payload.
#[derive(Debug, Default, Serialize)]
pub struct Timed {
    /// Opening.
    pub open_s: f64,
    /// The same by 10^9 bytes of payload.
    pub open_s_per_gb: f64,
    /// Reading the same files.
    pub plain_s: f64,
    /// The same by 10^9 bytes of payload.
    pub plain_s_per_gb: f64,
}

/// How long a log takes to open.
#[derive(Debug, Serialize)]
pub struct Opening {
    /// Which.
    pub subject: String,
    /// Rows an entry.
    pub rows_per_entry: usize,
    /// It holds.
    pub entries: u64,
    /// Of them all.
    pub payload_bytes: u64,
    /// Of its files, what was allocated ahead included.
    pub file_bytes: u64,
    /// Files out of memory.
    pub cold: Timed,
    /// Files in memory.
    pub warm: Timed,
}

impl Opening {
    /// Before it is timed.
    pub fn new(subject: &str, payloads: &Payloads, entries: u64) -> Self {
        let (subject, rows_per_entry) = (subject.to_string(), payloads.rows);
        let payload_bytes = entries * payloads.bytes();
        let (cold, warm) = Default::default();
        Self { subject, rows_per_entry, entries, payload_bytes, file_bytes: 0, cold, warm }
    }

    /// Once it is timed.
    pub fn per_gb(&mut self) {
        let gb = (self.payload_bytes as f64 / 1e9).max(1e-9);
        for timed in [&mut self.cold, &mut self.warm] {
            (timed.open_s_per_gb, timed.plain_s_per_gb) = (timed.open_s / gb, timed.plain_s / gb);
        }
    }
}

/// What kills left of one subject.
#[derive(Debug, Serialize)]
pub struct Killed {
    /// Which.
    pub subject: String,
    /// Rows an entry.
    pub rows_per_entry: usize,
    /// Processes.
    pub kills: u64,
    /// Entries in all.
    pub acked: u64,
    /// Of those, not there afterwards.
    pub lost: u64,
    /// By one kill.
    pub lost_most: u64,
    /// Logs that could not be opened afterwards; all of theirs is lost.
    pub not_opened: u64,
    /// Why the last of them could not.
    pub error: Option<String>,
}

impl Killed {
    /// Before the first.
    pub fn new(subject: &str, rows_per_entry: usize) -> Self {
        let (subject, error) = (subject.to_string(), None);
        Self { subject, rows_per_entry, kills: 0, acked: 0, lost: 0, lost_most: 0, not_opened: 0, error }
    }

    /// By one more kill.
    pub fn lose(&mut self, entries: u64) {
        self.lost += entries;
        self.lost_most = self.lost_most.max(entries);
    }
}

/// What was measured, and how.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Where.
    pub dir: String,
    /// Of this machine.
    pub cores: usize,
    /// Appends at once.
    pub in_flight: usize,
    /// Each subject in turn.
    pub rounds: usize,
    /// Of each subject in each round, at most.
    pub seconds: f64,
    /// Rates: for each size of entries the log, the disk's limits, and the others.
    pub rates: Vec<Figures>,
    /// Openings.
    pub openings: Vec<Opening>,
    /// Kills.
    pub kills: Vec<Killed>,
    /// What was promised.
    pub gates: Vec<Gate>,
}

impl Report {
    /// What is known before anything is measured.
    pub fn new(plan: &Plan) -> Self {
        Self {
            dir: plan.dir.display().to_string(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            in_flight: plan.in_flight,
            rounds: plan.rounds,
            seconds: plan.time.as_secs_f64(),
            ..Self::default()
        }
    }

    /// The gates, last.
    pub fn finish(&mut self) {
        let log = Kind::Wal.name();
        let ours = || self.rates.iter().filter(|figures| figures.subject == log);
        let large = ours().rfind(|figures| figures.rows_per_entry >= LARGE_ROWS);
        let of_limit = large.and_then(|large| large.of_limit).map(|range| range.median);
        let syncs = ours().filter_map(|figures| figures.syncs_per_group).reduce(f64::max);
        let killed = self.kills.iter().find(|killed| killed.subject == log && killed.acked > 0);
        self.gates = vec![
            Gate::new("large entries: rate by the disk's in the same groups", Bound::Least(0.8), of_limit),
            Gate::new("syncs a group, at any size", Bound::Most(1.0), syncs),
            Gate::new("acked entries lost by kills", Bound::Most(0.0), killed.map(|killed| killed.lost as f64)),
        ];
    }

    /// Entries that the log lost though it had acked them.
    pub fn lost(&self) -> u64 {
        self.kills.iter().filter(|killed| killed.subject == Kind::Wal.name()).map(|killed| killed.lost).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::sample;
    use super::*;

    #[test]
    fn gates_are_of_large_entries_and_not_measured_without_them() {
        let met = |rows: usize, seconds: f64| {
            let log = Kind::Wal.name().to_string();
            let figures = Figures::of(log, &Payloads::new(rows), &[sample(seconds)], &[sample(1.0)]);
            let mut report = Report { rates: vec![figures], ..Report::default() };
            report.finish();
            report.gates.iter().map(|gate| gate.met).collect::<Vec<_>>()
        };
        assert_eq!(met(256, 1.2), [Some(true), Some(true), None]);
        assert_eq!(met(256, 1.3), [Some(false), Some(true), None]);
        assert_eq!(met(1, 1.0), [None, Some(true), None]);
    }
}
