//! What the front door refuses, and what it says of it; tail and graph as one answer; workers that fail.
//!
//! Place: the index from outside. Leaves out: quality (`quality`), sameness (`determinism`).

mod support;

use engram_index::{Index, Inline, Metric, Options, OptionsError, Scan, Search, Snapshot, VectorError, Workers};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicUsize, Ordering},
};
use support::*;

const ALL: Scan = Scan { k: 5, candidates: 5, at: Snapshot::LATEST };

fn index(dim: usize, metric: Metric) -> Index {
    Index::new(Options::new(dim, metric, 1)).expect("good options")
}

#[test]
fn bad_options_make_no_index() {
    assert!(matches!(Index::new(Options::new(1, Metric::Dot, 0)), Err(OptionsError::Dim(1))));
}

#[test]
fn a_refused_push_appends_nothing() {
    let index = index(3, Metric::Cosine);
    assert_eq!(index.push(&[1.0, 2.0, 3.0]), Ok(0));
    assert_eq!(index.push(&[1.0, 2.0]), Err(VectorError::Length { given: 2, expected: 3 }));
    assert_eq!(index.push(&[1.0, f32::NAN, 3.0]), Err(VectorError::NotFinite { at: 1 }));
    assert_eq!(index.push(&[1.0, 2.0, f32::NEG_INFINITY]), Err(VectorError::NotFinite { at: 2 }));
    assert_eq!(index.push(&[0.0, -0.0, 0.0]), Err(VectorError::Zero));
    assert_eq!(index.rows(), 1);
    assert_eq!(index.push(&[1e-40, 0.0, 0.0]), Ok(1), "a tiny vector has a direction");
    assert!(index.cue(&[0.0; 3]).is_err());
}

#[test]
fn dot_and_l2_take_zero_and_refuse_what_their_scale_cannot_hold() {
    for metric in [Metric::Dot, Metric::L2] {
        let index = index(3, metric);
        assert_eq!(index.push(&[0.0; 3]), Ok(0));
        assert_eq!(index.push(&[1e20, 0.0, 0.0]), Err(VectorError::TooLong));
        assert_eq!(index.push(&[1e5, -1e5, 0.0]), Ok(1));
    }
}

#[test]
fn an_empty_index_answers_with_nothing() {
    let index = index(3, Metric::L2);
    let found = index.search(&cue(&index, &[1.0; 3]), Search { k: 5, ef: 5, at: Snapshot::LATEST }, &everything, None);
    assert_eq!((found.hits.len(), found.tail_scanned), (0, 0));
    assert!(index.scan(&cue(&index, &[1.0; 3]), ALL, &everything, None).is_empty());
    assert_eq!((index.next_batch(), index.check()), (None, Ok(())));
}

#[test]
fn tail_and_graph_are_one_answer_without_doubles() {
    let data = Data::uniform(300, 16, 1);
    for built in [0, 64, 128, 192, 256] {
        let index = index(16, Metric::L2);
        data.rows().for_each(|x| assert!(index.push(x).is_ok()));
        while index.epoch().rows < built {
            index.build(index.next_batch().expect("rows enough"), &Inline);
        }
        let params = Search { k: 300, ef: 300, at: Snapshot::LATEST };
        let found = index.search(&cue(&index, data.row(3)), params, &everything, Some(&data));
        let mut rows: Vec<u32> = found.hits.iter().map(|hit| hit.row).collect();
        rows.sort_unstable();
        assert_eq!(rows, (0..300).collect::<Vec<_>>());
        assert_eq!((found.tail_scanned, found.epoch.rows), (300 - built, built));
        assert_eq!((found.hits[0].row, found.hits[0].score), (3, 0.0));
    }
}

#[test]
fn a_scan_is_the_same_before_and_after_a_build() {
    let data = Data::clustered(2000, 256, 20, 1);
    let index = index(256, Metric::Cosine);
    data.rows().for_each(|x| assert!(index.push(x).is_ok()));
    let cue = cue(&index, data.row(77));
    let params = Scan { k: 10, candidates: 100, at: first(1900) };
    let scan = || index.scan(&cue, params, &|row| row >= 50 && row % 7 != 1, Some(&data));
    let before = scan();
    build_all(&index, &Inline);
    assert_eq!(before, scan());
    assert!(before.iter().all(|hit| (50..1900).contains(&hit.row) && hit.row % 7 != 1));
    assert_eq!(before[0].row, 77 + u32::from(77 % 7 == 1));
}

#[test]
fn a_batch_that_does_not_fit_is_an_assert_and_changes_nothing() {
    let index = index(4, Metric::L2);
    let data = Data::uniform(100, 4, 1);
    data.rows().for_each(|x| assert!(index.push(x).is_ok()));
    let wrong = |range: std::ops::Range<u32>| {
        let other = Index::new(*index.options()).expect("good options");
        data.rows().for_each(|x| assert!(other.push(x).is_ok()));
        catch_unwind(AssertUnwindSafe(|| other.build(range, &Inline))).is_err() && other.epoch().rows == 0
    };
    assert!(wrong(1..64) && wrong(0..0) && wrong(0..101));
    assert_eq!(index.build(0..100, &Inline).rows, 100);
    assert_eq!(index.check(), Ok(()));
}

/// Every third job panics before it does its work.
struct Falling(AtomicUsize);

impl Workers for Falling {
    fn run(&self, jobs: usize, _rows: usize, job: &(dyn Fn(usize) + Sync)) {
        for at in 0..jobs {
            if !self.0.fetch_add(1, Ordering::Relaxed).is_multiple_of(3) {
                job(at);
            }
        }
    }
}

#[test]
fn workers_that_lose_jobs_cost_a_second_run_and_nothing_else() {
    let data = Data::clustered(2000, 64, 20, 1);
    let options = Options::new(64, Metric::Cosine, 1);
    let whole = filled(options, &data, &Inline);
    let falling = filled(options, &data, &Falling(AtomicUsize::new(0)));
    assert_eq!(whole.epoch(), falling.epoch());
    assert_eq!(falling.check(), Ok(()));
}
