//! The rooms of one running node, as its edges see them.

use crate::admin::Admin;
use crate::admission::Admission;
use crate::applied::Elsewhere;
use crate::config::Config;
use crate::env::{Env, Lane, run_on};
use crate::gate::Gate;
use crate::identity::Identity;
use crate::leader::Leadership;
use crate::live::Live;
use crate::metrics::Meters;
use crate::proposer::Proposer;
use crate::raft::log::Log;
use crate::spans::Spans;
use crate::state::{Machine, spaces::Space, watermark::Marks};
use engram_proto::error::{Error, Kind, Result};
use engram_proto::transport::{World, timeout};
use engram_proto::wire::v1::{GraphProof, Member, NodeAddress, Role, SpaceInfo, StatusResponse, Watermarks};
use futures_util::future::join;
use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// How long an administrative write may take to be applied on the node that answers it.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);
/// A node that no majority has answered for so long should get no traffic: it knows of no write since, and takes none.
const UNCONFIRMED_MAX: Duration = Duration::from_secs(10);

/// A running node.
pub struct Node {
    /// Its id.
    pub id: u64,
    /// As it was started.
    pub config: Config,
    /// Its world.
    pub env: Env,
    /// The same, for connections.
    pub world: Arc<dyn World>,
    /// Its data directory's.
    pub identity: Arc<Identity>,
    /// Its write-ahead log.
    pub log: Log,
    /// Its state.
    pub state: Machine,
    /// The door to the log.
    pub admission: Admission,
    /// The way into the log.
    pub proposer: Proposer,
    /// Who leads.
    pub leadership: Leadership,
    /// Reads.
    pub gate: Gate,
    /// Membership.
    pub admin: Admin,
    /// Sessions with connections.
    pub live: Live,
    /// How far the other members are.
    pub elsewhere: Elsewhere,
    /// What it counts.
    pub meters: Meters,
    /// What it tells of calls that are traced.
    pub spans: Spans,
    /// Places for connections.
    pub connections: Connections,
    /// True once the node is asked to stop.
    pub stopping: watch::Receiver<bool>,
}

/// [`crate::run::CONNECTIONS_MAX`] places at each port.
pub struct Connections {
    /// Of clients.
    pub clients: Arc<Semaphore>,
    /// Of other nodes.
    pub peers: Arc<Semaphore>,
}

impl Node {
    /// The cluster's incarnation; 0 before the node is in one.
    pub fn incarnation(&self) -> u64 {
        self.identity.cluster().map_or(0, |cluster| cluster.incarnation)
    }

    /// Waits until this node has applied a write that it answers for.
    pub async fn settle(&self, log_index: u64) -> Result<()> {
        let applied = self.state.watermark().wait_applied(log_index);
        timeout(&*self.world, SETTLE_TIMEOUT, applied).await.ok_or_else(|| {
            Error::in_doubt(format!("committed at log index {log_index}, but node {} has not applied it yet", self.id))
        })
    }

    /// Ends once `index` is applied here and on others, `nodes` in all, or on every member there is. Cancel safe.
    pub async fn searchable(&self, index: u64, nodes: u32) {
        // Asked while this node still applies it.
        let others = self.elsewhere.reached(index, (nodes as usize).saturating_sub(1));
        join(self.state.watermark().wait_applied(index), others).await;
    }

    /// All spaces, and the log index that they are of.
    pub fn spaces(&self) -> (Vec<SpaceInfo>, u64) {
        let data = self.state.read();
        let info = |space: &Arc<crate::state::spaces::Space>| {
            let epoch = space.index.epoch();
            SpaceInfo {
                config: Some(space.config.clone()),
                id: space.id,
                rows: space.rows.len().into(),
                epoch: epoch.number,
                epoch_rows: epoch.rows.into(),
                graph_digest: epoch.digest,
                forgotten: space.index.now().forgets.into(),
                floor: space.earliest(),
                erased: space.past.erased().into(),
                generation: space.index.beginning().number,
            }
        };
        (data.spaces.values().map(info).collect(), data.applied.map_or(0, |id| id.index))
    }

    /// Proves the graphs of one space, or of all; each in a job of the index lane, so that no build runs meanwhile and
    /// reads go on. Cancel safe: a proof that began goes on unheard.
    pub async fn verify(&self, name: &str) -> Result<Vec<GraphProof>> {
        let spaces: Vec<Arc<Space>> = match name {
            "" => self.state.read().spaces.values().cloned().collect(),
            name => vec![self.state.read().space(name)?.clone()],
        };
        let mut proofs = Vec::with_capacity(spaces.len());
        for space in spaces {
            let proof = run_on(&*self.admin.env.pool, Lane::Index, move || {
                let (epoch, proved) = space.index.verify();
                GraphProof {
                    space: space.config.name.clone(),
                    id: space.id,
                    epoch: epoch.number,
                    epoch_rows: epoch.rows.into(),
                    graph_digest: epoch.digest,
                    broken: proved.err().map(|broken| broken.to_string()).unwrap_or_default(),
                }
            });
            proofs.push(proof.await.ok_or_else(|| Error::new(Kind::Poisoned, "the index lane has stopped"))?);
        }
        Ok(proofs)
    }

    /// The marks, read in an order in which a running node cannot make them look broken.
    pub fn marks(&self) -> Marks {
        let index = |id: Option<crate::raft::types::LogId>| id.map_or(0, |id| id.index);
        let purged = index(self.leadership.raft().metrics().borrow_watched().purged);
        let snapshot = self.state.watermark().snapshot();
        let applied = self.state.watermark().applied();
        let flushed = index(self.log.flushed());
        let metrics = self.leadership.raft().metrics();
        // What is applied is committed, whether or not the metrics have said so yet.
        let committed = index(metrics.borrow_watched().cluster_committed).max(applied);
        let submitted = index(self.log.submitted()).max(committed);
        Marks { purged, snapshot, applied, flushed, committed, submitted }
    }

    /// Why this node should get no traffic; `None` when it should.
    pub fn not_ready(&self) -> Option<String> {
        let node = self.id;
        if let Some(cause) = self.log.poisoned() {
            return Some(format!("node {node}: the log is poisoned: {cause}"));
        }
        if *self.stopping.borrow() {
            return Some(format!("node {node} is stopping"));
        }
        if self.identity.cluster().is_none() {
            return Some(format!(
                "node {node} is in no cluster yet: run `engram cluster init` or `engram cluster add`"
            ));
        }
        if let Some(why) = self.state.quarantined() {
            return Some(why);
        }
        if self.leadership.raft().metrics().borrow_watched().current_leader.is_none() {
            return Some(format!("node {node} knows no leader"));
        }
        // A leader that is gone is named for as long as nobody can be elected.
        match self.gate.unconfirmed() {
            Some(since) if since < UNCONFIRMED_MAX => None,
            Some(since) => {
                Some(format!("node {node}: no majority has confirmed a read index for {} s", since.as_secs()))
            }
            None => Some(format!("node {node}: no majority has confirmed a read index yet")),
        }
    }

    /// What `engram cluster status` shows.
    pub fn status(&self) -> StatusResponse {
        let marks = self.marks();
        let (spaces, _) = self.spaces();
        let (state_digest, applied, sessions, integrity) = {
            let data = self.state.read();
            let (sessions, integrity) = (data.sessions.open.len() as u64, data.integrity.clone());
            (data.digest, data.applied.map_or(0, |id| id.index), sessions, integrity)
        };
        let cluster = self.identity.cluster();
        // Before the metrics are borrowed: a second borrow behind a waiting writer would wait for ever.
        let not_ready_reason = self.not_ready().unwrap_or_default();
        let watched = self.leadership.raft().metrics();
        let metrics = watched.borrow_watched();
        let role = match (cluster, metrics.state) {
            (None, _) => Role::Blank,
            (_, ServerState::Learner) => Role::Learner,
            (_, ServerState::Follower) => Role::Follower,
            (_, ServerState::Candidate) => Role::Candidate,
            (_, ServerState::Leader) => Role::Leader,
            (_, ServerState::Shutdown) => Role::Stopped,
        };
        let membership = metrics.membership_config.membership();
        let voters: std::collections::BTreeSet<u64> = membership.voter_ids().collect();
        let matched = |id: &u64| {
            let replication = metrics.replication.as_ref()?.get(id)?;
            replication.as_ref().map(|log_id| log_id.index)
        };
        let members = membership.nodes().map(|(id, member)| Member {
            address: Some(NodeAddress {
                node: *id,
                client_address: member.client_address.clone(),
                peer_address: member.peer_address.clone(),
            }),
            voter: voters.contains(id),
            disk_id: member.disk_id.clone(),
            matched_index: matched(id),
            quarantined: integrity.quarantined.contains_key(id),
        });
        StatusResponse {
            node: self.id,
            cluster_id: cluster.map(|cluster| cluster.id.to_vec().into()).unwrap_or_default(),
            incarnation: self.incarnation(),
            role: role.into(),
            term: metrics.current_term,
            leader: metrics.current_leader,
            watermarks: Some(Watermarks {
                purged: marks.purged,
                snapshot: marks.snapshot,
                applied,
                flushed: marks.flushed,
                committed: marks.committed,
                submitted: marks.submitted,
            }),
            state_digest,
            spaces,
            members: members.collect(),
            version: env!("CARGO_PKG_VERSION").into(),
            sessions,
            not_ready_reason,
            agreed_index: integrity.agreed,
        }
    }
}
