//! After the faults: within a stated time one leader, equal state, equal graphs, fresh writes served and found.

use crate::cluster::Cluster;
use crate::workload::{Recorder, SPACE, vector};
use engram_chaos::summary::Committed;
use engram_client::{
    Client, Kind, Level, List, Observation, ObserveOptions, ReadToken, Recall, Row, Which, difference, observation,
};
use engram_node::env::{Clock, Seed};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Simulated time that a healed cluster may take to converge.
pub const CONVERGE_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);

/// Waits until all nodes agree and the graphs are built; the error says what differed last.
pub async fn converge(cluster: &Cluster, client: &Client, clock: &Arc<dyn Clock>) -> Result<(), String> {
    let deadline = clock.monotonic() + CONVERGE_LIMIT;
    loop {
        let mut states = Vec::new();
        for endpoint in cluster.endpoints() {
            states.push(client.on(&endpoint).status().await.map_err(|e| format!("{endpoint}: {e}")));
        }
        let differs = match states.into_iter().collect::<Result<Vec<_>, _>>() {
            // Not before all else is well: it reads every record file.
            Ok(states) => difference(&states).or_else(|| damage(cluster)),
            Err(error) => Some(error),
        };
        let Some(differs) = differs else { return Ok(()) };
        if clock.monotonic() >= deadline {
            return Err(format!("liveness: not converged {CONVERGE_LIMIT:?} after the faults: {differs}"));
        }
        clock.sleep(POLL).await;
    }
}

/// Damage that nobody has found (`flip_is_found`), or mended on a disk (`rot_is_mended`).
fn damage(cluster: &Cluster) -> Option<String> {
    let unfound = cluster.unfound().map(|node| format!("node {node} has not found the flip in its memory"));
    unfound.or_else(|| {
        cluster.nodes().find_map(|node| Some(format!("node {node} has a damaged {}", cluster.rotten(node)?)))
    })
}

/// Writes fresh rows, and finds each by its own embedding on every node.
pub async fn serve(cluster: &Cluster, client: &Client, seed: Seed) -> Result<(), String> {
    let mut rng = seed.stream("fresh");
    let observer = client.observe(SPACE, ObserveOptions::default()).await;
    let observer = observer.map_err(|e| format!("liveness: no session after the faults: {e}"))?;
    let fresh: Vec<(String, Vec<f32>)> = (0..10).map(|row| (format!("fresh {row}"), vector(&mut rng))).collect();
    for (text, embedding) in &fresh {
        let pushed = observer.push(observation(text.clone(), embedding)).await;
        pushed.map_err(|e| format!("liveness: no push after the faults: {e}"))?;
    }
    observer.flush().await.map_err(|e| format!("liveness: no acks after the faults: {e}"))?;
    for endpoint in cluster.endpoints() {
        for (text, embedding) in &fresh {
            let mut recall = Recall::new(SPACE, embedding.clone(), 10);
            recall.level = Level::Linearizable;
            let answer = client.on(&endpoint).recall(recall).await;
            let answer = answer.map_err(|e| format!("liveness: no recall from {endpoint}: {e}"))?;
            if !answer.hits.iter().any(|hit| hit.text == *text) {
                return Err(format!("visible: {text:?} is not found by its own embedding on {endpoint}"));
            }
        }
    }
    Ok(())
}

/// Forgets one fresh row; after that no node shows it, and every node shows the past in which it was.
pub async fn forget(cluster: &Cluster, client: &Client) -> Result<(), String> {
    let broken = |what: &str| format!("liveness: {what}");
    let first = List { level: Level::Linearizable, ..List::new(SPACE) };
    let listing = client.list_all(first).await.map_err(|e| broken(&format!("no list before a forget: {e}")))?;
    let fresh = listing.rows.iter().find(|row| text(row) == "fresh 0").ok_or_else(|| broken("no fresh row"))?;
    let whole = client.get(SPACE, vec![fresh.row], Level::Linearizable, true).await;
    let whole = whole.map_err(|e| broken(&format!("no get before a forget: {e}")))?;
    let bytes = whole.rows.iter().filter_map(|row| row.observation.as_ref()).flat_map(|row| row.embedding.chunks(4));
    let embedding: Vec<f32> = bytes.filter_map(|four| Some(f32::from_le_bytes(four.try_into().ok()?))).collect();
    let forgotten = client.forget(SPACE, Which::Named(vec![fresh.row].into())).await;
    let forgotten = forgotten.map_err(|e| broken(&format!("no forget after the faults: {e}")))?;
    if forgotten.rows != 1 {
        return Err(format!("once_forgotten: {} rows were forgotten, not one", forgotten.rows));
    }
    replace(cluster, client).await?;
    let mut pasts = Vec::new();
    for endpoint in cluster.endpoints() {
        let on = client.on(&endpoint);
        let seen = on.get(SPACE, vec![fresh.row], Level::Linearizable, false).await;
        if !seen.map_err(|e| broken(&format!("no get from {endpoint}: {e}")))?.rows.is_empty() {
            return Err(format!("forgotten_stays_gone: {endpoint} shows row {} after its forget", fresh.row));
        }
        let recall = Recall {
            at_index: Some(forgotten.log_index - 1),
            level: Level::Eventual,
            ..Recall::new(SPACE, embedding.clone(), 100)
        };
        let past = on.recall(recall).await.map_err(|e| broken(&format!("no past from {endpoint}: {e}")))?;
        if !past.hits.iter().any(|hit| hit.row == fresh.row) {
            return Err(format!("one_past: {endpoint} does not show row {} before its forget", fresh.row));
        }
        if let Some(late) = past.hits.iter().find(|hit| hit.log_index >= forgotten.log_index) {
            return Err(format!("one_past: {endpoint} shows row {} before it was written", late.row));
        }
        pasts.push(past.hits.iter().map(|hit| (hit.row, hit.score.to_bits())).collect::<Vec<_>>());
    }
    if pasts.windows(2).any(|pair| pair[0] != pair[1]) {
        return Err("one_past: two nodes answer differently at the same log index".into());
    }
    erase(cluster, client, fresh.row, forgotten.log_index - 1).await
}

/// Erases a forgotten row; after that no node shows the past in which it was.
async fn erase(cluster: &Cluster, client: &Client, row: u64, past: u64) -> Result<(), String> {
    let broken = |what: &str| format!("liveness: {what}");
    let erased = client.erase(SPACE, Which::Named(vec![row].into())).await;
    let erased = erased.map_err(|e| broken(&format!("nothing is erased after the faults: {e}")))?;
    for endpoint in cluster.endpoints() {
        let on = client.on(&endpoint);
        let applied =
            on.count(SPACE, None, Level::AtLeast(ReadToken { log_index: erased.log_index, incarnation: 0 })).await;
        applied.map_err(|e| broken(&format!("no count from {endpoint}: {e}")))?;
        for (index, shown) in [(past, false), (erased.floor, true)] {
            let recall = Recall {
                at_index: Some(index),
                level: Level::Eventual,
                ..Recall::new(SPACE, vec![1.0; crate::workload::DIM], 10)
            };
            let answer = on.recall(recall).await;
            let below = answer.as_ref().is_err_and(|error| error.kind() == Kind::BelowFloor);
            if answer.is_ok() != shown || below == shown {
                return Err(format!("past_above_floor: {endpoint} at {index}, floor {}: {answer:?}", erased.floor));
            }
        }
    }
    Ok(())
}

/// Observes one name twice; after that every node shows the second row alone.
async fn replace(cluster: &Cluster, client: &Client) -> Result<(), String> {
    let broken = |what: &str| format!("liveness: {what}");
    let observer = client.observe(SPACE, ObserveOptions::default()).await;
    let observer = observer.map_err(|e| broken(&format!("no session to replace in: {e}")))?;
    for version in ["old", "new"] {
        let row = observation(format!("fresh {version}"), &[1.0; crate::workload::DIM]);
        let pushed = observer.push(Observation { id: "name".into(), ..row }).await;
        pushed.map_err(|e| broken(&format!("no push of a name: {e}")))?;
    }
    observer.flush().await.map_err(|e| broken(&format!("no ack of a name: {e}")))?;
    for endpoint in cluster.endpoints() {
        let ids = vec!["name".to_string()];
        let got = client.on(&endpoint).get(SPACE, ids, Level::Bounded(Duration::ZERO), false).await;
        let got = got.map_err(|e| broken(&format!("no get by name from {endpoint}: {e}")))?;
        if got.rows.iter().map(text).ne(["fresh new"]) {
            return Err(format!(
                "one_row_a_name: {endpoint} shows {} rows of a name that was replaced",
                got.rows.len()
            ));
        }
    }
    Ok(())
}

/// Has every node prove its graphs: links, levels, reachability, digest.
pub async fn prove(cluster: &Cluster, client: &Client) -> Result<(), String> {
    for endpoint in cluster.endpoints() {
        let proof = client.on(&endpoint).verify("").await.map_err(|e| format!("no proof from {endpoint}: {e}"))?;
        if let Some(graph) = proof.graphs.iter().find(|graph| !graph.broken.is_empty()) {
            return Err(format!("graph_valid: node {}, space {}: {}", proof.node, graph.space, graph.broken));
        }
    }
    Ok(())
}

/// Reads everything from every node into the history; what there is, by client and number.
pub async fn scan(
    cluster: &Cluster,
    client: &Client,
    recorder: &Recorder,
    fresh: usize,
) -> Result<Vec<Committed>, String> {
    let mut committed = Vec::new();
    for (node, endpoint) in cluster.nodes().zip(cluster.endpoints()) {
        let mut list = List::new(SPACE);
        list.level = Level::Linearizable;
        let listing = client.on(&endpoint).list_all(list).await.map_err(|e| format!("no list from {endpoint}: {e}"))?;
        // The fresh rows of `serve` are not of the history.
        let rows: Vec<_> = listing.rows.iter().filter(|row| !text(row).starts_with("fresh ")).collect();
        let beside = listing.rows.len() - rows.len();
        if beside != fresh {
            return Err(format!("visible: {endpoint} holds {beside} rows beside {}", rows.len()));
        }
        let read = |row: &&Row| json!({"session": row.session, "sequence": row.sequence, "payload": text(row), "log_index": row.log_index});
        recorder.read_all(node, json!(rows.iter().map(read).collect::<Vec<_>>()));
        committed = rows.into_iter().map(named).collect();
    }
    committed.sort();
    Ok(committed)
}

/// By its client's name: session ids are log indexes, which differ between worlds.
fn named(row: &Row) -> Committed {
    let session = text(row).split(" row ").next().unwrap_or_default().replace(' ', "-");
    Committed { session, sequence: row.sequence, payload: format!("{:016x}", row.payload_hash) }
}

fn text(row: &Row) -> &str {
    row.observation.as_ref().map_or("", |observation| &observation.text)
}
