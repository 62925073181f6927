//! Who leads, as this node knows it; connections to that node; the leader's log time.

use crate::env::Clock;
use crate::raft::net::{Connection, Network};
use crate::raft::types::{Member, Raft};
use crate::state::Machine;
use engram_probes::probe;
use engram_proto::error::{Error, Kind};
use openraft::async_runtime::WatchReceiver;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tonic::Status;

/// Where a write or a read index must go.
pub enum Leader {
    /// This node, in this term.
    Here {
        /// Its term.
        term: u64,
    },
    /// Another node.
    There(Box<Connection>),
    /// An election is under way, or this node is cut off.
    Unknown,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Leadership(Arc<Shared>);

struct Shared {
    node: u64,
    raft: Raft,
    network: Network,
    state: Machine,
    clock: Arc<dyn Clock>,
    /// To the leader as it was last: (node, member, connection).
    connection: Mutex<Option<(u64, Member, Connection)>>,
    log_time: Mutex<LogTime>,
}

/// Log time of one term: the stamp that was known when it began, plus the monotonic time since.
#[derive(Clone, Copy, Default)]
struct LogTime {
    term: u64,
    base_ms: u64,
    since: Duration,
}

impl Leadership {
    /// Of node `node`.
    pub fn new(node: u64, raft: Raft, network: Network, state: Machine, clock: Arc<dyn Clock>) -> Self {
        let (connection, log_time) = (Mutex::new(None), Mutex::default());
        Self(Arc::new(Shared { node, raft, network, state, clock, connection, log_time }))
    }

    /// The consensus module.
    pub fn raft(&self) -> &Raft {
        &self.0.raft
    }

    /// This node.
    pub fn node(&self) -> u64 {
        self.0.node
    }

    /// The members of the cluster, voters and learners, as this node knows them; none before it is in one.
    pub fn members(&self) -> BTreeMap<u64, Member> {
        let metrics = self.0.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().nodes().map(|(id, member)| (*id, member.clone())).collect()
    }

    /// Who leads.
    pub fn leader(&self) -> Leader {
        let shared = &self.0;
        let (leader, term, member) = {
            let metrics = shared.raft.metrics();
            let metrics = metrics.borrow_watched();
            let leader = metrics.current_leader;
            let member = leader.and_then(|id| metrics.membership_config.membership().get_node(&id).cloned());
            (leader, metrics.current_term, member)
        };
        match (leader, member) {
            (Some(id), _) if id == shared.node => Leader::Here { term },
            (Some(id), Some(member)) => {
                let mut cached = shared.connection.lock().unwrap_or_else(PoisonError::into_inner);
                match &*cached {
                    Some((node, known, connection)) if *node == id && *known == member => {
                        Leader::There(Box::new(connection.clone()))
                    }
                    _ => {
                        let connection = shared.network.connect(id, &member);
                        *cached = Some((id, member, connection.clone()));
                        Leader::There(Box::new(connection))
                    }
                }
            }
            _ => Leader::Unknown,
        }
    }

    /// The leader's address for clients; empty when there is none.
    pub fn hint(&self) -> String {
        let metrics = self.0.raft.metrics();
        let metrics = metrics.borrow_watched();
        let member =
            metrics.current_leader.and_then(|id| metrics.membership_config.membership().get_node(&id).cloned());
        member.map(|member| member.client_address).unwrap_or_default()
    }

    /// Ends `grace` after this node has heard that another node than `leader` leads. Cancel safe.
    pub async fn replaced(&self, leader: u64, grace: Duration) {
        let mut metrics = self.0.raft.metrics();
        while metrics.borrow_watched().current_leader.is_none_or(|now| now == leader) {
            if metrics.changed().await.is_err() {
                break; // Raft has stopped: nobody else will answer either
            }
        }
        self.0.clock.sleep(grace).await;
    }

    /// The error of a write that found no leader.
    pub fn no_leader(&self) -> Error {
        let node = self.0.node;
        let mut error = Error::not_leader(format!("node {node} knows no leader; resend in 200 ms"), self.hint());
        error.0.retry_after_ms = 200;
        error
    }

    /// The error of whatever is asked of a node that is in no cluster: a blank one, or one whose disk was lost.
    pub fn in_no_cluster(&self) -> Error {
        probe!("asked_in_no_cluster");
        let text = format!("node {} is in no cluster; ask a member, or make this node one", self.0.node);
        Error::not_leader(text, String::new())
    }

    /// What the member that leads, as far as this node knows, answered with an error. A refusal of the message itself (another
    /// disk, another cluster, another version) is no word about what a client asked: that member leads no more.
    pub fn refused(&self, status: &Status) -> Error {
        match Error::from_status(status) {
            error if matches!(error.kind(), Kind::Invalid | Kind::Unsupported) => {
                probe!("leader_refuses_the_message");
                tracing::warn!(node = self.0.node, reason = %error, "the leader refused a message; another will lead");
                self.no_leader()
            }
            error => error,
        }
    }

    /// Log time now, for a command of `term`. Apply takes the largest stamp so far, so it never goes back.
    pub fn stamp_ms(&self, term: u64) -> u64 {
        let now = self.0.clock.monotonic();
        let mut time = self.0.log_time.lock().unwrap_or_else(PoisonError::into_inner);
        if time.term != term {
            *time = LogTime { term, base_ms: self.0.state.read().stamp_ms, since: now };
        }
        time.base_ms + now.saturating_sub(time.since).as_millis() as u64
    }

    /// The state that this node has applied.
    pub fn state(&self) -> &Machine {
        &self.0.state
    }
}
