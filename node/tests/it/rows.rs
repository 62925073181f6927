//! Rows that clients name, that grow old, that are followed; and how fresh an answer is.

use crate::common::{Raw, SPACE, cluster, note, texts, until};
use engram_client::{
    Kind, Level, List, Named, Observation, ObserveOptions, Recall, SessionState, SpaceConfig, Watch, Which,
};
use engram_proto::transport::Channel;
use engram_proto::wire::v1::memory_client::MemoryClient;
use engram_proto::wire::v1::{
    AtLeast, Linearizable, MemoryRequest, ObserveBatch, ObserveRequest, ObserveResponse, OpenSession, RecallRequest,
    memory_request, memory_response, observe_request, observe_response, recall_request, recall_response,
};
use futures_util::StreamExt;
use std::sync::Arc;
use std::time::Duration;

fn memory(address: &str) -> MemoryClient<Channel> {
    let world = Arc::new(engram_client::Tcp::current().expect("a runtime"));
    let channel = Channel::new(world, address, Duration::from_secs(2));
    MemoryClient::with_origin(channel.clone(), channel.origin())
}

fn observe(message: observe_request::Message) -> memory_request::Message {
    memory_request::Message::Observe(ObserveRequest { message: Some(message) })
}

fn named(id: &str, text: &str) -> Observation {
    Observation { id: id.into(), ..note(text) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_finds_replaces_and_forgets_its_row_and_a_watcher_on_a_follower_sees_it_all() {
    let dir = tempfile::tempdir().expect("temporary");
    let (nodes, client) = cluster(3, dir.path()).await;
    let mut watcher = client.watch(Watch::new(SPACE)).await.expect("watches");
    let observer = client.observe(SPACE, ObserveOptions::default()).await.expect("opened");
    for row in [named("a", "first a"), named("b", "first b"), note("no name"), named("a", "second a")] {
        observer.push(row).await.expect("taken");
    }
    observer.finish().await.expect("committed");
    let ids = || Named::Ids(vec!["a".into(), "nobody".into(), "b".into()]);
    for node in &nodes {
        let on = client.on(&node.config.listen);
        let got = on.get(SPACE, ids(), Level::Linearizable, false).await.expect("there");
        assert_eq!(texts(&got.rows), ["second a", "first b"]);
        let hits = on.recall(Recall { level: Level::Session, ..Recall::new(SPACE, vec![0.6, 0.8], 10) }).await;
        assert_eq!(hits.expect("answered").hits.iter().map(|hit| hit.id.as_str()).collect::<Vec<_>>(), ["b", "", "a"]);
    }
    let gone = client.forget(SPACE, Which::Named(ids())).await.expect("forgotten");
    assert_eq!(gone.rows, 2);
    let (mut seen, mut forgotten, mut reached) = (Vec::new(), Vec::new(), 0);
    while reached < gone.log_index {
        let change = watcher.next().await.expect("goes on");
        seen.extend(change.rows.iter().map(|row| row.row));
        forgotten.extend(change.forgotten);
        reached = reached.max(change.log_index);
    }
    assert!(seen.is_sorted() && seen.contains(&2), "each once, in order: {seen:?}");
    assert_eq!(forgotten, [0, 3, 1], "by the second a, then by name");
    let count = client.count(SPACE, None, Level::Session).await.expect("counted").0;
    assert_eq!(count, 1);
    let error = client.get(SPACE, Named::Ids(vec![String::new()]), Level::Session, false).await.expect_err("no name");
    assert_eq!(error.kind(), Kind::Invalid);
    for node in nodes {
        node.stop().await.expect("stops well");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_where_another_ended() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, client) = cluster(1, dir.path()).await;
    let observer = client.observe(SPACE, ObserveOptions::default()).await.expect("opened");
    for row in 0..600 {
        observer.push(note(&format!("row {row}"))).await.expect("taken");
    }
    observer.flush().await.expect("committed");
    let from_start = Watch { after_log_index: Some(0), ..Watch::new(SPACE) };
    let mut watcher = client.watch(from_start).await.expect("watches");
    let (mut rows, mut reached) = (Vec::new(), 0);
    while reached == 0 {
        let change = watcher.next().await.expect("goes on");
        rows.extend(change.rows);
        reached = change.log_index;
    }
    assert_eq!(rows.len(), 600, "all pages of the first view");
    drop(watcher);
    observer.push(note("after the break")).await.expect("taken");
    observer.finish().await.expect("committed");
    let mut watcher = client.watch(Watch { after_log_index: Some(reached), ..Watch::new(SPACE) }).await.expect("again");
    let next = loop {
        let change = watcher.next().await.expect("goes on");
        if !change.rows.is_empty() {
            break change.rows;
        }
    };
    assert_eq!(texts(&next), ["after the break"]);
    client.drop_space(SPACE).await.expect("dropped");
    let ended = loop {
        if let Err(error) = watcher.next().await {
            break error;
        }
    };
    assert_eq!(ended.kind(), Kind::NotFound, "{ended}");
    nodes.remove(0).stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_rows_go_by_request_and_by_the_spaces_time_to_live() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, client) = cluster(1, dir.path()).await;
    let space = SpaceConfig { name: "short".into(), dim: 2, ttl_ms: 1000, ..SpaceConfig::default() };
    client.create_space(space).await.expect("a new space");
    for name in [SPACE, "short"] {
        let observer = client.observe(name, ObserveOptions::default()).await.expect("opened");
        for row in 0..50 {
            observer.push(note(&format!("row {row}"))).await.expect("taken");
        }
        observer.finish().await.expect("committed");
    }
    let living = async |name: &str| client.count(name, None, Level::Linearizable).await.expect("counted").0;
    until("the time to live has passed", async || (living("short").await == 0).then_some(())).await;
    assert_eq!(living(SPACE).await, 50, "no time to live");
    let young = client.forget(SPACE, Which::OlderThan(Duration::from_secs(3600))).await.expect("nothing to do");
    assert_eq!((young.rows, young.log_index), (0, 0));
    let old = client.forget(SPACE, Which::OlderThan(Duration::ZERO)).await.expect("forgotten");
    assert_eq!((old.rows, living(SPACE).await), (50, 0));
    nodes.remove(0).stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forgotten_is_erased_at_once_or_once_its_history_has_passed() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, client) = cluster(1, dir.path()).await;
    let short = SpaceConfig { name: "short".into(), dim: 2, history_ms: 1, ..SpaceConfig::default() };
    client.create_space(short).await.expect("a new space");
    let past = async |name: &str, index: u64| {
        let recall = Recall { level: Level::Eventual, at_index: Some(index), ..Recall::new(name, vec![0.6, 0.8], 100) };
        client.recall(recall).await.map(|answer| answer.hits.len())
    };
    let listed = async |index: u64| {
        let list = List { at_index: Some(index), ..List::new(SPACE) };
        client.list_all(list).await.map(|listing| (listing.snapshot.applied_index, listing.rows.len()))
    };
    let mut before = 0;
    for name in [SPACE, "short"] {
        let observer = client.observe(name, ObserveOptions::default()).await.expect("opened");
        for row in 0..20 {
            observer.push(note(&format!("row {row}"))).await.expect("taken");
        }
        observer.finish().await.expect("committed");
        before = client.token().log_index;
        let forgotten = client.forget(name, Which::Named(vec![3, 4].into())).await.expect("forgotten");
        assert_eq!((forgotten.rows, forgotten.floor), (2, 0));
    }
    let info = async |name: &str| {
        let spaces = client.list_spaces().await.expect("listed");
        spaces.into_iter().find(|info| info.config.as_ref().is_some_and(|config| config.name == name)).expect("there")
    };
    until("the history has passed", async || (info("short").await.erased == 2).then_some(())).await;
    assert_eq!(past("short", before).await.expect_err("gone").kind(), Kind::BelowFloor);
    let kept = info(SPACE).await;
    assert_eq!((kept.erased, kept.floor), (0, kept.id), "an hour has not passed");

    let first = past(SPACE, client.token().log_index).await.expect("now");
    let erased = client.erase(SPACE, Which::Named(vec![5].into())).await.expect("erased");
    assert_eq!((erased.rows, erased.floor < erased.log_index, first), (1, true, 18));
    assert_eq!((info(SPACE).await.erased, info(SPACE).await.floor), (3, erased.floor));
    assert_eq!(past(SPACE, erased.floor).await.expect("readable"), 17);
    assert_eq!(past(SPACE, erased.floor - 1).await.expect_err("gone").kind(), Kind::BelowFloor);
    assert_eq!(listed(erased.floor).await.expect("readable"), (erased.floor, 17));
    assert_eq!(listed(erased.floor - 1).await.expect_err("gone").kind(), Kind::BelowFloor);
    let again = client.erase(SPACE, Which::Named(vec![5].into())).await.expect("once");
    assert_eq!(again.rows, 0);
    let got = client.get(SPACE, vec![4, 5, 6], Level::Linearizable, false).await.expect("got");
    assert_eq!(texts(&got.rows), ["row 6"]);
    nodes.remove(0).stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_spaces_with_few_rows_hold_nothing_up() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, client) = cluster(1, dir.path()).await;
    let names: Vec<String> = (0..1000).map(|at| format!("space-{at}")).collect();
    for part in names.chunks(50) {
        let fill = part.iter().map(async |name: &String| {
            let config = SpaceConfig { name: name.clone(), dim: 2, ..SpaceConfig::default() };
            client.create_space(config).await.expect("a new space");
            let observer = client.observe(name, ObserveOptions::default()).await.expect("opened");
            for row in 0..3 {
                observer.push(note(&format!("row {row}"))).await.expect("taken");
            }
            observer.finish().await.expect("committed");
        });
        futures_util::future::join_all(fill).await;
    }
    let observer = client.observe(SPACE, ObserveOptions::default()).await.expect("opened");
    for row in 0..10_000 {
        observer.push(note(&format!("row {row}"))).await.expect("taken");
    }
    observer.finish().await.expect("committed");
    let spaces = client.list_spaces().await.expect("listed");
    assert_eq!(spaces.iter().map(|info| info.rows).sum::<u64>(), 13_000);
    let one = client.recall(Recall::new("space-500", vec![0.6, 0.8], 10)).await.expect("found without a graph");
    assert_eq!(one.hits.len(), 3);
    nodes.remove(0).stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn staleness_is_stated_and_bounded_on_every_node() {
    let dir = tempfile::tempdir().expect("temporary");
    let (nodes, client) = cluster(3, dir.path()).await;
    let observer = client.observe(SPACE, ObserveOptions::default()).await.expect("opened");
    for round in 0..20u64 {
        observer.push(note(&format!("round {round}"))).await.expect("taken");
        observer.flush().await.expect("acked");
        for node in &nodes {
            let recall = Recall { level: Level::Bounded(Duration::ZERO), ..Recall::new(SPACE, vec![0.6, 0.8], 100) };
            let answer = client.on(&node.config.listen).recall(recall).await.expect("answered");
            assert_eq!(answer.hits.len() as u64, round + 1, "a bound of nothing is linearizable");
            assert!(answer.snapshot.staleness_ms.is_some_and(|ms| ms < 10_000), "{:?}", answer.snapshot);
        }
    }
    let lenient = Recall { level: Level::Bounded(Duration::from_secs(60)), ..Recall::new(SPACE, vec![0.6, 0.8], 1) };
    let answer = client.recall(lenient).await.expect("answered");
    assert_eq!(answer.snapshot.read_index, None, "known to be fresh enough: nobody is asked");
    let mut nodes = nodes;
    let cut_off = nodes.remove(0);
    for node in nodes {
        node.stop().await.expect("stops well");
    }
    let alone = client.on(&cut_off.config.listen);
    let level = Level::Bounded(Duration::from_millis(1));
    let recall = Recall { level, deadline: Duration::from_secs(2), ..Recall::new(SPACE, vec![0.6, 0.8], 1) };
    let error = alone.recall(recall).await.expect_err("no quorum, no proof");
    assert!(matches!(error.kind(), Kind::Behind | Kind::InDoubt), "{error}");
    let eventual = Recall { level: Level::Eventual, ..Recall::new(SPACE, vec![0.6, 0.8], 1) };
    let grown = until("the staleness grows", async || {
        let answer = alone.recall(eventual.clone()).await.expect("answered");
        answer.snapshot.staleness_ms.filter(|&ms| ms > 1500)
    });
    grown.await;
    cut_off.stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_says_where_it_stands() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, client) = cluster(1, dir.path()).await;
    let mut raw = Raw::open(&nodes[0].config.listen, SPACE).await.expect("opened");
    raw.ask(1, vec![note("one"), note("two")]).await.expect("acked");
    let opened = &raw.opened;
    let status = client.session_status(opened.session, opened.incarnation).await.expect("answered");
    assert_eq!((status.state(), status.last_sequence, status.space.as_str()), (SessionState::Open, 2, SPACE));
    assert!(status.last_log_index > opened.session);
    let unknown = client.session_status(999, opened.incarnation).await.expect("answered");
    assert_eq!((unknown.state(), unknown.last_sequence), (SessionState::Unknown, 0));
    let restored = client.session_status(opened.session, 77).await.expect_err("another incarnation");
    assert_eq!(restored.kind(), Kind::SessionLost);
    client.drop_space(SPACE).await.expect("dropped");
    let ended = client.session_status(opened.session, 0).await.expect("answered");
    assert_eq!((ended.state(), ended.last_sequence), (SessionState::Expired, 2));
    nodes.remove(0).stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_memory_stream_recalls_what_it_has_just_observed() {
    let dir = tempfile::tempdir().expect("temporary");
    let (nodes, _client) = cluster(3, dir.path()).await;
    for node in &nodes {
        let mut memory = memory(&node.config.listen);
        let open = OpenSession { space: SPACE.into(), ..OpenSession::default() };
        let mut messages = vec![observe(observe_request::Message::Open(open))];
        for sequence in 1..=30u64 {
            let observations = vec![note(&format!("node {} row {sequence}", node.config.node_id))];
            messages.push(observe(observe_request::Message::Batch(ObserveBatch {
                first_sequence: sequence,
                observations,
            })));
            messages.push(memory_request::Message::Recall(RecallRequest {
                request_id: sequence,
                space: SPACE.into(),
                cue: note("").embedding,
                k: 1000,
                own_observations: true,
                ..RecallRequest::default()
            }));
        }
        let requests = futures_util::stream::iter(messages).map(|message| MemoryRequest { message: Some(message) });
        let requests = requests.chain(futures_util::stream::pending());
        let mut answers = memory.memory_stream(requests).await.expect("opened").into_inner();
        let mut answered = 0;
        while answered < 30 {
            let answer = answers.message().await.expect("no error").expect("more").message.expect("known");
            let memory_response::Message::Recall(recall) = answer else { continue };
            let Some(recall_response::Outcome::Result(page)) = recall.outcome else { panic!("{recall:?}") };
            answered += 1;
            assert_eq!(recall.request_id, answered);
            let mine = format!("node {} row ", node.config.node_id);
            let own = page.hits.iter().filter(|hit| hit.text.starts_with(&mine)).count() as u64;
            assert!(own >= answered, "recall {answered} sees {own} of its own rows");
        }
    }
    // On a stream that observes nothing there are no own rows to wait for: a mistake, and said to be one.
    let mut memory = memory(&nodes[0].config.listen);
    let consistency = Some(recall_request::Consistency::Linearizable(Linearizable {}));
    let cue = note("").embedding;
    let request =
        RecallRequest { space: SPACE.into(), cue, k: 1, consistency, own_observations: true, ..Default::default() };
    let mut answers = memory.recall_stream(futures_util::stream::iter([request])).await.expect("opened").into_inner();
    let answer = answers.message().await.expect("no error").expect("an answer");
    assert!(
        matches!(answer.outcome, Some(recall_response::Outcome::Error(error)) if error.message.contains("MemoryStream"))
    );
    for node in nodes {
        node.stop().await.expect("stops well");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recall_that_waits_for_its_level_holds_up_no_rows() {
    let dir = tempfile::tempdir().expect("temporary");
    let (mut nodes, _) = cluster(1, dir.path()).await;
    let node = nodes.remove(0);
    let recall = |request_id, log_index, deadline_ms| {
        let consistency = Some(recall_request::Consistency::AtLeast(AtLeast { log_index, incarnation: 0 }));
        let cue = note("").embedding;
        let request = RecallRequest {
            request_id,
            space: SPACE.into(),
            cue,
            k: 9,
            consistency,
            deadline_ms,
            ..Default::default()
        };
        memory_request::Message::Recall(request)
    };
    let batch = ObserveBatch { first_sequence: 1, observations: vec![note("a row")] };
    let messages = [
        observe(observe_request::Message::Open(OpenSession { space: SPACE.into(), ..OpenSession::default() })),
        // As far as the log never comes.
        recall(1, 1 << 40, 2000),
        recall(2, 1, 0),
        observe(observe_request::Message::Batch(batch)),
    ];
    let requests = futures_util::stream::iter(messages).map(|message| MemoryRequest { message: Some(message) });
    let mut answers = memory(&node.config.listen).memory_stream(requests).await.expect("opened").into_inner();
    let mut told = Vec::new();
    while let Some(answer) = answers.message().await.expect("no error") {
        match answer.message {
            Some(memory_response::Message::Recall(recall)) => {
                told.push(match recall.outcome {
                    Some(recall_response::Outcome::Error(_)) => "refused",
                    Some(recall_response::Outcome::Result(_)) => "answered",
                    None => "nothing",
                });
            }
            Some(memory_response::Message::Observe(ObserveResponse {
                message: Some(observe_response::Message::Ack(_)),
            })) => {
                told.push("acked");
            }
            _ => {}
        }
    }
    assert_eq!(told, ["acked", "refused", "answered"]);
    node.stop().await.expect("stops well");
}
