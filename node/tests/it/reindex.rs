//! An index of which most is erased is made anew of the rest: on every node alike, over restarts, and with every answer as
//! it was.

use crate::common::{Running, SPACE, cluster_of, config, engram, env, ready, until};
use engram_client::{Client, Level, ObserveOptions, Recall, Which, difference, observation};
use engram_node::Config;
use std::path::Path;

fn eager(node: u64, dir: &Path) -> Config {
    let mut config = config(node, dir);
    (config.raft.snapshot_bytes, config.raft.keep_entries, config.raft.erase_s) = (32 << 10, 10, 1);
    config.reindex_rows = 100;
    config
}

fn direction(row: u64) -> [f32; 2] {
    let angle = row as f32 * 0.004;
    [angle.cos(), angle.sin()]
}

async fn fill(client: &Client, rows: std::ops::Range<u64>) {
    let observer = client.observe(SPACE, ObserveOptions::default()).await.expect("opened");
    for row in rows {
        observer.push(observation(format!("row {row}"), &direction(row))).await.expect("taken");
    }
    observer.finish().await.expect("acked");
}

/// Until all nodes have the index of a generation, built as far as it can be.
async fn settled(nodes: &[Running], client: &Client, generation: u32) {
    until(&format!("generation {generation} on every node"), async || {
        let mut states = Vec::new();
        for node in nodes {
            states.push(client.on(&node.config.listen).status().await.ok()?);
        }
        let space = states[0].spaces.first()?;
        let built = space.epoch_rows + 64 > space.rows || space.epoch_rows * 9 / 8 >= space.rows;
        (space.generation == generation && built && difference(&states).is_none()).then_some(())
    })
    .await;
}

/// What each node finds near a row: the numbers of the nearest.
async fn near(nodes: &[Running], client: &Client, row: u64, at_index: Option<u64>) -> Vec<u64> {
    let mut answers = Vec::new();
    for node in nodes {
        let level = if at_index.is_some() { Level::Eventual } else { Level::Linearizable };
        let recall = Recall { level, at_index, ..Recall::new(SPACE, direction(row).to_vec(), 5) };
        let answer = client.on(&node.config.listen).recall(recall).await.expect("recalled");
        answers.push(answer.hits.iter().map(|hit| hit.row).collect::<Vec<_>>());
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    answers.swap_remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_is_made_anew_on_every_node_once_half_of_it_is_erased() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, client) = cluster_of((1..=3).map(|node| eager(node, dir.path()))).await;
    fill(&client, 0..800).await;
    settled(&nodes, &client, 0).await;
    let last = (700..705).collect::<Vec<u64>>();
    assert_eq!(sorted(near(&nodes, &client, 702, None).await), last);

    // Rows forgotten before the floor go; one that is forgotten after it is in the past that is kept.
    let gone = client.erase(SPACE, Which::Named((0..600).collect::<Vec<u64>>().into())).await.expect("erased");
    assert_eq!(gone.rows, 600);
    let kept = client.forget(SPACE, Which::Named(vec![702u64].into())).await.expect("forgotten");
    settled(&nodes, &client, 1).await;
    assert_eq!(sorted(near(&nodes, &client, 702, Some(kept.log_index - 1)).await), last);
    let without = sorted(near(&nodes, &client, 702, None).await);
    assert!(!without.contains(&702) && without.len() == 5 && without[0] >= 699, "{without:?}");
    assert!(near(&nodes, &client, 10, None).await.iter().all(|row| *row >= 600));

    // What comes after goes on in it, and a node that was away comes back to it from its own files.
    let third = nodes.pop().expect("the third");
    let away = third.config.clone();
    third.stop().await.expect("stops well");
    fill(&client, 800..1200).await;
    let third = Running::start(env(), away.clone());
    ready(&client, &third).await;
    nodes.push(third);
    settled(&nodes, &client, 1).await;
    assert_eq!(sorted(near(&nodes, &client, 1102, None).await), [1100, 1101, 1102, 1103, 1104]);

    client.erase(SPACE, Which::Named((600..1100).collect::<Vec<u64>>().into())).await.expect("erased");
    settled(&nodes, &client, 2).await;
    for node in &nodes {
        let proof = client.on(&node.config.listen).verify("").await.expect("proved");
        assert!(proof.graphs.iter().all(|graph| graph.broken.is_empty()), "{proof:?}");
    }
    for node in nodes {
        node.stop().await.expect("stops well");
    }
    let data_dir = away.data_dir.to_str().expect("text").to_string();
    let (code, out, said) = engram(&["admin", "verify", &data_dir]).await;
    assert!(code == 0 && out.contains("is whole: node 3"), "{code}: {out}{said}");
}

fn sorted(mut rows: Vec<u64>) -> Vec<u64> {
    rows.sort_unstable();
    rows
}
