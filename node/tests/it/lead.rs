//! Who leads, and where members are, is said by an operator, and by a leader that stops. No election comes by itself within these tests: whatever
//! changes was handed over.

use crate::common::{Running, SPACE, client, cluster_of, config, engram, env, free_addresses, note, rows, until};
use engram_client::{ClientError, Kind, Level, List, NodeAddress, ObserveOptions};
use engram_node::Config;
use std::path::Path;

fn patient(node: u64, dir: &Path) -> Config {
    let mut config = config(node, dir);
    (config.raft.election_min_ms, config.raft.election_max_ms) = (60_000, 120_000);
    config
}

async fn leader(nodes: &[Running]) -> u64 {
    let client = client(nodes);
    let known = async || {
        let mut known = Vec::new();
        for node in nodes {
            known.push(client.on(&node.config.listen).status().await.ok()?.leader?);
        }
        known.iter().all(|leader| *leader == known[0]).then(|| known[0])
    };
    until("all know one leader", known).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_says_who_votes_and_who_leads() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, client) = cluster_of((1..=3).map(|node| patient(node, dir.path()))).await;
    let endpoints = nodes.iter().map(|node| node.config.listen.clone()).collect::<Vec<_>>().join(",");
    let newcomer = Running::start(env(), patient(4, dir.path()));
    let on = client.on(&newcomer.config.listen);
    until("the fourth answers", async || on.status().await.ok()).await;
    client.add_node(newcomer.address(), true).await.expect("a learner");
    let refused = client.transfer_leader(Some(4)).await.expect_err("it has no vote");
    assert!(matches!(&refused, ClientError::Refused(e) if e.kind() == Kind::Invalid), "{refused}");
    let (code, out, said) = engram(&["cluster", "promote", "4", "--endpoints", &endpoints]).await;
    assert!(code == 0 && out.starts_with("promoted node 4"), "{out}{said}");
    let (code, _, said) = engram(&["cluster", "promote", "9", "--endpoints", &endpoints]).await;
    assert!(code == 2 && said.contains("node 9 is no member"), "{code}: {said}");
    nodes.push(newcomer);

    let (code, out, said) = engram(&["cluster", "transfer", "4", "--endpoints", &endpoints]).await;
    assert!(code == 0 && out.trim() == "node 4 leads", "{out}{said}");
    assert_eq!(leader(&nodes).await, 4);
    assert_eq!(client.transfer_leader(Some(4)).await, Ok(4), "it leads already");
    let another = client.transfer_leader(None).await.expect("handed over");
    assert!(another != 4 && leader(&nodes).await == another, "{another}");
    for node in nodes {
        node.stop().await.expect("stops well");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stops_lets_another_lead_first() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, client) = cluster_of((1..=3).map(|node| patient(node, dir.path()))).await;
    let observer = client.observe(SPACE, ObserveOptions::default()).await.expect("opened");
    for row in 0..500 {
        observer.push(note(&format!("before {row}"))).await.expect("taken");
    }
    let first = leader(&nodes).await;
    let at = nodes.iter().position(|node| node.config.node_id == first).expect("one of them");
    let stopped = nodes.remove(at).stop().await;
    stopped.expect("stops well");
    assert_ne!(leader(&nodes).await, first);
    for row in 0..500 {
        observer.push(note(&format!("after {row}"))).await.expect("taken");
    }
    let summary = observer.finish().await.expect("acked by the new leader");
    assert_eq!((summary.acked, summary.refused), (1000, 0));
    assert_eq!(rows(&client).await.len(), 1000);
    for node in nodes {
        node.stop().await.expect("stops well");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_moves_to_other_addresses() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, client) = cluster_of((1..=3).map(|node| patient(node, dir.path()))).await;
    let endpoints = nodes.iter().map(|node| node.config.listen.clone()).collect::<Vec<_>>().join(",");
    let update = async |node: &NodeAddress| {
        let place = format!("{}={},{}", node.node, node.client_address, node.peer_address);
        engram(&["cluster", "update", "--node", &place, "--endpoints", &endpoints]).await
    };
    let leads = leader(&nodes).await;
    let at = nodes.iter().position(|node| node.config.node_id != leads).expect("a follower");
    let mut moved = nodes[at].config.clone();
    let addresses = free_addresses(2);
    (moved.listen, moved.peer_listen) = (addresses[0].clone(), addresses[1].clone());

    let blank = Running::start(env(), config(moved.node_id, &dir.path().join("blank")));
    let on = client.on(&blank.config.listen);
    until("the blank one answers", async || on.status().await.ok()).await;
    let (code, _, said) = update(&blank.address()).await;
    assert!(code == 2 && said.contains("another disk there than the one that joined"), "{code}: {said}");
    blank.stop().await.expect("stops well");

    nodes.remove(at).stop().await.expect("stops well");
    let observer = client.observe(SPACE, ObserveOptions::default()).await.expect("opened");
    observer.push(note("while it was away")).await.expect("taken");
    observer.finish().await.expect("acked by the two others");
    let moved = Running::start(env(), moved);
    let on = client.on(&moved.config.listen);
    until("the moved one answers", async || on.status().await.ok()).await;
    let here = async || {
        let list = List { level: Level::Eventual, ..List::new(SPACE) };
        on.list_all(list).await.expect("listed").rows.len()
    };
    assert_eq!(here().await, 0, "nobody knows yet where it is");
    let (code, out, said) = update(&moved.address()).await;
    assert!(code == 0 && out.starts_with(&format!("updated node {}", moved.config.node_id)), "{out}{said}");
    until("it has what it missed", async || (here().await == 1).then_some(())).await;
    nodes.push(moved);
    let (_, out, _) = engram(&["cluster", "status", "--endpoints", &endpoints]).await;
    assert!(nodes.iter().all(|node| out.contains(&node.config.listen)), "{out}");
    let to = nodes.last().expect("three").config.node_id;
    assert_eq!(client.transfer_leader(Some(to)).await, Ok(to), "it can lead from there");
    for node in nodes {
        node.stop().await.expect("stops well");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_removed_lets_another_lead_first() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, client) = cluster_of((1..=3).map(|node| patient(node, dir.path()))).await;
    let first = leader(&nodes).await;
    client.remove_node(first).await.expect("by the one that leads then");
    let at = nodes.iter().position(|node| node.config.node_id == first).expect("one of them");
    nodes.remove(at).stop().await.expect("stops well");
    assert_ne!(leader(&nodes).await, first);
    let observer = client.observe(SPACE, ObserveOptions::default()).await.expect("opened");
    observer.push(note("two are left")).await.expect("taken");
    assert_eq!(observer.finish().await.expect("acked by both").acked, 1);
    for node in nodes {
        node.stop().await.expect("stops well");
    }
}
