//! Forgets, snapshots and generations: who is seen when, what the digest knows, what a reindex leaves.
//!
//! Place: the index from outside. A small model, a list of what happened, says what every answer must be.
//! Leaves out: the log that orders forgets; here the order of calls stands for it.

mod support;

use engram_index::{Index, Inline, Metric, NoSuchRow, Options, Originals, Scan, Search, Snapshot, epochs_of};
use proptest::prelude::*;
use std::collections::BTreeSet;
use support::*;

const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Dot, Metric::L2];
const PLAIN: Search = Search { k: 10, ef: 128, at: Snapshot::LATEST };

fn index(dim: usize, metric: Metric) -> Index {
    Index::new(Options::new(dim, metric, 7)).expect("good options")
}

fn half(row: u32) -> bool {
    mix(u64::from(row) ^ 0xf0).is_multiple_of(2)
}

#[test]
fn a_row_is_seen_in_the_snapshots_between_its_push_and_its_forget() {
    let data = Data::uniform(100, 8, 1);
    let index = index(8, Metric::L2);
    let mut snapshots = vec![index.now()];
    for (row, x) in data.rows().enumerate() {
        index.push(x).expect("a good vector");
        snapshots.push(index.now());
        if row % 3 == 2 {
            assert_eq!(index.forget(row as u32 - 1), Ok(true));
            assert_eq!(index.forget(row as u32 - 1), Ok(false));
            snapshots.push(index.now());
        }
        if row == 70 {
            build_all(&index, &Inline);
        }
    }
    assert_eq!(index.forget(100), Err(NoSuchRow { row: 100, rows: 100 }));
    for at in snapshots {
        // The n-th forget took row 3n - 2.
        let gone = |row: u32| row % 3 == 1 && row / 3 < at.forgets;
        let seen: Vec<u32> = (0..at.rows).filter(|&row| !gone(row)).collect();
        assert!((0..120).all(|row| index.lives(row, at) == seen.contains(&row)));
        let cue = cue(&index, data.row(5));
        let all = Search { k: 200, ef: 200, at };
        let mut found: Vec<u32> = index.search(&cue, all, &everything, None).hits.iter().map(|hit| hit.row).collect();
        found.sort_unstable();
        assert_eq!(found, seen);
        let scan = Scan { k: 200, candidates: 200, at };
        let mut scanned: Vec<u32> = index.scan(&cue, scan, &everything, None).iter().map(|hit| hit.row).collect();
        scanned.sort_unstable();
        assert_eq!(scanned, seen);
    }
}

#[test]
fn a_batch_sees_exactly_the_forgets_before_its_last_row() {
    let data = Data::clustered(64, 16, 4, 1);
    let built = |forget_after: &[u32], builds_late: bool| {
        let index = index(16, Metric::Cosine);
        for (row, x) in data.rows().enumerate() {
            index.push(x).expect("a good vector");
            if forget_after.contains(&(row as u32)) {
                index.forget(3).expect("a row that is there");
            }
        }
        if !builds_late {
            build_all(&index, &Inline);
        }
        index.forget(9).expect("a row that is there");
        build_all(&index, &Inline)
    };
    let (before, last, never) = (built(&[62], false), built(&[63], false), built(&[], false));
    assert_eq!((before.forgets, last.forgets, never.forgets), (1, 0, 0));
    assert_eq!(last, never, "a forget after the last row is the next batch's");
    assert_ne!(before.digest, never.digest);
    assert_ne!(built(&[50], false).digest, before.digest, "its place among the rows counts");
    assert_eq!(built(&[62], true), before, "a late builder sees what an early one saw");
}

#[test]
fn recall_among_the_living_holds_while_half_are_forgotten() {
    let data = Data::clustered(6000, 64, 40, 3);
    let queries = Data::clustered(6040, 64, 40, 3).last(40);
    for metric in METRICS {
        let index = index(64, metric);
        for (row, x) in data.rows().enumerate() {
            index.push(x).expect("a good vector");
            // Some fall before they are built, some after.
            if row >= 500 && half(row as u32 - 500) {
                index.forget(row as u32 - 500).expect("a row that is there");
            }
            if row % 1000 == 999 {
                build_all(&index, &Inline);
            }
        }
        let found = recall(&index, &data, &queries, PLAIN, true, &everything);
        assert!(found >= 0.95, "{metric:?}: {found}");
        // A whole topic is gone, and those who ask for it get the nearest others.
        let topic: Vec<u32> = index
            .search(&cue(&index, queries.row(0)), Search { k: 100, ef: 200, ..PLAIN }, &everything, None)
            .hits
            .iter()
            .map(|hit| hit.row)
            .collect();
        topic.iter().for_each(|&row| assert_eq!(index.forget(row), Ok(true)));
        let found = recall(&index, &data, &queries, PLAIN, true, &everything);
        assert!(found >= 0.95, "{metric:?} without a topic: {found}");
        assert_eq!(index.check(), Ok(()));
    }
}

#[test]
fn a_generation_is_the_graph_of_the_living_and_a_function_of_the_input() {
    let data = Data::clustered(3000, 256, 30, 4);
    let make = |eager: bool| {
        let old = index(256, Metric::Cosine);
        (0..2000).for_each(|row| assert!(old.push(data.row(row)).is_ok()));
        build_all(&old, &Inline);
        (0..2000).filter(|&row| half(row)).for_each(|row| assert_eq!(old.forget(row), Ok(true)));
        let mut next = old.reindex(old.now());
        for row in 2000..3000 {
            assert!(old.push(data.row(row as usize)).is_ok());
            if half(row) {
                assert_eq!(old.forget(row - 1000), Ok(!half(row - 1000)));
            }
            if eager && row % 100 == 0 {
                build_all(next.index(), &Reversed);
                next.catch_up(&old, old.now());
            }
        }
        next.catch_up(&old, old.now());
        build_all(next.index(), &Inline);
        (old, next)
    };
    let (old, next) = make(false);
    let at = old.now();
    let (index, rows) = next.finish();
    assert_eq!(index.check(), Ok(()));
    assert_eq!(make(true).1.index().epoch(), index.epoch());
    assert_eq!(epochs_of(index.rows()), index.epoch().number);
    assert!(rows.len() < 2100 && rows.is_sorted());
    for (new, &row) in rows.iter().enumerate() {
        assert_eq!(index.lives(new as u32, index.now()), old.lives(row, at));
    }
    let living = |index: &Index| (0..index.rows()).filter(|&row| index.lives(row, index.now())).count();
    assert_eq!(living(&index), living(&old));
    assert!(index.footprint().total() < old.footprint().total() * 3 / 4);
    struct Mapped<'a>(&'a Data, &'a [u32]);
    impl Originals for Mapped<'_> {
        fn vector(&self, row: u32, into: &mut [f32]) -> bool {
            self.0.vector(self.1[row as usize], into)
        }
    }
    let scan = Scan { k: 10, candidates: 100, at: Snapshot::LATEST };
    for query in (0..30).map(|i| data.row(i * 97)) {
        let new = index.scan(&cue(&index, query), scan, &everything, Some(&Mapped(&data, &rows)));
        let before = old.scan(&cue(&old, query), scan, &everything, Some(&data));
        let named = |hit: &engram_index::Hit| (rows[hit.row as usize], hit.distance, hit.score);
        assert_eq!(
            new.iter().map(named).collect::<Vec<_>>(),
            before.iter().map(|hit| (hit.row, hit.distance, hit.score)).collect::<Vec<_>>()
        );
    }
}

#[test]
#[should_panic(expected = "a snapshot up to")]
fn a_generation_of_the_future_is_an_assert() {
    index(4, Metric::L2).reindex(Snapshot { rows: 1, forgets: 0 });
}

#[test]
fn forgets_are_saved_with_the_batches_that_saw_them() {
    let data = Data::clustered(500, 16, 4, 1);
    let index = index(16, Metric::L2);
    for (row, x) in data.rows().enumerate() {
        index.push(x).expect("a good vector");
        if row % 5 == 4 {
            index.forget(row as u32 - 2).expect("a row that is there");
        }
    }
    let epoch = build_all(&index, &Inline);
    let mut bytes = Vec::new();
    index.save(&mut bytes).expect("memory does not fail");
    let other = Index::open(&bytes.into()).expect("what was saved");
    let at = other.now();
    assert_eq!((at.rows, at.forgets), (epoch.rows, epoch.forgets));
    assert!(at.forgets > 0 && at.forgets < index.now().forgets);
    assert_eq!((other.epoch(), other.check()), (epoch, Ok(())));
    assert!((0..epoch.rows).all(|row| other.lives(row, at) == index.lives(row, at)));
}

/// What a test does next.
#[derive(Clone, Debug)]
enum Step {
    Push,
    Forget(u32),
    Build,
    Reopen,
    Ask { query: u64, k: usize, filter: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => Just(Step::Push),
        3 => any::<u32>().prop_map(Step::Forget),
        1 => Just(Step::Build),
        1 => Just(Step::Reopen),
        2 => (any::<u64>(), 1usize..20, 1u64..6).prop_map(|(query, k, filter)| Step::Ask { query, k, filter }),
    ]
}

/// The index beside a plain list.
struct Model {
    index: Index,
    data: Data,
    gone: BTreeSet<u32>,
}

impl Model {
    fn take(&mut self, step: &Step) {
        match *step {
            Step::Push => {
                let (row, dim) = (self.data.len() as u64, self.data.dim as u64);
                // Few distinct values: equals are common.
                let x: Vec<f32> = (0..dim).map(|i| (mix(mix(row) % 60 * 64 + i) % 5) as f32 - 1.7).collect();
                assert_eq!(self.index.push(&x), Ok(row as u32));
                self.data.flat.extend(x);
            }
            Step::Forget(row) if self.data.len() > 0 => {
                let row = row % self.data.len() as u32;
                assert_eq!(self.index.forget(row), Ok(self.gone.insert(row)));
            }
            Step::Forget(_) => {}
            Step::Build => {
                build_all(&self.index, &Reversed);
            }
            Step::Reopen => self.reopen(),
            Step::Ask { query, k, filter } => self.ask(query, k, filter),
        }
    }

    /// What is not in the file is done anew; the order of forgets is all that a snapshot needs.
    fn reopen(&mut self) {
        let mut bytes = Vec::new();
        self.index.save(&mut bytes).expect("memory does not fail");
        let other = Index::open(&bytes.into()).expect("what was saved");
        (other.rows()..self.index.rows()).for_each(|row| {
            assert_eq!(other.push(self.data.row(row as usize)), Ok(row));
        });
        let missing = self.gone.iter().filter(|&&row| other.lives(row, other.now())).copied().collect::<Vec<_>>();
        missing.into_iter().for_each(|row| assert_eq!(other.forget(row), Ok(true)));
        assert_eq!(other.now(), self.index.now());
        self.index = other;
    }

    fn ask(&self, query: u64, k: usize, filter: u64) {
        let x: Vec<f32> = (0..self.data.dim as u64).map(|i| normal(mix(query ^ i))).collect();
        let pass = |row: u32| mix(u64::from(row) ^ query) % filter != 1;
        let metric = self.index.options().metric;
        let seen = |row: u32| pass(row) && !self.gone.contains(&row);
        let wanted = (0..self.data.len() as u32).filter(|&row| seen(row)).count().min(k);
        let least = kth_best(metric, &self.data, &x, k, seen);
        let cue = cue(&self.index, &x);
        // As wide as the graph: every row is reachable, so every answer is exact.
        let params = Search { k, ef: 600, at: Snapshot::LATEST };
        let found = self.index.search(&cue, params, &pass, Some(&self.data)).hits;
        assert_eq!(found.len(), wanted);
        let good = |row: u32| exact(metric, &x, self.data.row(row as usize)) >= least - 1e-4 * (1.0 + least.abs());
        assert!(found.iter().all(|hit| seen(hit.row)));
        let right = found.iter().filter(|hit| good(hit.row)).count();
        assert!(right * 20 >= wanted * 19, "{right} of {wanted}, {metric:?}");
        let listed: Vec<u32> =
            self.index.nearest(&cue, Search { k: 3, ef: 8, ..params }, &pass, None).map(|hit| hit.row).collect();
        let all: BTreeSet<u32> = (0..self.data.len() as u32).filter(|&row| seen(row)).collect();
        assert_eq!(listed.len(), all.len());
        assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), all);
        let many = self.index.search_many(
            &[cue.clone(), self.index.cue(&x).expect("a good query")],
            params,
            &pass,
            Some(&self.data),
        );
        assert!(many.iter().all(|one| one.hits == found));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_those_of_a_plain_list_whatever_came_before(
        steps in prop::collection::vec(step(), 1..600), dim in prop_oneof![Just(3usize), Just(20), Just(256)], metric in 0usize..3
    ) {
        let mut model = Model {
            index: index(dim, METRICS[metric]),
            data: Data { dim, flat: Vec::new() },
            gone: BTreeSet::new(),
        };
        steps.iter().for_each(|step| model.take(step));
        model.ask(1, 10, 1);
        prop_assert_eq!(model.index.check(), Ok(()));
    }
}
