//! Raft's network: one gRPC channel a peer and purpose, each message with the header that says who speaks.
//!
//! Time-outs in a row drop the connection: a simulated or a dead TCP may never tell. Calls run in tasks of their own, so
//! that a caller who gives up does not take the time-out with it. A peer that refuses (another cluster, a wiped
//! disk) is unreachable to Raft, and the reason is logged.

use super::ship;
use super::silence::Silence;
use super::types::{Entry, LogId, Member, Raft, Snapshot, TypeConfig, Vote};
use super::wire::{entry_to_wire, log_id_from_wire, log_id_to_wire, vote_from_wire, vote_to_wire};
use crate::env::Rt;
use crate::identity::Identity;
use bytes::Bytes;
use engram_proto::limits::PEER_MESSAGE_BYTES_MAX;
use engram_proto::transport::{Channel, World, timeout};
use engram_proto::wire::peer::{self, append_response::Outcome, peer_client::PeerClient};
use futures_util::{TryStreamExt, stream};
use openraft::alias::WatchReceiverOf;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, v2::RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use openraft::{AsyncRuntime, RaftMetrics};
use prost::Message;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tonic::{Response, Status, Streaming};

/// How long a snapshot may take, from its first byte to its installation.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(600);
/// Entries have longer than a heartbeat, by their size: bytes a second that a network is trusted to carry.
const BYTES_PER_SECOND: u64 = 4 << 20;
/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// And a stream of entries until the member has taken it up.
const OPEN_TIMEOUT: Duration = Duration::from_secs(4);
/// And a record file.
const FILE_TIMEOUT: Duration = Duration::from_secs(10);
/// And a member that sends its state until the next piece.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(5);

type Metrics = WatchReceiverOf<TypeConfig, RaftMetrics<TypeConfig>>;

/// Makes connections to peers.
#[derive(Clone)]
pub struct Network {
    identity: Arc<Identity>,
    world: Arc<dyn World>,
    metrics: Arc<OnceLock<Metrics>>,
}

impl Network {
    /// From this node, over this world.
    pub fn new(identity: Arc<Identity>, world: Arc<dyn World>) -> Self {
        Self { identity, world, metrics: Arc::default() }
    }

    /// From now on Raft's connections follow members to other addresses.
    pub fn follow(&self, raft: &Raft) {
        drop(self.metrics.set(raft.metrics()));
    }

    /// A connection to one member.
    pub fn connect(&self, node: u64, member: &Member) -> Connection {
        let channel = Channel::new(self.world.clone(), member.peer_address.clone(), CONNECT_TIMEOUT);
        let client = PeerClient::with_origin(channel.clone(), channel.origin())
            .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX);
        let silence = Arc::new(Silence::new(self.identity.node_id, node));
        let network = self.clone();
        Connection { network, node, disk_id: member.disk_id.clone(), channel, client, silence }
    }
}

/// A connection to one member.
#[derive(Clone)]
pub struct Connection {
    network: Network,
    node: u64,
    disk_id: Bytes,
    channel: Channel,
    client: PeerCalls,
    silence: Arc<Silence>,
}

/// The generated client of a peer.
pub type PeerCalls = PeerClient<Channel>;
/// Its answer.
type Called<T> = Result<Response<T>, Status>;

impl Connection {
    /// The header of a message to this member.
    pub fn header(&self) -> Option<peer::Header> {
        self.network.identity.header(self.node, self.disk_id.clone())
    }

    /// The member.
    pub fn node(&self) -> u64 {
        self.node
    }

    /// Makes a call and waits for its answer; time-outs in a row drop the connection. Cancel: the call goes on in its own
    /// task, so that the time-out still comes when a caller with little time has given up.
    pub async fn answer<T, F>(&self, limit: Duration, call: impl FnOnce(PeerCalls) -> F + Send) -> Result<T, Status>
    where
        T: Send + 'static,
        F: Future<Output = Called<T>> + Send + 'static,
    {
        let (told, answer) = oneshot::channel();
        let (connection, call) = (self.clone(), call(self.client.clone()));
        let ask = async move {
            // The caller may have given up.
            drop(told.send(connection.attached(limit, call).await));
        };
        drop(Rt::spawn(ask));
        answer.await.unwrap_or_else(|_| Err(Status::unavailable("the node is stopping")))
    }

    /// Opens a stream of entries to this member, which must lead. Cancel: no stream.
    pub async fn forward(
        &self,
        mut messages: mpsc::Receiver<peer::ForwardRequest>,
    ) -> Result<Streaming<peer::ForwardResponse>, Status> {
        let mut client = self.client.clone();
        let messages = futures_util::stream::poll_fn(move |cx| messages.poll_recv(cx));
        let open = async move { client.forward(messages).await };
        self.attached(OPEN_TIMEOUT, open).await
    }

    /// Fetches the manifest of the member's state, with all that was committed before the call; `then` may fetch the files
    /// that it names. Cancel: nothing is fetched.
    pub async fn fetch_state<T, F: Future<Output = Result<T, Status>>>(
        &self,
        then: impl FnOnce(Bytes) -> F,
    ) -> Result<T, Status> {
        let (mut client, request) = (self.client.clone(), peer::FetchStateRequest { header: self.header() });
        let chunks = self.attached(OPEN_TIMEOUT, async move { client.fetch_state(request).await }).await?;
        let (world, node) = (self.network.world.clone(), self.node);
        let mut chunks = Box::pin(stream::unfold(chunks, move |mut chunks| {
            let world = world.clone();
            async move {
                let silent = || Status::deadline_exceeded(format!("node {node} was silent for {SILENCE_TIMEOUT:?}"));
                let next = timeout(&*world, SILENCE_TIMEOUT, chunks.message()).await;
                let next = next.unwrap_or_else(|| Err(silent())).transpose()?;
                Some((next, chunks))
            }
        }));
        let fetched = async {
            // Those before the first piece say that it will come.
            while let Some(chunk) = chunks.try_next().await? {
                if chunk.meta.is_some() {
                    return ship::collect(chunk, chunks.as_mut()).await;
                }
            }
            Err(Status::unavailable(format!("node {} sent nothing", self.node)))
        };
        let fetched = match fetched.await {
            // The member keeps the files while the stream lives.
            Ok((_, manifest)) => then(manifest).await,
            Err(error) => Err(error),
        };
        drop(chunks);
        if fetched.is_err() {
            self.reset();
        }
        fetched
    }

    /// Fetches a record file. Cancel safe.
    pub async fn fetch_file(&self, hash: Bytes) -> Result<Bytes, Status> {
        let request = peer::FetchFileRequest { header: self.header(), hash };
        let call = |mut client: PeerCalls| async move { client.fetch_file(request).await };
        Ok(self.answer(FILE_TIMEOUT, call).await?.data)
    }

    /// Drops the connection: the next call makes another.
    pub fn reset(&self) {
        self.channel.reset();
    }

    /// The same in the caller's task: dropping it drops the call. A connection that takes long to make is no member that does
    /// not answer, so it has a time-out of its own: over a slow network none would ever be made within a heartbeat's.
    async fn attached<T>(&self, limit: Duration, call: impl Future<Output = Called<T>>) -> Result<T, Status> {
        if let Err(e) = self.channel.connect().await {
            let text = e.to_string();
            self.silence.tell(&text);
            return Err(Status::unavailable(text));
        }
        match timeout(&*self.network.world, limit, call).await {
            Some(answer) => {
                // An error may be the connection's own.
                if answer.is_ok() {
                    self.silence.ended();
                }
                answer.map(Response::into_inner)
            }
            None => {
                let text = format!("no answer from node {} within {limit:?}", self.node);
                if self.silence.lasts(limit, &text) {
                    self.reset();
                }
                Err(Status::deadline_exceeded(text))
            }
        }
    }

    /// Goes to where the latest membership says that the member is: Raft keeps its connections when an address alone changes.
    fn follow(&mut self) {
        let Some(metrics) = self.network.metrics.get() else { return };
        let moved = {
            let metrics = metrics.borrow_watched();
            let member = metrics.membership_config.membership().get_node(&self.node);
            member.filter(|member| member.peer_address != self.channel.address()).cloned()
        };
        if let Some(member) = moved {
            *self = self.network.connect(self.node, &member);
        }
    }

    fn unreachable(&self, what: &str, reason: &str) -> Unreachable<TypeConfig> {
        let node = self.network.identity.node_id;
        tracing::debug!(node, to = self.node, what, reason, "peer did not answer");
        Unreachable::from_string(format!("{what} to node {}: {reason}", self.node))
    }

    async fn rpc<T, F>(
        &mut self,
        what: &str,
        limit: Duration,
        call: impl FnOnce(PeerCalls) -> F + Send,
    ) -> Result<T, Unreachable<TypeConfig>>
    where
        T: Send + 'static,
        F: Future<Output = Called<T>> + Send + 'static,
    {
        self.follow();
        self.answer(limit, call).await.map_err(|status| self.refused(what, &status))
    }

    fn refused(&self, what: &str, status: &Status) -> Unreachable<TypeConfig> {
        if status.code() == tonic::Code::InvalidArgument {
            let node = self.network.identity.node_id;
            tracing::error!(node, to = self.node, what, reason = status.message(), "peer refused");
        }
        self.unreachable(what, status.message())
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, member: &Member) -> Connection {
        self.connect(target, member)
    }
}

fn vote_request(header: Option<peer::Header>, request: &VoteRequest<TypeConfig>) -> peer::VoteRequest {
    peer::VoteRequest {
        header,
        vote: Some(vote_to_wire(request.vote)),
        last: request.last_log_id.map(log_id_to_wire),
        leadership_transfer: request.leadership_transfer,
    }
}

impl RaftNetworkV2<TypeConfig> for Connection {
    type SnapshotData = crate::state::snapshot::Image;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let wire =
            append_to_wire(self.header(), &request.vote, request.prev_log_id, &request.entries, request.leader_commit);
        let limit = option.hard_ttl() + Duration::from_millis(wire.encoded_len() as u64 * 1000 / BYTES_PER_SECOND);
        let call = |mut client: PeerCalls| async move { client.append(wire).await };
        let answer = self.rpc("append", limit, call).await?;
        let vote = || vote_from_wire(answer.vote).map_err(|e| self.unreachable("append", &e.to_string()));
        Ok(match answer.outcome() {
            Outcome::Success => AppendEntriesResponse::Success,
            Outcome::Partial => AppendEntriesResponse::PartialSuccess(answer.matched.map(log_id_from_wire)),
            Outcome::Conflict => AppendEntriesResponse::Conflict,
            Outcome::HigherVote => AppendEntriesResponse::HigherVote(vote()?),
            Outcome::Unspecified => return Err(self.unreachable("append", "outcome not known to this version").into()),
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let wire = vote_request(self.header(), &request);
        let call = |mut client: PeerCalls| async move { client.vote(wire).await };
        let answer = self.rpc("vote", option.hard_ttl(), call).await?;
        self.vote_answer(answer)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let wire = vote_request(self.header(), &request);
        let call = |mut client: PeerCalls| async move { client.pre_vote(wire).await };
        let answer = self.rpc("pre-vote", option.hard_ttl(), call).await?;
        self.vote_answer(answer)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        self.follow();
        let mut client = self.client.clone();
        // The image holds the files that the member fetches while the call lives.
        let Snapshot { meta, snapshot: image } = snapshot;
        let pieces = ship::pieces(self.header(), Some(vote), &meta, image.manifest.clone());
        let call = client.install_snapshot(stream::iter(pieces));
        // Raft's wish to cancel must end the transfer itself.
        let call = std::pin::pin!(self.attached(SNAPSHOT_TIMEOUT, call));
        let cancel = std::pin::pin!(cancel);
        let answer = match futures_util::future::select(cancel, call).await {
            futures_util::future::Either::Left((closed, _)) => return Err(closed.into()),
            futures_util::future::Either::Right((answer, _)) => {
                answer.map_err(|status| self.refused("snapshot", &status))?
            }
        };
        drop(image);
        let vote = vote_from_wire(answer.vote).map_err(|e| self.unreachable("snapshot", &e.to_string()))?;
        Ok(SnapshotResponse { vote })
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<openraft::raft::TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let wire = peer::TransferLeaderRequest {
            header: self.header(),
            from_leader: Some(vote_to_wire(*request.from_leader())),
            to_node: *request.to_node_id(),
            last: request.last_log_id().copied().map(log_id_to_wire),
        };
        let call = |mut client: PeerCalls| async move { client.transfer_leader(wire).await };
        self.rpc("transfer of leadership", option.hard_ttl(), call).await?;
        Ok(Ok(()))
    }
}

impl Connection {
    fn vote_answer(&self, answer: peer::VoteResponse) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let vote = vote_from_wire(answer.vote).map_err(|e| self.unreachable("vote", &e.to_string()))?;
        Ok(VoteResponse { vote, vote_granted: answer.granted, last_log_id: answer.last.map(log_id_from_wire) })
    }
}

fn append_to_wire(
    header: Option<peer::Header>,
    vote: &Vote,
    previous: Option<LogId>,
    entries: &[Entry],
    committed: Option<LogId>,
) -> peer::AppendRequest {
    peer::AppendRequest {
        header,
        vote: Some(vote_to_wire(*vote)),
        previous: previous.map(log_id_to_wire),
        entries: entries.iter().map(entry_to_wire).collect(),
        committed: committed.map(log_id_to_wire),
    }
}
