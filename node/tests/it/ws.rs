//! WebSockets: the same streams, the same promises, and a clear end for everything that is not of the protocol.

use crate::common::{Running, SPACE, client, cluster, config, env, note, rows, texts};
use crate::process::Process;
use crate::ws_client::{Said, Ws, connect, handshake};
use engram_client::{Kind, observation};
use engram_proto::limits::MESSAGE_BYTES_MAX;
use engram_proto::wire::v1::{ErrorDetail, RecallRequest, observe_request, observe_response, recall_request};
use futures_util::{SinkExt, StreamExt};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};

fn cue(k: u32) -> RecallRequest {
    let cue = [0.6f32, 0.8].iter().flat_map(|v| v.to_le_bytes()).collect();
    let consistency = Some(recall_request::Consistency::Linearizable(engram_proto::wire::v1::Linearizable {}));
    RecallRequest { request_id: 42, space: SPACE.into(), cue, k, consistency, ..RecallRequest::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_rows_through_a_follower_are_acked_and_recalled() {
    let dir = tempfile::tempdir().expect("temporary");
    let (nodes, client) = cluster(3, dir.path()).await;
    let leader = client.on(&nodes[0].config.listen).status().await.expect("answers").leader.expect("known");
    let follower = nodes.iter().find(|node| node.config.node_id != leader).expect("two of them");
    let (mut ws, opened) = Ws::open(&follower.config.listen, SPACE).await;
    assert_eq!((opened.node, opened.dim, opened.last_sequence), (follower.config.node_id, 2, 0));
    let expected: Vec<String> = (1..=1000).map(|at| format!("row {at}")).collect();
    for (at, hundred) in expected.chunks(100).enumerate() {
        ws.batch(at as u64 * 100 + 1, hundred.iter().map(|text| note(text)).collect()).await;
    }
    ws.acked(1000).await;
    ws.batch(1001, vec![observation("away", &[-1.0, 0.0])]).await;
    ws.acked(1001).await;
    let away = [-1.0f32, 0.1].iter().flat_map(|v| v.to_le_bytes()).collect();
    let result = ws.recall(RecallRequest { cue: away, ..cue(1) }).await;
    assert_eq!((result.hits[0].text.as_str(), result.last), ("away", true));
    let snapshot = result.snapshot.expect("stated");
    assert_eq!((snapshot.rows, snapshot.node), (1001, follower.config.node_id));
    assert!(snapshot.read_index.is_some_and(|index| index <= snapshot.applied_index));
    assert_eq!(texts(&rows(&client).await)[..1000], expected);
    for node in nodes {
        node.stop().await.expect("stops well");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_connection_resumes_and_delivers_exactly_once() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, client) = cluster(1, dir.path()).await;
    let node = nodes.remove(0);
    let all: Vec<String> = (1..=600).map(|at| format!("row {at}")).collect();
    let batch = |from: usize, to: usize| all[from - 1..to].iter().map(|text| note(text)).collect::<Vec<_>>();
    let (mut ws, first) = Ws::open(&node.config.listen, SPACE).await;
    ws.batch(1, batch(1, 300)).await;
    // Gone with acks unread and half of a frame on its way.
    ws.socket.get_mut().write_all(&[0x82, 0xfe, 0x40]).await.expect("half a frame");
    drop(ws);
    let (mut ws, resumed) = Ws::resume(&node.config.listen, &first).await;
    assert_eq!((resumed.session, resumed.incarnation), (first.session, first.incarnation));
    // Everything again, as a client does that heard no ack.
    ws.batch(1, batch(1, 600)).await;
    ws.acked(600).await;
    // An older connection is told that another took its session.
    let (mut newer, _) = Ws::resume(&node.config.listen, &first).await;
    ws.batch(601, vec![note("from the old connection")]).await;
    let Said::Closed { code, reason, detail } = ws.next().await else { panic!("taken") };
    assert_eq!((code, detail.expect("said in full").kind()), (4010, Kind::Superseded), "{reason}");
    newer.batch(601, vec![note("from the new one")]).await;
    newer.acked(601).await;
    let listed = texts(&rows(&client).await);
    assert_eq!((listed.len(), &listed[..600], listed[600].as_str()), (601, &all[..], "from the new one"));
    node.stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_is_refused_and_the_stream_stays_open_until_the_node_stops() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, client) = cluster(1, dir.path()).await;
    let node = nodes.remove(0);
    let (mut ws, _) = Ws::open(&node.config.listen, SPACE).await;
    ws.batch(1, vec![note("one")]).await;
    ws.acked(1).await;
    ws.batch(5, vec![note("five")]).await;
    let Said::Observe(observe_response::Message::Refused(refused)) = ws.next().await else { panic!("taken") };
    assert_eq!((refused.sequence, refused.expected), (5, 2));
    let unknown = RecallRequest { space: "nowhere".into(), ..cue(1) };
    ws.send(engram_proto::wire::v1::memory_request::Message::Recall(unknown)).await;
    let Said::Recall(42, engram_proto::wire::v1::recall_response::Outcome::Error(error)) = ws.next().await else {
        panic!("answered")
    };
    assert_eq!(error.kind(), Kind::NotFound);
    ws.socket.send(Message::Ping(b"there?".to_vec().into())).await.expect("sent");
    let pong = ws.socket.next().await.expect("open").expect("no error");
    assert_eq!(pong, Message::Pong(b"there?".to_vec().into()));
    ws.batch(2, vec![note("two")]).await;
    ws.acked(2).await;
    assert_eq!(texts(&rows(&client).await), ["one", "two"]);
    let (told, stopped) = tokio::join!(ws.next(), node.stop());
    stopped.expect("stops well");
    let Said::Closed { code: 4014, reason, .. } = told else { panic!("{told:?}") };
    assert!(reason.starts_with("IN_DOUBT UNKNOWN: node 1 is stopping"), "{reason}");
}

/// Sends something and gives the close frame.
async fn breach(address: &str, open: bool, message: Message) -> (u16, String, ErrorDetail) {
    let mut ws = if open { Ws::open(address, SPACE).await.0 } else { connect(address).await };
    ws.socket.send(message).await.expect("sent");
    let Said::Closed { code, reason, detail } = ws.next().await else { panic!("still open") };
    (code, reason, detail.expect("said in full"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_message_closes_the_stream_with_a_code_and_a_reason_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, client) = cluster(1, dir.path()).await;
    let node = nodes.remove(0);
    let address = node.config.listen.as_str();
    let large = || Message::Binary(vec![0; MESSAGE_BYTES_MAX + 1].into());
    let garbage = || Message::Binary(vec![0xff; 40].into());
    let empty = || Message::Binary(Vec::new().into());
    // A field that this version does not know is no kind of message; it is skipped, and nothing is left.
    let newer = || Message::Binary(vec![0xfa, 0x01, 0x01, 0x00].into());
    for open in [false, true] {
        let cases: [(Message, u16, Kind, &str); 5] = [
            (Message::text("hello"), 1003, Kind::Invalid, "text frame"),
            (garbage(), 1007, Kind::Invalid, "cannot be read"),
            (large(), 1009, Kind::Invalid, "too large: the limit is 16777216 bytes"),
            (empty(), 4012, Kind::Unsupported, "not known to this version"),
            (newer(), 4012, Kind::Unsupported, "not known to this version"),
        ];
        for (message, code, kind, word) in cases {
            let (closed, reason, detail) = breach(address, open, message).await;
            assert_eq!((closed, detail.kind()), (code, kind), "{reason}");
            assert!(detail.message.contains(word) && reason.len() <= 123, "{word:?} not in: {detail:?}");
        }
    }
    let batch = |first_sequence, space: &str| {
        let message = match space {
            "" => observe_request::Message::Batch(engram_proto::wire::v1::ObserveBatch {
                first_sequence,
                observations: vec![note("early")],
            }),
            space => observe_request::Message::Open(engram_proto::wire::v1::OpenSession {
                space: space.into(),
                ..engram_proto::wire::v1::OpenSession::default()
            }),
        };
        let observe = engram_proto::wire::v1::ObserveRequest { message: Some(message) };
        let message = Some(engram_proto::wire::v1::memory_request::Message::Observe(observe));
        let request = engram_proto::wire::v1::MemoryRequest { message };
        Message::Binary(prost::Message::encode_to_vec(&request).into())
    };
    assert_eq!(breach(address, false, batch(1, "")).await.0, 4003);
    assert_eq!(breach(address, false, batch(1, "nowhere")).await.0, 4005);
    assert_eq!(breach(address, true, batch(1, SPACE)).await.0, 4003);
    // Frames that break RFC 6455: not masked, with a reserved bit, a continuation of nothing.
    for frame in [&[0x82u8, 0x01, 0x00][..], &[0xf2, 0x80, 0, 0, 0, 0], &[0x80, 0x80, 0, 0, 0, 0]] {
        let mut ws = connect(address).await;
        ws.socket.get_mut().write_all(frame).await.expect("sent");
        let Said::Closed { code, reason, .. } = ws.next().await else { panic!("still open") };
        assert_eq!(code, 1002, "{reason}");
    }
    let (mut ws, _) = Ws::open(address, SPACE).await;
    ws.batch(1, vec![note("only this")]).await;
    ws.acked(1).await;
    assert_eq!(texts(&rows(&client).await), ["only this"]);
    node.stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_handshake_checks_origin_and_versions() {
    let dir = tempfile::tempdir().expect("temporary");
    let mut settings = config(1, dir.path());
    settings.allowed_origins = vec!["https://app.example".into()];
    let node = Running::start(env(), settings);
    let client = client([&node]);
    crate::common::until("the node answers", async || client.status().await.ok()).await;
    let address = node.config.listen.as_str();
    let refused = async |headers: &[(&'static str, &str)]| match handshake(address, headers).await {
        Err(Error::Http(response)) => {
            let body = response.body().clone().unwrap_or_default();
            (response.status().as_u16(), String::from_utf8(body).expect("text"))
        }
        other => panic!("not refused: {:?}", other.map(|(_, response)| response)),
    };
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        let (status, text) = refused(&[("origin", origin)]).await;
        assert!(status == 403 && text.contains(origin) && text.contains("allowed_origins"), "{status} {text}");
    }
    assert_eq!(refused(&[("sec-websocket-version", "12")]).await.0, 426);
    assert_eq!(refused(&[("sec-websocket-key", "short")]).await.0, 400);
    let own = format!("http://{address}");
    for origin in [own.as_str(), "https://app.example"] {
        handshake(address, &[("origin", origin)]).await.expect("upgraded");
    }
    let (_, response) =
        handshake(address, &[("sec-websocket-protocol", "engram.v9, engram.v1")]).await.expect("upgraded");
    assert_eq!(response.headers()["sec-websocket-protocol"], "engram.v1");
    let (mut ws, _) = handshake(address, &[("sec-websocket-protocol", "engram.v9")]).await.expect("upgraded");
    let Said::Closed { code: 4012, reason, .. } = ws.next().await else { panic!("spoken") };
    assert!(reason.starts_with("UNSUPPORTED REJECTED: this node speaks engram.v1, not engram.v9"), "{reason}");
    let mut plain = TcpStream::connect(address).await.expect("connected");
    plain.write_all(b"GET /v1/stream HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("sent");
    let mut answer = String::new();
    plain.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 426"), "{answer}");
    node.stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_reads_keeps_the_servers_memory_bounded() {
    let dir = tempfile::tempdir().expect("temporary");
    let process = Process::start(dir.path()).await;
    let (mut ws, _) = Ws::open(&process.address, SPACE).await;
    let long = "x".repeat(60_000);
    for at in 0..10 {
        ws.batch(at * 10 + 1, vec![note(&long); 10]).await;
        ws.acked(at * 10 + 10).await;
    }
    let before = process.resident_kib();
    // Six gigabytes of answers, wanted by a client that never reads them.
    let mut deaf = connect(&process.address).await;
    for _ in 0..1000 {
        let asked = engram_proto::wire::v1::memory_request::Message::Recall(cue(100));
        if tokio::time::timeout(Duration::from_millis(200), deaf.send(asked)).await.is_err() {
            break;
        }
    }
    let most = process.grown_kib(before).await;
    assert!(most < 200 << 10, "{most} KiB more");
    ws.batch(101, vec![note("others are served")]).await;
    ws.acked(101).await;
}
