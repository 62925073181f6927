//! The public gRPC services.

use super::{Answers, observe, outbox, read, status};
use crate::env::Rt;
use crate::node::Node;
use engram_proto::error::Error;
use engram_proto::query::{check_space_name, complete_space};
use engram_proto::wire::log::{DropSpace, command};
use engram_proto::wire::v1::{
    AddNodeRequest, AddNodeResponse, CreateSpaceRequest, CreateSpaceResponse, DropSpaceRequest, DropSpaceResponse,
    InitRequest, InitResponse, ListRequest, ListResponse, ListSpacesRequest, ListSpacesResponse, MemoryRequest,
    MemoryResponse, ObserveRequest, ObserveResponse, RecallRequest, RecallResponse, RemoveNodeRequest,
    RemoveNodeResponse, SpaceInfo, StatusRequest, StatusResponse, VerifyRequest, VerifyResponse,
    cluster_server::Cluster, memory_request, memory_response, memory_server::Memory, spaces_server::Spaces,
};
use futures_util::StreamExt;
use openraft::AsyncRuntime;
use std::sync::Arc;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

/// All public services of one node.
#[derive(Clone)]
pub struct Service(pub Arc<Node>);

type Answer<T> = Result<Response<T>, Status>;

/// Observe messages of a memory stream that wait for the session task.
const MEMORY_OBSERVE_MESSAGES: usize = 4;

#[tonic::async_trait]
impl Memory for Service {
    type ObserveStreamStream = Answers<ObserveResponse>;
    type RecallStreamStream = Answers<RecallResponse>;
    type MemoryStreamStream = Answers<MemoryResponse>;
    type ListStream = Answers<ListResponse>;

    async fn observe_stream(&self, request: Request<Streaming<ObserveRequest>>) -> Answer<Answers<ObserveResponse>> {
        let (out, answers) = outbox();
        drop(Rt::spawn(observe::run(self.0.clone(), request.into_inner(), out)));
        Ok(Response::new(answers))
    }

    async fn recall_stream(&self, request: Request<Streaming<RecallRequest>>) -> Answer<Answers<RecallResponse>> {
        let (out, answers) = outbox();
        let (node, mut requests) = (self.0.clone(), request.into_inner());
        let task = async move {
            while let Some(Ok(request)) = requests.next().await {
                if !read::recall(&node, request, &out, |response| response).await {
                    return;
                }
            }
        };
        drop(Rt::spawn(task));
        Ok(Response::new(answers))
    }

    async fn memory_stream(&self, request: Request<Streaming<MemoryRequest>>) -> Answer<Answers<MemoryResponse>> {
        let (out, answers) = outbox();
        drop(Rt::spawn(memory(self.0.clone(), request.into_inner(), out)));
        Ok(Response::new(answers))
    }

    async fn list(&self, request: Request<ListRequest>) -> Answer<Answers<ListResponse>> {
        let (out, answers) = outbox();
        let node = self.0.clone();
        drop(Rt::spawn(async move { read::list(&node, request.into_inner(), out).await }));
        Ok(Response::new(answers))
    }
}

/// Observations go to a session task of their own; recalls are answered here, in order.
async fn memory(
    node: Arc<Node>,
    mut requests: Streaming<MemoryRequest>,
    out: mpsc::Sender<Result<MemoryResponse, Status>>,
) {
    let (observations, mut inbox) = mpsc::channel(MEMORY_OBSERVE_MESSAGES);
    let (session_out, mut session_answers) = outbox::<ObserveResponse>();
    let incoming = futures_util::stream::poll_fn(move |cx| inbox.poll_recv(cx));
    drop(Rt::spawn(observe::run(node.clone(), incoming, session_out)));
    let relay_out = out.clone();
    let relay = async move {
        while let Some(answer) = session_answers.next().await {
            let answer =
                answer.map(|answer| MemoryResponse { message: Some(memory_response::Message::Observe(answer)) });
            if relay_out.send(answer).await.is_err() {
                return;
            }
        }
    };
    drop(Rt::spawn(relay));
    let wrap = |answer| MemoryResponse { message: Some(memory_response::Message::Recall(answer)) };
    while let Some(Ok(request)) = requests.next().await {
        let going_on = match request.message {
            Some(memory_request::Message::Observe(request)) => observations.send(Ok(request)).await.is_ok(),
            Some(memory_request::Message::Recall(request)) => read::recall(&node, request, &out, wrap).await,
            None => {
                let error = Error::invalid("a message of a kind not known to this version");
                drop(out.send(Err(status(error))).await);
                false
            }
        };
        if !going_on {
            return;
        }
    }
}

#[tonic::async_trait]
impl Spaces for Service {
    async fn create_space(&self, request: Request<CreateSpaceRequest>) -> Answer<CreateSpaceResponse> {
        let config = request.into_inner().config.ok_or_else(|| status(Error::invalid("config is missing")))?;
        let config = complete_space(config).map_err(status)?;
        let (log_index, _) =
            self.0.proposer.command(command::Kind::CreateSpace(config.clone())).await.map_err(status)?;
        // Answered once this node knows it, so that the next call here finds it.
        self.0.settle(log_index).await.map_err(status)?;
        let info = SpaceInfo { config: Some(config), id: log_index, ..SpaceInfo::default() };
        Ok(Response::new(CreateSpaceResponse { space: Some(info), log_index }))
    }

    async fn list_spaces(&self, _: Request<ListSpacesRequest>) -> Answer<ListSpacesResponse> {
        let (spaces, applied_index) = self.0.spaces();
        Ok(Response::new(ListSpacesResponse { spaces, applied_index }))
    }

    async fn drop_space(&self, request: Request<DropSpaceRequest>) -> Answer<DropSpaceResponse> {
        let name = request.into_inner().name;
        check_space_name(&name).map_err(status)?;
        let dropped = command::Kind::DropSpace(DropSpace { name });
        let (log_index, _) = self.0.proposer.command(dropped).await.map_err(status)?;
        self.0.settle(log_index).await.map_err(status)?;
        Ok(Response::new(DropSpaceResponse { log_index }))
    }
}

#[tonic::async_trait]
impl Cluster for Service {
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

    async fn remove_node(&self, request: Request<RemoveNodeRequest>) -> Answer<RemoveNodeResponse> {
        let log_index = self.0.admin.remove(request.into_inner().node).await.map_err(status)?;
        Ok(Response::new(RemoveNodeResponse { log_index }))
    }

    async fn verify(&self, request: Request<VerifyRequest>) -> Answer<VerifyResponse> {
        let graphs = self.0.verify(&request.into_inner().space).await.map_err(status)?;
        Ok(Response::new(VerifyResponse { node: self.0.identity.node_id, graphs }))
    }
}
