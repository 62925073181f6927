//! Bad rows over raw gRPC: each is refused with a clear error, and nothing is lost or changed by it.

use crate::common::{Raw, SPACE, Said, cluster, note, rows, texts};
use engram_client::{Kind, Observation, observation};
use engram_proto::Error;
use engram_proto::limits::MESSAGE_BYTES_MAX;
use engram_proto::transport::Channel;
use engram_proto::wire::v1::memory_client::MemoryClient;
use engram_proto::wire::v1::{MemoryRequest, RecallRequest, memory_request};
use futures_util::StreamExt;
use std::time::Duration;

fn refused(said: Said, sequence: u64, expected: u64, word: &str) {
    let Said::Refused(refused) = said else { panic!("{said:?}, not refused: {word}") };
    let error = Error::from(refused.error.expect("says why"));
    assert_eq!((refused.sequence, refused.expected, error.kind()), (sequence, expected, Kind::Invalid), "{error}");
    assert!(error.is_rejected() && error.to_string().contains(word), "{word:?} not in: {error}");
}

fn acked(said: Said) -> (u64, u64, u64, bool) {
    let Said::Ack(ack) = said else { panic!("{said:?}, not acked") };
    (ack.first_sequence, ack.last_sequence, ack.log_index, ack.repeat)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_observations_are_refused_by_name_and_use_up_no_number() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, client) = cluster(1, dir.path()).await;
    let node = nodes.remove(0);
    let mut raw = Raw::open(&node.config.listen, SPACE).await.expect("opened");
    acked(raw.ask(1, vec![note("first")]).await.expect("an answer"));
    let long = "x".repeat(engram_proto::limits::TEXT_BYTES_MAX + 1);
    let bad: [(Observation, &str); 7] = [
        (observation("too wide", &[1.0, 0.0, 0.0]), "2 dimensions"),
        (observation("too narrow", &[1.0]), "2 dimensions"),
        (observation("not a number", &[f32::NAN, 0.0]), "embedding[0] is NaN"),
        (observation("infinite", &[1.0, f32::INFINITY]), "embedding[1] is inf"),
        (observation("no direction", &[0.0, 0.0]), "no direction"),
        (note("  "), "text is empty"),
        (note(&long), "text has 65537 bytes"),
    ];
    for (observation, word) in bad {
        refused(raw.ask(2, vec![observation]).await.expect("the stream stays open"), 2, 2, word);
    }
    // Good rows around a bad one: those before it are taken, those after it wait for its number.
    let mixed = vec![note("second"), note(""), note("never")];
    let (mut ack, mut refusal) = (None, None);
    let mut said = raw.ask(2, mixed).await.expect("an answer");
    for _ in 0..2 {
        match said {
            Said::Ack(_) => ack = Some(acked(said.clone())),
            _ => refusal = Some(said.clone()),
        }
        if ack.is_none() || refusal.is_none() {
            // An empty batch brings the answer that is still on its way.
            said = raw.ask(3, vec![]).await.expect("an answer");
        }
    }
    assert_eq!(ack.map(|(first, last, _, repeat)| (first, last, repeat)), Some((2, 2, false)));
    refused(refusal.expect("told"), 3, 3, "text is empty");
    acked(raw.ask(3, vec![note("third")]).await.expect("an answer"));
    assert_eq!(texts(&rows(&client).await), ["first", "second", "third"]);
    node.stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_is_refused_and_a_repeat_is_acked_with_its_first_log_index() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, client) = cluster(1, dir.path()).await;
    let node = nodes.remove(0);
    let mut raw = Raw::open(&node.config.listen, SPACE).await.expect("opened");
    refused(raw.ask(0, vec![note("zero")]).await.expect("an answer"), 0, 1, "start at 1");
    let (_, _, first, _) = acked(raw.ask(1, vec![note("one")]).await.expect("an answer"));
    refused(raw.ask(5, vec![note("five")]).await.expect("an answer"), 5, 2, "send 2 first");
    acked(raw.ask(2, vec![note("two")]).await.expect("an answer"));
    assert_eq!(acked(raw.ask(1, vec![note("one")]).await.expect("an answer")), (1, 1, first, true));
    refused(raw.ask(1, vec![note("another")]).await.expect("an answer"), 1, 3, "taken by another observation");
    acked(raw.ask(3, vec![note("three")]).await.expect("an answer"));
    // The same over a new connection.
    drop(raw);
    let opened = Raw::open(&node.config.listen, SPACE).await.expect("opened").opened;
    let rows_before = rows(&client).await;
    let session = rows_before[0].session;
    assert_ne!(opened.session, session);
    let mut again = engram_proto::wire::v1::SessionOpened { session, ..opened };
    again = Raw::resume(&node.config.listen, &again).await.expect("resumed").opened;
    assert_eq!((again.last_sequence, again.last_log_index), (3, rows_before[2].log_index));
    let mut raw = Raw::resume(&node.config.listen, &again).await.expect("resumed");
    assert_eq!(acked(raw.ask(1, vec![note("one")]).await.expect("an answer")), (1, 1, first, true));
    assert_eq!(rows(&client).await, rows_before);
    node.stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_space_and_an_oversize_message_change_nothing() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, client) = cluster(1, dir.path()).await;
    let node = nodes.remove(0);
    let status = Raw::open(&node.config.listen, "nowhere").await.err().expect("refused");
    let error = Error::from_status(&status);
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().contains("\"nowhere\""), "{error}");
    let question = engram_client::Recall {
        deadline: Duration::from_secs(5),
        ..engram_client::Recall::new("nowhere", vec![1.0, 0.0], 3)
    };
    assert_eq!(client.recall(question).await.expect_err("refused").kind(), Kind::NotFound);

    let mut raw = Raw::open(&node.config.listen, SPACE).await.expect("opened");
    acked(raw.ask(1, vec![note("one")]).await.expect("an answer"));
    let large = note(&"x".repeat(engram_proto::limits::MESSAGE_BYTES_MAX));
    let status = raw.ask(2, vec![large]).await.expect_err("the stream ends");
    let error = Error::from_status(&status);
    assert!(error.kind() == Kind::Invalid && error.to_string().contains("too large"), "{error}");
    let mut raw = Raw::resume(&node.config.listen, &raw.opened).await.expect("resumed");
    assert_eq!(raw.opened.last_sequence, 1);
    let many = vec![note("many"); engram_proto::limits::BATCH_ROWS_MAX + 1];
    let Said::Refused(over) = raw.ask(2, many).await.expect("an answer") else { panic!("taken") };
    assert!(over.error.expect("says why").message.contains("at most 1000 rows"));
    acked(raw.ask(2, vec![note("two")]).await.expect("an answer"));
    assert_eq!(texts(&rows(&client).await), ["one", "two"]);
    node.stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recall_and_memory_streams_say_why_they_end_at_an_unreadable_message() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, _client) = cluster(1, dir.path()).await;
    let node = nodes.remove(0);
    let world = std::sync::Arc::new(engram_client::Tcp::current().expect("a runtime"));
    let channel = Channel::new(world, node.config.listen.clone(), Duration::from_secs(2));
    let mut client = MemoryClient::with_origin(channel.clone(), channel.origin());
    let large = RecallRequest { cue: vec![0; MESSAGE_BYTES_MAX].into(), ..RecallRequest::default() };
    let says = |status: tonic::Status, kind: Kind, word: &str| {
        let error = Error::from_status(&status);
        assert!(error.kind() == kind && error.is_rejected() && error.to_string().contains(word), "{error}");
    };
    let requests = futures_util::stream::iter([large.clone()]).chain(futures_util::stream::pending());
    let mut answers = client.recall_stream(requests).await.expect("answered").into_inner();
    says(answers.message().await.expect_err("ended"), Kind::Invalid, "too large");
    for (message, kind, word) in [
        (Some(memory_request::Message::Recall(large)), Kind::Invalid, "too large"),
        (None, Kind::Unsupported, "not known to this version"),
    ] {
        let requests = futures_util::stream::iter([MemoryRequest { message }]).chain(futures_util::stream::pending());
        let mut answers = client.memory_stream(requests).await.expect("answered").into_inner();
        says(answers.message().await.expect_err("ended"), kind, word);
    }
    node.stop().await.expect("stops well");
}
