//! Calls on a memory stream: each of gRPC's, answered under its id beside rows, up to a cap, its errors without the stream's
//! end.

use crate::common::{SPACE, cluster, cluster_of, config, note, one_node, texts};
use crate::process::Process;
use crate::ws_client::{Said, Ws, connect};
use engram_client::{Kind, Level, List, Observation, SpaceConfig, observation};
use engram_proto::limits::CALLS_MAX;
use engram_proto::wire::v1::call_request::Request;
use engram_proto::wire::v1::call_response::Outcome;
use engram_proto::wire::v1::{
    AtLeast, CallRequest, CountRequest, CreateSpaceRequest, DropSpaceRequest, Eventual, ForgetRequest, GetRequest,
    Linearizable, ListRequest, ListResponse, ListSpacesRequest, Role, RowIds, RowNumbers, SessionState,
    SessionStatusRequest, StatusRequest, count_request, forget_request, get_request, list_request, memory_request,
};
use std::time::Duration;

fn get(ids: &[&str]) -> GetRequest {
    let consistency = Some(get_request::Consistency::Linearizable(Linearizable {}));
    let ids = ids.iter().map(ToString::to_string).collect();
    GetRequest { space: SPACE.into(), ids, consistency, ..GetRequest::default() }
}

fn count(consistency: count_request::Consistency) -> Request {
    let consistency = Some(consistency);
    Request::Count(CountRequest { space: SPACE.into(), filter: None, consistency })
}

fn count_now() -> Request {
    count(count_request::Consistency::Linearizable(Linearizable {}))
}

/// A count that waits for a log index that is to come.
fn count_later(log_index: u64) -> Request {
    count(count_request::Consistency::AtLeast(AtLeast { log_index, incarnation: 0 }))
}

fn counted(outcome: Outcome) -> u64 {
    let Outcome::Count(counted) = outcome else { panic!("{outcome:?}") };
    counted.count
}

fn forget(which: forget_request::Which) -> Request {
    Request::Forget(ForgetRequest { space: SPACE.into(), which: Some(which), erase: false })
}

fn error(outcome: Outcome) -> (Kind, String) {
    let Outcome::Error(detail) = outcome else { panic!("{outcome:?}") };
    (detail.kind(), detail.message)
}

/// All pages of a list over one stream, each asked for as of the first one's log index.
async fn list(ws: &mut Ws, from_row: u64, limit: u64) -> Vec<ListResponse> {
    let consistency = Some(list_request::Consistency::Linearizable(Linearizable {}));
    let mut request = ListRequest { space: SPACE.into(), from_row, limit, consistency, ..ListRequest::default() };
    let mut pages = Vec::new();
    loop {
        let outcome = ws.ask(1, Request::List(request.clone())).await;
        let Outcome::List(page) = outcome else { panic!("{outcome:?}") };
        let (next, at) = (page.next_row, page.snapshot.expect("stated").applied_index);
        let rows = page.rows.len() as u64;
        pages.push(page);
        let Some(next) = next else { return pages };
        let limit = if limit == 0 { 0 } else { request.limit - rows };
        request = ListRequest { from_row: next, limit, consistency: None, at_index: Some(at), ..request };
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_through_a_follower_is_answered_as_by_grpc() {
    let dir = tempfile::tempdir().expect("temporary");
    let (nodes, client) = cluster(3, dir.path()).await;
    let leader = client.on(&nodes[0].config.listen).status().await.expect("answers").leader.expect("known");
    let follower = nodes.iter().find(|node| node.config.node_id != leader).expect("two of them");
    let (mut ws, opened) = Ws::open(&follower.config.listen, SPACE).await;
    let named = |id: &str| Observation { id: id.into(), ..note(id) };
    ws.batch(1, ["a", "b", "c", "d"].map(named).into()).await;
    ws.acked(4).await;

    let outcome = ws.ask(7, Request::Get(get(&["c", "nobody", "a"]))).await;
    let Outcome::Get(got) = outcome else { panic!("{outcome:?}") };
    assert_eq!(texts(&got.rows), ["c", "a"]);
    assert_eq!(counted(ws.ask(8, count_now()).await), 4);
    let outcome = ws.ask(9, forget(forget_request::Which::Ids(RowIds { ids: vec!["a".into()] }))).await;
    let Outcome::Forget(gone) = outcome else { panic!("{outcome:?}") };
    assert!(gone.forgotten == 1 && gone.log_index > 0, "{gone:?}");
    let rows: Vec<_> = list(&mut ws, 0, 0).await.into_iter().flat_map(|page| page.rows).collect();
    let theirs = client.list_all(List { level: Level::Linearizable, ..List::new(SPACE) }).await.expect("listed");
    assert_eq!((rows, texts(&theirs.rows).join("")), (theirs.rows, "bcd".into()));

    let (session, incarnation) = (opened.session, opened.incarnation);
    let outcome = ws.ask(10, Request::SessionStatus(SessionStatusRequest { session, incarnation })).await;
    let Outcome::SessionStatus(status) = outcome else { panic!("{outcome:?}") };
    assert_eq!((status.state(), status.last_sequence, status.space.as_str()), (SessionState::Open, 4, SPACE));
    let outcome = ws.ask(11, Request::Status(StatusRequest {})).await;
    let Outcome::Status(status) = outcome else { panic!("{outcome:?}") };
    assert_eq!((status.node, status.role(), status.leader), (follower.config.node_id, Role::Follower, Some(leader)));

    let config = Some(SpaceConfig { name: "made".into(), dim: 3, ..SpaceConfig::default() });
    let outcome = ws.ask(12, Request::CreateSpace(CreateSpaceRequest { config })).await;
    let Outcome::CreateSpace(made) = outcome else { panic!("{outcome:?}") };
    assert_eq!(made.space.expect("told").id, made.log_index);
    let names = async |ws: &mut Ws| {
        let outcome = ws.ask(13, Request::ListSpaces(ListSpacesRequest {})).await;
        let Outcome::ListSpaces(all) = outcome else { panic!("{outcome:?}") };
        all.spaces.into_iter().map(|space| space.config.expect("told").name).collect::<Vec<_>>()
    };
    assert_eq!(names(&mut ws).await, [SPACE, "made"]);
    let outcome = ws.ask(14, Request::DropSpace(DropSpaceRequest { name: "made".into() })).await;
    assert!(matches!(outcome, Outcome::DropSpace(_)), "{outcome:?}");
    assert_eq!(names(&mut ws).await, [SPACE]);
    for node in nodes {
        node.stop().await.expect("stops well");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_a_list_are_of_one_past_whatever_is_forgotten_between_them() {
    let dir = tempfile::tempdir().expect("temporary");
    let (node, address) = one_node(&dir).await;
    let (mut ws, _) = Ws::open(&address, SPACE).await;
    let expected: Vec<String> = (0..600).map(|row| format!("row {row}")).collect();
    ws.batch(1, expected.iter().map(|text| note(text)).collect()).await;
    ws.acked(600).await;
    let consistency = Some(list_request::Consistency::Eventual(Eventual {}));
    let first = ListRequest { space: SPACE.into(), consistency, ..ListRequest::default() };
    let Outcome::List(page) = ws.ask(1, Request::List(first.clone())).await else { panic!("no page") };
    let (next, at) = (page.next_row.expect("more"), page.snapshot.expect("stated").applied_index);
    ws.ask(2, forget(forget_request::Which::Rows(RowNumbers { rows: vec![0, next, 599] }))).await;
    let later =
        |from_row| Request::List(ListRequest { from_row, consistency: None, at_index: Some(at), ..first.clone() });
    let mut all = page.rows;
    let mut next = Some(next);
    while let Some(from_row) = next {
        let Outcome::List(page) = ws.ask(3, later(from_row)).await else { panic!("no page") };
        assert_eq!(page.snapshot.expect("stated").applied_index, at);
        all.extend(page.rows);
        next = page.next_row;
    }
    assert_eq!(texts(&all), expected);
    let pages = list(&mut ws, 10, 300).await;
    assert_eq!(pages.iter().map(|page| page.rows.len()).collect::<Vec<_>>(), [256, 44]);
    assert_eq!(list(&mut ws, 600, 0).await[0].rows, []);
    // Erased rows are in no past any more, and a page does not pretend that they never were.
    let which = Some(forget_request::Which::Rows(RowNumbers { rows: vec![1] }));
    ws.ask(4, Request::Forget(ForgetRequest { space: SPACE.into(), which, erase: true })).await;
    assert_eq!(error(ws.ask(5, later(0)).await).0, Kind::BelowFloor);
    let both = ListRequest { at_index: Some(at), ..first };
    assert_eq!(error(ws.ask(6, Request::List(both)).await).0, Kind::Invalid);
    node.stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_is_the_answer_to_its_call_and_the_stream_goes_on() {
    let dir = tempfile::tempdir().expect("temporary");
    let (node, address) = one_node(&dir).await;
    let (mut ws, opened) = Ws::open(&address, SPACE).await;
    let nowhere = || "nowhere".to_string();
    let space = SpaceConfig { name: SPACE.into(), dim: 2, ..SpaceConfig::default() };
    let lost = SessionStatusRequest { session: opened.session, incarnation: opened.incarnation + 1 };
    let cases = [
        (Request::Get(GetRequest { space: nowhere(), ..get(&["a"]) }), Kind::NotFound),
        (Request::Get(get(&[])), Kind::Invalid),
        (Request::Count(CountRequest { space: nowhere(), ..CountRequest::default() }), Kind::NotFound),
        (Request::List(ListRequest { space: nowhere(), ..ListRequest::default() }), Kind::NotFound),
        (Request::Forget(ForgetRequest { space: SPACE.into(), ..ForgetRequest::default() }), Kind::Invalid),
        (Request::SessionStatus(lost), Kind::SessionLost),
        (Request::CreateSpace(CreateSpaceRequest { config: Some(space) }), Kind::Exists),
        (Request::CreateSpace(CreateSpaceRequest { config: None }), Kind::Invalid),
        (Request::DropSpace(DropSpaceRequest { name: nowhere() }), Kind::NotFound),
    ];
    for (id, (request, kind)) in cases.into_iter().enumerate() {
        let said = error(ws.ask(id as u64, request.clone()).await);
        assert_eq!(said.0, kind, "{request:?}: {}", said.1);
    }
    // A call that only a newer version knows: an id, and nothing else that is known here.
    ws.send(memory_request::Message::Call(CallRequest { call_id: 99, request: None })).await;
    let Said::Call(99, outcome) = ws.next().await else { panic!("no answer") };
    assert_eq!(error(outcome).0, Kind::Unsupported);
    ws.batch(1, vec![note("the stream goes on")]).await;
    ws.acked(1).await;
    node.stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_waits_holds_up_nothing_and_a_stream_has_so_many() {
    let dir = tempfile::tempdir().expect("temporary");
    let mut patient = config(1, dir.path());
    patient.stream.read_deadline_ms = 60_000;
    let (mut nodes, _) = cluster_of([patient].into_iter()).await;
    let node = nodes.remove(0);
    let (mut ws, opened) = Ws::open(&node.config.listen, SPACE).await;
    let later = opened.session + 20;
    let most = CALLS_MAX as u64;
    for id in 1..most {
        ws.call(id, count_later(later)).await;
    }
    ws.batch(1, vec![note("not held up")]).await;
    ws.acked(1).await;
    // The last place is taken and given back, again and again.
    for id in 100..200 {
        assert_eq!(counted(ws.ask(id, count_now()).await), 1);
    }
    ws.call(most, count_later(later)).await;
    let (kind, message) = error(ws.ask(200, count_now()).await);
    assert_eq!(kind, Kind::Overloaded, "{message}");
    assert!(message.contains("at most 16 calls"), "{message}");
    // What they wait for comes with the rows of another stream.
    let (mut writer, _) = Ws::open(&node.config.listen, SPACE).await;
    for sequence in 1..=20 {
        writer.batch(sequence, vec![note("later")]).await;
        writer.acked(sequence).await;
    }
    let mut answered = std::collections::BTreeSet::new();
    while answered.len() < CALLS_MAX {
        let Said::Call(id, outcome) = ws.next().await else { panic!("no answer") };
        assert!(counted(outcome) > 1 && answered.insert(id), "{id}");
    }
    assert!(answered.into_iter().eq(1..=most));
    assert_eq!(counted(ws.ask(300, count_now()).await), 21);
    node.stop().await.expect("stops well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_keep_the_servers_memory_bounded() {
    let dir = tempfile::tempdir().expect("temporary");
    let process = Process::start(dir.path()).await;
    let (mut ws, _) = Ws::open(&process.address, SPACE).await;
    let long = "x".repeat(60_000);
    for at in 0..10 {
        ws.batch(at * 10 + 1, vec![observation(&long, &[0.6, 0.8]); 10]).await;
        ws.acked(at * 10 + 10).await;
    }
    let before = process.resident_kib();
    // Six megabytes each.
    let all = GetRequest { space: SPACE.into(), rows: (0..100).collect(), ..GetRequest::default() };
    let mut deaf = connect(&process.address).await;
    for id in 0..1000 {
        let call = deaf.call(id, Request::Get(all.clone()));
        if tokio::time::timeout(Duration::from_millis(200), call).await.is_err() {
            break;
        }
    }
    let most = process.grown_kib(before).await;
    assert!(most < 100 << 10, "{most} KiB more");
    ws.batch(101, vec![note("others are served")]).await;
    ws.acked(101).await;
}
