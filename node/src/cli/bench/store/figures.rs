//! What each subject did with entries of one size, round by round and summed up.
//!
//! Place: filled by `rates`, part of the report. Invariant: a figure that was not measured is null, never 0; a rate and a
//! ratio are the median of the rounds, with the least and the most beside them.

use super::payload::Payloads;
use crate::cli::feed;
use hdrhistogram::Histogram;
use serde::Serialize;

/// What one subject did in one round.
pub struct Sample {
    /// Appended, all acked.
    pub entries: u64,
    /// Until the last ack.
    pub seconds: f64,
    /// Microseconds of an append, or of a write and its sync.
    pub latency: Histogram<u64>,
    /// Writes that were made durable as one.
    pub groups: Option<u64>,
    /// Syncs that it took for them.
    pub group_syncs: Option<u64>,
    /// Bytes handed over to be written.
    pub written: Option<u64>,
    /// Bytes of pages that went to the disk.
    pub to_disk: Option<u64>,
}

impl Sample {
    fn entries_per_s(&self) -> Option<f64> {
        (self.seconds > 0.0).then(|| self.entries as f64 / self.seconds)
    }
}

/// The median of the rounds, the least and the most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Range {
    /// Of the rounds.
    pub median: f64,
    /// The same.
    pub least: f64,
    /// The same.
    pub most: f64,
}

impl Range {
    /// None where a round has no figure.
    pub fn of(figures: impl Iterator<Item = Option<f64>>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.collect::<Option<_>>()?;
        figures.sort_by(f64::total_cmp);
        let (least, most) = (*figures.first()?, *figures.last()?);
        Some(Self { median: figures[figures.len() / 2], least, most })
    }
}

/// One subject with entries of one size.
#[derive(Debug, Serialize)]
pub struct Figures {
    /// Which.
    pub subject: String,
    /// Rows an entry.
    pub rows_per_entry: usize,
    /// Payload bytes an entry.
    pub payload_bytes: u64,
    /// Acked.
    pub rows_per_s: Option<Range>,
    /// Payload, by the median.
    pub mb_per_s: Option<f64>,
    /// Its rate by the disk's in the log's groups, of the same round.
    pub of_limit: Option<Range>,
    /// Entries of all rounds.
    pub entries: u64,
    /// Entries that were made durable as one.
    pub entries_per_group: Option<f64>,
    /// Of the file that a group went to; files made ahead and marks are not in it.
    pub syncs_per_group: Option<f64>,
    /// From the append to its ack; of a write and its sync for the disk.
    pub p50_ms: Option<f64>,
    /// The same.
    pub p99_ms: Option<f64>,
    /// Bytes handed over to be written, by payload bytes.
    pub written_per_payload: Option<f64>,
    /// Bytes of pages that went to the disk, by payload bytes.
    pub to_disk_per_payload: Option<f64>,
}

impl Figures {
    /// Of all rounds; `limit` is the disk's, round by round.
    pub fn of(subject: String, payloads: &Payloads, samples: &[Sample], limit: &[Sample]) -> Self {
        let rows = payloads.rows as f64;
        let rate = |sample: &Sample| sample.entries_per_s().map(|rate| rate * rows);
        let of_limit = |(sample, limit): (&Sample, &Sample)| Some(sample.entries_per_s()? / limit.entries_per_s()?);
        let rows_per_s = Range::of(samples.iter().map(rate));
        let entries: u64 = samples.iter().map(|sample| sample.entries).sum();
        let sum = |of: fn(&Sample) -> Option<u64>| samples.iter().map(of).sum::<Option<u64>>().map(|sum| sum as f64);
        let groups = sum(|sample| sample.groups).filter(|groups| *groups > 0.0);
        let payload = (entries * payloads.bytes()).max(1) as f64;
        let mut latency = feed::histogram();
        samples.iter().for_each(|sample| latency.add(&sample.latency).expect("alike"));
        let ms = |at: f64| (!latency.is_empty()).then(|| latency.value_at_quantile(at) as f64 / 1e3);
        Self {
            subject,
            rows_per_entry: payloads.rows,
            payload_bytes: payloads.bytes(),
            mb_per_s: rows_per_s.map(|rate| rate.median / rows * payloads.bytes() as f64 / 1e6),
            rows_per_s,
            of_limit: Range::of(samples.iter().zip(limit).map(of_limit)),
            entries,
            entries_per_group: groups.map(|groups| entries as f64 / groups),
            syncs_per_group: sum(|sample| sample.group_syncs).zip(groups).map(|(syncs, groups)| syncs / groups),
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            written_per_payload: sum(|sample| sample.written).map(|bytes| bytes / payload),
            to_disk_per_payload: sum(|sample| sample.to_disk).map(|bytes| bytes / payload),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Ten entries in so many seconds, five groups.
    pub fn sample(seconds: f64) -> Sample {
        Sample {
            entries: 10,
            seconds,
            latency: feed::histogram(),
            groups: Some(5),
            group_syncs: Some(5),
            written: Some(20_000_000),
            to_disk: None,
        }
    }

    #[test]
    fn figures_are_medians_of_rounds_and_what_is_missing_is_null() {
        let samples = [sample(1.0), sample(0.5), sample(2.0)];
        let limit = [sample(1.0), sample(1.0), sample(1.0)];
        let figures = Figures::of("log".into(), &Payloads::new(256), &samples, &limit);
        let rate = figures.rows_per_s.expect("measured");
        assert_eq!((rate.median, rate.least, rate.most), (2560.0, 1280.0, 5120.0));
        assert_eq!(figures.of_limit, Some(Range { median: 1.0, least: 0.5, most: 2.0 }));
        assert_eq!((figures.entries_per_group, figures.to_disk_per_payload, figures.p99_ms), (Some(2.0), None, None));
        assert!(figures.written_per_payload.is_some_and(|written| written > 8.0));
    }
}
