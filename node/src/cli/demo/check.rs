//! What each node holds against what was acked and what was sent.

use super::data::Set;
use super::stream::Streamed;
use crate::cli::exit::Failure;
use crate::cli::recall::floats;
use engram_client::{Client, Level, List, NodeAddress, ReadToken, Row};
use serde::Serialize;
use std::collections::BTreeMap;

/// One node's rows, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Held {
    /// The node.
    pub node: u64,
    /// Acked observations that are there.
    pub found: u64,
    /// Acked observations that are not.
    pub lost: u64,
    /// Rows over one an observation.
    pub doubled: u64,
    /// Rows whose text, embedding or number is not what was acked.
    pub altered: u64,
    /// Rows whose log order is not their sequence's.
    pub out_of_order: u64,
}

/// Lists the space on each node, at the stream's last ack or later, and compares.
pub async fn all(
    client: &Client,
    nodes: &[NodeAddress],
    space: &str,
    set: &Set,
    streamed: &Streamed,
) -> Result<Vec<Held>, Failure> {
    let mut held = Vec::new();
    for address in nodes {
        let token: ReadToken = streamed.fed.summary.token;
        let list = List { level: Level::AtLeast(token), with_embedding: true, ..List::new(space) };
        let listing = client.on(&address.client_address).list_all(list).await;
        let rows = listing.map_err(|e| Failure::from(e).context(format_args!("list of node {}", address.node)))?.rows;
        held.push(compare(address.node, &rows, set, streamed.session, &streamed.acked));
    }
    Ok(held)
}

fn compare(node: u64, rows: &[Row], set: &Set, session: u64, acked: &BTreeMap<u64, usize>) -> Held {
    let mut held = Held { node, ..Held::default() };
    let by_text: BTreeMap<&str, usize> = set.texts.iter().enumerate().map(|(at, text)| (*text, at)).collect();
    let mut seen: BTreeMap<usize, u64> = BTreeMap::new();
    let mut before = (0, 0);
    for row in rows {
        let observation = row.observation.clone().unwrap_or_default();
        let Some(&at) = by_text.get(&*observation.text) else {
            held.altered += 1;
            continue;
        };
        *seen.entry(at).or_default() += 1;
        let same = row.session == session
            && acked.get(&row.sequence) == Some(&at)
            && floats(&observation.embedding) == set.vectors[at];
        held.altered += u64::from(!same);
        let now = (row.log_index, row.sequence);
        held.out_of_order += u64::from(now.0 < before.0 || now.1 <= before.1);
        before = now;
    }
    for at in acked.values() {
        match seen.get(at) {
            Some(_) => held.found += 1,
            None => held.lost += 1,
        }
    }
    held.doubled = seen.values().map(|count| count - 1).sum();
    held
}

#[cfg(test)]
mod tests {
    use super::*;
    use engram_client::observation;

    fn set() -> Set {
        Set { texts: vec!["a", "b"], vectors: vec![vec![1.0, 0.0], vec![0.0, 1.0]] }
    }

    fn row(sequence: u64, text: &str, vector: &[f32]) -> Row {
        let observation = Some(observation(text, vector));
        Row { session: 7, sequence, log_index: 10 + sequence, observation, ..Row::default() }
    }

    fn held(rows: &[Row]) -> Held {
        compare(1, rows, &set(), 7, &[(1, 0), (2, 1)].into())
    }

    #[test]
    fn a_whole_node_has_nothing_to_report() {
        let rows = [row(1, "a", &[1.0, 0.0]), row(2, "b", &[0.0, 1.0])];
        assert_eq!(held(&rows), Held { node: 1, found: 2, ..Held::default() });
    }

    #[test]
    fn each_fault_is_counted() {
        let (a, b) = (row(1, "a", &[1.0, 0.0]), row(2, "b", &[0.0, 1.0]));
        assert_eq!(held(std::slice::from_ref(&a)).lost, 1);
        assert_eq!(held(&[a.clone(), b.clone(), row(3, "b", &[0.0, 1.0])]).doubled, 1);
        assert_eq!(held(&[a.clone(), row(2, "b", &[0.5, 1.0])]).altered, 1);
        assert_eq!(held(&[a.clone(), row(2, "c", &[0.0, 1.0])]).altered, 1);
        assert_eq!(held(&[b, a]).out_of_order, 1);
    }
}
