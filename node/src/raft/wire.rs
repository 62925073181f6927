//! Raft's values to and from their protobuf forms, for the network and for the log's files alike.
//!
//! Decoding checks what openraft would otherwise panic on: bytes from a peer or a file are not trusted.

use super::types::{Entry, LogId, Member, Membership, Payload, SnapshotMeta, StoredMembership, Vote, log_id};
use engram_proto::wire::peer;
use openraft::EntryPayload;
use std::collections::BTreeSet;

/// What was wrong with the bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub struct Malformed(pub &'static str);

/// A log id as a message.
pub fn log_id_to_wire(id: LogId) -> peer::LogId {
    peer::LogId { term: id.committed_leader_id().term, index: id.index }
}

/// No log reaches this index; counting on from it cannot overflow.
const INDEX_MAX: u64 = 1 << 62;

/// A log id of a message. An index that no log reaches becomes one that matches nothing.
pub fn log_id_from_wire(id: peer::LogId) -> LogId {
    log_id(id.term, id.index.min(INDEX_MAX))
}

/// A vote as a message.
pub fn vote_to_wire(vote: Vote) -> peer::RaftVote {
    peer::RaftVote { term: vote.leader_id.term, node: vote.leader_id.voted_for, committed: vote.committed }
}

/// A vote of a message.
pub fn vote_from_wire(vote: Option<peer::RaftVote>) -> Result<Vote, Malformed> {
    let vote = vote.ok_or(Malformed("vote: missing"))?;
    Ok(match vote.committed {
        true => Vote::new_committed(vote.term, vote.node),
        false => Vote::new(vote.term, vote.node),
    })
}

/// A membership as a message.
pub fn membership_to_wire(membership: &Membership) -> peer::Membership {
    let configs = membership.get_joint_config().iter();
    let configs = configs.map(|config| peer::NodeSet { nodes: config.iter().copied().collect() }).collect();
    let node = |member: &Member| peer::RaftNode {
        client_address: member.client_address.clone(),
        peer_address: member.peer_address.clone(),
        disk_id: member.disk_id.clone(),
    };
    let nodes = membership.nodes().map(|(id, member)| (*id, node(member))).collect();
    peer::Membership { configs, nodes }
}

/// A membership of a message.
pub fn membership_from_wire(membership: peer::Membership) -> Result<Membership, Malformed> {
    let configs: Vec<BTreeSet<u64>> =
        membership.configs.into_iter().map(|set| set.nodes.into_iter().collect()).collect();
    let nodes: std::collections::BTreeMap<u64, Member> = membership
        .nodes
        .into_iter()
        .map(|(id, node)| {
            let (client_address, peer_address) = (node.client_address, node.peer_address);
            (id, Member { client_address, peer_address, disk_id: node.disk_id })
        })
        .collect();
    if configs.is_empty() && nodes.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(configs, nodes).map_err(|_| Malformed("membership: a voter without an address, or no voter"))
}

/// An entry as a message.
pub fn entry_to_wire(entry: &Entry) -> peer::RaftEntry {
    use peer::raft_entry::Payload as Wire;
    let payload = match &entry.payload {
        EntryPayload::Blank => Wire::Blank(true),
        EntryPayload::Normal(payload) => Wire::Command(payload.0.clone()),
        EntryPayload::Membership(membership) => Wire::Membership(membership_to_wire(membership)),
    };
    peer::RaftEntry { log_id: Some(log_id_to_wire(entry.log_id)), payload: Some(payload) }
}

/// An entry of a message.
pub fn entry_from_wire(entry: peer::RaftEntry) -> Result<Entry, Malformed> {
    use peer::raft_entry::Payload as Wire;
    let log_id = log_id_from_wire(entry.log_id.ok_or(Malformed("entry: no log id"))?);
    let payload = match entry.payload.ok_or(Malformed("entry: no payload known to this version"))? {
        Wire::Blank(_) => EntryPayload::Blank,
        Wire::Command(bytes) => EntryPayload::Normal(Payload(bytes)),
        Wire::Membership(membership) => EntryPayload::Membership(membership_from_wire(membership)?),
    };
    Ok(Entry { log_id, payload })
}

/// A snapshot's meta as a message.
pub fn meta_to_wire(meta: &SnapshotMeta) -> peer::SnapshotMeta {
    peer::SnapshotMeta {
        last: meta.last_log_id.map(log_id_to_wire),
        membership_log_id: meta.last_membership.log_id().map(log_id_to_wire),
        membership: Some(membership_to_wire(meta.last_membership.membership())),
    }
}

/// A snapshot's meta of a message.
pub fn meta_from_wire(meta: Option<peer::SnapshotMeta>) -> Result<SnapshotMeta, Malformed> {
    let meta = meta.ok_or(Malformed("snapshot: no meta"))?;
    let membership = membership_from_wire(meta.membership.ok_or(Malformed("snapshot: no membership"))?)?;
    let last_membership = StoredMembership::new(meta.membership_log_id.map(log_id_from_wire), membership);
    Ok(SnapshotMeta { last_log_id: meta.last.map(log_id_from_wire), last_membership })
}
