//! Watches on a memory stream: beside rows and recalls, up to a cap, and ended without the stream.

use crate::common::{SPACE, cluster, note, one_node, texts};
use crate::process::Process;
use crate::ws_client::{Said, Ws, connect};
use engram_client::{Kind, Row};
use engram_proto::limits::WATCHES_MAX;
use engram_proto::transport::Channel;
use engram_proto::wire::v1::memory_client::MemoryClient;
use engram_proto::wire::v1::{
    CallRequest, CountRequest, MemoryRequest, ObserveBatch, ObserveRequest, OpenSession, StopWatch, WatchRequest,
    WatchRows, call_request, call_response, memory_request, memory_response, observe_request, observe_response,
    watch_rows_response::Outcome,
};
use futures_util::StreamExt;
use std::sync::Arc;
use std::time::Duration;

fn after(log_index: u64) -> WatchRequest {
    WatchRequest { space: SPACE.into(), after_log_index: Some(log_index), ..WatchRequest::default() }
}

fn row_texts(from: usize, to: usize) -> Vec<String> {
    (from..=to).map(|at| format!("row {at}")).collect()
}

/// Reads pages of one watch until a row has this text: the rows, and how far the last whole view went.
async fn until_row(ws: &mut Ws, watch_id: u64, last: &str) -> (Vec<Row>, u64) {
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let Said::Watch(id, Outcome::Page(page)) = ws.next().await else { panic!("no page") };
        assert_eq!(id, watch_id);
        rows.extend(page.rows);
        if page.log_index > 0 && texts(&rows).last().is_some_and(|text| text == last) {
            return (rows, page.log_index);
        }
    }
}

async fn refused(ws: &mut Ws, watch_id: u64) -> (Kind, String) {
    loop {
        match ws.next().await {
            Said::Watch(id, Outcome::Error(error)) if id == watch_id => return (error.kind(), error.message),
            Said::Watch(_, Outcome::Page(_)) => {}
            other => panic!("not refused: {other:?}"),
        }
    }
}

async fn stopped(ws: &mut Ws, watch_id: u64) {
    ws.stop_watch(watch_id).await;
    loop {
        match ws.next().await {
            Said::Watch(id, Outcome::Stopped(_)) if id == watch_id => return,
            Said::Watch(_, Outcome::Page(_)) => {}
            other => panic!("not stopped: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_sees_another_streams_rows_and_its_own_streams_and_the_stream_outlives_it() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, client) = cluster(1, dir.path()).await;
    let node = nodes.remove(0);
    let (mut writer, _) = Ws::open(&node.config.listen, SPACE).await;
    let (mut ws, _) = Ws::open(&node.config.listen, SPACE).await;
    ws.watch(7, after(0)).await;
    let all = row_texts(1, 600);
    writer.batch(1, all.iter().map(|text| note(text)).collect()).await;
    writer.acked(600).await;
    let (rows, _) = until_row(&mut ws, 7, "row 600").await;
    assert_eq!(texts(&rows), all, "in log order, each once");
    // Its own row: the ack and the page come in any order.
    ws.batch(1, vec![note("its own")]).await;
    let (mut acked, mut reached) = (false, 0);
    while !acked || reached == 0 {
        match ws.next().await {
            Said::Observe(observe_response::Message::Ack(ack)) => acked = ack.last_sequence == 1,
            Said::Watch(7, Outcome::Page(page)) if texts(&page.rows) == ["its own"] => reached = page.log_index,
            Said::Watch(7, Outcome::Page(page)) if page.rows.is_empty() => {}
            other => panic!("{other:?}"),
        }
    }
    ws.watch(8, WatchRequest { space: "nowhere".into(), ..after(0) }).await;
    assert_eq!(refused(&mut ws, 8).await.0, Kind::NotFound);
    ws.send(memory_request::Message::Watch(WatchRows { watch_id: 9, request: None })).await;
    assert_eq!(refused(&mut ws, 9).await.0, Kind::Invalid);
    stopped(&mut ws, 7).await;
    stopped(&mut ws, 12_345).await;
    writer.batch(601, vec![note("unwatched")]).await;
    writer.acked(601).await;
    ws.batch(2, vec![note("no page before this ack")]).await;
    ws.acked(2).await;
    ws.watch(7, after(reached)).await;
    let (rows, _) = until_row(&mut ws, 7, "no page before this ack").await;
    assert_eq!(texts(&rows), ["unwatched", "no page before this ack"], "goes on where it was");
    let mut bystander = connect(&node.config.listen).await;
    bystander.watch(1, after(0)).await;
    until_row(&mut bystander, 1, "no page before this ack").await;
    client.drop_space(SPACE).await.expect("dropped");
    assert_eq!(refused(&mut bystander, 1).await.0, Kind::NotFound);
    bystander.watch(1, after(0)).await;
    assert_eq!(refused(&mut bystander, 1).await.0, Kind::NotFound, "the id is free, the stream is open");
    node.stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_has_so_many_watches_and_an_id_one_of_them() {
    let dir = tempfile::tempdir().expect("temporary");
    let (node, address) = one_node(&dir).await;
    let (mut ws, _) = Ws::open(&address, SPACE).await;
    let most = WATCHES_MAX as u64;
    for id in 1..=most {
        ws.watch(id, after(0)).await;
    }
    ws.watch(most + 1, after(0)).await;
    let (kind, message) = refused(&mut ws, most + 1).await;
    assert_eq!(kind, Kind::Overloaded, "{message}");
    assert!(message.contains("at most 16 watches"), "{message}");
    // Twice the same id: an error that leaves one of them running would be heard as its end.
    ws.watch(3, after(0)).await;
    assert_eq!(refused(&mut ws, 3).await.0, Kind::Invalid);
    stopped(&mut ws, 4).await;
    for id in [3, most + 1] {
        ws.watch(id, after(0)).await;
    }
    ws.batch(1, vec![note("to all")]).await;
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < WATCHES_MAX {
        match ws.next().await {
            Said::Watch(id, Outcome::Page(page)) if !page.rows.is_empty() => assert!(seen.insert(id), "{id} twice"),
            Said::Watch(_, Outcome::Page(_)) | Said::Observe(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(!seen.contains(&4) && seen.contains(&3), "{seen:?}");
    // A stopping node says so under each id.
    let mut last = connect(&address).await;
    last.watch(1, after(0)).await;
    until_row(&mut last, 1, "to all").await;
    let (told, stopped) = tokio::join!(refused(&mut last, 1), node.stop());
    stopped.expect("stops well");
    assert_eq!(told.0, Kind::InDoubt, "{}", told.1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_closed_stream_ends_its_watches_and_still_acks_and_answers() {
    let dir = tempfile::tempdir().expect("temporary");
    let (node, address) = one_node(&dir).await;
    let world = Arc::new(engram_client::Tcp::current().expect("a runtime"));
    let channel = Channel::new(world, &address, Duration::from_secs(2));
    let observe = |message| memory_request::Message::Observe(ObserveRequest { message: Some(message) });
    let open = OpenSession { space: SPACE.into(), ..OpenSession::default() };
    let batch = ObserveBatch { first_sequence: 1, observations: vec![note("last words")] };
    let count = CountRequest { space: SPACE.into(), ..CountRequest::default() };
    let messages = [
        memory_request::Message::Watch(WatchRows { watch_id: 1, request: Some(after(0)) }),
        memory_request::Message::StopWatch(StopWatch { watch_id: 1 }),
        memory_request::Message::Watch(WatchRows { watch_id: 1, request: Some(after(0)) }),
        observe(observe_request::Message::Open(open)),
        observe(observe_request::Message::Batch(batch)),
        memory_request::Message::Call(CallRequest { call_id: 5, request: Some(call_request::Request::Count(count)) }),
    ];
    let requests = futures_util::stream::iter(messages).map(|message| MemoryRequest { message: Some(message) });
    let mut memory = MemoryClient::with_origin(channel.clone(), channel.origin());
    let mut answers = memory.memory_stream(requests).await.expect("begins").into_inner();
    let (mut acked, mut stops, mut answered) = (0, 0, 0);
    let ending = async {
        while let Some(answer) = answers.message().await.expect("no error") {
            match answer.message.expect("known") {
                memory_response::Message::Observe(said) => {
                    if let Some(observe_response::Message::Ack(ack)) = said.message {
                        acked = ack.last_sequence;
                    }
                }
                memory_response::Message::Watch(said) => match said.outcome.expect("known") {
                    Outcome::Stopped(_) => stops += 1,
                    Outcome::Page(_) => {}
                    Outcome::Error(error) => panic!("{error:?}"),
                },
                memory_response::Message::Call(said) => {
                    assert!(matches!(said.outcome, Some(call_response::Outcome::Count(_))), "{said:?}");
                    answered = said.call_id;
                }
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ending).await.expect("the stream ends");
    assert_eq!((acked, stops, answered), (1, 1, 5));
    node.stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_never_reads_holds_back_itself_alone() {
    let dir = tempfile::tempdir().expect("temporary");
    let process = Process::start(dir.path()).await;
    let (mut writer, _) = Ws::open(&process.address, SPACE).await;
    let long = "x".repeat(60_000);
    for at in 0..20 {
        writer.batch(at * 10 + 1, vec![note(&long); 10]).await;
        writer.acked(at * 10 + 10).await;
    }
    let before = process.resident_kib();
    // Begun, refused, stopped, and begun again without end, by a client that reads nothing of it.
    let mut deaf = connect(&process.address).await;
    for id in 0..100_000 {
        let messages = async {
            deaf.watch(id % 40, after(0)).await;
            deaf.stop_watch((id + 20) % 40).await;
        };
        if tokio::time::timeout(Duration::from_millis(500), messages).await.is_err() {
            break;
        }
    }
    let most = process.grown_kib(before).await;
    assert!(most < 200 << 10, "{most} KiB more");
    let mut watcher = connect(&process.address).await;
    watcher.watch(1, after(0)).await;
    until_row(&mut watcher, 1, &long).await;
    writer.batch(201, vec![note("others are served")]).await;
    writer.acked(201).await;
    until_row(&mut watcher, 1, "others are served").await;
}
