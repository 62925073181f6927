//! A lazily (re)connected HTTP/2 connection that generated gRPC clients use as their service.
//!
//! One caller dials, the others wait for it, and go on with the same dial when the first has given up: else callers with less
//! time than a connection takes would never have one. A closed connection is dialled again by the next call.

use super::{
    CONNECTION_WINDOW_BYTES, Exec, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT, STREAM_WINDOW_BYTES, TRACEPARENT, World,
    timeout,
};
use futures_util::{FutureExt, future::BoxFuture, future::Shared as SharedFuture};
use hyper::client::conn::http2::{Builder, SendRequest};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{io, task::Poll, time::Duration};
use tonic::body::Body;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// One dial, by all who wait for it; once it has ended, the connection, or what went wrong.
type Dial = SharedFuture<BoxFuture<'static, Result<SendRequest<Body>, (io::ErrorKind, Arc<str>)>>>;

/// Cheap to clone; all clones share one connection.
#[derive(Clone)]
pub struct Channel {
    shared: Arc<Shared>,
    trace: Option<http::HeaderValue>,
}

struct Shared {
    world: Arc<dyn World>,
    address: String,
    connect_timeout: Duration,
    dial: Mutex<Option<Dial>>,
}

impl Channel {
    /// A channel to `host:port`; nothing is dialled before the first call.
    pub fn new(world: Arc<dyn World>, address: impl Into<String>, connect_timeout: Duration) -> Self {
        let address = address.into();
        let shared = Shared { world, address, connect_timeout, dial: Mutex::default() };
        Self { shared: Arc::new(shared), trace: None }
    }

    /// The same connection, for calls of this trace; the value is W3C's `traceparent`.
    pub fn traced(self, traceparent: Option<http::HeaderValue>) -> Self {
        Self { trace: traceparent, ..self }
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// The origin for a generated client's `with_origin`.
    pub fn origin(&self) -> http::Uri {
        let uri = format!("http://{}", self.shared.address).parse();
        // An address that is no authority fails at connect, with its own message.
        uri.unwrap_or_else(|_| http::Uri::from_static("http://invalid"))
    }

    /// Forgets the connection, after a time-out: a simulated TCP may never tell that it is dead.
    pub fn reset(&self) {
        *self.dial() = None;
    }

    /// Makes sure that there is a connection, within the channel's own time-out. Cancel: the dial is there for the next caller.
    pub async fn connect(&self) -> io::Result<()> {
        self.connection().await.map(drop)
    }

    fn dial(&self) -> MutexGuard<'_, Option<Dial>> {
        self.shared.dial.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connection(&self) -> io::Result<SendRequest<Body>> {
        let dial = {
            let mut dial = self.dial();
            let open = |ended: &Result<SendRequest<Body>, _>| ended.as_ref().is_ok_and(|open| !open.is_closed());
            let current = dial.as_ref().filter(|dial| dial.peek().is_none_or(open));
            match current.cloned() {
                Some(current) => current,
                None => dial.insert(self.shared.dialled().boxed().shared()).clone(),
            }
        };
        dial.await.map_err(|(kind, text)| io::Error::new(kind, &*text))
    }
}

impl Shared {
    fn dialled(&self) -> impl Future<Output = Result<SendRequest<Body>, (io::ErrorKind, Arc<str>)>> + use<> {
        let (world, address, limit) = (self.world.clone(), self.address.clone(), self.connect_timeout);
        async move {
            let dial = async {
                let io = world.connect(address.clone()).await?;
                let handshake = Builder::new(Exec(world.clone()))
                    .timer(world.timer())
                    .keep_alive_interval(KEEP_ALIVE_INTERVAL)
                    .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
                    .initial_stream_window_size(STREAM_WINDOW_BYTES)
                    .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                    .handshake(io);
                handshake.await.map_err(io::Error::other)
            };
            match timeout(&*world, limit, dial).await {
                Some(Ok((sender, driver))) => {
                    // The driver's error reaches the callers through their own calls.
                    world.spawn("http-client", Box::pin(async move { drop(driver.await) }));
                    Ok(sender)
                }
                Some(Err(e)) => Err((e.kind(), format!("no connection to {address}: {e}").into())),
                None => Err((io::ErrorKind::TimedOut, format!("no connection to {address} within {limit:?}").into())),
            }
        }
    }
}

impl tower_service::Service<http::Request<Body>> for Channel {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let this = self.clone();
        if let Some(trace) = &self.trace {
            request.headers_mut().insert(TRACEPARENT, trace.clone());
        }
        Box::pin(async move {
            let mut sender = this.connection().await?;
            sender.ready().await?;
            Ok(sender.send_request(request).await?)
        })
    }
}
