//! A traced observation and a traced recall, as a collector of OpenTelemetry is told of them by three nodes.

use crate::common::{Running, SPACE, cluster_of, config, note, scrape, until};
use crate::ws_client::{Said, handshake};
use engram_client::{Level, ObserveOptions, Recall};
use engram_proto::transport::{Routes, serve_connection};
use engram_proto::wire::otlp::trace_service_server::{TraceService, TraceServiceServer};
use engram_proto::wire::otlp::{
    AnyValue, ExportTraceServiceRequest, ExportTraceServiceResponse, KeyValue, Span, any_value, span, status,
};
use engram_proto::wire::v1::{OpenSession, RecallRequest, ResumeSession, observe_request, observe_response};
use hyper_util::rt::TokioIo;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use tonic::{Request, Response, Status};

const TRACE: [u8; 16] =
    [0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36];
const CALLER: [u8; 8] = [0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7];
const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const NOT_SAMPLED: &str = "00-5bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

/// What came, by node.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(String, Span)>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut all = self.0.lock().expect("whole");
        for spans in request.into_inner().resource_spans {
            let resource = spans.resource.expect("a resource").attributes;
            assert_eq!(text(&resource, "service.name"), "engram");
            let node = text(&resource, "service.instance.id");
            let scopes = spans.scope_spans.into_iter().flat_map(|scope| scope.spans);
            all.extend(scopes.map(|span| (node.clone(), span)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key).and_then(|found| found.value.clone());
    match found {
        Some(AnyValue { value: Some(any_value::Value::StringValue(text)) }) => text,
        Some(AnyValue { value: Some(any_value::Value::IntValue(number)) }) => number.to_string(),
        _ => panic!("no {key} in {attributes:?}"),
    }
}

/// Listens; its address.
async fn collect(collector: Collector) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let world = Arc::new(engram_client::Tcp::current().expect("a runtime"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let routes = Routes::new(TraceServiceServer::new(collector.clone()));
            let served = serve_connection(world.clone(), Box::new(TokioIo::new(stream)), routes);
            tokio::spawn(async move { drop(served.await) });
        }
    });
    address
}

fn nodes_of(spans: &[(String, Span)], name: &str) -> BTreeSet<String> {
    spans.iter().filter(|(_, span)| span.name == name).map(|(node, _)| node.clone()).collect()
}

async fn stop(nodes: Vec<Running>) {
    for node in nodes {
        node.stop().await.expect("stops well");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_crosses_client_edge_log_and_index_on_every_node() {
    let (dir, collector) = (tempfile::tempdir().expect("temporary"), Collector::default());
    let endpoint = format!("http://{}", collect(collector.clone()).await);
    let configs = (1..=3).map(|node| {
        let mut config = config(node, dir.path());
        config.telemetry.otlp_endpoint = endpoint.clone();
        config
    });
    let (nodes, client) = cluster_of(configs).await;
    let leader = client.status().await.expect("answers").leader.expect("known");
    let follower = nodes.iter().find(|node| node.config.node_id != leader).expect("two of them");
    let on = client.on(&follower.config.listen);
    for (trace, rows) in [(SAMPLED, 600), (NOT_SAMPLED, 500)] {
        let traced = on.traced(trace).expect("a header's value");
        let observer = traced.observe(SPACE, ObserveOptions::default()).await.expect("opened");
        for row in 0..rows {
            observer.push(note(&format!("{trace} {row}"))).await.expect("taken");
        }
        observer.finish().await.expect("acked");
        let recall = Recall { level: Level::Linearizable, ..Recall::new(SPACE, vec![0.6, 0.8], 3) };
        traced.recall(recall).await.expect("recalled");
        traced.recall(Recall::new("nowhere", vec![0.6, 0.8], 3)).await.expect_err("no such space");
    }
    let spans = until("every node has told its part", async || {
        let spans = collector.0.lock().expect("whole").clone();
        let all = ["apply", "index"].iter().all(|name| nodes_of(&spans, name).len() == 3);
        (all && nodes_of(&spans, "recall").len() == 1).then_some(spans)
    })
    .await;
    let by_id: BTreeMap<Vec<u8>, &(String, Span)> = spans.iter().map(|one| (one.1.span_id.to_vec(), one)).collect();
    assert_eq!(by_id.len(), spans.len(), "ids are given once");
    let here = BTreeSet::from([follower.config.node_id.to_string()]);
    for name in ["observe", "log", "recall"] {
        assert_eq!(nodes_of(&spans, name), here, "{name}");
    }
    for (node, span) in &spans {
        assert_eq!(span.trace_id[..], TRACE, "what is not sampled has no spans");
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{span:?}");
        let parent = by_id.get(&span.parent_span_id.to_vec());
        match span.name.as_str() {
            "observe" | "recall" => {
                assert_eq!((&span.parent_span_id[..], span.kind()), (&CALLER[..], span::Kind::Server));
            }
            // Of another node, perhaps.
            "log" | "apply" => assert_eq!(parent.expect("sent").1.name, "observe"),
            "index" => assert_eq!(parent.map(|(of, span)| (of, span.name.as_str())), Some((node, "apply"))),
            other => panic!("{other}"),
        }
    }
    let rows: u64 = spans
        .iter()
        .filter(|(_, span)| span.name == "observe")
        .map(|(_, span)| {
            assert_eq!(span.status, None);
            text(&span.attributes, "engram.rows").parse::<u64>().expect("a number")
        })
        .sum();
    assert_eq!(rows, 600);
    let recalls: BTreeMap<String, Option<i32>> = spans
        .iter()
        .filter(|(_, span)| span.name == "recall")
        .map(|(_, span)| (text(&span.attributes, "engram.space"), span.status.as_ref().map(|status| status.code)))
        .collect();
    let failed = Some(status::Code::Error.into());
    assert_eq!(recalls, BTreeMap::from([(SPACE.to_string(), None), ("nowhere".into(), failed)]));
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_names_traces_in_its_header_or_in_its_messages() {
    const HEADER: &str = "00-6bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let (dir, collector) = (tempfile::tempdir().expect("temporary"), Collector::default());
    let mut config = config(1, dir.path());
    config.telemetry.otlp_endpoint = collect(collector.clone()).await;
    let (nodes, _) = cluster_of(std::iter::once(config)).await;
    let address = nodes[0].config.listen.as_str();
    let cue: bytes::Bytes = [0.6f32, 0.8].iter().flat_map(|v| v.to_le_bytes()).collect();
    let recall = |k, traceparent: &str| {
        let (space, cue, traceparent) = (SPACE.into(), cue.clone(), traceparent.into());
        RecallRequest { space, cue, k, traceparent, ..RecallRequest::default() }
    };
    for (header, message) in [(NOT_SAMPLED, SAMPLED), (HEADER, "")] {
        let (mut ws, _) = handshake(address, &[("traceparent", header)]).await.expect("upgraded");
        let open = OpenSession { space: SPACE.into(), traceparent: message.into(), ..OpenSession::default() };
        ws.observe(observe_request::Message::Open(open)).await;
        let Said::Observe(observe_response::Message::Opened(opened)) = ws.next().await else { panic!("not opened") };
        ws.batch(1, vec![note("traced")]).await;
        ws.acked(1).await;
        ws.recall(recall(1, message)).await;
        ws.recall(recall(2, NOT_SAMPLED)).await;
        let mut ws = handshake(address, &[("traceparent", header)]).await.expect("upgraded").0;
        let (session, incarnation) = (opened.session, opened.incarnation);
        let resume = ResumeSession { session, incarnation, traceparent: message.into(), ..ResumeSession::default() };
        ws.observe(observe_request::Message::Resume(resume)).await;
        ws.batch(2, vec![note("traced again")]).await;
        while !matches!(ws.next().await, Said::Observe(observe_response::Message::Ack(ack)) if ack.last_sequence == 2) {
        }
    }
    let told = until("both streams are told of", async || {
        let spans = collector.0.lock().expect("whole").clone();
        let named = |name: &str| spans.iter().filter(|(_, span)| span.name == name).cloned().collect::<Vec<_>>();
        let told = [named("observe"), named("recall")].concat();
        (told.len() == 6).then_some(told)
    })
    .await;
    let of =
        |first: u8, name: &str| told.iter().filter(|(_, span)| span.trace_id[0] == first && span.name == name).count();
    assert_eq!([of(0x4b, "observe"), of(0x4b, "recall"), of(0x6b, "observe"), of(0x6b, "recall")], [2, 1, 2, 1]);
    let recalls = told.iter().filter(|(_, span)| span.name == "recall");
    assert!(recalls.into_iter().all(|(_, span)| text(&span.attributes, "engram.k") == "1"), "{told:?}");
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_costs_spans_and_nothing_else() {
    let dir = tempfile::tempdir().expect("temporary");
    let mut config = config(1, dir.path());
    config.telemetry.otlp_endpoint = crate::common::free_addresses(1).remove(0);
    let (nodes, client) = cluster_of(std::iter::once(config)).await;
    let traced = client.traced(SAMPLED).expect("a header's value");
    traced.recall(Recall::new(SPACE, vec![0.6, 0.8], 3)).await.expect("recalled");
    until("the span is counted as dropped", async || {
        let page = scrape(&nodes[0].config.listen).await;
        page.contains("engram_spans_total{outcome=\"dropped\"} 1").then_some(())
    })
    .await;
    stop(nodes).await;
}
