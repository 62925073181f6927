//! `engram observe --spool`, killed again and again: what the file holds is in the space, each row once and in order.

use crate::common::{SPACE, cluster, engram, free_addresses, rows, texts};
use engram_client::Spool;
use std::process::Stdio;
use std::time::Duration;

fn file(dir: &std::path::Path, count: usize) -> (String, Vec<String>) {
    let expected: Vec<String> = (0..count).map(|number| format!("row {number}")).collect();
    let line = |text: &String| format!("{{\"text\":\"{text}\",\"embedding\":[0.6,0.8]}}\n");
    let path = dir.join("rows.jsonl");
    std::fs::write(&path, expected.iter().map(line).collect::<String>()).expect("written");
    (path.to_str().expect("text").into(), expected)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_observe_goes_on_where_it_was_and_each_row_is_in_once() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, client) = cluster(1, dir.path()).await;
    let node = nodes.remove(0);
    let (path, expected) = file(dir.path(), 20_000);
    let spool = dir.path().join("spool").to_str().expect("text").to_string();
    let args = ["observe", &path, "--space", SPACE, "--spool", &spool, "--endpoints", &node.config.listen];
    let (mut killed, summary) = (0, dir.path().join("summary"));
    // Times at which a run is opening files, reading, sending, or ending.
    for ms in [5, 20, 40, 60, 80, 100, 130, 160, 200, 250] {
        let mut process = tokio::process::Command::new(env!("CARGO_BIN_EXE_engram"));
        let said = std::fs::File::create(&summary).expect("made");
        process.args(args).stdout(said).stderr(Stdio::null()).kill_on_drop(true);
        let mut process = process.spawn().expect("starts");
        match tokio::time::timeout(Duration::from_millis(ms), process.wait()).await {
            // It has told its summary: another run would observe the file again.
            Ok(ended) => {
                assert!(ended.expect("waited for").success());
                break;
            }
            Err(_) => {
                process.kill().await.expect("killed");
                killed += 1;
                if std::fs::metadata(&summary).expect("there").len() > 0 {
                    break;
                }
            }
        }
    }
    assert!(killed >= 3, "only {killed} runs were killed");
    if std::fs::metadata(&summary).expect("there").len() == 0 {
        let (code, out, said) = engram(&args).await;
        assert_eq!(code, 0, "{out}{said}");
    }
    assert_eq!(texts(&rows(&client).await), expected);
    node.stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_spooled_while_the_cluster_is_away_and_sent_when_it_is_back() {
    let dir = tempfile::tempdir().expect("temporary");
    let nowhere = free_addresses(1).remove(0);
    let (path, expected) = file(dir.path(), 1200);
    let spool = dir.path().join("spool").to_str().expect("text").to_string();
    let away = ["observe", &path, "--space", SPACE, "--spool", &spool, "--timeout", "1", "--endpoints", &nowhere];
    for _ in 0..2 {
        let (code, _, said) = engram(&away).await;
        assert!(code == 3 && said.contains("1200 rows wait in"), "{code}: {said}");
    }
    let (code, _, said) = engram(&[&away[..], &["--spool-max-bytes", "1000"]].concat()).await;
    assert!(code == 3, "nothing more is to be spooled: {code}: {said}");
    let (mut nodes, client) = cluster(1, dir.path()).await;
    let node = nodes.remove(0);
    let held = Spool::open(&spool, SPACE, Spool::MAX_BYTES).expect("opens");
    let there = ["observe", "--space", SPACE, "--spool", &spool, "--json", "--endpoints", &node.config.listen];
    let (code, _, said) = engram(&there).await;
    assert!(code == 2 && said.contains("in use by another process"), "{code}: {said}");
    drop(held);
    let (code, out, said) = engram(&there).await;
    let report: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &report["acked"]), (0, &1200.into()), "{out}{said}");
    assert_eq!(texts(&rows(&client).await), expected);
    // Larger than the bound, and nobody takes rows away.
    let full = dir.path().join("full").to_str().expect("text").to_string();
    let (code, _, said) = engram(&[
        "observe",
        &path,
        "--space",
        SPACE,
        "--spool",
        &full,
        "--spool-max-bytes",
        "10000",
        "--timeout",
        "1",
        "--endpoints",
        &nowhere,
    ])
    .await;
    assert!(code == 1 && said.contains("do not fit into the 10000 allowed"), "{code}: {said}");
    node.stop().await.expect("stops well");
}
