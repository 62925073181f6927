//! Recall against brute force: every metric, several shapes of data, filters, small graphs.
//!
//! Place: the index from outside. Every graph is checked. Leaves out: speed, and data that is not synthetic.

#![allow(clippy::print_stdout, reason = "`cargo test -- --nocapture` shows what was measured")]

mod support;

use engram_index::{Inline, Metric, Options, Search, Snapshot};
use support::*;

const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Dot, Metric::L2];
const ALL: Search = Search { k: 10, ef: 128, at: Snapshot::LATEST };

/// The recall with and without originals.
fn measured(options: Options, data: &Data, queries: &Data) -> (f64, f64) {
    let index = filled(options, data, &Inline);
    assert_eq!(index.check(), Ok(()));
    let with = |originals| recall(&index, data, queries, ALL, originals, &everything);
    (with(true), with(false))
}

fn holds(name: &str, data: impl Fn(usize) -> Data, queries: impl Fn(usize) -> Data, dims: &[usize], least: f64) {
    for &dim in dims {
        let (data, queries) = (data(dim), queries(dim));
        for metric in METRICS {
            let (with, without) = measured(Options::new(dim, metric, 7), &data, &queries);
            println!("{name} {dim} {metric:?}: {with:.3} {without:.3}");
            assert!(with >= least, "{name}, {dim} dimensions, {metric:?}: {with} with originals");
            assert!(without >= least - 0.1, "{name}, {dim} dimensions, {metric:?}: {without} by codes");
        }
    }
}

#[test]
fn recall_holds_on_clustered_data() {
    let data = |dim| Data::clustered(3000, dim, 40, 1);
    holds("clustered", data, |dim| Data::clustered(3030, dim, 40, 1).last(30), &[16, 100, 384], 0.95);
}

#[test]
fn recall_holds_on_data_without_clusters() {
    holds("uniform", |dim| Data::uniform(3000, dim, 2), |dim| Data::uniform(30, dim, 3), &[3, 16], 0.95);
    holds("uniform", |dim| Data::uniform(2000, dim, 2), |dim| Data::uniform(30, dim, 3), &[256], 0.75);
}

#[test]
fn recall_holds_on_lengths_that_differ() {
    let data = |dim| Data::clustered(3000, dim, 40, 1).scaled(9);
    holds("scaled", data, |dim| Data::clustered(3030, dim, 40, 1).last(30), &[16, 384], 0.95);
}

#[test]
fn recall_holds_on_duplicates() {
    for times in [3, 30, 300] {
        let data = |dim| Data::repeated(3000, dim, times, 4);
        // More equals than the beam is wide can hide what lies behind them where the walk is not by the graph's own
        // measure: inner products of ten unrelated vectors, each there 300 times.
        let least = if times < 300 { 0.95 } else { 0.8 };
        holds("repeated", data, |dim| Data::repeated(3000, dim, times, 4).last(30), &[8, 256], least);
    }
}

#[test]
fn recall_holds_when_all_rows_are_equal() {
    holds("equal", |dim| Data::equal(2000, dim), |dim| Data::equal(3, dim), &[2, 64, 256], 1.0);
}

#[test]
fn recall_holds_on_rows_sorted_by_topic() {
    for centres in [5, 40] {
        let data = |dim| Data::sorted(4000, dim, centres, 5);
        let queries = |dim| Data::clustered(4030, dim, centres, 5).last(30);
        holds("sorted", data, queries, &[32, 384], 0.95);
    }
}

#[test]
fn every_row_finds_itself() {
    for metric in [Metric::Cosine, Metric::L2] {
        for dim in [2, 24, 256] {
            let data = Data::clustered(3000, dim, 40, 6);
            let index = filled(Options::new(dim, metric, 7), &data, &Inline);
            let params = Search { k: 1, ef: 64, at: Snapshot::LATEST };
            let mut lost = 0;
            for (row, x) in data.rows().enumerate() {
                let hits = index.search(&cue(&index, x), params, &everything, None).hits;
                lost += usize::from(hits.first().is_none_or(|hit| hit.distance != 0));
                assert!(hits[0].row != row as u32 || hits[0].distance == 0);
            }
            assert!(lost <= 3, "{metric:?} {dim}: {lost} of 3,000 rows are not found");
        }
    }
}

#[test]
fn filters_strict_and_loose_keep_recall() {
    let data = Data::clustered(6000, 256, 50, 8);
    let queries = Data::clustered(6030, 256, 50, 8).last(30);
    for metric in METRICS {
        let index = filled(Options::new(256, metric, 7), &data, &Inline);
        for share in [2, 10, 100, 1500] {
            let pass = |row: u32| mix(u64::from(row)).is_multiple_of(share);
            let found = recall(&index, &data, &queries, Search { ef: 64, ..ALL }, true, &pass);
            println!("{metric:?} one in {share}: {found:.3}");
            assert!(found >= 0.95, "{metric:?}, one in {share}: {found}");
        }
        for visible in [0, 1, 10, 63, 64, 65, 3000, 5999] {
            let found = recall(&index, &data, &queries, Search { at: first(visible), ..ALL }, true, &everything);
            assert!(found >= 0.95 || visible == 0, "{metric:?}, {visible} visible: {found}");
        }
        assert!(index.search(&cue(&index, data.row(0)), ALL, &|_| false, None).hits.is_empty());
    }
}

#[test]
fn small_and_very_new_graphs_answer_in_full() {
    for metric in METRICS {
        let data = Data::uniform(300, 20, 9);
        let index = engram_index::Index::new(Options::new(20, metric, 7)).expect("good options");
        for row in 0..300 {
            index.push(data.row(row)).expect("a good vector");
            if row % 7 == 0 {
                build_all(&index, &Inline);
            }
            let visible = Search { at: first(row as u32 + 1), ..ALL };
            if row % 10 == 0 {
                let found = recall(&index, &data, &Data::uniform(3, 20, 10), visible, true, &everything);
                assert_eq!(found, 1.0, "{metric:?} {row}");
            }
        }
    }
}
