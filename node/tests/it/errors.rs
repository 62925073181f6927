//! Every error that a node can be brought to, by gRPC and by WebSocket: kind, status, close code and message are those
//! of the table in docs/protocol.md. Not here: QUARANTINED (memory that is damaged: `sim/seeds/memory_flips.json`), and the
//! close code of POISONED (no stream that a WebSocket carries reads record files).

use crate::common::{Raw, Running, SPACE, Said as Answer, client, config, env, note, one_node, ready, until};
use crate::failing_disk::Failing;
use crate::ws_client::{Said, Ws, connect};
use engram_client::{Kind, SpaceConfig};
use engram_proto::Error;
use engram_proto::transport::Channel;
use engram_proto::wire::v1::memory_client::MemoryClient;
use engram_proto::wire::v1::{
    AtLeast, ErrorDetail, MemoryRequest, ObserveBatch, ObserveRequest, OpenSession, RecallRequest, ResumeSession,
    memory_request, observe_request, observe_response, recall_request, recall_response,
};
use futures_util::StreamExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tonic::Status;

struct Row {
    status: i32,
    close: u16,
    message: String,
}

/// The table's row of a kind.
fn documented(kind: Kind) -> Row {
    let name = format!("| `{}` | ", kind.as_str_name().trim_start_matches("ERROR_KIND_"));
    let table = include_str!("../../../docs/protocol.md");
    let line = table.lines().find(|line| line.starts_with(&name)).expect("the kind has a row");
    let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
    let status = cells[1].split(' ').next().and_then(|code| code.parse().ok()).expect("a number");
    Row { status, close: cells[2].parse().expect("a number"), message: cells[4].into() }
}

/// Numbers stand as N in the table, and dots for what differs.
fn same_message(kind: Kind, said: &str) {
    let mut normal = String::new();
    for letter in said.chars() {
        match letter.is_ascii_digit() {
            true if normal.ends_with('N') => {}
            true => normal.push('N'),
            false => normal.push(letter),
        }
    }
    let told = documented(kind).message;
    assert!(told.split('…').all(|part| normal.contains(part.trim())), "{kind:?} says {said:?}, the table {told:?}");
}

fn is_status(status: &Status, kind: Kind) {
    let error = Error::from_status(status);
    assert_eq!((error.kind(), status.code() as i32), (kind, documented(kind).status), "{status}");
    same_message(kind, &error.to_string());
}

fn is_close(said: Said, kind: Kind) {
    let Said::Closed { code, detail, .. } = said else { panic!("still open: {said:?}") };
    let detail = detail.expect("said in full");
    assert_eq!((detail.kind(), code), (kind, documented(kind).close), "{detail:?}");
    same_message(kind, &detail.message);
}

fn is_detail(detail: ErrorDetail, kind: Kind) {
    assert_eq!(detail.kind(), kind, "{detail:?}");
    same_message(kind, &detail.message);
}

fn observe(message: observe_request::Message) -> Option<memory_request::Message> {
    Some(memory_request::Message::Observe(ObserveRequest { message: Some(message) }))
}

fn open(space: &str) -> Option<memory_request::Message> {
    observe(observe_request::Message::Open(OpenSession { space: space.into(), ..OpenSession::default() }))
}

fn batch(first_sequence: u64, rows: usize) -> observe_request::Message {
    observe_request::Message::Batch(ObserveBatch { first_sequence, observations: vec![note("x"); rows] })
}

/// The status that ends a memory stream which begins with these.
async fn ended(address: &str, messages: Vec<Option<memory_request::Message>>) -> Status {
    let world = Arc::new(engram_client::Tcp::current().expect("a runtime"));
    let channel = Channel::new(world, address, Duration::from_secs(2));
    let messages: Vec<_> = messages.into_iter().map(|message| MemoryRequest { message }).collect();
    let requests = futures_util::stream::iter(messages).chain(futures_util::stream::pending());
    let mut client = MemoryClient::with_origin(channel.clone(), channel.origin());
    let mut answers = client.memory_stream(requests).await.expect("begins").into_inner();
    loop {
        match answers.message().await {
            Err(status) => return status,
            Ok(answer) => assert!(answer.is_some(), "ended without a status"),
        }
    }
}

async fn closed(address: &str, message: Option<memory_request::Message>) -> Said {
    let mut ws = connect(address).await;
    match message {
        Some(message) => ws.send(message).await,
        None => ws.empty().await,
    }
    ws.next().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_first_message_can_be_refused_for() {
    let dir = tempfile::tempdir().expect("temporary");
    let (node, at) = one_node(&dir).await;
    let incarnation = Raw::open(&at, SPACE).await.expect("opened").opened.incarnation;
    let lost = ResumeSession { session: 1, incarnation, ..ResumeSession::default() };
    for (message, kind) in [
        (observe(batch(1, 1)), Kind::Invalid),
        (open("nowhere"), Kind::NotFound),
        (observe(observe_request::Message::Resume(lost)), Kind::SessionLost),
        (None, Kind::Unsupported),
    ] {
        is_status(&ended(&at, vec![message.clone()]).await, kind);
        is_close(closed(&at, message).await, kind);
    }
    let blank = Running::start(env(), config(2, dir.path()));
    let on = client([&blank]);
    until("the blank node answers", async || on.status().await.ok()).await;
    is_status(&ended(&blank.config.listen, vec![open(SPACE)]).await, Kind::NotLeader);
    is_close(closed(&blank.config.listen, open(SPACE)).await, Kind::NotLeader);
    blank.stop().await.expect("stops well");
    node.stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_superseded_an_overloaded_and_a_stopped_stream() {
    let dir = tempfile::tempdir().expect("temporary");
    let (node, at) = one_node(&dir).await;
    let mut raw = Raw::open(&at, SPACE).await.expect("opened");
    let Answer::Refused(refused) = raw.ask(1, vec![note("x"); 1001]).await.expect("stays open") else {
        panic!("taken")
    };
    is_detail(refused.error.expect("says why"), Kind::Overloaded);
    let (mut ws, opened) = Ws::open(&at, SPACE).await;
    ws.observe(batch(1, 1001)).await;
    let Said::Observe(observe_response::Message::Refused(refused)) = ws.next().await else { panic!("taken") };
    is_detail(refused.error.expect("says why"), Kind::Overloaded);

    let newer = (Raw::resume(&at, &raw.opened).await.expect("resumed"), Ws::resume(&at, &opened).await);
    is_status(&raw.ask(1, vec![note("x")]).await.expect_err("superseded"), Kind::Superseded);
    ws.observe(batch(1, 1)).await;
    is_close(ws.next().await, Kind::Superseded);

    let (mut raw, (mut ws, _)) = newer;
    let asking = async {
        loop {
            if let Err(status) = raw.ask(1, vec![note("x")]).await {
                return status;
            }
        }
    };
    let (told, status, stopped) = tokio::join!(ws.next(), asking, node.stop());
    stopped.expect("stops well");
    is_close(told, Kind::InDoubt);
    is_status(&status, Kind::InDoubt);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recalls_that_are_behind_or_below_the_floor_and_a_name_that_is_taken() {
    let dir = tempfile::tempdir().expect("temporary");
    let (node, at) = one_node(&dir).await;
    let space = SpaceConfig { name: SPACE.into(), dim: 2, ..SpaceConfig::default() };
    let exists = client([&node]).create_space(space).await.expect_err("taken").error().clone();
    is_status(&Status::from(exists), Kind::Exists);
    let cue = [0.6f32, 0.8].iter().flat_map(|v| v.to_le_bytes()).collect();
    let recall = RecallRequest { request_id: 1, space: SPACE.into(), cue, k: 1, ..RecallRequest::default() };
    let far = AtLeast { log_index: 1 << 40, incarnation: 0 };
    let behind = Some(recall_request::Consistency::AtLeast(far));
    let questions = [
        (RecallRequest { consistency: behind, deadline_ms: 50, ..recall.clone() }, Kind::Behind),
        (RecallRequest { at_index: Some(1), ..recall }, Kind::BelowFloor),
    ];
    let world = Arc::new(engram_client::Tcp::current().expect("a runtime"));
    let channel = Channel::new(world, at.clone(), Duration::from_secs(2));
    let mut grpc = MemoryClient::with_origin(channel.clone(), channel.origin());
    let mut ws = connect(&at).await;
    for (question, kind) in questions {
        let asked = futures_util::stream::iter([question.clone()]);
        let mut answers = grpc.recall_stream(asked).await.expect("begins").into_inner();
        let answer = answers.message().await.expect("the stream stays open").and_then(|answer| answer.outcome);
        let Some(recall_response::Outcome::Error(detail)) = answer else { panic!("{answer:?}") };
        is_detail(detail, kind);
        ws.send(memory_request::Message::Recall(question)).await;
        let Said::Recall(1, recall_response::Outcome::Error(detail)) = ws.next().await else { panic!("answered") };
        is_detail(detail, kind);
    }
    node.stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_files_that_cannot_be_read() {
    let dir = tempfile::tempdir().expect("temporary");
    let disk = Failing::default();
    let mut world = env();
    world.disk = Arc::new(disk.clone());
    let node = Running::start(world, config(1, dir.path()));
    let client = client([&node]);
    let on = client.on(&node.config.listen);
    until("the node answers", async || on.status().await.ok()).await;
    on.init(vec![node.address()]).await.expect("a cluster of one");
    ready(&client, &node).await;
    client
        .create_space(SpaceConfig { name: SPACE.into(), dim: 2, ..SpaceConfig::default() })
        .await
        .expect("a new space");
    let mut raw = Raw::open(&node.config.listen, SPACE).await.expect("opened");
    // A record file has 1,024 rows.
    for first_sequence in (1..1200).step_by(300) {
        raw.ask(first_sequence, vec![note("row"); 300]).await.expect("acked");
    }
    disk.unreadable.store(true, Ordering::SeqCst);
    let mut backup = on.backup(Vec::new()).await.expect("begun");
    let error = loop {
        match backup.next().await {
            Err(error) => break error,
            Ok(piece) => assert!(piece.is_some(), "it ended well"),
        }
    };
    assert_eq!(error.kind(), Kind::Poisoned, "{error}");
    same_message(Kind::Poisoned, &error.to_string());
    assert!(error.to_string().contains("lets nothing be read"), "{error}");
    disk.unreadable.store(false, Ordering::SeqCst);
    node.stop().await.expect("stops well");
}
