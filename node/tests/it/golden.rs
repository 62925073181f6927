//! A data directory that an earlier build wrote opens in this one, holds what it held, and goes on.

use crate::common::{Running, SPACE, client, config, env, ready, rows, texts, until};
use engram_client::{ObserveOptions, observation};
use std::fs;
use std::path::Path;

/// A directory: its rows, and its graph's epoch, rows and digest as the build that wrote it printed them.
struct Written {
    name: &'static str,
    rows: u64,
    graph: (u64, u64, u64),
}

const WRITTEN: [Written; 2] = [
    Written { name: "format-1", rows: 150, graph: (2, 128, 0xdc77_2ac0_a740_5ca0) },
    Written { name: "format-2", rows: 1150, graph: (14, 1037, 0x19bd_97a1_6190_9597) },
];

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
    for written in WRITTEN {
        opens(&written).await;
    }
}

async fn opens(written: &Written) {
    let dir = tempfile::tempdir().expect("temporary");
    let mut one = config(1, dir.path());
    one.cluster = "golden".into();
    one.wal.segment_bytes = 64 << 10;
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(written.name), &one.data_dir);
    let node = Running::start(env(), one);
    let client = client([&node]);
    ready(&client, &node).await;
    // Two were forgotten, and are erased.
    let mut held: Vec<String> =
        (0..written.rows).filter(|row| ![7, 9].contains(row)).map(|row| format!("memory {row}")).collect();
    until("the log is applied", async || (texts(&rows(&client).await) == held).then_some(())).await;
    let on = client.on(&node.config.listen);
    let space = until("the graph is built", async || {
        let space = on.status().await.ok()?.spaces.into_iter().next()?;
        (space.epoch_rows == written.graph.1).then_some(space)
    });
    let space = space.await;
    assert_eq!((space.epoch, space.epoch_rows, space.graph_digest), written.graph, "{}", written.name);
    assert_eq!((space.forgotten, space.erased, space.generation), (2, 2, 0));
    let observer = client.observe(SPACE, ObserveOptions::default()).await.expect("opened");
    observer.push(observation("one more", &[0.5; 8])).await.expect("taken");
    observer.finish().await.expect("acked");
    held.push("one more".into());
    until("it goes on", async || (texts(&rows(&client).await) == held).then_some(())).await;
    node.stop().await.expect("stops well");
}
