//! A disk that is full: rows are refused with a clear error, what was acked stays, and with room it goes on.

use crate::common::{Raw, Running, SPACE, Said, client, config, env, note, ready, rows, until};
use crate::failing_disk::Failing;
use engram_client::{Kind, SpaceConfig, observation};
use engram_proto::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_rows_keeps_what_was_acked_and_goes_on_with_room() {
    let dir = tempfile::tempdir().expect("temporary");
    let disk = Failing::default();
    let mut world = env();
    world.disk = Arc::new(disk.clone());
    let mut config = config(1, dir.path());
    // Half a segment must outlast the 200 ms after which a node looks at its disk again.
    config.wal.segment_bytes = 4 << 20;
    let node = Running::start(world, config.clone());
    let client = client([&node]);
    let on = client.on(&node.config.listen);
    until("the node answers", async || on.status().await.ok()).await;
    on.init(vec![node.address()]).await.expect("a cluster of one");
    ready(&client, &node).await;
    let space = SpaceConfig { name: SPACE.into(), dim: 2, ..SpaceConfig::default() };
    client.create_space(space).await.expect("a new space");

    let mut raw = Raw::open(&node.config.listen, SPACE).await.expect("opened");
    disk.full.store(true, Ordering::SeqCst);
    let text = "x".repeat(8000);
    let row = |sequence: u64| vec![observation(format!("{sequence} {text}"), &[0.6, 0.8])];
    let mut next = 1;
    let refused = until("rows are refused", async || {
        match raw.ask(next, row(next)).await.expect("the stream stays open") {
            Said::Ack(ack) => next = ack.last_sequence + 1,
            Said::Refused(refused) => return Some(refused),
            other => panic!("{other:?}"),
        }
        assert!(next < 1000, "eight megabytes fit no full disk");
        None
    });
    let refused = refused.await;
    let error = Error::from(refused.error.expect("says why"));
    assert_eq!((refused.sequence, error.kind()), (next, Kind::Overloaded), "{error}");
    assert!(error.to_string().contains("the disk is full"), "{error}");
    assert_eq!(rows(&client).await.len() as u64, next - 1, "reads go on, nothing acked is missing");

    disk.full.store(false, Ordering::SeqCst);
    until("rows are taken again", async || match raw.ask(next, row(next)).await.expect("the stream is open") {
        Said::Ack(ack) => Some(ack),
        _ => None,
    })
    .await;
    node.stop().await.expect("stops well");
    let node = Running::start(env(), config);
    ready(&client, &node).await;
    let rows = rows(&client).await;
    assert_eq!(rows.iter().map(|row| row.sequence).collect::<Vec<_>>(), (1..=next).collect::<Vec<_>>());
    let mut raw = Raw::resume(&node.config.listen, &raw.opened).await.expect("resumed");
    let said = raw.ask(next + 1, vec![note("after")]).await.expect("an answer");
    assert!(matches!(said, Said::Ack(_)), "{said:?}");
    node.stop().await.expect("stops well");
}
