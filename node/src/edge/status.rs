//! Probes and metrics over HTTP, on the clients' port.
//!
//! `/livez`: the process runs. `/readyz`: it should get traffic, or why not. `/metrics`: Prometheus text.

use crate::metrics::render;
use crate::node::Node;
use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use std::sync::Arc;

/// The routes.
pub fn routes(node: Arc<Node>) -> Router {
    let ready = |State(node): State<Arc<Node>>| async move {
        match node.not_ready() {
            None => (StatusCode::OK, "ready\n".to_string()),
            Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        }
    };
    let metrics = |State(node): State<Arc<Node>>| async move {
        ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], render(&node)).into_response()
    };
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(node)
}
