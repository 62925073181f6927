//! Three nodes in one process: every way in, on every node.

use crate::common::{Raw, Running, SPACE, Said, cluster, env, note, until};
use engram_client::{
    ClientError, FieldValues, Filter, Kind, Level, List, Named, ObserveOptions, ReadToken, Recall, Value, Which,
    filter, observation, value,
};
use engram_proto::transport::Channel;
use engram_proto::wire::v1::memory_client::MemoryClient;
use engram_proto::wire::v1::{
    MemoryRequest, MemoryResponse, ObserveBatch, ObserveRequest, OpenSession, RecallRequest, memory_request,
    memory_response, observe_request, observe_response, recall_response,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_takes_observations_and_every_node_recalls_them_at_every_level() {
    let dir = tempfile::tempdir().expect("temporary");
    let (nodes, client) = cluster(3, dir.path()).await;
    let leader = client.on(&nodes[0].config.listen).status().await.expect("answers").leader.expect("known");
    let follower = nodes.iter().find(|node| node.config.node_id != leader).expect("two of them");
    let mut raw = Raw::open(&follower.config.listen, SPACE).await.expect("opened on a follower");
    assert_eq!(raw.opened.node, follower.config.node_id);
    let said = raw.ask(1, vec![observation("east", &[1.0, 0.0]), observation("north", &[0.0, 1.0])]).await;
    let Ok(Said::Ack(ack)) = said else { panic!("{said:?}") };
    assert_eq!((ack.first_sequence, ack.last_sequence, ack.repeat), (1, 2, false));

    let observer = client.observe(SPACE, ObserveOptions::default()).await.expect("opened");
    for at in 0..200 {
        let angle = at as f32 / 100.0;
        observer.push(observation(format!("at {at}"), &[-angle.sin(), -angle.cos()])).await.expect("taken");
    }
    let token = observer.token();
    let summary = observer.finish().await.expect("acked");
    assert_eq!((summary.acked, summary.refused), (200, 0));
    assert!(summary.token.log_index >= token.log_index);

    for node in &nodes {
        let address = &node.config.listen;
        for level in [Level::AtLeast(summary.token), Level::Linearizable] {
            let recall = Recall { level, node: Some(address.clone()), ..Recall::new(SPACE, vec![0.9, 0.1], 3) };
            let answer = client.recall(recall).await.expect("recalled");
            assert_eq!((answer.hits[0].text.as_str(), answer.snapshot.node), ("east", node.config.node_id));
            assert_eq!((answer.snapshot.rows, answer.hits.len()), (202, 3));
            assert!(answer.snapshot.applied_index >= summary.token.log_index);
            assert_eq!(answer.snapshot.read_index.is_some(), level == Level::Linearizable);
        }
        let list = List { level: Level::AtLeast(summary.token), ..List::new(SPACE) };
        let rows = client.on(address).list_all(list).await.expect("listed").rows;
        assert_eq!(rows.len(), 202);
        assert!(rows.is_sorted_by_key(|row| (row.log_index, row.sequence)));
    }
    until("equal digests", async || {
        let mut states = Vec::new();
        for node in &nodes {
            let status = client.on(&node.config.listen).status().await.ok()?;
            states.push((status.watermarks?.applied, status.state_digest, status.spaces));
        }
        (states[0] == states[1] && states[1] == states[2]).then_some(())
    })
    .await;
    for node in nodes {
        node.stop().await.expect("stops well");
    }
}

fn observe(message: observe_request::Message) -> MemoryRequest {
    let observe = ObserveRequest { message: Some(message) };
    MemoryRequest { message: Some(memory_request::Message::Observe(observe)) }
}

async fn next(answers: &mut tonic::Streaming<MemoryResponse>) -> memory_response::Message {
    let answer = tokio::time::timeout(Duration::from_secs(10), answers.message()).await.expect("in time");
    answer.expect("no error").and_then(|answer| answer.message).expect("a message")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_memory_stream_observes_and_recalls_what_it_observed() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, _client) = cluster(1, dir.path()).await;
    let node = nodes.remove(0);
    let world = Arc::new(engram_client::Tcp::current().expect("a runtime"));
    let channel = Channel::new(world, node.config.listen.clone(), Duration::from_secs(2));
    let origin = channel.origin();
    let (out, mut requests) = mpsc::channel(8);
    let requests = futures_util::stream::poll_fn(move |cx| requests.poll_recv(cx));
    let open = OpenSession { space: SPACE.into(), ..OpenSession::default() };
    out.send(observe(observe_request::Message::Open(open))).await.expect("open");
    let mut answers =
        MemoryClient::with_origin(channel, origin).memory_stream(requests).await.expect("answered").into_inner();
    let memory_response::Message::Observe(opened) = next(&mut answers).await else { panic!("no session") };
    assert!(matches!(opened.message, Some(observe_response::Message::Opened(_))), "{opened:?}");
    let batch = ObserveBatch { first_sequence: 1, observations: vec![note("remembered")] };
    out.send(observe(observe_request::Message::Batch(batch))).await.expect("open");
    let memory_response::Message::Observe(acked) = next(&mut answers).await else { panic!("no ack") };
    assert!(matches!(acked.message, Some(observe_response::Message::Ack(_))), "{acked:?}");
    let recall = RecallRequest {
        request_id: 42,
        space: SPACE.into(),
        cue: [0.6f32, 0.8].iter().flat_map(|v| v.to_le_bytes()).collect(),
        k: 1,
        ..RecallRequest::default()
    };
    out.send(MemoryRequest { message: Some(memory_request::Message::Recall(recall)) }).await.expect("open");
    let memory_response::Message::Recall(answer) = next(&mut answers).await else { panic!("no answer") };
    let Some(recall_response::Outcome::Result(result)) = answer.outcome else { panic!("{answer:?}") };
    assert_eq!((answer.request_id, result.last, result.hits[0].text.as_str()), (42, true, "remembered"));
    node.stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forgotten_row_is_gone_on_every_node_and_stays_in_the_past() {
    let dir = tempfile::tempdir().expect("temporary");
    let (nodes, client) = cluster(3, dir.path()).await;
    let observer = client.observe(SPACE, ObserveOptions::default()).await.expect("opened");
    for at in 0..60u64 {
        let angle = at as f32 / 20.0;
        let mut note = observation(format!("at {at}"), &[angle.cos(), angle.sin()]);
        note.time_ms = at as i64;
        note.metadata.insert("third".into(), Value { kind: Some(value::Kind::Integer((at % 3) as i64)) });
        observer.push(note).await.expect("taken");
    }
    let before = observer.finish().await.expect("acked").token.log_index;
    let third = |value: i64| Filter {
        kind: Some(filter::Kind::OneOf(FieldValues {
            key: "third".into(),
            values: vec![Value { kind: Some(value::Kind::Integer(value)) }],
        })),
    };
    // Through a follower, by number and by filter.
    let leader = client.on(&nodes[0].config.listen).status().await.expect("answers").leader.expect("known");
    let follower = nodes.iter().find(|node| node.config.node_id != leader).expect("two of them");
    let there = client.on(&follower.config.listen);
    let named = there.forget(SPACE, Which::Named(vec![0, 1, 1, 59, 5000].into())).await.expect("forgotten");
    assert_eq!(named.rows, 3);
    let meant = there.forget(SPACE, Which::Filter(third(0))).await.expect("forgotten");
    assert_eq!(meant.rows, 19, "row 0 was forgotten before");
    assert_eq!(there.forget(SPACE, Which::Filter(third(0))).await.expect("nothing left").rows, 0);
    assert!(matches!(there.forget(SPACE, Which::Named(Named::Rows(vec![]))).await, Err(ClientError::Refused(_))));

    let gone = |row: u64| row.is_multiple_of(3) || row == 1 || row == 59;
    for node in &nodes {
        let on = client.on(&node.config.listen);
        let level = Level::AtLeast(ReadToken { log_index: meant.log_index, incarnation: 0 });
        let all = Recall { level, ..Recall::new(SPACE, vec![1.0, 0.0], 100) };
        let rows = |answer: engram_client::Answer| answer.hits.into_iter().map(|hit| hit.row).collect::<Vec<_>>();
        let found = on.recall(all.clone()).await.expect("recalled");
        assert_eq!((found.snapshot.rows, found.snapshot.forgotten), (60, 22));
        assert_eq!(rows(found), (0..60).filter(|&row| !gone(row)).collect::<Vec<_>>());
        let filtered = Recall { filter: Some(third(1)), score_min: Some(0.5), ..all.clone() };
        let near = (0..21).filter(|&row| row % 3 == 1 && !gone(row)).collect::<Vec<_>>();
        assert_eq!(rows(on.recall(filtered).await.expect("recalled")), near);
        let past = Recall { at_index: Some(before), level: Level::Eventual, ..all.clone() };
        let past = on.recall(past).await.expect("recalled");
        assert_eq!((past.snapshot.applied_index, past.snapshot.forgotten), (before, 0));
        assert_eq!(rows(past), (0..60).collect::<Vec<_>>());
        let never = on.recall(Recall { at_index: Some(0), ..all }).await.expect_err("before the space");
        assert_eq!(never.kind(), Kind::BelowFloor);
        assert_eq!(on.count(SPACE, None, level).await.expect("counted").0, 38);
        assert_eq!(on.count(SPACE, Some(third(1)), level).await.expect("counted").0, 19);
        let got = on.get(SPACE, vec![5, 3, 2], level, false).await.expect("got").rows;
        assert_eq!(got.iter().map(|row| row.row).collect::<Vec<_>>(), [5, 2]);
        let list = List { level, filter: Some(third(2)), limit: 4, ..List::new(SPACE) };
        let listed = on.list_all(list).await.expect("listed").rows;
        assert_eq!(listed.iter().map(|row| row.row).collect::<Vec<_>>(), [2, 5, 8, 11]);
    }
    for node in nodes {
        node.stop().await.expect("stops well");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_acked_as_searchable_on_n_nodes_are_found_there_at_once() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, client) = cluster(3, dir.path()).await;
    let on = |nodes| ObserveOptions::default().searchable_on(nodes);
    let refused = client.observe(SPACE, on(4)).await.map(drop).expect_err("there are three");
    assert!(refused.kind() == Kind::Invalid && refused.to_string().contains("the cluster has 3"), "{refused}");

    let (three, two) = (client.observe(SPACE, on(3)).await.expect("opened"), client.observe(SPACE, on(2)).await);
    let two = two.expect("opened");
    for at in 0..20 {
        let (angle, text) = (at as f32 / 10.0, format!("at {at}"));
        three.push(observation(&text, &[angle.cos(), angle.sin()])).await.expect("taken");
        three.flush().await.expect("acked");
        for node in &nodes {
            let recall = Recall { level: Level::Eventual, ..Recall::new(SPACE, vec![angle.cos(), angle.sin()], 1) };
            let answer = client.on(&node.config.listen).recall(recall).await.expect("recalled");
            assert_eq!(answer.hits.first().map(|hit| &hit.text), Some(&text), "node {}", answer.snapshot.node);
        }
    }
    let leader = client.on(&nodes[0].config.listen).status().await.expect("answers").leader.expect("known");
    let follower = nodes.iter().position(|node| node.config.node_id != leader).expect("two of them");
    let stopped = nodes.remove(follower);
    let config = stopped.config.clone();
    stopped.stop().await.expect("stops well");
    two.push(note("two are left")).await.expect("taken");
    tokio::time::timeout(Duration::from_secs(10), two.flush()).await.expect("in time").expect("acked");
    three.push(note("a third is needed")).await.expect("taken");
    assert!(tokio::time::timeout(Duration::from_secs(3), three.flush()).await.is_err(), "two have it");
    nodes.push(Running::start(env(), config));
    tokio::time::timeout(Duration::from_secs(20), three.flush()).await.expect("in time").expect("acked by all");
    for node in nodes {
        node.stop().await.expect("stops well");
    }
}
