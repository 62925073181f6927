//! Counts by size, in fixed buckets, for any number of writers.
//!
//! Place: in [`super::Meters`] and in the log's writer. Leaves out: exact quantiles; Prometheus interpolates in a bucket,
//! so the bounds have the figures that alerts look at.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Microseconds: 100 µs to 10 s. 50 ms and 100 ms are figures of alerts.
const TIMES_US: [u64; 16] = [
    100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];
/// Rows of an entry or a batch.
const ROWS: [u64; 10] = [1, 5, 10, 25, 50, 100, 250, 500, 1000, 5000];

/// What one unit of a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Values are microseconds, and are told as seconds.
    Seconds,
    /// Values are rows.
    Rows,
}

/// Cheap to clone; clones are one.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    unit: Unit,
    bounds: &'static [u64],
    /// One a bound, and one for what is above them all.
    counts: Vec<AtomicU64>,
    sum: AtomicU64,
}

impl Histogram {
    /// Nothing counted yet.
    pub fn new(unit: Unit) -> Self {
        let bounds: &[u64] = match unit {
            Unit::Seconds => &TIMES_US,
            Unit::Rows => &ROWS,
        };
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Shared { unit, bounds, counts, sum: AtomicU64::new(0) }))
    }

    /// Counts a value: microseconds or rows.
    pub fn observe(&self, value: u64) {
        let at = self.0.bounds.partition_point(|bound| *bound < value);
        self.0.counts[at].fetch_add(1, Ordering::Relaxed);
        self.0.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Counts a time.
    pub fn time(&self, took: Duration) {
        self.observe(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Cumulative counts by upper bound, without the last, which is the count of all; then that, and the sum.
    pub fn read(&self) -> (Vec<(f64, u64)>, u64, f64) {
        let scale = match self.0.unit {
            Unit::Seconds => 1e6,
            Unit::Rows => 1.0,
        };
        // Before the counts: a sum never has what no count has yet. Both may miss what is counted meanwhile.
        let sum = self.0.sum.load(Ordering::Relaxed) as f64 / scale;
        let mut all = 0;
        let mut upto = |count: &AtomicU64| {
            all += count.load(Ordering::Relaxed);
            all
        };
        let buckets =
            self.0.bounds.iter().zip(&self.0.counts).map(|(bound, count)| (*bound as f64 / scale, upto(count)));
        let buckets = buckets.collect();
        let count = self.0.counts.last().map_or(0, &mut upto);
        (buckets, count, sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_bucket_of_the_first_bound_that_it_does_not_pass() {
        let times = Histogram::new(Unit::Seconds);
        for us in [0, 100, 101, 250, 50_000, 50_001, u64::MAX >> 1] {
            times.time(Duration::from_micros(us));
        }
        let (buckets, count, _) = times.read();
        let upto = |le: f64| buckets.iter().find(|(bound, _)| *bound == le).expect("a bound").1;
        assert_eq!([upto(0.0001), upto(0.00025), upto(0.025), upto(0.05), upto(0.1), upto(10.0)], [2, 4, 4, 5, 6, 6]);
        assert_eq!(count, 7);
        let rows = Histogram::new(Unit::Rows);
        [10, 100, 500].into_iter().for_each(|value| rows.observe(value));
        assert_eq!(rows.read(), (rows.read().0, 3, 610.0));
    }
}
