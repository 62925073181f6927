//! Spans to a collector, by OTLP over gRPC.
//!
//! Once a second what waits is sent. A collector that does not take it loses those spans: they are counted, one line in
//! the log says so, and one says when it takes them again.

use super::{Done, Shared, Value, hold};
use crate::config::is_address;
use crate::node::Node;
use engram_proto::transport::{Channel, timeout};
use engram_proto::wire::otlp::{
    self, AnyValue, ExportTraceServiceRequest, KeyValue, Resource, ResourceSpans, Scope, ScopeSpans, any_value,
    trace_service_client::TraceServiceClient,
};
use futures_util::future::{Either, select};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Spans of one request.
const REQUEST_SPANS: usize = 1024;
const PAUSE: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// `host:port` of what may stand in the configuration, with or without `http://`.
pub fn address(endpoint: &str) -> Result<&str, String> {
    let address = endpoint.strip_prefix("http://").unwrap_or(endpoint);
    let address = address.strip_suffix('/').unwrap_or(address);
    match is_address(address) && !address.contains('/') {
        true => Ok(address),
        false => Err(format!(
            "telemetry.otlp_endpoint is {endpoint:?}; write host:port of a collector's OTLP over gRPC, as 127.0.0.1:4317, or \
             leave it empty; TLS is not spoken"
        )),
    }
}

/// Runs until the node stops; what waits then is sent.
pub async fn run(node: Arc<Node>) -> Result<(), String> {
    let Some(shared) = node.spans.0.clone() else { return std::future::pending().await };
    let channel = Channel::new(node.world.clone(), address(&node.config.telemetry.otlp_endpoint)?, CONNECT_TIMEOUT);
    let exporter = Exporter { node: node.clone(), shared, channel };
    let (mut stopping, mut taken) = (node.stopping.clone(), true);
    loop {
        let stop = pin!(stopping.wait_for(|stop| *stop));
        let stops = matches!(select(stop, node.env.clock.sleep(PAUSE)).await, Either::Left(_));
        while let Some(took) = exporter.next().await {
            match (&took, taken) {
                (Err(error), true) => {
                    tracing::warn!(node = node.id, error, "spans are lost: the collector does not take them")
                }
                (Ok(()), false) => tracing::info!(node = node.id, "the collector takes spans again"),
                _ => {}
            }
            taken = took.is_ok();
            if !taken {
                break;
            }
        }
        if stops {
            return std::future::pending().await;
        }
    }
}

struct Exporter {
    node: Arc<Node>,
    shared: Arc<Shared>,
    channel: Channel,
}

impl Exporter {
    /// Sends what waits, up to one request of it; `None`: nothing did.
    async fn next(&self) -> Option<Result<(), String>> {
        let spans: Vec<Done> = {
            let mut queue = hold(&self.shared.queue);
            let count = queue.len().min(REQUEST_SPANS);
            queue.drain(..count).collect()
        };
        let count = spans.len() as u64;
        if count == 0 {
            return None;
        }
        let request = self.request(spans);
        let mut client = TraceServiceClient::with_origin(self.channel.clone(), self.channel.origin());
        let sent = match timeout(&*self.node.world, EXPORT_TIMEOUT, client.export(request)).await {
            Some(Ok(answer)) => {
                match answer.into_inner().partial_success.filter(|partial| partial.rejected_spans > 0) {
                    Some(partial) => {
                        Err(format!("{} of {count} rejected: {}", partial.rejected_spans, partial.error_message))
                    }
                    None => Ok(()),
                }
            }
            Some(Err(status)) => Err(status.message().to_string()),
            None => {
                self.channel.reset();
                Err(format!("no answer within {EXPORT_TIMEOUT:?}"))
            }
        };
        let counter = if sent.is_ok() { &self.shared.sent } else { &self.shared.dropped };
        counter.fetch_add(count, Ordering::Relaxed);
        Some(sent)
    }

    fn request(&self, spans: Vec<Done>) -> ExportTraceServiceRequest {
        let clock = &self.node.env.clock;
        // One offset for all of a request: durations stay exact, whatever the wall clock does.
        let zero = (u128::from(clock.wall_ms()) * 1_000_000).saturating_sub(clock.monotonic().as_nanos());
        let at = |time: Duration| (zero + time.as_nanos()) as u64;
        let span = |done: Done| otlp::Span {
            trace_id: done.own.trace.to_vec().into(),
            span_id: done.own.span.to_vec().into(),
            parent_span_id: done.parent.to_vec().into(),
            name: done.name.into(),
            kind: if done.server { otlp::span::Kind::Server } else { otlp::span::Kind::Internal }.into(),
            start_time_unix_nano: at(done.begun),
            end_time_unix_nano: at(done.ended),
            attributes: done.attributes.into_iter().map(|(key, value)| attribute(key, value)).collect(),
            status: done.error.map(|message| otlp::Status { message, code: otlp::status::Code::Error.into() }),
        };
        let (version, config) = (env!("CARGO_PKG_VERSION"), &self.node.config);
        let resource = vec![
            attribute("service.name", "engram"),
            attribute("service.version", version),
            attribute("service.namespace", config.cluster.as_str()),
            attribute("service.instance.id", self.node.id.to_string().as_str()),
        ];
        let scope = Some(Scope { name: "engram".into(), version: version.into() });
        let spans = ScopeSpans { scope, spans: spans.into_iter().map(span).collect() };
        let spans = ResourceSpans { resource: Some(Resource { attributes: resource }), scope_spans: vec![spans] };
        ExportTraceServiceRequest { resource_spans: vec![spans] }
    }
}

fn attribute(key: &str, value: impl Into<Value>) -> KeyValue {
    let value = match value.into() {
        Value::Text(text) => any_value::Value::StringValue(text),
        Value::Number(number) => any_value::Value::IntValue(i64::try_from(number).unwrap_or(i64::MAX)),
    };
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }) }
}
