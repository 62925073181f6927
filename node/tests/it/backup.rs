//! A running cluster is saved into a directory; a cluster of any size is made of that.

use crate::common::{Running, SPACE, client, cluster, config, engram, env, note, ready, rows, texts, until};
use engram_client::{Kind, Level, List, Observation, ObserveOptions, Which};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acked_is_in_a_backup_and_comes_back_in_a_new_cluster() {
    let dir = tempfile::tempdir().expect("temporary");
    let path = |name: &str| dir.path().join(name).to_str().expect("text").to_string();
    let (nodes, old) = cluster(3, dir.path()).await;
    let observer = old.observe(SPACE, ObserveOptions::default()).await.expect("opened");
    for row in 0..700 {
        observer.push(Observation { id: format!("id {row}"), ..note(&format!("row {row}")) }).await.expect("taken");
    }
    let token = observer.finish().await.expect("acked").token;
    old.forget(SPACE, Which::Named(vec![7u64].into())).await.expect("forgotten");
    let held = texts(&rows(&old).await);
    assert_eq!(held.len(), 699);

    let endpoints = nodes.iter().map(|node| node.config.listen.clone()).collect::<Vec<_>>().join(",");
    let (code, out, said) = engram(&["backup", &path("saved"), "--endpoints", &endpoints, "--json"]).await;
    let head: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert!(code == 0 && head["log_index"].as_u64() > Some(token.log_index), "{out}{said}");
    std::fs::create_dir(dir.path().join("other")).expect("new");
    std::fs::write(dir.path().join("other/letter"), "mine").expect("written");
    let (code, _, said) = engram(&["backup", &path("other"), "--endpoints", &endpoints]).await;
    assert!(code == 2 && said.contains("is not empty"), "{code}: {said}");
    for node in nodes {
        node.stop().await.expect("stops well");
    }

    let (code, out, said) = engram(&["admin", "verify", &path("saved")]).await;
    assert!(code == 0 && out.contains("is whole: 700 rows"), "{out}{said}");
    let mut one = config(1, &dir.path().join("new"));
    one.cluster = "restored".into();
    let data_dir = one.data_dir.to_str().expect("text").to_string();
    let address = format!("1={},{}", one.listen, one.peer_listen);
    let restore = ["restore", &path("saved"), "--data-dir", &data_dir, "--node", &address, "--cluster", "restored"];
    let (code, out, said) = engram(&restore).await;
    assert!(code == 0 && out.contains("is node 1 of a cluster of one"), "{code}: {out}{said}");
    let (code, _, said) = engram(&restore).await;
    assert!(code == 2 && said.contains("is not empty"), "{code}: {said}");

    let first = Running::start(env(), one);
    let new = client([&first]);
    ready(&new, &first).await;
    assert_eq!(texts(&rows(&new).await), held);
    let stale = new.list_all(List { level: Level::AtLeast(token), ..List::new(SPACE) }).await;
    let stale = stale.map(drop).expect_err("a token of the old cluster");
    assert!(stale.kind() == Kind::Invalid && stale.to_string().contains("it was restored"), "{stale}");
    let mut two = config(2, &dir.path().join("new"));
    two.cluster = "restored".into();
    let second = Running::start(env(), two);
    let on = new.on(&second.config.listen);
    until("the second answers", async || on.status().await.ok()).await;
    new.add_node(second.address(), false).await.expect("an id of the old cluster is free in the new one");
    let observer = new.observe(SPACE, ObserveOptions::default()).await.expect("opened");
    observer.push(Observation { id: "id 3".into(), ..note("again") }).await.expect("taken");
    observer.finish().await.expect("acked");
    until("both are equal", async || {
        let (one, two) = (new.on(&first.config.listen).status().await.ok()?, on.status().await.ok()?);
        (one.state_digest == two.state_digest && one.spaces == two.spaces).then_some(())
    })
    .await;
    let now = texts(&rows(&new).await);
    assert_eq!((now.len(), now.last().map(String::as_str)), (699, Some("again")), "a known name replaces");
    for node in [second, first] {
        node.stop().await.expect("stops well");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_or_unfinished_backup_is_refused_and_makes_nothing() {
    let dir = tempfile::tempdir().expect("temporary");
    let path = |name: &str| dir.path().join(name).to_str().expect("text").to_string();
    let (mut nodes, client) = cluster(1, dir.path()).await;
    let node = nodes.remove(0);
    let observer = client.observe(SPACE, ObserveOptions::default()).await.expect("opened");
    observer.push(note("kept")).await.expect("taken");
    observer.finish().await.expect("acked");
    let (code, _, said) = engram(&["backup", &path("saved"), "--endpoints", &node.config.listen]).await;
    assert_eq!(code, 0, "{said}");
    let snapshot =
        std::fs::read_dir(dir.path().join("saved")).expect("there").map(|entry| entry.expect("named").path());
    let snapshot = snapshot.into_iter().find(|path| path.extension().is_some_and(|end| end == "snap")).expect("there");
    let whole = std::fs::read(&snapshot).expect("there");
    let data_dir = path("data");
    let restore = ["restore", &path("saved"), "--data-dir", &data_dir, "--node", "1=127.0.0.1:7600,127.0.0.1:7700"];
    for damage in [|bytes: &mut Vec<u8>| bytes[40] ^= 1, |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 1)] {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        std::fs::write(&snapshot, bytes).expect("written");
        for command in [&restore[..], &["admin", "verify", &path("saved")]] {
            let (code, _, said) = engram(command).await;
            assert!(code == 1 && said.contains("use another backup"), "{code}: {said}");
        }
    }
    std::fs::write(&snapshot, whole).expect("written");
    std::fs::remove_file(dir.path().join("saved").join("backup.json")).expect("there");
    let (code, _, said) = engram(&restore).await;
    assert!(code == 2 && said.contains("was broken off"), "{code}: {said}");
    assert!(!dir.path().join("data").exists());
    node.stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_backup_into_the_same_directory_fetches_what_is_new() {
    let dir = tempfile::tempdir().expect("temporary");
    let path = |name: &str| dir.path().join(name).to_str().expect("text").to_string();
    let (mut nodes, client) = cluster(1, dir.path()).await;
    let node = nodes.remove(0);
    let endpoint = node.config.listen.clone();
    let fill = async |from: u64, to: u64| {
        let observer = client.observe(SPACE, ObserveOptions::default()).await.expect("opened");
        for row in from..to {
            observer.push(note(&format!("row {row}"))).await.expect("taken");
        }
        observer.finish().await.expect("acked");
    };
    let backup = async || {
        let (code, out, said) = engram(&["backup", &path("saved"), "--endpoints", &endpoint, "--json"]).await;
        assert_eq!(code, 0, "{said}");
        let head: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        ["files", "files_fetched"].map(|key| head[key].as_u64().expect("a number"))
    };
    fill(0, 3100).await;
    let [files, fetched] = backup().await;
    assert!(files >= 3 && fetched == files, "{fetched} of {files}");
    fill(3100, 4200).await;
    // A graph may be new as well.
    let [files, fetched] = backup().await;
    assert!(files >= 4 && (1..=files - 3).contains(&fetched), "{fetched} of {files}");
    // One that rotted in the backup is fetched anew.
    let records = std::fs::read_dir(dir.path().join("saved/records")).expect("there");
    let rotten = records.map(|entry| entry.expect("named").path()).min().expect("some");
    let mut bytes = std::fs::read(&rotten).expect("there");
    bytes[100] ^= 1;
    std::fs::write(&rotten, bytes).expect("written");
    let (code, _, said) = engram(&["admin", "verify", &path("saved")]).await;
    assert!(code == 1 && said.contains("is damaged at byte") && said.contains("use another backup"), "{code}: {said}");
    let [files, fetched] = backup().await;
    assert!((1..=files - 3).contains(&fetched), "{fetched} of {files}");
    let (code, out, said) = engram(&["admin", "verify", &path("saved")]).await;
    assert!(code == 0 && out.contains("4200 rows"), "{out}{said}");
    let held = texts(&rows(&client).await);
    node.stop().await.expect("stops well");

    let one = config(1, &dir.path().join("new"));
    let data_dir = one.data_dir.to_str().expect("text").to_string();
    let address = format!("1={},{}", one.listen, one.peer_listen);
    let (code, out, said) = engram(&["restore", &path("saved"), "--data-dir", &data_dir, "--node", &address]).await;
    assert_eq!(code, 0, "{out}{said}");
    let node = Running::start(env(), one);
    let new = crate::common::client([&node]);
    ready(&new, &node).await;
    assert_eq!(texts(&rows(&new).await), held);
    node.stop().await.expect("stops well");
}
