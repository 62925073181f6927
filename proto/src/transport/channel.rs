//! A lazily (re)connected HTTP/2 connection that generated gRPC clients use as their service.
//!
//! One caller dials, the others wait for it. A closed connection is dialled again by the next call.

use super::{
    CONNECTION_WINDOW_BYTES, Exec, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT, STREAM_WINDOW_BYTES, World, timeout,
};
use futures_util::{future::BoxFuture, lock::Mutex};
use hyper::client::conn::http2::{Builder, SendRequest};
use std::{io, sync::Arc, task::Poll, time::Duration};
use tonic::body::Body;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Cheap to clone; all clones share one connection.
#[derive(Clone)]
pub struct Channel(Arc<Shared>);

struct Shared {
    world: Arc<dyn World>,
    address: String,
    connect_timeout: Duration,
    connection: Mutex<Option<SendRequest<Body>>>,
}

impl Channel {
    /// A channel to `host:port`; nothing is dialled before the first call.
    pub fn new(world: Arc<dyn World>, address: impl Into<String>, connect_timeout: Duration) -> Self {
        let address = address.into();
        Self(Arc::new(Shared { world, address, connect_timeout, connection: Mutex::default() }))
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.0.address
    }

    /// The origin for a generated client's `with_origin`.
    pub fn origin(&self) -> http::Uri {
        let uri = format!("http://{}", self.0.address).parse();
        // An address that is no authority fails at connect, with its own message.
        uri.unwrap_or_else(|_| http::Uri::from_static("http://invalid"))
    }

    /// Forgets the connection, after a time-out: a simulated TCP may never tell that it is dead.
    pub async fn reset(&self) {
        *self.0.connection.lock().await = None;
    }

    async fn connection(&self) -> Result<SendRequest<Body>, BoxError> {
        let shared = &self.0;
        let mut connection = shared.connection.lock().await;
        if let Some(open) = connection.as_ref()
            && !open.is_closed()
        {
            return Ok(open.clone());
        }
        let dial = async {
            let io = shared.world.connect(shared.address.clone()).await?;
            let handshake = Builder::new(Exec(shared.world.clone()))
                .timer(shared.world.timer())
                .keep_alive_interval(KEEP_ALIVE_INTERVAL)
                .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .handshake(io)
                .await?;
            Ok::<_, BoxError>(handshake)
        };
        let dialled = timeout(&*shared.world, shared.connect_timeout, dial).await;
        let (sender, driver) = dialled.unwrap_or_else(|| {
            let after = shared.connect_timeout;
            let text = format!("no connection to {} within {after:?}", shared.address);
            Err(io::Error::new(io::ErrorKind::TimedOut, text).into())
        })?;
        // The driver's error reaches the callers through their own calls.
        shared.world.spawn("http-client", Box::pin(async move { drop(driver.await) }));
        *connection = Some(sender.clone());
        Ok(sender)
    }
}

impl tower_service::Service<http::Request<Body>> for Channel {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let mut sender = this.connection().await?;
            sender.ready().await?;
            Ok(sender.send_request(request).await?)
        })
    }
}
