//! Nodes that must not start, or must take part in nothing: each says why and what to do, and touches nothing.

use crate::common::{Running, client, cluster, config, engram, env, note, ready, rows, texts, until};
use engram_client::{Kind, ObserveOptions, Recall};
use engram_node::RunError;
use engram_proto::wire::v1::Role;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_configuration_is_named_by_file_and_key() {
    let dir = tempfile::tempdir().expect("temporary");
    let file = dir.path().join("engram.toml");
    let path = file.to_str().expect("text");
    let (code, _, said) = engram(&["serve", "--config", path]).await;
    assert!(code == 2 && said.contains("engram.toml") && said.contains("No such file"), "{code}: {said}");
    for (text, words) in [
        ("node_id = 1\ndata_dir = \"x\"\nspeed = 9\n", ["engram.toml", "unknown key speed"]),
        ("node_id = 1\ndata_dir = \"x\"\n[wal]\nsegment = 9\n", ["engram.toml", "unknown key wal.segment"]),
        ("node_id = \"a\"\ndata_dir = \"x\"\n", ["engram.toml", "node_id"]),
        ("node_id = 1\n", ["data_dir", "missing"]),
        ("[[", ["engram.toml", "configuration"]),
    ] {
        std::fs::write(&file, text).expect("written");
        let (code, _, said) = engram(&["serve", "--config", path]).await;
        assert_eq!(code, 2, "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "{words:?} not in: {said}");
    }
    for (key, flag) in [("listen", "--listen"), ("peer_listen", "--peer-listen")] {
        std::fs::write(&file, format!("node_id = 1\ndata_dir = \"x\"\n{key} = \"0.0.0.0:0\"\n")).expect("written");
        let flags = ["serve", "--node-id", "1", "--data-dir", "x", flag, "0.0.0.0:0"];
        for args in [&["serve", "--config", path][..], &flags] {
            let (code, _, said) = engram(args).await;
            assert!(code == 2 && said.contains(key) && said.contains("--insecure-listen"), "{code}: {said}");
        }
    }
    std::fs::write(&file, [0xff, 0xfe]).expect("written");
    let (code, _, said) = engram(&["serve", "--config", path]).await;
    assert!(code == 2 && said.contains("UTF-8"), "{code}: {said}");
    assert_eq!(std::fs::read_dir(dir.path()).expect("there").count(), 1, "nothing was made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_and_a_directory_in_use_are_refused_while_the_owner_goes_on() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, client) = cluster(1, dir.path()).await;
    let node = nodes.remove(0);
    let taken = config(2, dir.path());
    let taken = engram_node::Config { listen: node.config.listen.clone(), ..taken };
    let error = engram_node::run(env(), taken, std::future::pending()).await.expect_err("in use");
    assert!(matches!(&error, RunError::Listen(text) if text.contains(&node.config.listen)), "{error}");
    assert!(error.to_string().contains("in use"), "{error}");

    let data = node.config.data_dir.to_str().expect("text").to_string();
    let other = config(1, dir.path());
    let (listen, peers) = (other.listen.as_str(), other.peer_listen.as_str());
    let args = ["serve", "--node-id", "1", "--data-dir", &data, "--listen", listen, "--peer-listen", peers];
    let (code, _, said) = engram(&args).await;
    assert!(code == 2 && said.contains("in use by another process") && said.contains(&data), "{code}: {said}");

    let observer = client.observe("notes", ObserveOptions::default()).await.expect("opened");
    observer.push(note("still here")).await.expect("taken");
    assert_eq!(observer.finish().await.expect("acked").acked, 1);
    node.stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_another_cluster_or_node_is_refused_and_stays_usable() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, client) = cluster(1, dir.path()).await;
    let observer = client.observe("notes", ObserveOptions::default()).await.expect("opened");
    observer.push(note("kept")).await.expect("taken");
    observer.finish().await.expect("acked");
    // A node of one cluster is not taken into another.
    let stranger = Running::start(env(), config(2, dir.path()));
    let on = client.on(&stranger.config.listen);
    until("the other node answers", async || on.status().await.ok()).await;
    let both = vec![stranger.address(), nodes[0].address()];
    let error = on.init(both).await.expect_err("in another cluster");
    assert!(error.to_string().contains("is in cluster"), "{error}");
    stranger.stop().await.expect("stops well");

    let config = nodes[0].config.clone();
    nodes.remove(0).stop().await.expect("stops well");
    let other_cluster = engram_node::Config { cluster: "elsewhere".into(), ..config.clone() };
    let other_node = engram_node::Config { node_id: 9, ..config.clone() };
    for (bad, word) in [(other_cluster, "is of cluster \"engram\""), (other_node, "belongs to node 1")] {
        let error = engram_node::run(env(), bad, std::future::pending()).await.expect_err("not its own");
        assert!(matches!(&error, RunError::Data(text) if text.contains(word)), "{error}");
    }
    let node = Running::start(env(), config);
    ready(&client, &node).await;
    assert_eq!(texts(&rows(&client).await), ["kept"]);
    node.stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_disk_under_an_old_id_takes_part_in_nothing() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, all) = cluster(3, dir.path()).await;
    let lost = nodes.remove(2);
    let wiped = lost.config.clone();
    lost.stop().await.expect("stops well");
    std::fs::remove_dir_all(&wiped.data_dir).expect("wiped");
    let wiped = Running::start(env(), wiped);
    let on = all.on(&wiped.config.listen);
    until("the wiped node answers", async || on.status().await.ok()).await;
    // The others go on, and what they log does not reach it.
    let rest = client(&nodes);
    let observer = rest.observe("notes", ObserveOptions::default()).await.expect("a quorum is left");
    observer.push(note("without node 3")).await.expect("taken");
    observer.finish().await.expect("acked");
    let status = on.status().await.expect("answers");
    assert_eq!((status.role(), status.watermarks.expect("marks").applied), (Role::Blank, 0));
    assert!(status.not_ready_reason.contains("in no cluster"), "{}", status.not_ready_reason);
    // It has no word about sessions and spaces that it knows nothing of: clients go elsewhere.
    let recall = Recall { deadline: Duration::from_millis(500), ..Recall::new("notes", vec![1.0; 4], 1) };
    let error = on.recall(recall).await.expect_err("it is no member");
    assert_eq!(error.kind(), Kind::NotLeader, "{error}");
    assert!(error.to_string().contains("in no cluster"), "{error}");
    let error = rest.add_node(wiped.address(), false).await.expect_err("its id is taken");
    assert_eq!(error.error().kind(), Kind::Exists, "{error}");
    assert!(error.to_string().contains("under a new id"), "{error}");
    let applied = on.status().await.expect("answers").watermarks.expect("marks").applied;
    assert_eq!((applied, texts(&rows(&rest).await)), (0, vec!["without node 3".to_string()]));
    for node in nodes.into_iter().chain([wiped]) {
        node.stop().await.expect("stops well");
    }
}

#[tokio::test]
async fn a_configuration_is_checked_and_shown_without_a_start() {
    let dir = tempfile::tempdir().expect("temporary");
    let path = dir.path().join("engram.toml");
    let file = path.to_str().expect("text");
    std::fs::write(&path, "node_id = 1\ndata_dir = \"data\"\n[raft]\nheartbeat_ms = 100\n").expect("written");
    let (code, out, said) = engram(&["config", "check", "--config", file]).await;
    assert_eq!((code, out.trim()), (0, "valid: node 1 of cluster \"engram\""), "{said}");
    assert!(!dir.path().join("data").exists());

    let (code, out, said) = engram(&["config", "show", "--origin", "--config", file, "--node-id", "7"]).await;
    assert_eq!(code, 0, "{said}");
    let row = |key: &str| {
        let found = out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        found.into_iter().find(|cells| cells[0] == key).unwrap_or_else(|| panic!("{key} is not in {out}"))[1..]
            .join(" ")
    };
    assert_eq!(row("node_id"), "7 --node-id");
    assert_eq!(row("raft.heartbeat_ms"), format!("100 {file}"));
    assert_eq!(row("raft.erase_s"), "60 default");

    // What is shown is a file that gives the same.
    let (_, shown, _) = engram(&["config", "show", "--config", file]).await;
    std::fs::write(&path, &shown).expect("written");
    let (code, again, said) = engram(&["config", "show", "--config", file]).await;
    assert_eq!((code, &again), (0, &shown), "{said}");

    std::fs::write(&path, "node_id = 1\ndata_dir = \"data\"\n[raft]\nheart_beat_ms = 100\n").expect("written");
    let (code, _, said) = engram(&["config", "check", "--config", file]).await;
    assert!(code == 2 && said.contains("did you mean heartbeat_ms?") && said.contains(file), "{code}: {said}");
}

#[tokio::test]
async fn completions_and_manual_pages_are_those_of_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, said) = engram(&["completions", shell]).await;
        assert!(code == 0 && out.contains("recall"), "{shell}: {code}: {said}");
    }
    let dir = tempfile::tempdir().expect("temporary");
    let (code, _, said) = engram(&["man", dir.path().to_str().expect("text")]).await;
    assert_eq!(code, 0, "{said}");
    let page = std::fs::read_to_string(dir.path().join("engram-recall.1")).expect("a page");
    assert!(page.contains("engram\\-recall") && page.contains("cue"), "{page}");
    let (code, _, said) = engram(&["man", "/nowhere"]).await;
    assert!(code == 2 && said.contains("/nowhere"), "{code}: {said}");
}
