//! A stop under load: what was admitted is committed first, and every stream is told to go elsewhere.

use crate::common::{Raw, Running, SPACE, Said, cluster, env, note, ready, rows, until};
use engram_client::{Error, Kind};
use engram_proto::wire::v1::{AckStage, OpenSession};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Rows acked as received before the node is asked to stop.
const BEFORE: u64 = 5000;
const BATCH: u64 = 100;

/// Sends for as long as the stream goes on; the last sequence acked as received, and why it ended.
async fn press(mut raw: Raw, received: Arc<AtomicU64>) -> (u64, u64, Error) {
    let mut last = 0;
    loop {
        let batch = (last + 1..=last + BATCH).map(|row| note(&format!("row {row}"))).collect();
        match raw.ask(last + 1, batch).await {
            Ok(Said::Ack(ack)) => {
                received.fetch_add(ack.last_sequence - last, Ordering::Relaxed);
                last = ack.last_sequence;
            }
            // Over the stream's credit, or the node has begun to stop: asked again until it says so.
            Ok(Said::Refused(refused)) => assert_eq!(refused.expected, last + 1),
            Ok(other) => panic!("{other:?}"),
            Err(status) => return (raw.opened.session, last, Error::from_status(&status)),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_were_received_are_committed_before_a_node_stops() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, client) = cluster(1, dir.path()).await;
    let node = nodes.remove(0);
    let config = node.config.clone();
    let received = Arc::new(AtomicU64::new(0));
    let mut streams = Vec::new();
    for _ in 0..4 {
        let open = OpenSession { space: SPACE.into(), ack_stage: AckStage::Received.into(), ..OpenSession::default() };
        let raw = Raw::open_as(&config.listen, open).await.expect("opened");
        streams.push(tokio::spawn(press(raw, received.clone())));
    }
    until("rows are received", async || (received.load(Ordering::Relaxed) >= BEFORE).then_some(())).await;
    node.stop().await.expect("stops well");
    let mut ended = Vec::new();
    for stream in streams {
        ended.push(stream.await.expect("no panic"));
    }
    let node = Running::start(env(), config);
    ready(&client, &node).await;
    let rows = rows(&client).await;
    for (session, last, why) in ended {
        assert_eq!(why.kind(), Kind::InDoubt, "{why}");
        let kept = rows.iter().filter(|row| row.session == session).map(|row| row.sequence);
        assert!(kept.eq(1..=last), "session {session}: all {last} that were received, and no other");
    }
    node.stop().await.expect("stops well");
}
