//! A build for each number of threads.
//!
//! Invariant `same_log_same_graph`: all have one digest. Each begins with nothing, and the index before it is gone, so
//! that memory is of one index. Leaves out: what the peak of the first allocations was; it is reset before each.

use super::args::{Batch, Plan};
use super::data::Data;
use super::subject::{Subject, now, pool};
use super::{process, step};
use crate::cli::exit::Failure;
use serde::Serialize;

/// One build.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Build {
    /// That built.
    pub threads: usize,
    /// Encoding inside.
    pub inserts_per_s: f64,
    /// Processor time of all threads.
    pub cpu_us_per_row: f64,
    /// Processor time by the clock's and threads: what others on the machine left to this build.
    pub cpu_share: f64,
    /// Of an encoding, on one thread.
    pub encode_us_per_row: f64,
    /// By how much a step's busiest thread was busier than the average.
    pub imbalance: f64,
    /// Share of the steps' time in which a thread worked.
    pub utilisation: f64,
    /// Jobs that a thread took from another's queue.
    pub stolen: u64,
    /// Most resident memory of the process meanwhile.
    pub peak_bytes: u64,
    /// Resident memory of the process after it.
    pub resident_bytes: u64,
    /// Of the graph.
    pub digest: String,
}

/// Builds for each number of threads; the last index is kept.
pub fn measure<'a>(plan: &Plan, data: &'a Data) -> Result<(Subject<'a>, Vec<Build>), Failure> {
    let mut builds: Vec<Build> = Vec::new();
    let mut last = None;
    for &threads in &plan.threads {
        drop(last.take());
        step(format_args!("builds {} rows, {threads} threads", data.rows));
        let (subject, build) = one(plan, data, threads)?;
        if let Some(first) = builds.first().filter(|first| first.digest != build.digest) {
            let text = format!(
                "{} threads built {}, {threads} threads built {}, from the same rows; this is a defect, report it",
                first.threads, first.digest, build.digest
            );
            return Err(Failure::failed(text));
        }
        builds.push(build);
        last = Some(subject);
    }
    Ok((last.expect("a plan has a number of threads"), builds))
}

fn one<'a>(plan: &Plan, data: &'a Data, threads: usize) -> Result<(Subject<'a>, Build), Failure> {
    process::reset_peak();
    let subject = Subject::new(plan.options(data.dim)?, data)?;
    let rows = data.rows as f64;
    let (pool, cpu, started) = (pool(threads), process::cpu_seconds(), now());
    subject.build(data.rows as u32, Batch::Auto, &pool)?;
    let seconds = started.elapsed().as_secs_f64();
    let (cpu, counters) = (process::cpu_seconds() - cpu, pool.counters());
    let build = Build {
        threads,
        inserts_per_s: (rows / seconds).round(),
        cpu_us_per_row: cpu * 1e6 / rows,
        cpu_share: cpu / seconds / threads as f64,
        encode_us_per_row: subject.encoding_s() * 1e6 / rows,
        imbalance: counters.imbalance(),
        utilisation: counters.utilisation(),
        stolen: counters.workers.iter().map(|worker| worker.stolen).sum(),
        peak_bytes: process::peak_bytes(),
        resident_bytes: process::resident_bytes(),
        digest: subject.digest(),
    };
    Ok((subject, build))
}
