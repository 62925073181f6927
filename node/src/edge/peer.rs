//! What other nodes may ask of this one. Each message is checked against this node's identity first.

use super::{Answers, fetch, forwarded, outbox};
use crate::applied::HOLD;
use crate::env::Rt;
use crate::gate::ReadMark;
use crate::node::Node;
use crate::raft::ship::{self, malformed};
use crate::raft::types::{Snapshot, TypeConfig, Vote};
use crate::raft::wire::{Malformed, entry_from_wire, log_id_from_wire, log_id_to_wire, vote_from_wire, vote_to_wire};
use crate::state::records::Hash;
use engram_proto::error::{Error, Kind};
use engram_proto::transport::timeout;
use engram_proto::wire::log::command;
use engram_proto::wire::peer::{
    self, AppendResponse, AppliedRequest, AppliedResponse, FetchFileRequest, FetchFileResponse, FetchStateRequest,
    ForwardRequest, ForwardResponse, Header, JoinRequest, JoinResponse, KeepAliveRequest, KeepAliveResponse,
    ProposeRequest, ProposeResponse, ReadIndexRequest, ReadIndexResponse, SnapshotChunk, SnapshotResponse,
    TransferLeaderRequest, TransferLeaderResponse, append_response::Outcome, peer_server::Peer,
};
use openraft::AsyncRuntime;
use openraft::async_runtime::WatchReceiver;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

/// The peer service of one node.
#[derive(Clone)]
pub struct PeerService(pub Arc<Node>);

type Answer<T> = Result<Response<T>, Status>;

fn stopped(error: impl std::fmt::Display) -> Status {
    Error::in_doubt(error.to_string()).into()
}

impl PeerService {
    /// The message is for this node in this cluster, from a member's own disk.
    pub fn check(&self, header: Option<&Header>) -> Result<(), Status> {
        self.0.identity.check(header).map_err(Status::from)?;
        let header = header.expect("checked above");
        let metrics = self.0.leadership.raft().metrics();
        let metrics = metrics.borrow_watched();
        // A sender that this node does not know yet may be a newer member: Raft decides about it.
        if let Some(member) = metrics.membership_config.membership().get_node(&header.from)
            && member.disk_id != header.from_disk
        {
            tracing::error!(
                node = self.0.id,
                from = header.from,
                "a node speaks from another disk than the one that joined"
            );
            return Err(Error::invalid(format!(
                "node {} has another disk than the one that joined: remove it and add it under a new id",
                header.from
            ))
            .into());
        }
        Ok(())
    }

    fn vote_request(&self, request: peer::VoteRequest) -> Result<VoteRequest<TypeConfig>, Status> {
        self.check(request.header.as_ref())?;
        Ok(VoteRequest {
            vote: vote_from_wire(request.vote).map_err(malformed)?,
            last_log_id: request.last.map(log_id_from_wire),
            leadership_transfer: request.leadership_transfer,
        })
    }

    async fn receive(&self, mut chunks: Streaming<SnapshotChunk>) -> Result<(Vote, Snapshot), Status> {
        let first = chunks.message().await?.ok_or_else(|| malformed(Malformed("snapshot: no first chunk")))?;
        self.check(first.header.as_ref())?;
        let from = first.header.as_ref().map_or(0, |header| header.from);
        let vote = vote_from_wire(first.vote).map_err(malformed)?;
        let (meta, manifest) = ship::collect(first, chunks).await?;
        let image = self.0.state.image(manifest).map_err(|e| Status::from(Error::invalid(e.to_string())))?;
        // A node that just joined knows its cluster from the snapshot alone.
        let member = meta.last_membership.nodes().find(|(id, _)| **id == from).map(|(_, member)| member.clone());
        let member = member.or_else(|| self.0.leadership.members().remove(&from));
        let member = member.ok_or_else(|| malformed(Malformed("snapshot: its sender is no member")))?;
        ship::pull(&self.0.state, &self.0.admin.network.connect(from, &member), &image).await?;
        Ok((vote, Snapshot { meta, snapshot: image }))
    }
}

fn vote_answer(answer: VoteResponse<TypeConfig>) -> Response<peer::VoteResponse> {
    Response::new(peer::VoteResponse {
        vote: Some(vote_to_wire(answer.vote)),
        granted: answer.vote_granted,
        last: answer.last_log_id.map(log_id_to_wire),
    })
}

#[tonic::async_trait]
impl Peer for PeerService {
    async fn join(&self, request: Request<JoinRequest>) -> Answer<JoinResponse> {
        let disk_id = self.0.admin.join(request.into_inner()).await.map_err(Status::from)?;
        Ok(Response::new(JoinResponse { disk_id: disk_id.to_vec().into() }))
    }

    async fn append(&self, request: Request<peer::AppendRequest>) -> Answer<AppendResponse> {
        let request = request.into_inner();
        self.check(request.header.as_ref())?;
        let mut entries = Vec::with_capacity(request.entries.len());
        for entry in request.entries {
            entries.push(entry_from_wire(entry).map_err(malformed)?);
        }
        let first = request.previous.map_or(0, |id| id.index + 1);
        if (first..).zip(&entries).any(|(expected, entry)| entry.log_id.index != expected) {
            return Err(malformed(Malformed("append: entries are not consecutive")));
        }
        let request = AppendEntriesRequest {
            vote: vote_from_wire(request.vote).map_err(malformed)?,
            prev_log_id: request.previous.map(log_id_from_wire),
            entries,
            leader_commit: request.committed.map(log_id_from_wire),
        };
        let answer = self.0.leadership.raft().append_entries(request).await.map_err(stopped)?;
        let (outcome, matched, vote) = match answer {
            AppendEntriesResponse::Success => (Outcome::Success, None, None),
            AppendEntriesResponse::PartialSuccess(matched) => (Outcome::Partial, matched, None),
            AppendEntriesResponse::Conflict => (Outcome::Conflict, None, None),
            AppendEntriesResponse::HigherVote(vote) => (Outcome::HigherVote, None, Some(vote)),
        };
        let (matched, vote) = (matched.map(log_id_to_wire), vote.map(vote_to_wire));
        Ok(Response::new(AppendResponse { outcome: outcome.into(), matched, vote }))
    }

    async fn vote(&self, request: Request<peer::VoteRequest>) -> Answer<peer::VoteResponse> {
        let request = self.vote_request(request.into_inner())?;
        let (term, candidate) = (request.vote.leader_id.term, request.vote.leader_id.voted_for);
        let answer = self.0.leadership.raft().vote(request).await.map_err(stopped)?;
        if answer.vote_granted {
            tracing::debug!(node = self.0.id, term, candidate, "vote granted");
        }
        Ok(vote_answer(answer))
    }

    async fn pre_vote(&self, request: Request<peer::VoteRequest>) -> Answer<peer::VoteResponse> {
        let request = self.vote_request(request.into_inner())?;
        Ok(vote_answer(self.0.leadership.raft().pre_vote(request).await.map_err(stopped)?))
    }

    async fn install_snapshot(&self, request: Request<Streaming<SnapshotChunk>>) -> Answer<SnapshotResponse> {
        let (vote, snapshot) = self.receive(request.into_inner()).await?;
        let answer = self.0.leadership.raft().install_full_snapshot(vote, snapshot).await.map_err(stopped)?;
        Ok(Response::new(SnapshotResponse { vote: Some(vote_to_wire(answer.vote)) }))
    }

    async fn transfer_leader(&self, request: Request<TransferLeaderRequest>) -> Answer<TransferLeaderResponse> {
        let request = request.into_inner();
        self.check(request.header.as_ref())?;
        let from = vote_from_wire(request.from_leader).map_err(malformed)?;
        let request =
            openraft::raft::TransferLeaderRequest::new(from, request.to_node, request.last.map(log_id_from_wire));
        let answer = self.0.leadership.raft().handle_transfer_leader(request).await.map_err(stopped)?;
        answer.map_err(|e| Status::from(Error::new(Kind::NotLeader, e.to_string())))?;
        Ok(Response::new(TransferLeaderResponse { vote: None }))
    }

    async fn propose(&self, request: Request<ProposeRequest>) -> Answer<ProposeResponse> {
        let request = request.into_inner();
        self.check(request.header.as_ref())?;
        let kind = request.command.and_then(|command| command.kind);
        let kind = kind.ok_or_else(|| malformed(Malformed("propose: a command not known to this version")))?;
        if let command::Kind::Entry(_) = &kind {
            return Err(malformed(Malformed("propose: entries are forwarded on a stream")));
        }
        let (log_index, outcome) = self.0.proposer.command_here(kind).await.map_err(Status::from)?;
        Ok(Response::new(ProposeResponse { log_index, outcome: Some(outcome) }))
    }

    type ForwardStream = Answers<ForwardResponse>;

    async fn forward(&self, request: Request<Streaming<ForwardRequest>>) -> Answer<Answers<ForwardResponse>> {
        let (out, answers) = outbox();
        drop(Rt::spawn(forwarded::run(self.clone(), request.into_inner(), out)));
        Ok(Response::new(answers))
    }

    async fn read_index(&self, request: Request<ReadIndexRequest>) -> Answer<ReadIndexResponse> {
        self.check(request.into_inner().header.as_ref())?;
        let ReadMark { log_index, stamp_ms } = self.0.gate.read_mark_here().await.map_err(Status::from)?;
        Ok(Response::new(ReadIndexResponse { log_index, stamp_ms }))
    }

    async fn keep_alive(&self, request: Request<KeepAliveRequest>) -> Answer<KeepAliveResponse> {
        let request = request.into_inner();
        self.check(request.header.as_ref())?;
        self.0.live.keep_alive(&request.sessions, self.0.env.clock.monotonic());
        Ok(Response::new(KeepAliveResponse {}))
    }

    async fn applied(&self, request: Request<AppliedRequest>) -> Answer<AppliedResponse> {
        let request = request.into_inner();
        self.check(request.header.as_ref())?;
        let watermark = self.0.state.watermark();
        // Not as far in time: the answer says how far.
        timeout(&*self.0.world, HOLD, watermark.wait_applied(request.at_least)).await.unwrap_or_default();
        Ok(Response::new(AppliedResponse { log_index: watermark.applied() }))
    }

    async fn fetch_file(&self, request: Request<FetchFileRequest>) -> Answer<FetchFileResponse> {
        let request = request.into_inner();
        self.check(request.header.as_ref())?;
        let hash = Hash::try_from(&request.hash[..]);
        let hash = hash.map_err(|_| malformed(Malformed("record file: its name is not a hash")))?;
        let records = self.0.state.records().clone();
        let read = self.0.state.in_files(move || records.read(&hash)).await.map_err(stopped)?;
        let data = read.map_err(|e| Status::from(Error::not_found(format!("node {}: {e}", self.0.id))))?;
        Ok(Response::new(FetchFileResponse { data }))
    }

    type FetchStateStream = Answers<SnapshotChunk>;

    async fn fetch_state(&self, request: Request<FetchStateRequest>) -> Answer<Answers<SnapshotChunk>> {
        let header = request.into_inner().header;
        self.check(header.as_ref())?;
        let (out, answers) = outbox();
        let from = header.map_or(0, |header| header.from);
        tracing::info!(node = self.0.id, to = from, "a member asks for the state");
        drop(Rt::spawn(fetch::run(self.0.clone(), out)));
        Ok(Response::new(answers))
    }
}
