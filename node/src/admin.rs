//! Membership: make a cluster of blank nodes, add one, remove one, say where one is now, let another lead.
//!
//! Invariants: `node_ids_never_reused` (an id that was ever a member is given to no other disk) and
//! `disk_recorded` (a member's disk id is in the membership before it counts).

use crate::env::{Env, Lane, run_on};
use crate::identity::{Cluster, Id, Identity};
use crate::leader::{Leader, Leadership};
use crate::raft::net::{Network, PeerCalls};
use crate::raft::types::{Member, TypeConfig};
use bytes::Bytes;
use engram_probes::probe;
use engram_proto::error::{Error, Kind, Result};
use engram_proto::limits::PEER_VERSION;
use engram_proto::transport::{World, timeout};
use engram_proto::wire::peer::{JoinRequest, JoinResponse};
use engram_proto::wire::v1::NodeAddress;
use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use rand::RngExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const JOIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a membership change may take, catching up included.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(120);

/// How long another voter may take to lead: it needs the end of the log, and one election. When it does not, the others
/// elect somebody, as this node sends no heartbeats meanwhile.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(2);

/// Cluster administration of one node.
#[derive(Clone)]
pub struct Admin {
    /// Its world.
    pub env: Env,
    /// Who it is.
    pub identity: Arc<Identity>,
    /// Who leads.
    pub leadership: Leadership,
    /// To the others.
    pub network: Network,
    /// For time-outs.
    pub world: Arc<dyn World>,
}

impl Admin {
    fn node(&self) -> u64 {
        self.identity.node_id
    }

    async fn join_here(&self, cluster: Cluster) -> Result<()> {
        let identity = self.identity.clone();
        let joined = run_on(&*self.env.pool, Lane::Files, move || identity.join(cluster)).await;
        joined.unwrap_or_else(|| Err(Error::new(Kind::Poisoned, "the files lane has stopped")))
    }

    /// Another node asks this one to join; on which disk it does.
    pub async fn join(&self, request: JoinRequest) -> Result<Id> {
        let node = self.node();
        if request.version != PEER_VERSION {
            let text = format!("node {node} speaks version {PEER_VERSION}, the caller {}", request.version);
            return Err(Error::new(Kind::Unsupported, format!("{text}; upgrade the older one")));
        }
        if request.node != node {
            return Err(Error::invalid(format!("this is node {node}, not node {}; mend the address", request.node)));
        }
        if request.cluster_name != self.identity.cluster_name {
            let (mine, theirs) = (&self.identity.cluster_name, &request.cluster_name);
            return Err(Error::invalid(format!("node {node} is configured for cluster {mine:?}, not {theirs:?}")));
        }
        if !request.disk_id.is_empty() && request.disk_id[..] != self.identity.disk_id {
            return Err(Error::invalid(format!("node {node} has another disk there than the one that joined")));
        }
        let id: Id = request.cluster_id[..].try_into().map_err(|_| Error::invalid("cluster id is not 16 bytes"))?;
        self.join_here(Cluster { id, incarnation: request.incarnation }).await?;
        Ok(self.identity.disk_id)
    }

    /// Asks the node at `address` to join, on `disk` and no other unless that is empty.
    async fn ask_to_join(&self, cluster: Cluster, address: &NodeAddress, disk: Bytes) -> Result<Member> {
        let mut member = Member {
            client_address: address.client_address.clone(),
            peer_address: address.peer_address.clone(),
            disk_id: Bytes::new(),
        };
        let connection = self.network.connect(address.node, &member);
        let request = JoinRequest {
            version: PEER_VERSION,
            cluster_id: cluster.id.to_vec().into(),
            incarnation: cluster.incarnation,
            node: address.node,
            cluster_name: self.identity.cluster_name.clone(),
            disk_id: disk,
        };
        let call = |mut client: PeerCalls| async move { client.join(request).await };
        let answer: JoinResponse = connection.answer(JOIN_TIMEOUT, call).await.map_err(|status| {
            let error = Error::from_status(&status);
            let place = format!("node {} at {}", address.node, address.peer_address);
            match error.kind() {
                Kind::InDoubt => Error::invalid(format!("{place} does not answer: {error}; start it, then try again")),
                kind => Error::new(kind, format!("{place}: {error}")),
            }
        })?;
        member.disk_id = answer.disk_id;
        Ok(member)
    }

    /// Makes a cluster of blank nodes, this one among them. May be called again after it failed half way.
    pub async fn init(&self, nodes: Vec<NodeAddress>) -> Result<Cluster> {
        let node = self.node();
        let initialized = self.leadership.raft().is_initialized().await;
        if initialized.map_err(|e| Error::new(Kind::Poisoned, e.to_string()))? {
            return Err(Error::new(Kind::Exists, format!("node {node} is in a cluster already; use add and remove")));
        }
        let ids: BTreeSet<u64> = nodes.iter().map(|address| address.node).collect();
        if ids.len() != nodes.len() || !ids.contains(&node) || ids.contains(&0) {
            return Err(Error::invalid(format!("name each node once, with an id from 1, node {node} among them")));
        }
        let fresh = Cluster { id: self.env.seed.stream("cluster").random(), incarnation: 1 };
        let cluster = self.identity.cluster().unwrap_or(fresh);
        self.join_here(cluster).await?;
        let mut members = BTreeMap::new();
        for address in &nodes {
            let member = match address.node == node {
                true => Member {
                    client_address: address.client_address.clone(),
                    peer_address: address.peer_address.clone(),
                    disk_id: self.identity.disk_id.to_vec().into(),
                },
                false => self.ask_to_join(cluster, address, Bytes::new()).await?,
            };
            members.insert(address.node, member);
        }
        self.leadership.raft().initialize(members).await.map_err(|e| Error::in_doubt(e.to_string()))?;
        Ok(cluster)
    }

    /// Adds a blank node as a learner, then makes it a voter once it has caught up.
    pub async fn add(&self, address: NodeAddress, learner: bool) -> Result<u64> {
        self.may_change().await?;
        let cluster = self.identity.cluster().ok_or_else(|| self.leadership.no_leader())?;
        let id = address.node;
        let (seen, present) = {
            let data = self.leadership.state().read();
            let present = data.membership.membership().get_node(&id).cloned();
            (data.nodes_seen.contains(&id), present)
        };
        if id == 0 || (seen && present.is_none()) {
            return Err(Error::invalid(format!("node id {id} was used before; ids are not reused: choose a new one")));
        }
        let member = self.ask_to_join(cluster, &address, Bytes::new()).await?;
        if present.as_ref().is_some_and(|present| *present != member) {
            let text =
                format!("node {id} is a member already, with another disk or address; if it has moved, update it");
            return Err(Error::new(Kind::Exists, format!("{text}; else remove it, and add this one under a new id")));
        }
        let raft = self.leadership.raft();
        let change = async {
            let added = raft.add_learner(id, member, !learner).await.map_err(|e| self.changed(e))?;
            if learner {
                return Ok(added.log_id.index);
            }
            let voters = ChangeMembers::AddVoterIds([id].into());
            let promoted = raft.change_membership(voters, true).await.map_err(|e| self.changed(e))?;
            Ok(promoted.log_id.index)
        };
        self.within(change).await
    }

    /// Whether this node leads, and stays a voter. Its removal may have been begun by a leader before it and be half done: then
    /// the next change would complete it.
    async fn may_change(&self) -> Result<()> {
        let Leader::Here { .. } = self.leadership.leader() else { return Err(self.leadership.no_leader()) };
        match self.voters().contains(&self.node()) {
            true => Ok(()),
            false => self.lead_elsewhere().await,
        }
    }

    /// A node whose removal is in the log would lead on without a vote until that is committed. Another voter leads first, and
    /// goes on with the change.
    async fn lead_elsewhere<T>(&self) -> Result<T> {
        self.transfer(None).await?;
        Err(self.leadership.no_leader())
    }

    /// Says where a member is from now on; it must answer there, with the disk that it joined with. A majority must be where
    /// the others know it: members move one at a time.
    pub async fn update(&self, address: NodeAddress) -> Result<u64> {
        self.may_change().await?;
        let cluster = self.identity.cluster().ok_or_else(|| self.leadership.no_leader())?;
        let id = address.node;
        let present = self.leadership.members().remove(&id);
        let present = present.ok_or_else(|| Error::not_found(format!("node {id} is no member")))?;
        let member = self.ask_to_join(cluster, &address, present.disk_id).await?;
        let raft = self.leadership.raft();
        let change = async {
            let moved = ChangeMembers::SetNodes([(id, member)].into());
            let moved = raft.change_membership(moved, true).await.map_err(|e| self.changed(e))?;
            Ok(moved.log_id.index)
        };
        self.within(change).await
    }

    /// Removes a voter or a learner. A leader that is asked to remove itself lets another lead first, and says who.
    pub async fn remove(&self, id: u64) -> Result<u64> {
        self.may_change().await?;
        let (voter, member) = {
            let data = self.leadership.state().read();
            let membership = data.membership.membership();
            (membership.voter_ids().any(|voter| voter == id), membership.get_node(&id).is_some())
        };
        if !member {
            return Err(Error::not_found(format!("node {id} is no member")));
        }
        if voter && self.other_voters().0.is_empty() {
            let text = format!("node {id} is the only voter: without it there is no cluster; add another voter first");
            return Err(Error::invalid(text));
        }
        if id == self.node() {
            return self.lead_elsewhere().await;
        }
        let change = match voter {
            true => ChangeMembers::RemoveVoters([id].into()),
            false => ChangeMembers::RemoveNodes([id].into()),
        };
        let raft = self.leadership.raft();
        let change = async {
            let removed = raft.change_membership(change, false).await.map_err(|e| self.changed(e))?;
            Ok(removed.log_id.index)
        };
        self.within(change).await
    }

    /// Lets another voter lead, the one whose log is furthest if none is named; which. Proposals that come meanwhile are
    /// refused without effect.
    pub async fn transfer(&self, to: Option<u64>) -> Result<u64> {
        let node = self.node();
        let Leader::Here { .. } = self.leadership.leader() else { return Err(self.leadership.no_leader()) };
        if to == Some(node) {
            return Ok(node);
        }
        let (voters, furthest) = self.other_voters();
        let to = match to {
            Some(to) if voters.contains(&to) => to,
            Some(to) => return Err(Error::invalid(format!("node {to} is no voter; the others are {voters:?}"))),
            None => furthest.ok_or_else(|| Error::invalid(format!("node {node} is the only voter; add another")))?,
        };
        let raft = self.leadership.raft();
        raft.trigger().transfer_leader(to).await.map_err(|e| Error::new(Kind::Poisoned, e.to_string()))?;
        let mut metrics = raft.metrics();
        let leads = async {
            while metrics.borrow_watched().current_leader != Some(to) {
                if metrics.changed().await.is_err() {
                    return; // Raft has stopped: the time-out says the rest
                }
            }
        };
        timeout(&*self.world, TRANSFER_TIMEOUT, leads).await.ok_or_else(|| {
            probe!("transfer_in_doubt");
            let text = format!("node {to} does not lead after {TRANSFER_TIMEOUT:?}");
            Error::in_doubt(format!("{text}; the voters elect somebody; look at the status"))
        })?;
        tracing::info!(node, to, "leadership was handed over");
        Ok(to)
    }

    /// The voters that there are once a change that is under way is done.
    fn voters(&self) -> BTreeSet<u64> {
        let metrics = self.leadership.raft().metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().get_joint_config().last().cloned().unwrap_or_default()
    }

    /// Those but this node, and the one of them that has most of the log.
    fn other_voters(&self) -> (BTreeSet<u64>, Option<u64>) {
        let mut voters = self.voters();
        voters.remove(&self.node());
        let metrics = self.leadership.raft().metrics();
        let metrics = metrics.borrow_watched();
        let matched = |id: &&u64| metrics.replication.as_ref().and_then(|all| all.get(id).copied().flatten());
        let furthest = voters.iter().max_by_key(matched).copied();
        (voters, furthest)
    }

    async fn within(&self, change: impl Future<Output = Result<u64>>) -> Result<u64> {
        timeout(&*self.world, CHANGE_TIMEOUT, change).await.unwrap_or_else(|| {
            probe!("membership_change_in_doubt");
            Err(Error::in_doubt(format!("the change took over {CHANGE_TIMEOUT:?}; look at the status before the next")))
        })
    }

    fn changed(&self, error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> Error {
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => self.leadership.no_leader(),
            RaftError::APIError(ClientWriteError::ChangeMembershipError(e)) => Error::invalid(e.to_string()),
            other => Error::in_doubt(other.to_string()),
        }
    }
}
