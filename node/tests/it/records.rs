//! Record files: equal on every node, mended when they rot, and without a word of what was erased.

use crate::common::{Running, SPACE, cluster_of, config, engram, env, note, ready, rows, scrape, texts, until};
use engram_client::{Client, Observation, ObserveOptions, Which};
use engram_node::Config;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Snapshots are frequent: many are written while a test runs.
fn busy(node: u64, dir: &Path) -> Config {
    let mut config = config(node, dir);
    (config.raft.snapshot_bytes, config.raft.keep_entries, config.raft.erase_s) = (32 << 10, 10, 1);
    config
}

async fn fill(client: &Client, rows: std::ops::Range<u64>) {
    let observer = client.observe(SPACE, ObserveOptions::default()).await.expect("opened");
    for row in rows {
        observer.push(Observation { id: format!("id {row}"), ..note(&format!("row {row}")) }).await.expect("taken");
    }
    observer.finish().await.expect("acked");
}

/// Makes a node write a snapshot now.
async fn snapshot(client: &Client, config: &Config) {
    client.on(&config.listen).backup(Vec::new()).await.map(drop).expect("written");
}

/// The record files of a node's rows, and their bytes.
fn files(config: &Config) -> BTreeMap<PathBuf, Vec<u8>> {
    let Ok(dir) = fs::read_dir(config.data_dir.join("records")) else { return BTreeMap::new() };
    let paths = dir.filter_map(|entry| Some(entry.ok()?.path()));
    let record = |path: &PathBuf| path.extension().is_some_and(|end| end == "rec");
    let files = paths.filter(record).filter_map(|path| Some((path.file_name()?.into(), fs::read(&path).ok()?)));
    // Kind 3; graphs, whose files depend on when they were built, are of kind 6.
    files.filter(|(_, bytes): &(PathBuf, Vec<u8>)| bytes.get(8) == Some(&3)).collect()
}

fn damage(config: &Config, name: &Path) {
    let path = config.data_dir.join("records").join(name);
    let mut bytes = fs::read(&path).expect("there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_equal_everywhere_and_what_rots_is_fetched_from_another_node() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, client) = cluster_of((1..=3).map(|node| busy(node, dir.path()))).await;
    fill(&client, 0..2600).await;
    for node in &nodes {
        snapshot(&client, &node.config).await;
    }
    let sound = until("every node has the same two files", async || {
        let all: Vec<_> = nodes.iter().map(|node| files(&node.config)).collect();
        (all[0].len() == 2 && all.iter().all(|files| *files == all[0])).then(|| all[0].clone())
    });
    let sound = sound.await;
    let names: Vec<&PathBuf> = sound.keys().collect();

    // While it runs.
    let running = nodes[2].config.clone();
    damage(&running, names[0]);
    until("the scrub mends it", async || (files(&running) == sound).then_some(())).await;
    let metrics = scrape(&running.listen).await;
    assert!(metrics.contains("engram_record_files_damaged_total 1"), "{metrics}");

    // While it is down: one is damaged, one is gone.
    nodes.pop().expect("the third").stop().await.expect("stops well");
    damage(&running, names[0]);
    fs::remove_file(running.data_dir.join("records").join(names[1])).expect("there");
    let third = Running::start(env(), running.clone());
    ready(&client, &third).await;
    assert_eq!(files(&running), sound);
    fill(&client, 2600..2650).await;
    assert_eq!(texts(&rows(&client.on(&running.listen)).await).len(), 2650);
    nodes.push(third);
    for node in nodes {
        node.stop().await.expect("stops well");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_alone_mends_its_files_from_memory_and_refuses_to_start_without_them() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, client) = cluster_of([busy(1, dir.path())].into_iter()).await;
    let node = nodes.remove(0);
    let config = node.config.clone();
    fill(&client, 0..1100).await;
    snapshot(&client, &config).await;
    let sound = until("a file", async || Some(files(&config)).filter(|files| files.len() == 1)).await;
    let name = sound.keys().next().expect("one").clone();
    damage(&config, &name);
    until("it is written anew", async || (files(&config) == sound).then_some(())).await;
    let data_dir = config.data_dir.to_str().expect("text").to_string();
    let verify = ["admin", "verify", &data_dir];
    let (code, _, said) = engram(&verify).await;
    assert!(code == 1 && said.contains("is in use by a running node"), "{code}: {said}");
    node.stop().await.expect("stops well");
    let (code, out, said) = engram(&verify).await;
    assert!(code == 0 && out.contains("is whole: node 1 of cluster"), "{code}: {out}{said}");
    damage(&config, &name);
    let (code, _, said) = engram(&verify).await;
    assert!(code == 1 && said.contains("is damaged at byte"), "{code}: {said}");
    let node = Running::start(env(), config.clone());
    let refused = node.stop().await.expect_err("nobody has it").to_string();
    let file = config.data_dir.join("records").join(&name);
    for word in [&*file.to_string_lossy(), "is damaged at byte", "there is no other member", "restore a backup"] {
        assert!(refused.contains(word), "{word:?} is not in: {refused}");
    }
    fs::write(file, &sound[&name]).expect("written");
    let node = Running::start(env(), config);
    let client = crate::common::client([&node]);
    ready(&client, &node).await;
    assert_eq!(rows(&client).await.len(), 1100);
    node.stop().await.expect("stops well");
}

/// Files below a directory that have the text.
fn with_text(dir: &Path, text: &[u8], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("readable") {
        let path = entry.expect("named").path();
        match path.is_dir() {
            true => with_text(&path, text, found),
            // A file may go while it is looked for.
            false if fs::read(&path).is_ok_and(|bytes| bytes.windows(text.len()).any(|part| part == text)) => {
                found.push(path);
            }
            false => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erased_text_is_gone_from_every_file_of_every_node() {
    const SECRET: &[u8] = b"the secret word is xylophone";
    let dir = tempfile::tempdir().expect("temporary");
    let (nodes, client) = cluster_of((1..=3).map(|node| busy(node, dir.path()))).await;
    fill(&client, 0..1500).await;
    let observer = client.observe(SPACE, ObserveOptions::default()).await.expect("opened");
    let secret = str::from_utf8(SECRET).expect("text");
    for (id, row) in [("one", 1), ("two", 2)] {
        observer.push(Observation { id: id.into(), ..note(&format!("{secret}, {row}")) }).await.expect("taken");
    }
    observer.finish().await.expect("acked");
    fill(&client, 1500..2600).await;
    let found = || {
        let mut found = Vec::new();
        with_text(dir.path(), SECRET, &mut found);
        found
    };
    for node in &nodes {
        snapshot(&client, &node.config).await;
    }
    let records = found().into_iter().filter(|path| path.extension().is_some_and(|end| end == "rec"));
    assert_eq!(records.count(), 3);
    let gone = Which::Named(vec!["one".to_string(), "two".to_string()].into());
    client.erase(SPACE, gone).await.expect("erased");
    until("no file has a word of them", async || found().is_empty().then_some(())).await;
    assert_eq!(rows(&client).await.len(), 2600);
    for node in nodes {
        node.stop().await.expect("stops well");
    }
    assert_eq!(found(), Vec::<PathBuf>::new());
}

/// A byte in the middle of what is written of a file.
fn rot(path: &Path) {
    let mut bytes = fs::read(path).expect("there");
    let used = bytes.iter().rposition(|byte| *byte != 0).expect("something is written");
    bytes[used / 2] ^= 1;
    fs::write(path, bytes).expect("written");
}

fn named(config: &Config, dir: &str, end: &str) -> Vec<PathBuf> {
    let dir = fs::read_dir(config.data_dir.join(dir)).expect("there");
    let mut paths: Vec<PathBuf> = dir.map(|entry| entry.expect("named").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == end));
    paths.sort();
    paths
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_manifest_or_segment_is_replaced_from_memory_and_the_node_starts_again() {
    let dir = tempfile::tempdir().expect("temporary");
    let mut config = config(1, dir.path());
    config.wal.segment_bytes = 1 << 20;
    let (mut nodes, client) = cluster_of([config.clone()].into_iter()).await;
    let node = nodes.remove(0);
    let config = node.config.clone();
    fill(&client, 0..100).await;
    snapshot(&client, &config).await;
    let manifest = named(&config, "snapshots", "snap").pop().expect("one");
    let sound = fs::read(&manifest).expect("there");
    rot(&manifest);
    until("another is written", async || (!manifest.exists() || fs::read(&manifest).ok()? == sound).then_some(()))
        .await;
    let text = format!("{:0>2000}", 0);
    let observer = client.observe(SPACE, ObserveOptions::default()).await.expect("opened");
    for _ in 0..2000 {
        observer.push(note(&text)).await.expect("taken");
    }
    observer.finish().await.expect("acked");
    let segments = named(&config, "wal", "wal");
    assert!(segments.len() > 4, "{segments:?}");
    rot(&segments[1]);
    until("the segment is removed", async || (!segments[1].exists()).then_some(())).await;
    let metrics = scrape(&config.listen).await;
    assert!(metrics.contains("engram_own_files_damaged_total 2"), "{metrics}");
    node.stop().await.expect("stops well");
    let data_dir = config.data_dir.to_str().expect("text").to_string();
    let (code, out, said) = engram(&["admin", "verify", &data_dir]).await;
    assert!(code == 0 && out.contains("is whole"), "{code}: {out}{said}");
    let node = Running::start(env(), config);
    let client = crate::common::client([&node]);
    ready(&client, &node).await;
    assert_eq!(rows(&client).await.len(), 2100);
    node.stop().await.expect("stops well");
}
