//! Parallelism as an argument: who runs the jobs of a build, and what a job that panics costs.
//!
//! Place: between `build` and the caller's pool. Invariants: `job_is_pure`, a job reads what no other job of its
//! run writes, so order and threads are of no effect; results come back in the order of the jobs, whoever ran
//! them and when. Leaves out: threads, queues, stealing; those are the pool's.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Mutex,
};

/// Runs jobs. The index has no threads of its own.
pub trait Workers: Send + Sync {
    /// Calls `job(0)` to `job(jobs - 1)`, each exactly once, in any order, on any threads; returns when all are done. A
    /// job has up to `rows` rows to work on, by which a pool may judge what it is worth to move one.
    fn run(&self, jobs: usize, rows: usize, job: &(dyn Fn(usize) + Sync));
}

/// Runs the jobs in order on the caller's thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inline;

impl Workers for Inline {
    fn run(&self, jobs: usize, _rows: usize, job: &(dyn Fn(usize) + Sync)) {
        (0..jobs).for_each(job);
    }
}

/// Runs pure jobs and collects their results in order. A job that panics, or that the pool lost, is run once
/// more on this thread; if it panics again, so does this.
pub(crate) fn collect<R: Send>(
    workers: &dyn Workers,
    jobs: usize,
    rows: usize,
    job: impl Fn(usize) -> R + Sync,
) -> Vec<R> {
    let mut slots: Vec<Mutex<Option<R>>> = (0..jobs).map(|_| Mutex::new(None)).collect();
    workers.run(jobs, rows, &|at| {
        // A job writes nothing that a second run would read: `job_is_pure`.
        if let Ok(result) = catch_unwind(AssertUnwindSafe(|| job(at))) {
            *slots[at].lock().expect("no job panics with its slot locked") = Some(result);
        }
    });
    if engram_mutants::mutant!("lost_chunk_is_the_last") {
        // Whoever has no result takes its place at the end, as if results came in the order of their arrival.
        let lost = |slot: &Mutex<Option<R>>| slot.lock().is_ok_and(|slot| slot.is_none());
        slots.sort_by_key(lost);
    }
    let taken = slots.into_iter().enumerate();
    taken
        .map(|(at, slot)| {
            slot.into_inner().expect("no job panics with its slot locked").unwrap_or_else(|| {
                engram_probes::probe!("chunk_run_again");
                job(at)
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_job_that_panics_once_is_run_again_and_its_result_stands_in_its_place() {
        let falls = AtomicUsize::new(0);
        let results = collect(&Inline, 5, 1, |at| {
            assert!(at != 3 || falls.fetch_add(1, Ordering::Relaxed) > 0, "the first run of job 3 falls");
            at * 10
        });
        assert_eq!(results, [0, 10, 20, 30, 40]);
        assert_eq!(falls.into_inner(), 2);
    }

    #[test]
    fn a_job_that_the_pool_lost_is_run_by_the_caller() {
        struct Lazy;
        impl Workers for Lazy {
            fn run(&self, jobs: usize, _rows: usize, job: &(dyn Fn(usize) + Sync)) {
                (0..jobs).filter(|at| at % 2 == 0).for_each(job);
            }
        }
        assert_eq!(collect(&Lazy, 4, 1, |at| at), [0, 1, 2, 3]);
    }
}
