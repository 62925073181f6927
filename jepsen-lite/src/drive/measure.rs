//! What a run took: latencies in and out of faults, throughput, the time to the first ack after each fault.
//!
//! A row counts from the moment at which its client offers it, waiting for room in the client's window included, to its
//! ack. It is *in faults* if one was under way at any time between; a restart and a backup count as faults. The time to
//! the first ack after a moment is that of the first row that was offered after it.

use crate::drive::faults::Deed;
use crate::drive::record::Samples;
use hdrhistogram::Histogram;
use std::time::Duration;

/// The latencies of some operations.
pub struct Latency {
    /// How many.
    pub count: u64,
    /// The median.
    pub p50: Duration,
    /// Of a hundred, the slowest but one.
    pub p99: Duration,
    /// The slowest.
    pub max: Duration,
}

/// One second of the run.
#[derive(Clone, Debug, Default)]
pub struct Second {
    /// Rows acked.
    pub acked: u64,
    /// Recalls answered.
    pub recalled: u64,
    /// Recalls without an answer.
    pub failed: u64,
    /// Median and P99 of rows acked in it.
    pub ack_ms: Option<(f64, f64)>,
}

/// What a run took.
pub struct Measures {
    /// Rows, in and out of faults.
    pub acks: [Latency; 2],
    /// Recalls, in and out of faults.
    pub recalls: [Latency; 2],
    /// Recalls without an answer.
    pub unanswered: u64,
    /// How late the driver's own tasks woke.
    pub late: Latency,
    /// Second by second.
    pub seconds: Vec<Second>,
    /// For each deed: the time to the first ack after its beginning and after its end.
    pub first_acks: Vec<FirstAcks>,
}

/// The times to the first ack after a deed's beginning and after its end; none if there was no row after it.
pub type FirstAcks = (Option<Duration>, Option<Duration>);

/// Measures it.
pub fn measure(samples: &Samples, deeds: &[Deed]) -> Measures {
    let faults = merged(deeds);
    let in_faults = |from: Duration, to: Duration| {
        let after = faults.partition_point(|fault| fault.1 < from);
        faults.get(after).is_some_and(|fault| fault.0 <= to)
    };
    let mut acks = [histogram(), histogram()];
    for (from, to) in &samples.acks {
        note(&mut acks[usize::from(!in_faults(*from, *to))], *to - *from);
    }
    let mut recalls = [histogram(), histogram()];
    for (from, took, _) in samples.recalls.iter().filter(|recall| recall.2) {
        note(&mut recalls[usize::from(!in_faults(*from, *from + *took))], *took);
    }
    let mut late = histogram();
    samples.late.iter().for_each(|took| note(&mut late, *took));
    let mut offered = samples.acks.clone();
    offered.sort();
    // The earliest ack of any row offered from here on.
    let mut earliest: Vec<Duration> = offered.iter().map(|ack| ack.1).collect();
    for at in (0..earliest.len().saturating_sub(1)).rev() {
        earliest[at] = earliest[at].min(earliest[at + 1]);
    }
    let first = |moment: Duration| {
        let at = offered.partition_point(|ack| ack.0 < moment);
        earliest.get(at).map(|ack| ack.saturating_sub(moment))
    };
    Measures {
        acks: acks.map(latency),
        recalls: recalls.map(latency),
        unanswered: samples.recalls.iter().filter(|recall| !recall.2).count() as u64,
        late: latency(late),
        seconds: seconds(samples),
        first_acks: deeds.iter().map(|deed| (first(deed.from), first(deed.until))).collect(),
    }
}

/// The times at which something was done to the cluster, joined where they overlap.
pub fn merged(deeds: &[Deed]) -> Vec<(Duration, Duration)> {
    let mut all: Vec<(Duration, Duration)> =
        deeds.iter().filter(|deed| deed.injected).map(|deed| (deed.from, deed.until)).collect();
    all.sort();
    let mut joined: Vec<(Duration, Duration)> = Vec::new();
    for (from, until) in all {
        match joined.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(until),
            _ => joined.push((from, until)),
        }
    }
    joined
}

fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are allowed")
}

fn note(histogram: &mut Histogram<u64>, took: Duration) {
    histogram.record(took.as_micros() as u64).expect("it grows with what it is given");
}

fn latency(histogram: Histogram<u64>) -> Latency {
    let at = |quantile| Duration::from_micros(histogram.value_at_quantile(quantile));
    let (p50, p99, max) = (at(0.5), at(0.99), Duration::from_micros(histogram.max()));
    Latency { count: histogram.len(), p50, p99, max }
}

fn seconds(samples: &Samples) -> Vec<Second> {
    let last = |all: Option<Duration>| all.map_or(0, |end| end.as_secs() as usize + 1);
    let acked = last(samples.acks.iter().map(|ack| ack.1).max());
    let recalled = last(samples.recalls.iter().map(|recall| recall.0 + recall.1).max());
    let mut seconds = vec![Second::default(); acked.max(recalled)];
    let mut latencies = vec![histogram(); seconds.len()];
    for (from, to) in &samples.acks {
        let at = to.as_secs() as usize;
        seconds[at].acked += 1;
        note(&mut latencies[at], *to - *from);
    }
    for (from, took, answered) in &samples.recalls {
        let second = &mut seconds[(*from + *took).as_secs() as usize];
        *(if *answered { &mut second.recalled } else { &mut second.failed }) += 1;
    }
    for (second, latency) in seconds.iter_mut().zip(latencies) {
        let at = |quantile| latency.value_at_quantile(quantile) as f64 / 1000.0;
        second.ack_ms = (second.acked > 0).then(|| (at(0.5), at(0.99)));
    }
    seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn deed(from: u64, until: u64) -> Deed {
        let (name, detail, note) = ("crash".into(), String::new(), String::new());
        Deed { name, detail, from: ms(from), until: ms(until), note, injected: true }
    }

    #[test]
    fn a_row_that_overlaps_a_fault_counts_as_in_faults() {
        let acks = vec![(ms(0), ms(10)), (ms(90), ms(150)), (ms(190), ms(195)), (ms(400), ms(401))];
        let samples = Samples { acks, recalls: vec![(ms(300), ms(5), true), (ms(120), ms(9), false)], late: vec![] };
        let measures = measure(&samples, &[deed(100, 200), deed(150, 220)]);
        assert_eq!(measures.acks.map(|latency| latency.count), [2, 2]);
        assert_eq!(measures.recalls.map(|latency| latency.count), [0, 1]);
        assert_eq!(measures.unanswered, 1);
        assert_eq!(measures.seconds[0].acked, 4);
    }

    #[test]
    fn the_first_ack_after_a_moment_is_of_a_row_offered_after_it() {
        // The first row was offered before the fault, and acked in it.
        let samples = Samples {
            acks: vec![(ms(90), ms(110)), (ms(120), ms(300)), (ms(130), ms(250))],
            recalls: vec![],
            late: vec![],
        };
        let measures = measure(&samples, &[deed(100, 200)]);
        assert_eq!(measures.first_acks, [(Some(ms(150)), None)]);
    }

    #[test]
    fn overlapping_deeds_are_one_time_and_those_not_injected_none() {
        let skipped = Deed { injected: false, ..deed(500, 600) };
        let all = merged(&[deed(30, 40), deed(0, 10), deed(5, 20), skipped]);
        assert_eq!(all, [(ms(0), ms(20)), (ms(30), ms(40))]);
    }
}
