//! Recalls, lists and administration against a fake cluster: reads go on elsewhere, writes in doubt do not.

use crate::fake::{Fake, Faults, NODES, SPACE, row};
use engram_client::{Client, ClientError, Kind, Level, List, ObserveOptions, Recall, SpaceConfig, Timing};
use engram_proto::Error;
use std::{sync::Arc, time::Duration};

fn cue() -> Recall {
    Recall::new(SPACE, vec![1.0, 0.0], 10)
}

fn space(name: &str) -> SpaceConfig {
    SpaceConfig { name: name.into(), dim: 2, ..SpaceConfig::default() }
}

#[tokio::test(start_paused = true)]
async fn a_recall_gathers_its_pages_and_states_its_snapshot() {
    let fake = Fake::new();
    let answer = fake.client().recall(cue()).await.expect("an answer");
    assert_eq!(answer.hits.iter().map(|hit| hit.row).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(answer.snapshot.applied_index, fake.with(|state| state.index));
}

#[tokio::test(start_paused = true)]
async fn a_recall_passes_over_nodes_that_are_down_mute_or_behind() {
    let fake = Fake::new();
    fake.fault("a:1", Faults { down: true, ..Faults::default() });
    fake.fault("b:1", Faults { mute: true, ..Faults::default() });
    let client = fake.client();
    for _ in 0..3 {
        client.recall(cue()).await.expect("c answers");
    }
    fake.fault("b:1", Faults { answer: Some(Error::behind("not yet", 9, 3)), ..Faults::default() });
    for _ in 0..3 {
        client.recall(cue()).await.expect("c answers");
    }
    let pinned = client.recall(Recall { node: Some("b:1".into()), ..cue() }).await;
    assert_eq!(pinned.expect_err("b is behind").kind(), Kind::Behind);
}

#[tokio::test(start_paused = true)]
async fn a_recall_without_any_node_ends_at_its_deadline() {
    let fake = Fake::new();
    fake.fault_everywhere(Faults { mute: true, ..Faults::default() });
    let before = tokio::time::Instant::now();
    let error = fake.client().recall(Recall { deadline: Duration::from_secs(8), ..cue() }).await;
    assert_eq!(error.expect_err("nobody answers").kind(), Kind::InDoubt);
    assert!(before.elapsed() <= Duration::from_secs(8), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_bad_recall_is_refused_without_a_call() {
    let fake = Fake::new();
    let error = fake.client().recall(Recall { k: 0, ..cue() }).await;
    assert_eq!(error.expect_err("k is 0").kind(), Kind::Invalid);
    assert_eq!(fake.with(|state| state.dials), 0);
}

#[tokio::test(start_paused = true)]
async fn session_reads_ask_for_what_was_acked_and_never_go_back() {
    let fake = Fake::new();
    let client = fake.client();
    let observer = client.observe(SPACE, ObserveOptions::default()).await.expect("open");
    for number in 0..10 {
        observer.push(row(format!("row {number}"))).await.expect("taken");
    }
    observer.flush().await.expect("acked");
    let acked = observer.token();
    client.recall(cue()).await.expect("an answer");
    client.recall(Recall { level: Level::Eventual, ..cue() }).await.expect("an answer");
    assert_eq!(fake.with(|state| state.asked_index.clone()), [acked.log_index, 0]);
    assert_eq!((client.token(), client.clone().on("a:1").token()), (acked, acked));
}

#[tokio::test(start_paused = true)]
async fn a_space_is_made_once_though_nodes_are_down_or_no_leaders() {
    let fake = Fake::new();
    fake.fault("a:1", Faults { down: true, ..Faults::default() });
    fake.fault("b:1", Faults { answer: Some(Error::not_leader("c leads", "c:1")), ..Faults::default() });
    for name in ["x", "y", "z"] {
        fake.client().create_space(space(name)).await.expect("made");
    }
    assert_eq!(fake.with(|state| state.spaces.len()), 3);
    let again = fake.client().create_space(space("x")).await.expect_err("it is there");
    assert!(matches!(&again, ClientError::Refused(error) if error.kind() == Kind::Exists), "{again}");
}

#[tokio::test(start_paused = true)]
async fn a_write_in_doubt_is_not_sent_again() {
    let fake = Fake::new();
    for faults in [
        Faults { answer: Some(Error::in_doubt("lost on the way")), ..Faults::default() },
        Faults { mute: true, ..Faults::default() },
    ] {
        fake.fault_everywhere(faults);
        fake.with(|state| state.calls.clear());
        let error = fake.client().drop_space("x").await.expect_err("in doubt");
        assert!(matches!(error, ClientError::Unknown(_)), "{error}");
        assert_eq!(fake.with(|state| state.calls.len()), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_reached_nobody_is_refused() {
    let fake = Fake::new();
    fake.fault_everywhere(Faults { down: true, ..Faults::default() });
    let before = tokio::time::Instant::now();
    let error = fake.client().create_space(space("x")).await.expect_err("nobody there");
    assert!(error.is_refused(), "{error}");
    assert!(before.elapsed() <= Duration::from_secs(30), "{:?}", before.elapsed());
    assert!(fake.with(|state| state.dials) < 60, "with backoff");
}

#[tokio::test(start_paused = true)]
async fn status_is_that_of_the_pinned_node() {
    let fake = Fake::new();
    for node in NODES {
        let status = fake.client().on(node).status().await.expect("an answer");
        assert_eq!(status.version, node);
    }
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_breaks_midway_starts_again_elsewhere() {
    let fake = Fake::new();
    let client = fake.client();
    let observer = client.observe(SPACE, ObserveOptions::default()).await.expect("open");
    for number in 0..5 {
        observer.push(row(format!("row {number}"))).await.expect("taken");
    }
    observer.finish().await.expect("acked");
    NODES[..2].iter().for_each(|node| fake.fault(node, Faults { break_after_rows: Some(1000), ..Faults::default() }));
    for _ in 0..3 {
        let listing = client.list_all(List::new(SPACE)).await.expect("whole in the end");
        assert_eq!(listing.rows.iter().map(|row| row.sequence).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    }
    let mut pages = client.on("a:1").list(List::new(SPACE)).await.expect("it begins");
    assert_eq!(pages.next_page().await.expect("the first page").map(|rows| rows.len()), Some(2));
    assert!(pages.next_page().await.is_err(), "a page is missing: no silent end");
}

#[tokio::test(start_paused = true)]
async fn endpoints_are_checked_before_anything_is_dialled() {
    let world = Arc::new(Fake::new());
    assert!(Client::new(world.clone(), 1, vec![]).is_err());
    assert!(Client::new(world.clone(), 1, vec!["http://a:1".into()]).is_err());
    let client = Client::new(world.clone(), 1, vec!["a:1".into()]).expect("one is enough");
    let client = client.with_timing(Timing { deadline: Duration::from_secs(1), ..Timing::default() });
    assert!(client.list_spaces().await.expect("a answers").is_empty());
}
