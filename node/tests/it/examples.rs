//! The client library's examples, run against a fresh node of one: what they print is what their headers say.

use crate::common::{SPACE, note, one_node};
use engram_proto::transport::Channel;
use engram_proto::wire::v1::memory_client::MemoryClient;
use engram_proto::wire::v1::{
    FlowControl, FlowKind, ObserveBatch, ObserveRequest, OpenSession, observe_request, observe_response,
};
use std::time::Duration;

#[path = "../../../clients/rust/examples/paused_stream.rs"]
#[allow(dead_code, reason = "its main is for people")]
mod paused_stream;
#[path = "../../../clients/rust/examples/recall_page.rs"]
#[allow(dead_code, reason = "its main is for people")]
mod recall_page;
#[path = "../../../clients/rust/examples/refused_row.rs"]
#[allow(dead_code, reason = "its main is for people")]
mod refused_row;
#[path = "../../../clients/rust/examples/resumed_stream.rs"]
#[allow(dead_code, reason = "its main is for people")]
mod resumed_stream;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recall_comes_in_pages_best_first_within_its_filter_and_threshold() {
    let dir = tempfile::tempdir().expect("temporary");
    let (node, at) = one_node(&dir).await;
    let lines = recall_page::run(&at).await.expect("runs");
    // 60 degrees are 418.9 memories of a 400th of a radian; half of them are fish. Scores are of half floats.
    assert!(lines[0].starts_with("node 1 answers at log index "), "{lines:?}");
    let pages: Vec<&str> = lines[1..].iter().map(String::as_str).collect();
    let expected = [
        "a page of 100: memory 0 (1.000) to memory 198 (0.880)",
        "a page of 100: memory 200 (0.878) to memory 398 (0.544)",
        "a page of 10: memory 400 (0.541) to memory 418 (0.502)",
    ];
    assert_eq!(pages, expected);
    node.stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_stream_resumes_and_each_row_is_in_once() {
    let dir = tempfile::tempdir().expect("temporary");
    let (node, at) = one_node(&dir).await;
    let lines = resumed_stream::run(&at).await.expect("runs");
    let resumes = lines.iter().filter(|line| line.starts_with("cut, and resumed after row ")).count();
    assert!(resumes >= 2, "{lines:?}");
    let last = format!("2000 rows acked over {resumes} resumes: each row once, in order");
    assert_eq!(lines.last(), Some(&last), "{lines:?}");
    node.stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_row_leaves_the_stream_open_and_its_number_free() {
    let dir = tempfile::tempdir().expect("temporary");
    let (node, at) = one_node(&dir).await;
    let lines = refused_row::run(&at).await.expect("runs");
    let begins = [
        "a good row: acked as number 1",
        "a row of three dimensions: refused, number 2 is still free: embedding has 12 bytes",
        "a row that is not a number: refused, number 2 is still free: embedding[0] is NaN",
        "the corrected row: acked as number 2",
        "2 acked, 2 refused, 0 resumes",
    ];
    assert_eq!(lines.len(), begins.len());
    assert!(lines.iter().zip(begins).all(|(line, begin)| line.starts_with(begin)), "{lines:?}");
    node.stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_acks_hold_back_nothing_but_what_is_over_the_credit() {
    let dir = tempfile::tempdir().expect("temporary");
    let (node, at) = one_node(&dir).await;
    let lines = paused_stream::run(&at).await.expect("runs");
    let expected = [
        "paused: 4196 pushed, 0 acked",
        "paused: all 4096 that the credit of 4096 allows are in flight, 4096 committed",
        "resumed: 4196 acked, 0 resumes",
    ];
    assert_eq!(lines, expected);
    node.stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_half_closed_while_paused_still_gets_its_acks() {
    let dir = tempfile::tempdir().expect("temporary");
    let (node, at) = one_node(&dir).await;
    let world = std::sync::Arc::new(engram_client::Tcp::current().expect("a runtime"));
    let channel = Channel::new(world, at, Duration::from_secs(2));
    let messages = [
        observe_request::Message::Open(OpenSession { space: SPACE.into(), ..OpenSession::default() }),
        observe_request::Message::Flow(FlowControl { kind: FlowKind::Pause.into(), ..FlowControl::default() }),
        observe_request::Message::Batch(ObserveBatch { first_sequence: 1, observations: vec![note("one")] }),
    ];
    let requests = messages.map(|message| ObserveRequest { message: Some(message) });
    let mut memory = MemoryClient::with_origin(channel.clone(), channel.origin());
    let mut answers = memory.observe_stream(futures_util::stream::iter(requests)).await.expect("begins").into_inner();
    let mut acked = 0;
    let all = async {
        while let Some(answer) = answers.message().await.expect("ends well") {
            if let Some(observe_response::Message::Ack(ack)) = answer.message {
                acked = ack.last_sequence;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), all).await.expect("the stream ends");
    assert_eq!(acked, 1);
    node.stop().await.expect("stops well");
}
