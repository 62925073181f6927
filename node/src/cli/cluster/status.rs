//! Every member's state, side by side, and whether they agree where they can be compared.
//!
//! Invariants looked at: `same_log_same_state` (equal applied index, equal state digest) and `same_log_same_graph`
//! (equal epoch of a space, equal graph digest). Nodes at different points are not compared.

use crate::cli::{out, space};
use engram_client::{Client, Error, SpaceInfo, StatusResponse};
use engram_proto::wire::v1::Watermarks;
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// One node that was asked.
pub struct Asked {
    /// Its client address.
    pub address: String,
    /// Its id, if anybody knows it.
    pub node: Option<u64>,
    /// What it said.
    pub answer: Result<StatusResponse, Error>,
}

impl Asked {
    /// Who did not answer, and why.
    pub fn silent(&self) -> Option<String> {
        let error = self.answer.as_ref().err()?;
        let name = self.node.map_or_else(|| "a node".to_string(), |node| format!("node {node}"));
        Some(format!("{name} at {}: {error}", self.address))
    }
}

/// Asks these addresses at once.
pub async fn ask(client: &Client, addresses: Vec<(Option<u64>, String)>) -> Vec<Asked> {
    let one = |(node, address): (Option<u64>, String)| async move {
        let answer = client.on(&address).status().await;
        let node = answer.as_ref().ok().map(|status| status.node).or(node);
        Asked { address, node, answer }
    };
    join_all(addresses.into_iter().map(one)).await
}

/// Asks the endpoints, then the members that they name. At most twice `limit`.
pub async fn gather(client: &Client, limit: Duration) -> Vec<Asked> {
    let half = engram_client::Timing { deadline: limit / 2, ..engram_client::Timing::default() };
    let client = client.with_timing(half);
    let endpoints: BTreeSet<String> = client.endpoints().iter().cloned().collect();
    let mut asked = ask(&client, endpoints.into_iter().map(|address| (None, address)).collect()).await;
    let mut known: BTreeSet<u64> =
        asked.iter().filter_map(|asked| asked.answer.is_ok().then_some(asked.node)?).collect();
    let mut named: BTreeMap<u64, String> = BTreeMap::new();
    for status in asked.iter().filter_map(|asked| asked.answer.as_ref().ok()) {
        for address in status.members.iter().filter_map(|member| member.address.as_ref()) {
            named.insert(address.node, address.client_address.clone());
        }
    }
    // A silent endpoint that a member is known to have gets the member's name.
    for silent in asked.iter_mut().filter(|asked| asked.answer.is_err()) {
        silent.node = named.iter().find(|(_, address)| **address == silent.address).map(|(node, _)| *node);
        known.extend(silent.node);
    }
    named.retain(|node, _| !known.contains(node));
    asked.extend(ask(&client, named.into_iter().map(|(node, address)| (Some(node), address)).collect()).await);
    asked.sort_by_key(|asked| (asked.node.is_none(), asked.node, asked.address.clone()));
    asked.dedup_by_key(|asked| asked.node.map_or_else(|| asked.address.clone(), |node| node.to_string()));
    asked
}

fn answers(asked: &[Asked]) -> impl Iterator<Item = &StatusResponse> {
    asked.iter().filter_map(|asked| asked.answer.as_ref().ok())
}

fn marks(status: &StatusResponse) -> Watermarks {
    status.watermarks.unwrap_or_default()
}

fn name(space: &SpaceInfo) -> &str {
    space.config.as_ref().map_or("", |config| &config.name)
}

/// Two nodes that should be equal and are not.
pub fn conflict(asked: &[Asked]) -> Option<String> {
    let (mut states, mut graphs) = (BTreeMap::new(), BTreeMap::new());
    for status in answers(asked) {
        let at = marks(status).applied;
        let (first, digest) = *states.entry(at).or_insert((status.node, status.state_digest));
        if digest != status.state_digest {
            let (a, b) = (first, status.node);
            return Some(format!(
                "same_log_same_state broke: at log index {at} node {a} has digest {digest:016x}, node {b} \
                 {:016x}; keep both data directories and report it",
                status.state_digest
            ));
        }
        for space in &status.spaces {
            let (first, digest) = *graphs.entry((space.id, space.epoch)).or_insert((status.node, space.graph_digest));
            if digest != space.graph_digest {
                let (a, b, name, epoch) = (first, status.node, name(space), space.epoch);
                return Some(format!(
                    "same_log_same_graph broke: in epoch {epoch} of {name} node {a} has digest {digest:016x}, node {b} \
                     {:016x}; keep both data directories and report it",
                    space.graph_digest
                ));
            }
        }
    }
    None
}

/// The log index at which all that were asked answered, with equal states and equal, finished graphs.
pub fn equal_index(asked: &[Asked]) -> Option<u64> {
    if asked.iter().any(|asked| asked.answer.is_err()) {
        return None;
    }
    let mut all = answers(asked);
    let first = all.next()?;
    let at = marks(first).applied;
    let same = all.all(|status| {
        marks(status).applied == at && status.state_digest == first.state_digest && status.spaces == first.spaces
    });
    // The index cuts batches of an eighth of the graph, 64 rows at least: any complete one is built.
    let finished =
        first.spaces.iter().all(|space| space.rows - space.epoch_rows.min(space.rows) < (space.epoch_rows / 8).max(64));
    (same && finished).then_some(at)
}

/// For `--json`.
pub fn view(asked: &[Asked]) -> serde_json::Value {
    let one = |asked: &Asked| match &asked.answer {
        Err(error) => serde_json::json!({ "node": asked.node, "address": asked.address, "error": error.to_string() }),
        Ok(status) => {
            let marks = marks(status);
            let member = |member: &engram_proto::wire::v1::Member| {
                let address = member.address.clone().unwrap_or_default();
                serde_json::json!({
                    "node": address.node,
                    "client_address": address.client_address,
                    "peer_address": address.peer_address,
                    "voter": member.voter,
                    "quarantined": member.quarantined,
                    "matched_index": member.matched_index,
                })
            };
            serde_json::json!({
                "node": status.node,
                "address": asked.address,
                "role": role(status),
                "term": status.term,
                "leader": status.leader,
                "purged": marks.purged,
                "snapshot": marks.snapshot,
                "applied": marks.applied,
                "flushed": marks.flushed,
                "committed": marks.committed,
                "submitted": marks.submitted,
                "state_digest": format!("{:016x}", status.state_digest),
                "sessions": status.sessions,
                "spaces": status.spaces.iter().map(space::view).collect::<Vec<_>>(),
                "members": status.members.iter().map(member).collect::<Vec<_>>(),
                "version": status.version,
                "not_ready_reason": status.not_ready_reason,
                "agreed_index": status.agreed_index,
            })
        }
    };
    serde_json::json!({
        "equal_at": equal_index(asked),
        "conflict": conflict(asked),
        "nodes": asked.iter().map(one).collect::<Vec<_>>(),
    })
}

fn role(status: &StatusResponse) -> String {
    status.role().as_str_name().trim_start_matches("ROLE_").to_lowercase()
}

/// For people.
pub fn render(asked: &[Asked]) -> String {
    let mut nodes = out::Table::new(&[
        "node",
        "address",
        "role",
        "term",
        "applied",
        "committed",
        "flushed",
        "snapshot",
        "state digest",
        "sessions",
    ]);
    let mut spaces = out::Table::new(&["space", "node", "rows", "epoch", "epoch rows", "graph digest"]);
    let (mut cells, mut remarks) = (Vec::new(), Vec::new());
    for asked in asked {
        let id = asked.node.map_or_else(|| "?".to_string(), |node| node.to_string());
        let Ok(status) = &asked.answer else {
            nodes.row([id, asked.address.clone(), "no answer".into()]);
            continue;
        };
        let marks = marks(status);
        let numbers = [marks.applied, marks.committed, marks.flushed, marks.snapshot].map(|mark| mark.to_string());
        let head = [id.clone(), asked.address.clone(), role(status), status.term.to_string()];
        let tail = [format!("{:016x}", status.state_digest), status.sessions.to_string()];
        nodes.row(head.into_iter().chain(numbers).chain(tail));
        if !status.not_ready_reason.is_empty() {
            remarks.push(format!("not ready: {}", status.not_ready_reason));
        }
        for space in &status.spaces {
            let numbers = [space.rows, space.epoch, space.epoch_rows].map(|number| number.to_string());
            let digest = format!("{:016x}", space.graph_digest);
            cells.push((name(space).to_string(), id.clone(), numbers, digest));
        }
    }
    cells.sort();
    let some = !cells.is_empty();
    for (name, id, numbers, digest) in cells {
        spaces.row([name, id].into_iter().chain(numbers).chain([digest]));
    }
    remarks.push(match (equal_index(asked), conflict(asked)) {
        (_, Some(conflict)) => conflict,
        (Some(at), None) => format!("all equal at log index {at}"),
        (None, None) => "not all at one point yet: nothing to compare there; where they are, they agree".into(),
    });
    let tables = [Some(nodes.render()), some.then(|| spaces.render()), Some(remarks.join("\n"))];
    tables.into_iter().flatten().collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u64, applied: u64, state: u64, graph: u64) -> Asked {
        let space = SpaceInfo { epoch: 3, graph_digest: graph, ..SpaceInfo::default() };
        let status = StatusResponse {
            node: id,
            watermarks: Some(Watermarks { applied, ..Watermarks::default() }),
            state_digest: state,
            spaces: vec![space],
            ..StatusResponse::default()
        };
        Asked { address: format!("n{id}:1"), node: Some(id), answer: Ok(status) }
    }

    #[test]
    fn equal_nodes_are_equal_and_others_are_told_apart() {
        assert_eq!(equal_index(&[node(1, 9, 5, 7), node(2, 9, 5, 7)]), Some(9));
        let late = [node(1, 9, 5, 7), node(2, 8, 4, 7)];
        assert_eq!((equal_index(&late), conflict(&late)), (None, None));
        let state = conflict(&[node(1, 9, 5, 7), node(2, 9, 6, 7)]).expect("differs");
        assert!(state.contains("same_log_same_state"), "{state}");
        let graph = conflict(&[node(1, 9, 5, 7), node(2, 8, 4, 6)]).expect("differs");
        assert!(graph.contains("same_log_same_graph"), "{graph}");
    }

    #[test]
    fn a_silent_node_is_shown_and_prevents_equality() {
        let silent = Asked { address: "n2:1".into(), node: Some(2), answer: Err(Error::in_doubt("refused")) };
        let asked = [node(1, 9, 5, 7), silent];
        assert_eq!(equal_index(&asked), None);
        assert!(render(&asked).contains("no answer"));
    }
}
