//! The client itself: a world, a seed and some endpoints. Calls are in `admin`, `recall`, `list` and `observe`.

use crate::pool::{Pool, ReadToken};
use crate::route::{Purpose, Route};
use crate::{Error, Timing};
use engram_proto::limits;
use engram_proto::transport::{Channel, TraceParent, World};
use engram_proto::wire::v1::memory_client::MemoryClient;
use http::HeaderValue;
use std::sync::Arc;

/// A client of one cluster. Cheap to clone; clones share connections and the read token.
#[derive(Clone)]
pub struct Client {
    pub(crate) pool: Arc<Pool>,
    pin: Option<Arc<str>>,
    trace: Option<HeaderValue>,
}

impl Client {
    /// A client in a given world. `endpoints` are `host:port`; nothing is dialled yet. `seed` feeds jitter and the
    /// choice of the first node. Errors: `Invalid` when there is no endpoint or one is no address.
    pub fn new(world: Arc<dyn World>, seed: u64, endpoints: Vec<String>) -> Result<Self, Error> {
        Ok(Self { pool: Arc::new(Pool::new(world, Timing::default(), seed, endpoints)?), pin: None, trace: None })
    }

    /// A client over TCP in the calling task's tokio runtime, with a seed from the operating system. Nothing is
    /// dialled yet. Errors: `Invalid` as in [`Client::new`], and outside a tokio runtime.
    #[cfg(feature = "tcp")]
    pub fn connect(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, Error> {
        let world = crate::Tcp::current()?;
        Self::new(Arc::new(world), rand::random(), endpoints.into_iter().map(Into::into).collect())
    }

    /// A client with other waits; it shares neither connections nor the token with this one.
    pub fn with_timing(&self, timing: Timing) -> Self {
        Self { pool: Arc::new(self.pool.with_timing(timing)), ..self.clone() }
    }

    /// The same client, for one node only: it neither follows hints nor tries another endpoint. For reading from a
    /// certain follower, or asking a node for its status.
    pub fn on(&self, endpoint: &str) -> Self {
        Self { pin: Some(endpoint.into()), ..self.clone() }
    }

    /// The same client, whose calls belong to a trace: nodes that send spans to a collector add theirs to it, from the edge
    /// to the index. `traceparent` is W3C's, as `00-<trace id>-<span id>-01`; a stream keeps the one that it was begun with.
    /// Errors: `Invalid` when it is not as W3C says.
    pub fn traced(&self, traceparent: &str) -> Result<Self, Error> {
        let value = TraceParent::parse(traceparent).and_then(|_| HeaderValue::from_str(traceparent).ok());
        let bad =
            || Error::invalid(format!("traceparent {traceparent:?}: write 00-<32 hex digits>-<16 hex digits>-01"));
        Ok(Self { trace: Some(value.ok_or_else(bad)?), ..self.clone() })
    }

    /// The endpoints it was made with.
    pub fn endpoints(&self) -> &[String] {
        &self.pool.endpoints
    }

    /// What [`Level::Session`](crate::Level::Session) waits for: the highest log index that was acked to this client or
    /// its observers, or that one of its reads was answered at.
    pub fn token(&self) -> ReadToken {
        self.pool.token()
    }

    /// Takes over a token of another client: its writes become visible to this one's session reads.
    pub fn adopt(&self, token: ReadToken) {
        self.pool.raise(token);
    }

    pub(crate) fn route(&self, purpose: Purpose) -> Route {
        Route::new(self.pool.clone(), self.pin.clone(), self.trace.clone(), purpose)
    }
}

/// The stub for streams over a channel.
pub(crate) fn memory(channel: &Channel) -> MemoryClient<Channel> {
    let origin = channel.origin();
    MemoryClient::with_origin(channel.clone(), origin).max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
}
