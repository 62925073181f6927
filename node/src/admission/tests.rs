//! Admission as its streams see it.

use super::*;
use crate::session::tests::chunk;
use futures_util::FutureExt;

fn admission(rows: usize) -> Admission {
    let config = AdmissionConfig { high_rows: rows, normal_rows: rows, low_rows: rows, ..AdmissionConfig::default() };
    Admission::new(1, &config)
}

/// The rows of the next chunk, whose permit ends.
fn next(admission: &Admission) -> Option<usize> {
    let mut rows = None;
    admission.turn(|admitted| {
        rows = Some(admitted.chunk.records().len());
        ControlFlow::Break(())
    });
    rows
}

#[test]
fn rows_are_refused_at_nine_tenths_and_come_back() {
    let admission = admission(100);
    let admit = |rows| admission.admit(&admission.feed(Priority::High), chunk(rows));
    for _ in 0..9 {
        admit(10).expect("room");
    }
    let error = admit(10).expect_err("full");
    assert!(error.0.retry_after_ms > 0 && error.is_rejected());
    assert_eq!(admission.depth(), [90, 0, 0]);
    assert_eq!(next(&admission), Some(10));
    assert_eq!(admission.depth(), [80, 0, 0]);
    admit(10).expect("room again");
}

#[test]
fn low_moves_under_a_full_high_lane() {
    let admission = admission(1000);
    let (high, low) = (admission.feed(Priority::High), admission.feed(Priority::Low));
    for _ in 0..50 {
        admission.admit(&high, chunk(1)).expect("room");
        admission.admit(&low, chunk(2)).expect("room");
    }
    let taken: Vec<usize> = (0..40).filter_map(|_| next(&admission)).collect();
    assert_eq!(taken.iter().filter(|rows| **rows == 2).count(), 5);
}

#[test]
fn a_greedy_stream_leaves_room_and_turns_to_others() {
    let admission = admission(1000);
    let greedy = [admission.feed(Priority::Normal), admission.feed(Priority::Normal)];
    for at in 0.. {
        if let Err(error) = admission.admit(&greedy[at % 2], chunk(5)) {
            assert!(error.to_string().contains("share"), "{error}");
            break;
        }
    }
    let taken = admission.depth()[1];
    assert!((800..=880).contains(&taken), "two take 16 of 17 parts of 900 rows at most: {taken}");
    let modest = admission.feed(Priority::Normal);
    admission.admit(&modest, chunk(3)).expect("a newcomer finds room");
    let turns: Vec<usize> = (0..3).filter_map(|_| next(&admission)).collect();
    assert_eq!(turns, [5, 5, 3], "its turn comes after one of each other");
}

#[test]
fn a_full_disk_refuses_until_there_is_room() {
    let admission = admission(1000);
    let admit = || admission.admit(&admission.feed(Priority::Normal), chunk(1));
    admission.set_disk_full(true);
    assert!(admit().expect_err("full").to_string().contains("disk is full"));
    admission.set_disk_full(false);
    assert!(admit().is_ok());
}

#[test]
fn a_late_index_lets_entries_go_one_by_one_in_their_order() {
    let admission = admission(1000);
    admission.set_unbuilt(190_000);
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(admission.indexable())).collect();
    let mut polled = |at: usize| waiting[at].as_mut().now_or_never().is_some();
    assert!(!polled(0) && !polled(1) && !polled(2));
    admission.set_unbuilt(100_000);
    assert!(!polled(2) && !polled(1), "not before who came first");
    assert!(polled(0));
    admission.set_unbuilt(190_000);
    assert!(!polled(1) && !polled(2));
    admission.close();
    assert!(polled(1) && polled(2), "a node that stops holds nobody");
}

proptest::proptest! {
    #[test]
    fn depth_never_passes_the_cap(steps in proptest::collection::vec((0usize..5, 1usize..40), 1..200)) {
        let admission = admission(100);
        let feeds = [Priority::High, Priority::High, Priority::Low, Priority::Low].map(|lane| admission.feed(lane));
        let mut held = Vec::new();
        for (step, rows) in steps {
            match step {
                4 if rows < 10 => held.clear(),
                4 => drop(admission.turn(|admitted| {
                    held.push(admitted);
                    if rows % 2 == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                })),
                feed => drop(admission.admit(&feeds[feed], chunk(rows))),
            }
            proptest::prop_assert!(admission.depth().iter().all(|depth| *depth <= 90));
        }
        held.clear();
        while next(&admission).is_some() {}
        proptest::prop_assert_eq!(admission.depth(), [0; 3]);
        proptest::prop_assert_eq!(admission.bytes(), 0);
    }

    #[test]
    fn a_stream_keeps_its_order_whatever_the_turns(puts in proptest::collection::vec((0usize..4, 1usize..4), 1..100)) {
        let turns = Turns::default();
        let sources: [Arc<Source<(usize, usize)>>; 4] = Default::default();
        let (mut put, mut taken) = ([0; 4], [0; 4]);
        for (source, count) in puts {
            turns.put(&sources[source], (source, put[source]));
            put[source] += 1;
            let mut left = count - 1;
            while left > 0 && turns.turn(|(source, at)| {
                assert_eq!(at, taken[source]);
                taken[source] += 1;
                left -= 1;
                if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            }) {}
        }
        while turns.turn(|(source, at)| { assert_eq!(at, taken[source]); taken[source] += 1; ControlFlow::Continue(()) }) {}
        proptest::prop_assert_eq!(put, taken);
    }
}
