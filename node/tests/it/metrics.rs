//! `/metrics`: every family that the page of documentation has is told by a cluster that works, and nothing else.

use crate::common::{SPACE, client, cluster, note, scrape, until};
use engram_client::{Level, ObserveOptions, Recall};
use std::collections::{BTreeMap, BTreeSet};

const PAGE: &str = include_str!("../../../docs/operations/metrics.md");

/// Families of the page: name and kind.
fn documented() -> BTreeMap<&'static str, &'static str> {
    let cells = |line: &'static str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        Some((cells.next()?.trim_end_matches('`'), cells.next()?))
    };
    PAGE.lines().filter_map(cells).collect()
}

/// Samples by name, each with its labels and its value; every line is one that Prometheus reads.
fn samples(answer: &str) -> BTreeMap<String, Vec<(String, f64)>> {
    let (_, page) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let mut samples: BTreeMap<String, Vec<(String, f64)>> = BTreeMap::new();
    for line in page.lines().filter(|line| !line.starts_with('#') && line.contains(' ')) {
        let (sample, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
        let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
        samples.entry(name.into()).or_default().push((labels.trim_end_matches('}').into(), value));
    }
    samples
}

/// The family of a sample's name.
fn family<'n>(name: &'n str, documented: &BTreeMap<&str, &str>) -> &'n str {
    let parts = ["_bucket", "_sum", "_count"].into_iter().filter_map(|part| name.strip_suffix(part));
    parts.into_iter().find(|base| documented.get(base) == Some(&"histogram")).unwrap_or(name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_works_tells_every_family_and_no_other() {
    let dir = tempfile::tempdir().expect("temporary");
    let (nodes, client) = cluster(3, dir.path()).await;
    let observer = client.observe(SPACE, ObserveOptions::default()).await.expect("opened");
    for row in 0..1100 {
        observer.push(note(&format!("row {row}"))).await.expect("taken");
    }
    let summary = observer.finish().await.expect("acked");
    let address =
        |id: u64| nodes.iter().find(|node| node.config.node_id == id).expect("one of them").config.listen.clone();
    let leader = address(client.status().await.expect("answers").leader.expect("known"));
    let levels = [
        Level::Eventual,
        Level::Bounded(std::time::Duration::from_secs(60)),
        Level::AtLeast(summary.token),
        Level::Linearizable,
    ];
    for level in levels {
        let recall = Recall { level, node: Some(leader.clone()), ..Recall::new(SPACE, vec![0.6, 0.8], 3) };
        client.recall(recall).await.expect("recalled");
    }
    let at_index = Some(summary.token.log_index);
    let recall = Recall { at_index, node: Some(leader.clone()), ..Recall::new(SPACE, vec![0.6, 0.8], 3) };
    client.recall(recall.clone()).await.expect("recalled");
    client.recall(Recall { space: "nowhere".into(), ..recall }).await.expect_err("refused");

    let documented = documented();
    let built = |samples: &BTreeMap<String, Vec<(String, f64)>>| samples["engram_index_batch_rows_sum"][0].1 >= 500.0;
    let samples = until("a batch is built", async || Some(samples(&scrape(&leader).await)).filter(built)).await;
    let told: BTreeSet<&str> = samples.keys().map(|name| family(name, &documented)).collect();
    assert_eq!(told, documented.keys().copied().collect(), "told, and documented");

    let value = |name: &str, labels: &str| {
        let found = samples[name].iter().find(|(of, _)| of == labels);
        found.unwrap_or_else(|| panic!("{name}{{{labels}}} is not in {:?}", samples[name])).1
    };
    for level in ["eventual", "bounded", "at_least", "linearizable", "at_index"] {
        assert_eq!(value("engram_recall_seconds_count", &format!("level=\"{level}\"")), 1.0, "{level}");
    }
    assert_eq!(value("engram_recalls_failed_total", ""), 1.0);
    assert_eq!(value("engram_raft_members", "kind=\"voter\""), 3.0);
    assert_eq!(samples["engram_raft_follower_lag_entries"].len(), 2);
    assert_eq!(value("engram_space_rows", &format!("space=\"{SPACE}\"")), 1100.0);
    assert!(value("engram_connections", "port=\"clients\"") >= 1.0);
    assert!(value("engram_log_sync_seconds_count", "") > 1.0 && value("engram_disk_available_bytes", "") > 0.0);
    assert_eq!(value("engram_entry_rows_count", ""), value("engram_entries_proposed_total", ""));
    for node in nodes {
        node.stop().await.expect("stops well");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_in_no_cluster_says_so() {
    let dir = tempfile::tempdir().expect("temporary");
    let node = crate::common::Running::start(crate::common::env(), crate::common::config(1, dir.path()));
    let asking = client([&node]);
    until("it answers", async || asking.status().await.ok()).await;
    let samples = samples(&scrape(&node.config.listen).await);
    assert_eq!(samples["engram_ready"][0].1, 0.0);
    assert_eq!(samples["engram_staleness_seconds"][0].1, f64::INFINITY);
    node.stop().await.expect("stops well");
}
