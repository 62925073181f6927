//! One graph: whatever the workers, their order, the kernels, the timing of pushes, and whether readers ran.
//!
//! Place: the index from outside. Invariant `same_log_same_graph`. A golden digest that moves means another graph from
//! the same log: the format version must move with it. Leaves out: other machines; the scalar kernels stand for them.

mod support;

use engram_index::{Epoch, Index, Inline, Kernels, Metric, Options, Pool, Scan, Search, Snapshot};
use std::{
    num::NonZeroUsize,
    sync::atomic::{AtomicBool, Ordering},
};
use support::*;

const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Dot, Metric::L2];

fn digest(options: Options, data: &Data, workers: &dyn engram_index::Workers) -> Epoch {
    filled(options, data, workers).epoch()
}

#[test]
fn workers_and_their_order_leave_the_digest_alone() {
    for (metric, dim) in [(Metric::Cosine, 384), (Metric::Dot, 100), (Metric::L2, 10)] {
        let options = Options { ef_construction: 32, ..Options::new(dim, metric, 5) };
        let data = Data::clustered(4000, dim, 30, 1);
        let expected = digest(options, &data, &Inline);
        assert_eq!(expected, digest(options, &data, &Reversed));
        for threads in [1, 2, 3, 8] {
            let pool = Pool::new(NonZeroUsize::new(threads).expect("not zero"));
            assert_eq!(expected, digest(options, &data, &pool), "{threads} threads");
        }
        assert_ne!(expected, digest(Options { salt: 6, ..options }, &data, &Inline));
    }
}

#[test]
fn all_kernels_build_the_same_graph_and_give_the_same_answers() {
    for metric in METRICS {
        for dim in [7, 129, 256] {
            let data = Data::clustered(1200, dim, 20, 2);
            let options = Options { ef_construction: 32, ..Options::new(dim, metric, 5) };
            let indexes = Kernels::all().into_iter().map(|kernels| {
                let index = Index::with_kernels(options, kernels).expect("good options");
                fill(&index, &data, &Inline);
                index
            });
            let indexes: Vec<Index> = indexes.collect();
            let slow = indexes.last().expect("every machine has the scalar set");
            assert_eq!(slow.kernels(), Kernels::SCALAR.name);
            for fast in &indexes {
                assert_eq!(fast.epoch(), slow.epoch(), "{}", fast.kernels());
                for row in [0, 600, 1199] {
                    let params = Search { k: 10, ef: 50, at: Snapshot::LATEST };
                    let answer = |index: &Index| {
                        let cue = cue(index, data.row(row));
                        let scan = Scan { k: 10, candidates: 50, at: first(1100) };
                        let scanned = index.scan(&cue, scan, &|row| row % 2 == 0, Some(&data));
                        (index.search(&cue, params, &everything, Some(&data)), scanned)
                    };
                    assert_eq!(answer(fast), answer(slow), "{}", fast.kernels());
                }
            }
        }
    }
}

#[test]
fn the_timing_of_pushes_and_readers_leaves_the_digest_alone() {
    let data = Data::clustered(3000, 256, 30, 3);
    let options = Options::new(256, Metric::Cosine, 5);
    let expected = digest(options, &data, &Inline);
    let index = Index::new(options).expect("good options");
    for (row, x) in data.rows().enumerate() {
        index.push(x).expect("a good vector");
        // Now and then the builder catches up, by one batch or by all.
        if mix(row as u64).is_multiple_of(97)
            && let Some(batch) = index.next_batch()
        {
            index.build(batch, &Reversed);
        }
        if row.is_multiple_of(50) {
            index.search(&cue(&index, x), Search { k: 5, ef: 20, at: Snapshot::LATEST }, &everything, None);
        }
    }
    assert_eq!(build_all(&index, &Threads(2)), expected);
    assert_eq!(index.check(), Ok(()));
}

#[test]
fn a_cut_batch_is_part_of_the_input() {
    let data = Data::clustered(500, 64, 10, 3);
    let cut = |at: u32| {
        let index = Index::new(Options::new(64, Metric::L2, 5)).expect("good options");
        data.rows().for_each(|x| assert!(index.push(x).is_ok()));
        index.build(0..at, &Inline);
        let epoch = build_all(&index, &Inline);
        assert_eq!(index.check(), Ok(()));
        epoch
    };
    assert_eq!(cut(10), cut(10));
    assert_ne!(cut(10).digest, cut(11).digest);
}

#[test]
fn epochs_chain_their_digests_and_row_hashes_follow_the_links() {
    let data = Data::clustered(400, 64, 10, 3);
    let index = Index::new(Options::new(64, Metric::L2, 5)).expect("good options");
    data.rows().for_each(|x| assert!(index.push(x).is_ok()));
    let mut seen = vec![index.epoch()];
    assert_eq!(seen[0], Epoch::default());
    let hashes = |index: &Index| (0..index.epoch().rows).map(|row| index.row_hash(row)).collect::<Vec<_>>();
    let mut before = hashes(&index);
    while let Some(batch) = index.next_batch() {
        let epoch = index.build(batch.clone(), &Inline);
        assert_eq!((epoch.rows, epoch.number), (batch.end, seen.len() as u64));
        assert!(seen.iter().all(|before| before.digest != epoch.digest));
        seen.push(epoch);
        let after = hashes(&index);
        assert!(before.is_empty() || after[..before.len()] != before, "rows of the graph get links to the new ones");
        before = after;
    }
    assert_eq!(index.row_hash(index.epoch().rows), None);
}

/// Pinned: these graphs are what version 3 of the format means.
const GOLDEN: [(usize, usize, Metric, u64); 6] = [
    (100, 3, Metric::L2, 0xc5a5_b13d_59ae_ad32),
    (100, 300, Metric::Cosine, 0x27af_5aa2_6558_590d),
    (700, 64, Metric::Cosine, 0x38bf_a824_bd60_bffb),
    (700, 100, Metric::Dot, 0xa735_7377_fd4e_94e2),
    (2500, 256, Metric::Cosine, 0xd85f_4d9c_3071_ae98),
    (2500, 384, Metric::L2, 0x3449_e4ec_b5fc_3c02),
];

#[test]
fn golden_digests_hold() {
    let found = GOLDEN.map(|(rows, dim, metric, _)| {
        let epoch = digest(Options::new(dim, metric, 42), &Data::clustered(rows, dim, 12, 9), &Inline);
        (rows, dim, metric, epoch.digest)
    });
    assert_eq!(found, GOLDEN, "found on the left: {found:#x?}");
}

#[test]
fn readers_beside_a_build_see_whole_answers() {
    let data = Data::clustered(6000, 128, 40, 4);
    let options = Options { ef_construction: 32, ..Options::new(128, Metric::Cosine, 5) };
    let index = Index::new(options).expect("good options");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = |seed: u64| {
            let (index, data, done) = (&index, &data, &done);
            move || {
                let (mut asked, mut round) = (0u32, seed);
                while !done.load(Ordering::Acquire) || asked < 20 {
                    round = mix(round);
                    let visible = (round >> 32) as u32 % (index.rows() + 1);
                    let query = data.row(round as usize % data.len());
                    let params = Search { k: 10, ef: 30, at: first(visible) };
                    let found = index.search(&cue(index, query), params, &|row| row % 3 != 0, None);
                    let mut rows: Vec<u32> = found.hits.iter().map(|hit| hit.row).collect();
                    assert!(rows.iter().all(|&row| row < visible && row % 3 != 0));
                    assert!(found.hits.is_sorted_by_key(|hit| (hit.distance, hit.row)));
                    let passing = visible - visible.div_ceil(3);
                    assert_eq!(rows.len() as u32, passing.min(10), "of {visible} visible rows at {:?}", found.epoch);
                    rows.sort_unstable();
                    rows.dedup();
                    assert_eq!(rows.len(), found.hits.len());
                    assert_eq!(found.tail_scanned, visible.saturating_sub(found.epoch.rows));
                    asked += 1;
                }
            }
        };
        let readers = [scope.spawn(reader(1)), scope.spawn(reader(2))];
        for x in data.rows() {
            index.push(x).expect("a good vector");
            if let Some(batch) = index.next_batch() {
                index.build(batch, &Inline);
            }
        }
        done.store(true, Ordering::Release);
        readers.into_iter().for_each(|reader| reader.join().expect("a reader that saw no fault"));
    });
    assert_eq!(index.check(), Ok(()));
    assert_eq!(index.epoch(), digest(options, &data, &Threads(2)));
}
