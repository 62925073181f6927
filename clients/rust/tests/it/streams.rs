//! Observers against a fake cluster: whatever breaks, each observation is in the log once and in order.

use crate::fake::{Fake, Faults, NODES, SPACE, row};
use engram_client::{Client, Event, Kind, ObserveError, ObserveOptions, Observer, Stopped};
use engram_proto::Error;
use engram_proto::wire::v1::FlowKind;
use std::collections::BTreeMap;
use std::time::Duration;

async fn open(client: &Client) -> Observer {
    client.observe(SPACE, ObserveOptions::default()).await.expect("the session opens")
}

async fn push_all(observer: &Observer, rows: std::ops::Range<u64>) {
    for number in rows {
        observer.push(row(format!("row {number}"))).await.expect("the stream goes on");
    }
}

fn expected(rows: std::ops::Range<u64>) -> Vec<String> {
    rows.map(|number| format!("row {number}")).collect()
}

/// How often each ticket was acked.
fn acks(observer: &Observer) -> BTreeMap<u64, u32> {
    let mut acks = BTreeMap::new();
    while let Some(event) = observer.try_event() {
        if let Event::Acked { tickets, .. } = event {
            tickets.for_each(|ticket| *acks.entry(ticket).or_default() += 1);
        }
    }
    acks
}

fn stopped(error: ObserveError) -> Stopped {
    match error {
        ObserveError::Stopped(stopped) => *stopped,
        ObserveError::Refused(error) => panic!("refused: {error}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_rows_arrive_once_and_in_order() {
    let fake = Fake::new();
    let observer = open(&fake.client()).await;
    push_all(&observer, 0..1000).await;
    let summary = observer.flush().await.expect("all acked");
    assert_eq!((summary.pushed, summary.acked, observer.acked()), (1000, 1000, 1000));
    assert_eq!(fake.texts(), expected(0..1000));
    let acks = acks(&observer);
    assert_eq!((acks.len(), acks.values().max()), (1000, Some(&1)));
    assert!(fake.with(|state| state.largest_batch) <= 64, "the server's credit bounds a batch");
    assert_eq!(observer.token().log_index, fake.with(|state| state.index));
}

#[tokio::test(start_paused = true)]
async fn connections_that_break_before_the_acks_double_and_lose_nothing() {
    let fake = Fake::new();
    NODES.iter().zip([150, 320, 610]).for_each(|(node, after)| {
        fake.fault(node, Faults { break_after_rows: Some(after), ..Faults::default() });
    });
    let observer = open(&fake.client()).await;
    push_all(&observer, 0..1000).await;
    let summary = observer.flush().await.expect("all acked");
    assert!(summary.resumes >= 2, "{summary:?}");
    assert_eq!(fake.texts(), expected(0..1000));
    let acks = acks(&observer);
    assert_eq!((acks.len(), acks.values().max()), (1000, Some(&1)));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_falls_silent_is_left_after_five_seconds() {
    let fake = Fake::new();
    fake.fault("a:1", Faults { mute_after_rows: Some(20), ..Faults::default() });
    fake.with(|state| state.leader = "a:1".into());
    let client = fake.client();
    let observer = open(&client.on("a:1")).await;
    drop(observer);
    let observer = open(&client).await; // at the leader, by its hint
    push_all(&observer, 0..100).await;
    let before = tokio::time::Instant::now();
    observer.flush().await.expect("all acked elsewhere");
    assert_eq!(fake.texts(), expected(0..100));
    assert!(before.elapsed() >= Duration::from_secs(5));
    assert!(before.elapsed() < Duration::from_secs(30), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_dead_node_is_left_for_another() {
    let fake = Fake::new();
    let observer = open(&fake.client()).await;
    push_all(&observer, 0..10).await;
    observer.flush().await.expect("acked");
    ["a:1", "b:1"].iter().for_each(|node| fake.fault(node, Faults { down: true, ..Faults::default() }));
    NODES.iter().for_each(|node| fake.cut(node));
    push_all(&observer, 10..20).await;
    let summary = observer.finish().await.expect("acked by the last node");
    assert_eq!((summary.acked, summary.resumes), (20, 1));
    assert_eq!(fake.texts(), expected(0..20));
}

#[tokio::test(start_paused = true)]
async fn a_refused_row_is_told_and_uses_up_no_number() {
    let fake = Fake::new();
    let observer = open(&fake.client()).await;
    push_all(&observer, 0..3).await;
    let bad = observer.push(row("bad")).await.expect("taken into the window");
    push_all(&observer, 3..6).await;
    let summary = observer.flush().await.expect("the rest is acked");
    assert_eq!((summary.acked, summary.refused, observer.acked()), (6, 1, 6));
    assert_eq!(fake.texts(), expected(0..6));
    let refused = std::iter::from_fn(|| observer.try_event()).find_map(|event| match event {
        Event::Refused { ticket, sequence, error } => Some((ticket, sequence, error.kind())),
        _ => None,
    });
    assert_eq!(refused, Some((bad, 4, Kind::Invalid)));
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_server_gets_its_rest_and_then_the_rows() {
    let fake = Fake::new();
    fake.with(|state| state.overload = 3);
    let observer = open(&fake.client()).await;
    let before = tokio::time::Instant::now();
    push_all(&observer, 0..50).await;
    let summary = observer.flush().await.expect("acked in the end");
    assert_eq!((summary.overloads, summary.acked), (3, 50));
    assert!(before.elapsed() >= Duration::from_millis(120), "three times 40 ms");
    assert_eq!(fake.texts(), expected(0..50));
}

#[tokio::test(start_paused = true)]
async fn a_taken_over_session_stops_with_its_doubts() {
    let fake = Fake::new();
    let observer = open(&fake.client()).await;
    push_all(&observer, 0..5).await;
    observer.flush().await.expect("acked");
    fake.with(|state| state.sessions.values_mut().for_each(|session| session.0 += 1));
    push_all(&observer, 5..8).await;
    let stop = stopped(observer.flush().await.expect_err("a rival has the session"));
    assert_eq!(stop.error.kind(), Kind::Superseded);
    assert_eq!(stop.unknown.as_ref().map(|range| *range.start()), Some(6));
    assert_eq!(observer.push(row("late")).await, Err(ObserveError::Stopped(Box::new(stop))));
}

#[tokio::test(start_paused = true)]
async fn an_own_resume_that_comes_late_is_no_rival() {
    let fake = Fake::new();
    let observer = open(&fake.client()).await;
    push_all(&observer, 0..5).await;
    observer.flush().await.expect("acked");
    fake.with(|state| state.late_resumes = 1);
    NODES.iter().for_each(|node| fake.cut(node));
    // The first resume is given up after 5 s; its late effect takes the session from the second.
    fake.pass(Duration::from_secs(8)).await;
    push_all(&observer, 5..10).await;
    let summary = observer.finish().await.expect("resumed once more");
    assert_eq!((summary.acked, summary.resumes), (10, 2));
    assert_eq!(fake.texts(), expected(0..10));
}

#[tokio::test(start_paused = true)]
async fn an_expired_session_stops_with_its_doubts_and_resends_nothing() {
    let fake = Fake::new();
    let observer = open(&fake.client()).await;
    push_all(&observer, 0..5).await;
    observer.flush().await.expect("acked");
    fake.with(|state| state.sessions.clear());
    NODES.iter().for_each(|node| fake.cut(node));
    let stop = stopped(loop {
        match observer.push(row("row 5")).await {
            Ok(_) => fake.pass(Duration::from_millis(100)).await,
            Err(error) => break error,
        }
    });
    assert_eq!(stop.error.kind(), Kind::SessionLost);
    let last = std::iter::from_fn(|| observer.try_event()).last();
    assert_eq!(last, Some(Event::Stopped(Box::new(stop))));
    assert_eq!(observer.next_event().await, None);
    assert_eq!(fake.texts(), expected(0..5));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_stays_away_is_given_up_after_five_minutes() {
    let fake = Fake::new();
    let observer = open(&fake.client()).await;
    fake.fault_everywhere(Faults { down: true, ..Faults::default() });
    NODES.iter().for_each(|node| fake.cut(node));
    let before = tokio::time::Instant::now();
    tokio::task::yield_now().await;
    push_all(&observer, 0..3).await;
    let stop = stopped(observer.flush().await.expect_err("nobody there"));
    assert!(stop.unknown.is_some() || stop.unsent.is_some(), "{stop}");
    assert!(before.elapsed() >= Duration::from_secs(300));
    assert!(before.elapsed() < Duration::from_secs(320), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn without_credit_nothing_is_sent_and_a_full_window_holds_push_back() {
    let fake = Fake::new();
    fake.with(|state| state.credit_rows = 0);
    let options = ObserveOptions { window_rows: 4, ..ObserveOptions::default() };
    let observer = fake.client().observe(SPACE, options).await.expect("open");
    push_all(&observer, 0..4).await;
    let fifth = tokio::time::timeout(Duration::from_secs(10), observer.push(row("row 4"))).await;
    assert!(fifth.is_err(), "no room before an ack");
    assert_eq!(fake.with(|state| state.batch_rows_seen), 0);
    // A server that never grants again is left in the end.
    fake.with(|state| state.credit_rows = 2);
    push_all(&observer, 4..5).await;
    observer.finish().await.expect("acked with the credit of the next stream");
    assert_eq!(fake.texts(), expected(0..5));
    assert!(fake.with(|state| state.largest_batch) <= 2);
}

#[tokio::test(start_paused = true)]
async fn a_slower_pace_bounds_what_is_sent_and_holds_over_a_resume() {
    let fake = Fake::new();
    fake.with(|state| state.credit_rows = 512);
    let observer = open(&fake.client()).await;
    (0..2).for_each(|_| observer.slower());
    fake.pass(Duration::from_millis(100)).await;
    // At once, though this server never answers.
    assert_eq!(observer.credit().rows, 128);
    push_all(&observer, 0..1000).await;
    observer.flush().await.expect("acked");
    assert!(fake.with(|state| state.largest_batch) <= 128);
    NODES.iter().for_each(|node| fake.cut(node));
    fake.pass(Duration::from_secs(2)).await;
    observer.faster();
    push_all(&observer, 1000..1001).await;
    observer.flush().await.expect("acked");
    let asked = [FlowKind::Slower, FlowKind::Slower, FlowKind::Slower, FlowKind::Slower, FlowKind::Faster];
    assert_eq!(fake.with(|state| state.flows.clone()), asked);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_observer_ends_its_stream() {
    let fake = Fake::new();
    let observer = open(&fake.client()).await;
    push_all(&observer, 0..5).await;
    observer.flush().await.expect("acked");
    assert_eq!(fake.with(|state| state.streams), 1);
    drop(observer);
    fake.pass(Duration::from_millis(100)).await;
    assert_eq!(fake.with(|state| state.streams), 0);
}

#[tokio::test(start_paused = true)]
async fn opening_follows_the_hint_and_a_pinned_client_does_not() {
    let fake = Fake::new();
    let hint = Faults { answer: Some(Error::not_leader("go to c", "c:1")), ..Faults::default() };
    ["a:1", "b:1"].iter().for_each(|node| fake.fault(node, hint.clone()));
    let observer = open(&fake.client()).await;
    observer.push(row("row 0")).await.expect("taken");
    observer.finish().await.expect("acked");
    let refused = fake.client().on("a:1").observe(SPACE, ObserveOptions::default()).await;
    assert_eq!(refused.map(|_| ()).expect_err("pinned to a").kind(), Kind::NotLeader);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_space_is_refused_at_once() {
    let fake = Fake::new();
    let refused = fake.client().observe("nowhere", ObserveOptions::default()).await;
    assert_eq!(refused.map(|_| ()).expect_err("no such space").kind(), Kind::NotFound);
    assert_eq!(fake.with(|state| state.calls.len()), 1);
}

#[tokio::test(start_paused = true)]
async fn one_task_pushes_while_another_reads_events() {
    let fake = Fake::new();
    let observer = open(&fake.client()).await;
    let push = push_all(&observer, 0..200);
    let read = async {
        let mut acked = 0;
        while acked < 200 {
            if let Some(Event::Acked { tickets, .. }) = observer.next_event().await {
                acked += tickets.end() - tickets.start() + 1;
            }
        }
    };
    futures_util::future::join(push, read).await;
    assert_eq!(fake.texts(), expected(0..200));
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_makes_the_same_calls() {
    let run = async |seed| {
        let fake = Fake::new();
        NODES.iter().zip([20, 30, 40]).for_each(|(node, after)| {
            fake.fault(node, Faults { break_after_rows: Some(after), ..Faults::default() });
        });
        let start = tokio::time::Instant::now();
        let observer = open(&fake.client_with_seed(seed)).await;
        push_all(&observer, 0..100).await;
        observer.finish().await.expect("acked");
        (fake.with(|state| state.calls.clone()), start.elapsed())
    };
    let (first, second, other) = (run(1).await, run(1).await, run(2).await);
    assert_eq!(first, second);
    assert_ne!(first, other);
}
