//! Probes and metrics over HTTP, on the clients' port.
//!
//! `/livez`: the process runs. `/readyz`: it should get traffic, or why not. `/metrics`: Prometheus text.

use crate::node::Node;
use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The routes.
pub fn routes(node: Arc<Node>) -> Router {
    let ready = |State(node): State<Arc<Node>>| async move {
        match node.not_ready() {
            None => (StatusCode::OK, "ready\n".to_string()),
            Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        }
    };
    let metrics = |State(node): State<Arc<Node>>| async move {
        ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], render(&node)).into_response()
    };
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(node)
}

struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str, values: &[(&str, u64)]) {
        self.0 += &format!("# HELP engram_{name} {help}\n# TYPE engram_{name} {kind}\n");
        for (labels, value) in values {
            self.0 += &format!("engram_{name}{labels} {value}\n");
        }
    }
}

fn render(node: &Node) -> String {
    let marks = node.marks();
    let status = node.status();
    let mut text = Text(String::new());
    let index = [
        ("{mark=\"purged\"}", marks.purged),
        ("{mark=\"snapshot\"}", marks.snapshot),
        ("{mark=\"applied\"}", marks.applied),
        ("{mark=\"flushed\"}", marks.flushed),
        ("{mark=\"committed\"}", marks.committed),
        ("{mark=\"submitted\"}", marks.submitted),
    ];
    text.family("log_index", "gauge", "Watermarks of the replicated log, as log indexes.", &index);
    text.family("raft_term", "gauge", "Current term.", &[("", status.term)]);
    let leads = u64::from(status.leader == Some(node.id));
    text.family("raft_is_leader", "gauge", "1 on the leader.", &[("", leads)]);
    text.family("raft_has_leader", "gauge", "1 while a leader is known.", &[("", status.leader.is_some().into())]);
    text.family("ready", "gauge", "1 while /readyz answers 200.", &[("", node.not_ready().is_none().into())]);
    let quarantined = u64::from(node.state.quarantined().is_some());
    text.family(
        "quarantined",
        "gauge",
        "1 while this node's memory is in doubt: it answers no reads.",
        &[("", quarantined)],
    );
    let help = "Record files that were found damaged on this node's disk since it started.";
    text.family("record_files_damaged_total", "counter", help, &[("", node.state.rot())]);
    let help = "Log index of the last comparison of digests on which most voters agreed.";
    text.family("digests_agreed_index", "gauge", help, &[("", status.agreed_index)]);
    text.family("sessions_open", "gauge", "Open sessions.", &[("", status.sessions)]);
    let [high, normal, low] = node.admission.depth().map(|rows| rows as u64);
    let lanes = |high, normal, low| {
        [("{priority=\"high\"}", high), ("{priority=\"normal\"}", normal), ("{priority=\"low\"}", low)]
    };
    let help = "Rows admitted and not settled yet, by lane.";
    text.family("admission_rows", "gauge", help, &lanes(high, normal, low));
    let [high, normal, low] = node.admission.caps().map(|rows| rows as u64);
    text.family("admission_rows_max", "gauge", "Rows that a lane may hold.", &lanes(high, normal, low));
    let bytes = node.admission.bytes() as u64;
    text.family("admission_bytes", "gauge", "Bytes admitted and not settled yet.", &[("", bytes)]);
    let refused = node.admission.refused();
    text.family("admission_refused_total", "counter", "Chunks refused at admission.", &[("", refused)]);
    let counts = node.proposer.counts();
    let entries = counts.entries.load(Ordering::Relaxed);
    text.family("entries_proposed_total", "counter", "Entries of observations proposed.", &[("", entries)]);
    let rows = counts.rows.load(Ordering::Relaxed);
    text.family("rows_proposed_total", "counter", "Observations proposed.", &[("", rows)]);
    spaces(&mut text, &status.spaces);
    text.0
}

fn spaces(text: &mut Text, spaces: &[engram_proto::wire::v1::SpaceInfo]) {
    // Names hold no quote and no backslash: `check_space_name`.
    let label = |space: &engram_proto::wire::v1::SpaceInfo| {
        format!("{{space=\"{}\"}}", space.config.as_ref().map(|config| config.name.as_str()).unwrap_or_default())
    };
    let labels: Vec<String> = spaces.iter().map(label).collect();
    let mut family = |name: &str, help: &str, value: &dyn Fn(&engram_proto::wire::v1::SpaceInfo) -> u64| {
        let values: Vec<(&str, u64)> =
            labels.iter().zip(spaces).map(|(label, space)| (label.as_str(), value(space))).collect();
        text.family(name, "gauge", help, &values);
    };
    family("space_rows", "Rows applied.", &|space| space.rows);
    family("space_epoch", "Epoch of the published graph.", &|space| space.epoch);
    family("space_tail_rows", "Rows that are scanned because no epoch holds them yet.", &|space| {
        space.rows.saturating_sub(space.epoch_rows)
    });
}
