//! gRPC's own health protocol and server reflection, on the clients' port.
//!
//! What `/readyz` says, for load balancers and probes that speak gRPC. The cluster's service is always there: a node in no
//! cluster is made a member by it.

use crate::node::Node;
use engram_proto::transport::Routes;
use engram_proto::wire::DESCRIPTORS;
use std::sync::Arc;
use std::time::Duration;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// Between two looks at whether the node is ready.
const ROUND: Duration = Duration::from_millis(200);
/// The server as a whole, and the services that serve while it is ready.
const BY_READINESS: [&str; 3] = ["", "engram.v1.Memory", "engram.v1.Spaces"];
const ALWAYS: &str = "engram.v1.Cluster";

/// Adds both; the reporter keeps health true. Fails only if this build's own descriptors are broken.
pub fn add(routes: Routes) -> Result<(Routes, HealthReporter), String> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1();
    let reflection = reflection.map_err(|e| format!("reflection: {e}"))?;
    Ok((routes.add_service(health).add_service(reflection), reporter))
}

/// Runs until the node stops.
pub async fn run(node: Arc<Node>, reporter: HealthReporter) {
    reporter.set_service_status(ALWAYS, ServingStatus::Serving).await;
    let mut told = None;
    loop {
        let ready = node.not_ready().is_none();
        if told != Some(ready) {
            let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
            for service in BY_READINESS {
                reporter.set_service_status(service, status).await;
            }
            told = Some(ready);
        }
        node.env.clock.sleep(ROUND).await;
    }
}
