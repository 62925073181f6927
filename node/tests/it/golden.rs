//! A data directory that an earlier build wrote opens in this one, holds what it held, and goes on.

use crate::common::{Running, SPACE, client, config, env, ready, rows, texts, until};
use engram_client::{ObserveOptions, observation};
use std::fs;
use std::path::Path;

/// Of the graph of its first 128 rows, as the build that wrote it printed it.
const GRAPH_DIGEST: u64 = 0xdc77_2ac0_a740_5ca0;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a new directory");
    for entry in fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        match entry.file_type().expect("known").is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).expect("copied")),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_an_earlier_build_opens_and_holds_what_it_held() {
    let dir = tempfile::tempdir().expect("temporary");
    let mut one = config(1, dir.path());
    one.cluster = "golden".into();
    one.wal.segment_bytes = 64 << 10;
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/format-1"), &one.data_dir);
    let node = Running::start(env(), one);
    let client = client([&node]);
    ready(&client, &node).await;
    // Two were forgotten, and are erased.
    let mut held: Vec<String> =
        (0..150).filter(|row| ![7, 9].contains(row)).map(|row| format!("memory {row}")).collect();
    until("the log is applied", async || (texts(&rows(&client).await) == held).then_some(())).await;
    let on = client.on(&node.config.listen);
    let space = until("the graph is built", async || {
        let space = on.status().await.ok()?.spaces.into_iter().next()?;
        (space.epoch_rows == 128).then_some(space)
    });
    let space = space.await;
    assert_eq!((space.epoch, space.graph_digest, space.forgotten, space.erased), (2, GRAPH_DIGEST, 2, 2));
    let observer = client.observe(SPACE, ObserveOptions::default()).await.expect("opened");
    observer.push(observation("one more", &[0.5; 8])).await.expect("taken");
    observer.finish().await.expect("acked");
    held.push("one more".into());
    until("it goes on", async || (texts(&rows(&client).await) == held).then_some(())).await;
    node.stop().await.expect("stops well");
}
