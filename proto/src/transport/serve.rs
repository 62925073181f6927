//! The server's side of one connection: HTTP/2 for gRPC, HTTP/1 for probes, metrics and WebSockets, on one port.

use super::opening::Opening;
use super::{
    BoxIo, CONNECTION_WINDOW_BYTES, Exec, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT, STREAM_WINDOW_BYTES, World,
};
use futures_util::future::{Either, select};
use hyper_util::{server::conn::auto, service::TowerToHyperService};
use std::{pin::pin, sync::Arc, sync::atomic::Ordering, time::Duration};

/// What is served: tonic's services, or an axum router with them and more.
pub type Routes = tonic::service::Routes;

/// Concurrent requests of one HTTP/2 connection.
pub const STREAMS_MAX: u32 = 1024;
/// A client that has not said by then which HTTP it speaks, or does not finish an HTTP/1 header, is dropped.
pub const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves one connection to its end, or until a WebSocket takes it over. Cancel safe: dropping the future drops the
/// connection.
/// The error is the peer's or the network's: worth a debug line, no more.
pub async fn serve_connection<S, B>(world: Arc<dyn World>, io: BoxIo, service: S) -> Result<(), String>
where
    S: tower_service::Service<
            http::Request<hyper::body::Incoming>,
            Response = http::Response<B>,
            Error = std::convert::Infallible,
        > + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut builder = auto::Builder::new(Exec(world.clone()));
    // A date header would carry the wall clock into every simulated response.
    builder.http1().auto_date_header(false).timer(world.timer()).header_read_timeout(HEADER_READ_TIMEOUT);
    builder
        .http2()
        .auto_date_header(false)
        .timer(world.timer())
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    let (io, decided) = Opening::watch(io);
    let serving = pin!(builder.serve_connection_with_upgrades(io, TowerToHyperService::new(service)));
    let ended = match select(serving, world.sleep(HEADER_READ_TIMEOUT)).await {
        Either::Left((ended, _)) => ended,
        Either::Right(((), _)) if !decided.load(Ordering::Relaxed) => {
            return Err(format!("neither HTTP/1 nor HTTP/2 within {HEADER_READ_TIMEOUT:?}"));
        }
        Either::Right(((), serving)) => serving.await,
    };
    ended.map_err(|e| e.to_string())
}
