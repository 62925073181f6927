//! Pushes rows into an observer and hears its news at the same time, with the time from push to ack.
#![expect(clippy::disallowed_methods, reason = "a command measures with the system's clock")]

use super::exit::Failure;
use engram_client::{Event, Observation, Observer, Summary};
use hdrhistogram::Histogram;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// What came of it.
pub struct Fed {
    /// The observer's counts.
    pub summary: Summary,
    /// From the first push to the last ack.
    pub elapsed: Duration,
    /// Microseconds from a row's place in the window to its ack.
    pub latency: Histogram<u64>,
}

impl Fed {
    /// Acked rows a second.
    pub fn rows_per_s(&self) -> f64 {
        self.summary.acked as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

struct Stopwatch {
    pushed: BTreeMap<u64, Instant>,
    latency: Histogram<u64>,
}

impl Stopwatch {
    fn settled(&mut self, tickets: RangeInclusive<u64>, acked: bool) {
        for ticket in tickets {
            if let Some(at) = self.pushed.remove(&ticket)
                && acked
            {
                self.latency.saturating_record(at.elapsed().as_micros() as u64);
            }
        }
    }
}

/// Microseconds up to two minutes, to three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 120_000_000, 3).expect("bounds that hdrhistogram allows")
}

/// Pushes all rows and waits until each is acked or refused. A row that cannot be read ends the stream there, after
/// what was pushed before is settled.
pub async fn feed(
    observer: &Observer,
    rows: impl Iterator<Item = Result<Observation, Failure>>,
    mut heard: impl FnMut(&Event),
) -> Result<Fed, Failure> {
    let watch = RefCell::new(Stopwatch { pushed: BTreeMap::new(), latency: histogram() });
    let started = Instant::now();
    let pushing = async {
        let mut bad = None;
        for row in rows {
            match row {
                Ok(observation) => {
                    let ticket = observer.push(observation).await?;
                    watch.borrow_mut().pushed.insert(ticket, Instant::now());
                }
                Err(failure) => {
                    bad = Some(failure);
                    break;
                }
            }
        }
        let summary = observer.flush().await.map_err(Failure::from)?;
        bad.map_or(Ok(summary), Err)
    };
    let mut hear = |event: Event| {
        match &event {
            Event::Acked { tickets, .. } => watch.borrow_mut().settled(tickets.clone(), true),
            Event::Refused { ticket, .. } => watch.borrow_mut().settled(*ticket..=*ticket, false),
            _ => {}
        }
        heard(&event);
    };
    let mut pushing = std::pin::pin!(pushing);
    let pushed = loop {
        tokio::select! {
            biased; // news first: they free the window's stopwatch
            event = observer.next_event() => match event {
                Some(event) => hear(event),
                // Stopped: the pushing half says why.
                None => break pushing.as_mut().await,
            },
            pushed = &mut pushing => break pushed,
        }
    };
    let elapsed = started.elapsed();
    while let Some(event) = observer.try_event() {
        hear(event);
    }
    let latency = watch.borrow().latency.clone();
    Ok(Fed { summary: pushed?, elapsed, latency })
}

/// A bar on stderr for `total` rows; nothing when stderr is no terminal.
pub fn bar(total: u64) -> indicatif::ProgressBar {
    let bar = indicatif::ProgressBar::new(total);
    let shape = "{bar:40} {human_pos}/{human_len} rows acked  {per_sec}  {elapsed}  {msg}";
    // The template is a constant: a bad one shows the default bar.
    if let Ok(style) = indicatif::ProgressStyle::with_template(shape) {
        bar.set_style(style);
    }
    bar
}
