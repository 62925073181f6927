//! The pace of a stream as its client asks for it, and what becomes of a client that takes no notice of its credit.

use crate::common::{Raw, SPACE, Said, client, note, one_node, rows, until};
use engram_client::{Kind, ObserveOptions};
use engram_proto::Error;
use engram_proto::limits::{CREDIT_ROWS_MIN, OVERRUNS_MAX};
use engram_proto::wire::v1::{FlowKind, ObserveBatch, observe_request};

async fn credit_after(raw: &mut Raw, kind: FlowKind) -> u32 {
    raw.flow(kind).await;
    let Said::Flow(flow) = raw.next().await.expect("stays open") else { panic!("no credit") };
    assert_eq!(flow.kind(), FlowKind::Credit);
    flow.credit_rows
}

/// A stream whose credit is at its least.
async fn slow(at: &str) -> Raw {
    let mut raw = Raw::open(at, SPACE).await.expect("opened");
    for _ in 0..6 {
        credit_after(&mut raw, FlowKind::Slower).await;
    }
    raw
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slower_halves_the_credit_and_faster_doubles_it() {
    let dir = tempfile::tempdir().expect("temporary");
    let (node, at) = one_node(&dir).await;
    let mut raw = Raw::open(&at, SPACE).await.expect("opened");
    assert_eq!(raw.opened.credit.map(|credit| credit.credit_rows), Some(4096));
    assert_eq!(credit_after(&mut raw, FlowKind::Faster).await, 4096);
    assert_eq!(credit_after(&mut raw, FlowKind::Slower).await, 2048);
    assert_eq!(credit_after(&mut raw, FlowKind::Slower).await, 1024);
    assert_eq!(credit_after(&mut raw, FlowKind::Faster).await, 2048);
    raw.flow(FlowKind::Credit).await;
    let ended = Error::from_status(&raw.next().await.expect_err("a client grants nothing"));
    assert_eq!(ended.kind(), Kind::Invalid);
    node.stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overrun_is_told_once_and_what_follows_is_dropped_until_the_expected_number_comes() {
    let dir = tempfile::tempdir().expect("temporary");
    let (node, at) = one_node(&dir).await;
    let mut raw = slow(&at).await;
    let Ok(Said::Refused(refused)) = raw.ask(1, vec![note("x"); CREDIT_ROWS_MIN + 1]).await else { panic!("taken") };
    let error = Error::from(refused.error.unwrap_or_default());
    assert_eq!((refused.expected, error.kind()), (1, Kind::Overloaded));
    assert!(error.to_string().contains("credit of 64"), "{error}");
    // Under way when the client was told: over the credit again, and not even looked at.
    for at in 1..4 {
        let observations = vec![note("x"); 500];
        raw.tell(observe_request::Message::Batch(ObserveBatch { first_sequence: at * 500, observations })).await;
    }
    let Ok(Said::Ack(ack)) = raw.ask(1, vec![note("kept to"); CREDIT_ROWS_MIN]).await else { panic!("not acked") };
    assert_eq!((ack.first_sequence, ack.last_sequence), (1, CREDIT_ROWS_MIN as u64));
    node.stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_no_notice_of_its_credit_loses_its_stream_and_nothing_else() {
    let dir = tempfile::tempdir().expect("temporary");
    let (node, at) = one_node(&dir).await;
    let mut raw = slow(&at).await;
    assert!(matches!(raw.ask(1, vec![note("taken")]).await, Ok(Said::Ack(_))));
    for _ in 0..OVERRUNS_MAX {
        let said = raw.ask(2, vec![note("x"); 100]).await;
        assert!(matches!(said, Ok(Said::Refused(_))), "{said:?}");
    }
    let status = raw.ask(2, vec![note("x"); 100]).await.expect_err("ended");
    let error = Error::from_status(&status);
    assert_eq!(error.kind(), Kind::Overloaded);
    assert!(error.is_rejected() && error.to_string().contains("resume"), "nothing was in flight: {error}");

    let mut raw = Raw::resume(&at, &raw.opened).await.expect("resumed");
    assert_eq!(raw.opened.last_sequence, 1);
    assert!(matches!(raw.ask(3, vec![note("gap")]).await, Ok(Said::Refused(_))));
    // Another one never goes back to the expected number.
    let ended = async {
        for at in 0.. {
            let batch = ObserveBatch { first_sequence: 3 + at * 1000, observations: vec![note("x"); 1000] };
            raw.tell(observe_request::Message::Batch(batch)).await;
            if at >= 4 {
                return raw.next().await.expect_err("ended");
            }
        }
        unreachable!("five batches suffice")
    };
    assert_eq!(Error::from_status(&ended.await).kind(), Kind::Overloaded);
    assert_eq!(rows(&client([&node])).await.len(), 1);
    node.stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_keeps_to_the_credit_that_it_asked_for() {
    let dir = tempfile::tempdir().expect("temporary");
    let (node, _) = one_node(&dir).await;
    let observer = client([&node]).observe(SPACE, ObserveOptions::default()).await.expect("opened");
    (0..9).for_each(|_| observer.slower());
    until("the least credit", async || (observer.credit().rows == CREDIT_ROWS_MIN).then_some(())).await;
    // Nothing is given back: what is sent shows what may be.
    observer.pause_acks();
    for row in 0..300 {
        observer.push(note(&format!("row {row}"))).await.expect("taken");
    }
    until("64 in flight", async || (observer.in_flight() == CREDIT_ROWS_MIN).then_some(())).await;
    observer.faster();
    until("128 in flight", async || (observer.in_flight() == 2 * CREDIT_ROWS_MIN).then_some(())).await;
    observer.resume_acks();
    let summary = observer.finish().await.expect("acked");
    assert_eq!((summary.acked, summary.overloads, summary.resumes), (300, 0, 0));
    node.stop().await.expect("stops well");
}
