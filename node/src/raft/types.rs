//! openraft's type parameters, named once.
//!
//! Standard Raft leader ids: at most one leader a term, so a log id is (term, index).

use crate::env::Rt;
use bytes::Bytes;
use engram_proto::wire::log::Outcome;
use openraft::impls::leader_id_std::LeaderId;
use std::fmt;

/// An encoded `engram.log.v1.Command`: encoded once, where it is proposed; decoded where it is applied.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(pub Bytes);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}
impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// Where a member is, and which disk it had when it joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// `host:port` for clients.
    pub client_address: String,
    /// `host:port` for other nodes.
    pub peer_address: String,
    /// Drawn when the data directory was made: a wiped disk has another.
    pub disk_id: Bytes,
}

openraft::declare_raft_types!(
    /// Engram's Raft.
    pub TypeConfig:
        D = Payload,
        R = Outcome,
        Node = Member,
        LeaderId = LeaderId<u64, u64>,
        AsyncRuntime = Rt,
);

/// (term, index).
pub type LogId = openraft::alias::LogIdOf<TypeConfig>;
/// The part of a log id that says who led: its term.
pub type LeaderTerm = openraft::alias::CommittedLeaderIdOf<TypeConfig>;
/// Term, candidate, and whether a quorum granted it.
pub type Vote = openraft::Vote<LeaderId<u64, u64>>;
/// One entry of the log.
pub type Entry = openraft::alias::EntryOf<TypeConfig>;
/// Voters and learners.
pub type Membership = openraft::Membership<u64, Member>;
/// A membership with the log id that set it.
pub type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
/// What a snapshot covers.
pub type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
/// A snapshot with its meta.
pub type Snapshot = openraft::alias::SnapshotOf<TypeConfig, crate::state::snapshot::Image>;
/// The running consensus module.
pub type Raft = openraft::Raft<TypeConfig, crate::state::Machine>;

/// A log id of its parts.
pub fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderTerm::new(term), index)
}
