//! The public gRPC services.

use super::{Answers, backup, forget, list, memory, observe, outbox, read, session, spaces, status, watch};
use crate::env::Rt;
use crate::node::Node;
use crate::spans::Context;
use engram_proto::error::Error;
use engram_proto::wire::v1::{
    AddNodeRequest, AddNodeResponse, BackupChunk, BackupRequest, CountRequest, CountResponse, CreateSpaceRequest,
    CreateSpaceResponse, DropSpaceRequest, DropSpaceResponse, ForgetRequest, ForgetResponse, GetRequest, GetResponse,
    InitRequest, InitResponse, ListRequest, ListResponse, ListSpacesRequest, ListSpacesResponse, MemoryRequest,
    MemoryResponse, ObserveRequest, ObserveResponse, RecallRequest, RecallResponse, RemoveNodeRequest,
    RemoveNodeResponse, SessionStatusRequest, SessionStatusResponse, StatusRequest, StatusResponse,
    TransferLeaderRequest, TransferLeaderResponse, UpdateNodeRequest, UpdateNodeResponse, VerifyRequest,
    VerifyResponse, WatchRequest, WatchResponse, cluster_server::Cluster, memory_server::Memory, spaces_server::Spaces,
};
use futures_util::StreamExt;
use openraft::AsyncRuntime;
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

/// All public services of one node.
#[derive(Clone)]
pub struct Service(pub Arc<Node>);

type Answer<T> = Result<Response<T>, Status>;

impl Service {
    /// Whose trace a call belongs to.
    fn caller<T>(&self, request: &Request<T>) -> Option<Context> {
        self.0.spans.caller(request.metadata().as_ref())
    }
}

#[tonic::async_trait]
impl Memory for Service {
    type ObserveStreamStream = Answers<ObserveResponse>;
    type RecallStreamStream = Answers<RecallResponse>;
    type MemoryStreamStream = Answers<MemoryResponse>;
    type ListStream = Answers<ListResponse>;
    type WatchStream = Answers<WatchResponse>;

    async fn observe_stream(&self, request: Request<Streaming<ObserveRequest>>) -> Answer<Answers<ObserveResponse>> {
        let (out, answers) = outbox();
        let caller = self.caller(&request);
        let incoming = request.into_inner().map(observe::Incoming::Message);
        drop(Rt::spawn(observe::run(self.0.clone(), caller, incoming, out)));
        Ok(Response::new(answers))
    }

    async fn recall_stream(&self, request: Request<Streaming<RecallRequest>>) -> Answer<Answers<RecallResponse>> {
        let (out, answers) = outbox();
        let (node, caller) = (self.0.clone(), self.caller(&request));
        drop(Rt::spawn(async move { read::recalls(&node, caller, request.into_inner(), out).await }));
        Ok(Response::new(answers))
    }

    async fn memory_stream(&self, request: Request<Streaming<MemoryRequest>>) -> Answer<Answers<MemoryResponse>> {
        let (out, answers) = outbox();
        let caller = self.caller(&request);
        drop(Rt::spawn(memory::run(self.0.clone(), caller, request.into_inner(), out)));
        Ok(Response::new(answers))
    }

    async fn list(&self, request: Request<ListRequest>) -> Answer<Answers<ListResponse>> {
        let (out, answers) = outbox();
        let node = self.0.clone();
        drop(Rt::spawn(async move { list::pages(&node, request.into_inner(), out).await }));
        Ok(Response::new(answers))
    }

    async fn get(&self, request: Request<GetRequest>) -> Answer<GetResponse> {
        read::get(&self.0, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn count(&self, request: Request<CountRequest>) -> Answer<CountResponse> {
        read::count(&self.0, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn forget(&self, request: Request<ForgetRequest>) -> Answer<ForgetResponse> {
        forget::forget(&self.0, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Answer<Answers<WatchResponse>> {
        let (out, answers) = outbox();
        drop(Rt::spawn(watch::run(self.0.clone(), request.into_inner(), out)));
        Ok(Response::new(answers))
    }

    async fn session_status(&self, request: Request<SessionStatusRequest>) -> Answer<SessionStatusResponse> {
        session::session_status(&self.0, &request.into_inner()).await.map(Response::new).map_err(status)
    }
}

#[tonic::async_trait]
impl Spaces for Service {
    async fn create_space(&self, request: Request<CreateSpaceRequest>) -> Answer<CreateSpaceResponse> {
        spaces::create(&self.0, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn list_spaces(&self, _: Request<ListSpacesRequest>) -> Answer<ListSpacesResponse> {
        spaces::list(&self.0).map(Response::new).map_err(status)
    }

    async fn drop_space(&self, request: Request<DropSpaceRequest>) -> Answer<DropSpaceResponse> {
        spaces::drop(&self.0, request.into_inner()).await.map(Response::new).map_err(status)
    }
}

#[tonic::async_trait]
impl Cluster for Service {
    type BackupStream = Answers<BackupChunk>;

    async fn status(&self, _: Request<StatusRequest>) -> Answer<StatusResponse> {
        Ok(Response::new(self.0.status()))
    }

    async fn init(&self, request: Request<InitRequest>) -> Answer<InitResponse> {
        let cluster = self.0.admin.init(request.into_inner().nodes).await.map_err(status)?;
        Ok(Response::new(InitResponse { cluster_id: cluster.id.to_vec().into() }))
    }

    async fn add_node(&self, request: Request<AddNodeRequest>) -> Answer<AddNodeResponse> {
        let request = request.into_inner();
        let address = request.node.ok_or_else(|| status(Error::invalid("node is missing")))?;
        let log_index = self.0.admin.add(address, request.learner).await.map_err(status)?;
        Ok(Response::new(AddNodeResponse { log_index }))
    }

    async fn update_node(&self, request: Request<UpdateNodeRequest>) -> Answer<UpdateNodeResponse> {
        let address = request.into_inner().node.ok_or_else(|| status(Error::invalid("node is missing")))?;
        let log_index = self.0.admin.update(address).await.map_err(status)?;
        Ok(Response::new(UpdateNodeResponse { log_index }))
    }

    async fn remove_node(&self, request: Request<RemoveNodeRequest>) -> Answer<RemoveNodeResponse> {
        let log_index = self.0.admin.remove(request.into_inner().node).await.map_err(status)?;
        Ok(Response::new(RemoveNodeResponse { log_index }))
    }

    async fn transfer_leader(&self, request: Request<TransferLeaderRequest>) -> Answer<TransferLeaderResponse> {
        let node = request.into_inner().node;
        let leader = self.0.admin.transfer((node != 0).then_some(node)).await.map_err(status)?;
        Ok(Response::new(TransferLeaderResponse { leader }))
    }

    async fn backup(&self, request: Request<BackupRequest>) -> Answer<Answers<BackupChunk>> {
        let (out, answers) = outbox();
        drop(Rt::spawn(backup::run(self.0.clone(), request.into_inner(), out)));
        Ok(Response::new(answers))
    }

    async fn verify(&self, request: Request<VerifyRequest>) -> Answer<VerifyResponse> {
        let graphs = self.0.verify(&request.into_inner().space).await.map_err(status)?;
        Ok(Response::new(VerifyResponse { node: self.0.identity.node_id, graphs }))
    }
}
