//! The command from outside: its output, its errors, its exit codes.

use crate::common::{cluster, engram, free_addresses};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_observed_recalled_and_dropped() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, _client) = cluster(1, dir.path()).await;
    let node = nodes.remove(0);
    let at = node.config.listen.as_str();
    let file = dir.path().join("in.jsonl");
    let path = file.to_str().expect("text");
    let line = |text: &str, x: f32, y: f32| format!("{{\"text\":\"{text}\",\"embedding\":[{x},{y}]}}\n");
    std::fs::write(&file, line("east", 1.0, 0.0) + &line("north", 0.0, 1.0)).expect("written");

    let (code, _, said) = engram(&["observe", path, "--space", "fresh", "--endpoints", at]).await;
    assert!(code == 2 && said.contains("--create"), "{code}: {said}");
    let (code, out, said) =
        engram(&["observe", path, "--space", "fresh", "--create", "--json", "--endpoints", at]).await;
    assert_eq!((code, &json(&out)["acked"]), (0, &2.into()), "{said}");
    let acked = |nodes| {
        ["observe", path, "--space", "fresh", "--ack", "searchable", "--searchable-nodes", nodes, "--endpoints", at]
    };
    let (code, _, said) = engram(&acked("1")).await;
    assert_eq!(code, 0, "{said}");
    let (code, _, said) = engram(&acked("2")).await;
    assert!(code == 2 && said.contains("the cluster has 1"), "{code}: {said}");
    let committed = ["observe", path, "--space", "fresh", "--searchable-nodes", "2", "--endpoints", at];
    let (code, _, said) = engram(&committed).await;
    assert!(code == 2 && said.contains("--ack searchable"), "{code}: {said}");
    std::fs::write(&file, line("west", -1.0, 0.0) + "{\"text\":\"bad\"}\n").expect("written");
    let (code, _, said) = engram(&["observe", path, "--space", "fresh", "--endpoints", at]).await;
    assert!(code == 2 && said.contains("in.jsonl:2"), "{code}: {said}");

    let cue = ["recall", "--space", "fresh", "--cue-json", "[0.9,0.1]", "-k", "5", "--json", "--endpoints", at];
    let (code, out, said) = engram(&cue).await;
    let answer = json(&out);
    assert_eq!(
        (code, &answer["hits"][0]["text"], answer["hits"].as_array().map(Vec::len)),
        (0, &"east".into(), Some(4)),
        "{said}"
    );
    let linearizable = ["--level", "linearizable", "--endpoints", at];
    let (code, out, said) =
        engram(&[&["recall", "--space", "fresh", "--text-of", "nor"], &linearizable[..]].concat()).await;
    assert!(code == 0 && out.lines().nth(1).is_some_and(|line| line.ends_with("north")), "{code}: {out}{said}");
    let (code, _, said) = engram(&["recall", "--space", "fresh", "--cue-json", "[1,2,3]", "--endpoints", at]).await;
    assert!(code == 2 && said.contains("2 dimensions"), "{code}: {said}");

    let (code, out, _) = engram(&["space", "list", "--json", "--endpoints", at]).await;
    assert_eq!((code, json(&out).as_array().map(Vec::len)), (0, Some(2)));
    let (code, out, said) = engram(&["cluster", "status", "--json", "--endpoints", at]).await;
    assert!(code == 0 && json(&out)["equal_at"].is_u64(), "{code}: {out}{said}");
    let (code, out, said) = engram(&["admin", "verify", "--json", "--endpoints", at]).await;
    let proofs = json(&out);
    let broken =
        proofs["nodes"][0]["graphs"].as_array().expect("graphs").iter().filter(|graph| !graph["broken"].is_null());
    assert_eq!((code, broken.count()), (0, 0), "{out}{said}");
    let (code, _, said) = engram(&["admin", "verify", "--space", "nowhere", "--endpoints", at]).await;
    assert!(code == 2 && said.contains("nowhere"), "{code}: {said}");
    let (code, _, said) = engram(&["space", "drop", "fresh", "--endpoints", at]).await;
    assert!(code == 2 && said.contains("--yes"), "{code}: {said}");
    let (code, _, said) = engram(&["space", "drop", "fresh", "--yes", "--endpoints", at]).await;
    assert_eq!(code, 0, "{said}");
    let (code, _, said) = engram(&["space", "drop", "fresh", "--yes", "--endpoints", at]).await;
    assert!(code == 2 && said.contains("fresh"), "{code}: {said}");
    node.stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_not_there_is_exit_code_3() {
    let nowhere = free_addresses(1).remove(0);
    let (code, _, said) = engram(&["space", "list", "--timeout", "1", "--endpoints", &nowhere]).await;
    assert!(code == 3 && said.contains("is the node up"), "{code}: {said}");
    let (code, out, said) = engram(&["cluster", "status", "--timeout", "1", "--endpoints", &nowhere]).await;
    assert!(code == 3 && out.contains("no answer") && said.contains(&nowhere), "{code}: {out}{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_kills_the_leader_and_keeps_its_promises() {
    let (code, out, said) = engram(&["demo", "--rows", "1000", "--json"]).await;
    assert_eq!(code, 0, "{said}");
    let report = json(&out);
    assert_eq!((&report["acked"], &report["broken"]), (&1000.into(), &Value::Array(vec![])));
    assert_eq!(report["held"].as_array().map(Vec::len), Some(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_ingest_by_either_transport_loses_nothing_and_says_so() {
    for transport in ["grpc", "ws"] {
        let flags = ["--transport", transport, "--streams", "2", "--batch", "50", "--dim", "16", "--rate", "2000"];
        let (code, out, said) = engram(&[&["bench", "ingest", "--seconds", "1", "--json"], &flags[..]].concat()).await;
        assert_eq!((code, out.lines().count()), (0, 1), "{said}");
        let report = json(&out);
        assert_eq!((&report["lost"], &report["doubled"], &report["acked"]), (&0.into(), &0.into(), &report["listed"]));
        for figure in ["rows_per_s", "ack_p99_ms", "visibility_p99_ms", "recall_p99_ms", "recall_at_10"] {
            assert!(report[figure].as_f64().is_some_and(|figure| figure > 0.0), "{figure}: {out}");
        }
        assert!(report["resident_bytes"].is_u64() && report["cpu_us_per_row"].is_number(), "{out}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_bench_of_the_log_beside_sled_measures_both_and_the_log_loses_nothing() {
    let dir = tempfile::tempdir().expect("temporary");
    let flags = ["--rows", "1,256", "--seconds", "0.05", "--rounds", "2", "--open-bytes", "1", "--kills", "1"];
    let place = ["--most", "8", "--sled", "--json", "--dir", dir.path().to_str().expect("text")];
    let (code, out, said) = engram(&[&["bench", "store"], &flags[..], &place[..]].concat()).await;
    assert_eq!((code, out.lines().count()), (0, 1), "{said}");
    let report = json(&out);
    let parts = ["rates", "openings", "kills"].map(|part| report[part].as_array().map(Vec::len));
    assert_eq!(parts, [Some(2 * 6), Some(2 * 2), Some(4)], "{out}");
    let acked = |killed: &Value| killed["acked"].as_u64().is_some_and(|acked| acked > 0);
    assert!(report["kills"].as_array().is_some_and(|kills| kills.iter().all(acked)), "{out}");
    assert_eq!((&report["kills"][0]["lost"], &report["gates"][1]["met"]), (&0.into(), &true.into()), "{out}");
    assert_eq!(dir.path().read_dir().expect("read").count(), 0, "the bench leaves files");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_exported_is_imported_as_it_was() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, _client) = cluster(1, dir.path()).await;
    let node = nodes.remove(0);
    let at = node.config.listen.as_str();
    let path = |name: &str| dir.path().join(name).to_str().expect("text").to_string();
    let (first, second, third) = (path("in.jsonl"), path("out.jsonl"), path("again.jsonl"));
    let lines = concat!(
        r#"{"text":"east","embedding":[1.0,0.125],"time_ms":-5,"metadata":{"n":3,"ok":true,"who":"a\"b","x":0.5},"id":"one"}"#,
        "\n",
        r#"{"text":"grün\nnorth","embedding":[0.0,1.0]}"#,
        "\n"
    );
    std::fs::write(&first, lines).expect("written");
    let (code, _, said) = engram(&["import", &first, "--space", "a", "--create", "--endpoints", at]).await;
    assert_eq!(code, 0, "{said}");
    let export = ["export", "--space", "a", "--out", &second, "--endpoints", at];
    let (code, _, said) = engram(&export).await;
    assert!(code == 0 && said.contains("2 rows of a at log index"), "{code}: {said}");
    let (code, _, said) = engram(&["import", &second, "--space", "b", "--create", "--endpoints", at]).await;
    assert_eq!(code, 0, "{said}");
    let (code, out, said) = engram(&["export", "--space", "b", "--endpoints", at]).await;
    let exported = std::fs::read_to_string(&second).expect("there");
    assert_eq!((code, &out), (0, &exported), "{said}");
    let told = |text: &str| text.lines().map(json).collect::<Vec<_>>();
    assert_eq!(told(&exported), told(lines));
    let (code, _, said) = engram(&export).await;
    assert!(code == 2 && said.contains("out.jsonl is there"), "{code}: {said}");
    let missing = ["export", "--space", "nowhere", "--out", &third, "--endpoints", at];
    let (code, _, said) = engram(&missing).await;
    assert!(code == 2 && said.contains("nowhere") && !std::path::Path::new(&third).exists(), "{code}: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_looks_at_the_disk_and_at_every_member() {
    let dir = tempfile::tempdir().expect("temporary");
    let (nodes, _client) = cluster(3, dir.path()).await;
    let (at, data) = (nodes[0].config.listen.as_str(), dir.path().to_str().expect("text"));
    let (_, out, said) = engram(&["doctor", "--cluster", "--data-dir", data, "--endpoints", at]).await;
    for words in ["its sync", "free space", "open files", "leader", "node 1 at", "node 2 at", "node 3 at", "releases"] {
        assert!(out.contains(words), "{words} not in {out}{said}");
    }
    assert!(
        std::fs::read_dir(dir.path())
            .expect("there")
            .all(|entry| { !entry.expect("there").file_name().to_string_lossy().contains("doctor") })
    );
    let (code, _, said) = engram(&["doctor", "--data-dir", "/nowhere"]).await;
    assert!(code == 2 && said.contains("/nowhere"), "{code}: {said}");
}
