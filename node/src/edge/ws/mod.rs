//! `/v1/stream`: a memory stream over a WebSocket, on the clients' port.
//!
//! The handshake is checked here; then the connection's bytes become the same stream of requests that gRPC's handler
//! takes, and its answers become frames ([`link`]). There is no second implementation of a stream.
//!
//! Leaves out: HTTP/2 (RFC 8441), compression, TLS.

pub(super) mod close;
mod link;
mod origin;

use crate::env::Rt;
use crate::node::Node;
use crate::run::Slot;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router, routing::any};
use hyper::upgrade::OnUpgrade;
use openraft::AsyncRuntime;
use std::sync::Arc;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Where it is.
const PATH: &str = "/v1/stream";
/// The sub-protocol: the package of the messages. A client that offers none means this one.
const PROTOCOL: &str = "engram.v1";

/// The route.
pub fn routes(node: Arc<Node>) -> Router {
    Router::new().route(PATH, any(enter)).with_state(node)
}

/// Why there is no WebSocket: before the upgrade, so HTTP says it.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let version = [(header::SEC_WEBSOCKET_VERSION, "13")];
        (self.0, version, format!("{}\n", self.1)).into_response()
    }
}

/// What both sides agreed on.
struct Agreed {
    accept: String,
    protocol: Option<HeaderValue>,
    /// The client offered versions, and not this one.
    unsupported: Option<String>,
}

async fn enter(
    State(node): State<Arc<Node>>,
    Extension(slot): Extension<Slot>,
    mut request: Request,
) -> Result<Response, Refusal> {
    let agreed = agree(&node, &request)?;
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let upgrade = upgrade.ok_or_else(|| bad("this connection cannot be upgraded; connect by HTTP/1.1"))?;
    let (unsupported, caller) = (agreed.unsupported, node.spans.caller(request.headers()));
    let task = async move {
        // The client may be gone before it read the answer.
        if let Ok(io) = upgrade.await {
            link::run(node, caller, io, unsupported.map(|offered| close::Close::unsupported(&offered, PROTOCOL))).await;
        }
        drop(slot);
    };
    drop(Rt::spawn(task));
    let accept = [
        (header::CONNECTION, HeaderValue::from_static("Upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_ACCEPT, HeaderValue::try_from(agreed.accept).expect("base64 is a header value")),
    ];
    let mut response = (StatusCode::SWITCHING_PROTOCOLS, accept).into_response();
    if let Some(protocol) = agreed.protocol {
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    Ok(response)
}

fn bad(text: &str) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, text.into())
}

fn agree(node: &Node, request: &Request) -> Result<Agreed, Refusal> {
    let headers = request.headers();
    if request.version() != Version::HTTP_11 || request.method() != Method::GET {
        return Err(bad("a WebSocket begins with GET by HTTP/1.1"));
    }
    if !has_token(headers, &header::CONNECTION, "upgrade") || !has_token(headers, &header::UPGRADE, "websocket") {
        return Err(Refusal(StatusCode::UPGRADE_REQUIRED, format!("{PATH} is a WebSocket; ask for the upgrade")));
    }
    if text(headers, &header::SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(Refusal(StatusCode::UPGRADE_REQUIRED, "this node speaks version 13 of WebSocket".into()));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24);
    let key = key.ok_or_else(|| bad("Sec-WebSocket-Key is missing, or not 16 bytes in base64"))?;
    if let Some(origin) = headers.get(header::ORIGIN) {
        let (origin, host) = (origin.to_str().unwrap_or("unreadable"), text(headers, &header::HOST));
        if !origin::may_enter(origin, host, &node.config.allowed_origins) {
            let text = format!("pages of {origin:?} may not connect to node {}; see its allowed_origins", node.id);
            return Err(Refusal(StatusCode::FORBIDDEN, text));
        }
    }
    let offered: Vec<&str> = tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL).collect();
    let known = offered.is_empty() || offered.contains(&PROTOCOL);
    // A browser that is answered with none of its offers only says that the connection failed. So an unknown version
    // is accepted by its own name, and the close frame says what is wrong.
    let chosen = if known { offered.iter().find(|offer| **offer == PROTOCOL) } else { offered.first() };
    Ok(Agreed {
        accept: derive_accept_key(key.as_bytes()),
        protocol: chosen.and_then(|chosen| HeaderValue::from_str(chosen).ok()),
        unsupported: (!known).then(|| offered.join(", ")),
    })
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

fn has_token(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
}
