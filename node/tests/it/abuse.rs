//! Clients that take more than they should: what is held for them is bounded, and others are served meanwhile.

use crate::common::{Raw, SPACE, Said, cluster, note, rows};
use engram_client::Kind;
use engram_proto::Error;
use engram_proto::transport::{Channel, STREAMS_MAX};
use engram_proto::wire::v1::memory_client::MemoryClient;
use engram_proto::wire::v1::{
    FieldValues, Filter, FilterList, ObserveRequest, OpenSession, RecallRequest, Value, filter, observe_request, value,
};
use futures_util::StreamExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn memory(address: &str) -> MemoryClient<Channel> {
    let world = Arc::new(engram_client::Tcp::current().expect("a runtime"));
    let channel = Channel::new(world, address, Duration::from_secs(2));
    MemoryClient::with_origin(channel.clone(), channel.origin())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_opened_and_left_hold_nobody_up_and_more_must_wait() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, client) = cluster(1, dir.path()).await;
    let node = nodes.remove(0);
    let greedy = memory(&node.config.listen);
    let mut streams = Vec::new();
    for number in 0..STREAMS_MAX {
        // Half of them with a session, half without a word.
        let open = OpenSession { space: SPACE.into(), ..OpenSession::default() };
        let first = ObserveRequest { message: Some(observe_request::Message::Open(open)) };
        let first = futures_util::stream::iter((number % 2 == 0).then_some(first));
        let requests = first.chain(futures_util::stream::pending());
        streams.push(greedy.clone().observe_stream(requests).await.expect("begins").into_inner());
    }
    // One more on this connection waits; it is not begun.
    let mut again = greedy.clone();
    let more = again.observe_stream(futures_util::stream::pending());
    assert!(tokio::time::timeout(Duration::from_millis(500), more).await.is_err(), "over {STREAMS_MAX} streams");
    let mut raw = Raw::open(&node.config.listen, SPACE).await.expect("others are served");
    assert!(matches!(raw.ask(1, vec![note("meanwhile")]).await.expect("acked"), Said::Ack(_)));
    // Those without a word are told so, and end.
    let mut silent = streams.swap_remove(1);
    let status =
        tokio::time::timeout(Duration::from_secs(15), silent.message()).await.expect("in time").expect_err("ended");
    let error = Error::from_status(&status);
    assert!(error.kind() == Kind::Invalid && error.to_string().contains("within 10 s"), "{error}");
    drop(streams);
    assert_eq!(rows(&client).await.len(), 1);
    node.stop().await.expect("stops well");
}

/// A question of about 160 KB that lets every row pass.
fn long_question(number: u64) -> RecallRequest {
    let text = |length| Value { kind: Some(value::Kind::Text("x".repeat(length))) };
    let never = || filter::Kind::OneOf(FieldValues { key: "absent".into(), values: vec![text(16_000)] });
    let not = || Filter { kind: Some(filter::Kind::Not(Box::new(Filter { kind: Some(never()) }))) };
    let all = filter::Kind::All(FilterList { filters: (0..10).map(|_| not()).collect() });
    let cue = [0.6f32, 0.8].iter().flat_map(|v| v.to_le_bytes()).collect();
    let filter = Some(Filter { kind: Some(all) });
    RecallRequest { request_id: number, space: SPACE.into(), cue, k: 100, filter, ..RecallRequest::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grpc_client_that_never_reads_is_not_read_either() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, _client) = cluster(1, dir.path()).await;
    let node = nodes.remove(0);
    let mut raw = Raw::open(&node.config.listen, SPACE).await.expect("opened");
    let long = "x".repeat(60_000);
    for at in 0..10 {
        raw.ask(at * 10 + 1, vec![note(&long); 10]).await.expect("acked");
    }
    // Each answer is six megabytes; the client takes none of them.
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let questions = futures_util::stream::iter(0..1000).map(move |number| {
        counter.fetch_add(1, Ordering::Relaxed);
        long_question(number)
    });
    let deaf = memory(&node.config.listen).recall_stream(questions).await.expect("begins");
    let mut before = usize::MAX;
    let taken = crate::common::until("no further question is taken", async || {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = asked.load(Ordering::Relaxed);
        let same = now == before;
        before = now;
        same.then_some(now)
    })
    .await;
    // The windows of one stream hold 4 MiB of questions; the outbox 64 pages of answers, ten of each.
    assert!((1..64).contains(&taken), "{taken} of 1000 questions were taken");
    let said = raw.ask(101, vec![note("others are served")]).await.expect("acked");
    assert!(matches!(said, Said::Ack(_)), "{said:?}");
    drop(deaf);
    node.stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_says_nothing_is_closed_while_others_are_served() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, client) = cluster(1, dir.path()).await;
    let node = nodes.remove(0);
    let mut held = Vec::new();
    for begin in [&b""[..], b"PRI * HT", b"GET /v1/stream HTTP/1.1\r\nhost:"] {
        let mut socket = TcpStream::connect(&node.config.listen).await.expect("connected");
        socket.write_all(begin).await.expect("sent");
        held.push(socket);
    }
    assert!(client.list_spaces().await.is_ok());
    for mut socket in held {
        let mut bytes = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(15), socket.read_to_end(&mut bytes)).await;
        // However it says so: with an answer, an end, or a reset.
        drop(closed.expect("closed within 15 s"));
    }
    node.stop().await.expect("stops well");
}
