//! gRPC's health protocol and reflection, as probes and tools use them.

use crate::common::{Running, client, cluster, config, env, ready, until};
use engram_proto::transport::Channel;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tonic::Code;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

fn channel(node: &Running) -> Channel {
    let world = Arc::new(engram_client::Tcp::current().expect("a runtime"));
    Channel::new(world, node.config.listen.clone(), Duration::from_secs(2))
}

async fn check(node: &Running, service: &str) -> Result<ServingStatus, Code> {
    let request = HealthCheckRequest { service: service.into() };
    let channel = channel(node);
    let answer = HealthClient::with_origin(channel.clone(), channel.origin()).check(request).await;
    answer.map(|answer| answer.into_inner().status()).map_err(|status| status.code())
}

async fn reflect(node: &Running, question: MessageRequest) -> ServerReflectionResponse {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let channel = channel(node);
    let mut client = ServerReflectionClient::with_origin(channel.clone(), channel.origin());
    let answers = client.server_reflection_info(futures_util::stream::iter([request])).await;
    answers.expect("answers").into_inner().message().await.expect("an answer").expect("one")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_says_what_readyz_says_and_the_cluster_service_always_serves() {
    let dir = tempfile::tempdir().expect("temporary");
    let blank = Running::start(env(), config(1, dir.path()));
    let asking = client([&blank]);
    until("it answers", async || asking.status().await.ok()).await;
    assert_eq!(check(&blank, "").await, Ok(ServingStatus::NotServing));
    assert_eq!(check(&blank, "engram.v1.Memory").await, Ok(ServingStatus::NotServing));
    assert_eq!(check(&blank, "engram.v1.Cluster").await, Ok(ServingStatus::Serving));
    assert_eq!(check(&blank, "engram.v1.Nothing").await, Err(Code::NotFound));
    asking.init(vec![blank.address()]).await.expect("a cluster of one");
    for service in ["", "engram.v1.Memory", "engram.v1.Spaces"] {
        let serves = async || (check(&blank, service).await == Ok(ServingStatus::Serving)).then_some(());
        until("it serves", serves).await;
    }
    blank.stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_lists_the_public_services_and_describes_them() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, _) = cluster(1, dir.path()).await;
    let node = nodes.remove(0);
    let answer = reflect(&node, MessageRequest::ListServices(String::new())).await;
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else { panic!("{answer:?}") };
    let names: BTreeSet<String> = list.service.into_iter().map(|service| service.name).collect();
    for name in ["engram.v1.Memory", "engram.v1.Spaces", "engram.v1.Cluster", "grpc.health.v1.Health"] {
        assert!(names.contains(name), "{names:?}");
    }
    assert!(!names.iter().any(|name| name.contains("peer") || name.contains("log")), "{names:?}");
    let answer = reflect(&node, MessageRequest::FileContainingSymbol("engram.v1.Memory.ObserveStream".into())).await;
    assert!(matches!(answer.message_response, Some(MessageResponse::FileDescriptorResponse(_))), "{answer:?}");
    node.stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_majority_stops_being_ready_and_is_again_with_one() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, asking) = cluster(3, dir.path()).await;
    let last = nodes.pop().expect("three");
    let mut configs = Vec::new();
    for node in nodes {
        configs.push(node.config.clone());
        node.stop().await.expect("stops well");
    }
    let not_serving = async || (check(&last, "").await == Ok(ServingStatus::NotServing)).then_some(());
    until("it gets no traffic", not_serving).await;
    let on = asking.on(&last.config.listen);
    let reason = on.status().await.expect("it answers").not_ready_reason;
    assert!(reason.contains("no leader") || reason.contains("no majority has confirmed"), "{reason}");
    let back: Vec<Running> = configs.into_iter().map(|config| Running::start(env(), config)).collect();
    ready(&asking, &last).await;
    for node in back.into_iter().chain([last]) {
        node.stop().await.expect("stops well");
    }
}
