//! The offline spool against the fake cluster: whatever dies, each row that was spooled is in the log once, in order.
#![allow(clippy::disallowed_methods, reason = "the tests copy directories, as a crash leaves them")]

use crate::fake::{Fake, Faults, NODES, SPACE, row};
use engram_client::{Delivered, Delivery, Kind, ObserveOptions, Spool, SpoolError};
use proptest::prelude::*;
use std::future::{Future, poll_fn};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

fn open(dir: &Path) -> Spool {
    Spool::open(dir, SPACE, Spool::MAX_BYTES).expect("opens")
}

fn put(spool: &Spool, rows: std::ops::Range<u64>) {
    let rows: Vec<_> = rows.map(|number| row(format!("row {number}"))).collect();
    spool.put(&rows).expect("spooled");
}

fn expected(rows: std::ops::Range<u64>) -> Vec<String> {
    rows.map(|number| format!("row {number}")).collect()
}

async fn deliver(spool: &Spool, fake: &Fake) -> Result<Delivered, SpoolError> {
    spool.finish();
    spool.deliver(&fake.client(), ObserveOptions::default(), |_| ()).await
}

/// What a dead process leaves: the files as they are, with nothing flushed that was not.
fn crash(from: &Path, to: PathBuf) -> PathBuf {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).expect("made");
        for entry in std::fs::read_dir(from).expect("readable") {
            let entry = entry.expect("readable");
            let to = to.join(entry.file_name());
            match entry.file_type().expect("known").is_dir() {
                true => copy(&entry.path(), &to),
                false => drop(std::fs::copy(entry.path(), to).expect("copied")),
            }
        }
    }
    copy(from, &to);
    to
}

/// Polls a future so many times at most, and for a minute, then drops it.
async fn for_polls<T>(polls: usize, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut left = polls;
    let polled = poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        work.as_mut().poll(cx).map(Some)
    });
    tokio::time::timeout(Duration::from_secs(60), polled).await.ok().flatten()
}

#[tokio::test(start_paused = true)]
async fn spooled_rows_are_delivered_once_and_leave_the_spool() {
    let (fake, dir) = (Fake::new(), tempfile::tempdir().expect("temporary"));
    let spool = open(dir.path());
    put(&spool, 0..500);
    assert_eq!((spool.waiting().rows, spool.waiting().session), (500, None));
    let delivered = deliver(&spool, &fake).await.expect("delivered");
    assert_eq!((delivered.acked, delivered.refused, spool.waiting().rows), (500, 0, 0));
    assert_eq!(fake.texts(), expected(0..500));
    assert!(delivered.token.log_index > 0);
}

#[tokio::test(start_paused = true)]
async fn rows_wait_for_a_cluster_that_is_away() {
    let (fake, dir) = (Fake::new(), tempfile::tempdir().expect("temporary"));
    fake.fault_everywhere(Faults { down: true, ..Faults::default() });
    let spool = open(dir.path());
    put(&spool, 0..10);
    let error = deliver(&spool, &fake).await.expect_err("nobody there");
    assert!(matches!(error, SpoolError::Session(_)), "{error}");
    drop(spool);
    fake.fault_everywhere(Faults::default());
    let spool = open(dir.path());
    assert_eq!(spool.waiting().rows, 10);
    deliver(&spool, &fake).await.expect("delivered");
    assert_eq!(fake.texts(), expected(0..10));
}

#[tokio::test(start_paused = true)]
async fn rows_put_while_others_are_delivered_follow_them() {
    let (fake, dir) = (Fake::new(), tempfile::tempdir().expect("temporary"));
    let spool = open(dir.path());
    let putting = async {
        for at in 0..20 {
            put(&spool, at * 10..at * 10 + 10);
            fake.pass(Duration::from_millis(7)).await;
        }
        spool.finish();
    };
    let client = fake.client();
    let delivering = spool.deliver(&client, ObserveOptions::default(), |_| ());
    let ((), delivered) = futures_util::future::join(putting, delivering).await;
    assert_eq!(delivered.expect("delivered").acked, 200);
    assert_eq!(fake.texts(), expected(0..200));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_expired_and_is_remembered_is_followed_by_another() {
    let (fake, dir) = (Fake::new(), tempfile::tempdir().expect("temporary"));
    let copies = tempfile::tempdir().expect("temporary");
    let spool = open(dir.path());
    put(&spool, 0..200);
    // Half of the rows are in, their acks are lost with the connection and the process.
    fake.fault_everywhere(Faults { break_after_rows: Some(100), down: false, ..Faults::default() });
    let client = fake.client();
    let delivering = spool.deliver(&client, ObserveOptions::default(), |news| {
        if matches!(news, Delivery::Interrupted { .. }) {
            fake.fault_everywhere(Faults { down: true, ..Faults::default() });
        }
    });
    assert!(tokio::time::timeout(Duration::from_secs(20), delivering).await.is_err());
    let taken = fake.texts().len() as u64;
    assert!((100..200).contains(&taken), "{taken}");
    let left = crash(dir.path(), copies.path().join("copy"));
    drop(spool);
    fake.with(|state| state.expire(true));
    fake.fault_everywhere(Faults::default());
    let spool = open(&left);
    let session = spool.waiting().session;
    assert!(session.is_some());
    let mut sessions = Vec::new();
    spool.finish();
    let news = |news| {
        if let Delivery::Session { session, last_sequence } = news {
            sessions.push((session, last_sequence));
        }
    };
    spool.deliver(&fake.client(), ObserveOptions::default(), news).await.expect("delivered");
    assert_eq!(fake.texts(), expected(0..200));
    assert!(matches!(sessions[..], [(new, 0)] if Some(new) != session), "{sessions:?}");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_nobody_remembers_is_a_doubt_that_a_person_settles() {
    let (fake, dir) = (Fake::new(), tempfile::tempdir().expect("temporary"));
    let copies = tempfile::tempdir().expect("temporary");
    let spool = open(dir.path());
    put(&spool, 0..50);
    let client = fake.client();
    let delivering = spool.deliver(&client, ObserveOptions::default(), |_| ());
    assert!(for_polls(12, delivering).await.is_none());
    let left = crash(dir.path(), copies.path().join("copy"));
    drop(spool);
    fake.pass(Duration::from_secs(1)).await;
    let spool = open(&left);
    let session = spool.waiting().session.expect("opened");
    fake.with(|state| state.expire(false));
    let before = fake.texts();
    let error = deliver(&spool, &fake).await.expect_err("nobody knows");
    let SpoolError::Doubt { session: told, acked, rows, .. } = error else { panic!("{error}") };
    assert_eq!((told, acked + rows), (session, 50));
    assert_eq!((fake.texts(), spool.waiting().rows), (before, rows), "nothing was guessed");
    // A person looks into the space and states what is there.
    let last = fake.with(|state| state.log.iter().filter(|row| row.session == session).map(|row| row.sequence).max());
    spool.settle_lost(last.unwrap_or(0)).expect("settled");
    deliver(&spool, &fake).await.expect("delivered");
    assert_eq!(fake.texts(), expected(0..50));
}

#[tokio::test(start_paused = true)]
async fn a_refused_row_is_told_and_leaves_and_the_rest_goes_on() {
    let (fake, dir) = (Fake::new(), tempfile::tempdir().expect("temporary"));
    let spool = open(dir.path());
    put(&spool, 0..3);
    spool.put(&[row("bad")]).expect("spooled");
    put(&spool, 3..6);
    let mut refused = Vec::new();
    spool.finish();
    let news = |news| {
        if let Delivery::Refused { row, error } = news {
            refused.push((row.text, error.kind()));
        }
    };
    let delivered = spool.deliver(&fake.client(), ObserveOptions::default(), news).await.expect("delivered");
    assert_eq!((delivered.acked, delivered.refused), (6, 1));
    assert_eq!(refused, [("bad".to_string(), Kind::Invalid)]);
    assert_eq!((fake.texts(), spool.waiting().rows), (expected(0..6), 0));
}

#[tokio::test(start_paused = true)]
async fn a_full_spool_and_a_second_owner_are_refused_by_name() {
    let (fake, dir) = (Fake::new(), tempfile::tempdir().expect("temporary"));
    let spool = Spool::open(dir.path(), SPACE, 300).expect("opens");
    let rows: Vec<_> = (0..100).map(|number| row(format!("row {number}"))).collect();
    let error = spool.put(&rows).expect_err("over 300 bytes");
    assert!(matches!(error, SpoolError::Full { max: 300, waiting: 0, .. }), "{error}");
    assert_eq!(spool.waiting().rows, 0, "all or none");
    put(&spool, 0..10);
    let error = Spool::open(dir.path(), SPACE, 300).err().expect("in use");
    assert!(error.to_string().contains("in use by another process; stop that one"), "{error}");
    deliver(&spool, &fake).await.expect("delivered");
    put(&spool, 10..20);
    drop(spool);
    let error = Spool::open(dir.path(), "other", 300).err().expect("of another space");
    assert!(error.to_string().contains("it is for the space \"notes\", not \"other\""), "{error}");
    let large = row("x".repeat(2 << 20));
    let error = open(dir.path()).put(&[large]).expect_err("over 1 MiB");
    assert!(matches!(error, SpoolError::Refused(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_copied_spool_contradicts_its_session_and_doubles_nothing() {
    let (fake, dir) = (Fake::new(), tempfile::tempdir().expect("temporary"));
    let copies = tempfile::tempdir().expect("temporary");
    let spool = open(dir.path());
    put(&spool, 0..20);
    let client = fake.client();
    assert!(for_polls(6, spool.deliver(&client, ObserveOptions::default(), |_| ())).await.is_none());
    assert!(spool.waiting().session.is_some());
    let copy = crash(dir.path(), copies.path().join("copy"));
    put(&spool, 20..60);
    deliver(&spool, &fake).await.expect("delivered");
    drop(spool);
    let error = deliver(&open(&copy), &fake).await.expect_err("the original went on");
    assert!(matches!(error, SpoolError::Contradiction { last_sequence: 60, through: 20, .. }), "{error}");
    assert_eq!(fake.texts(), expected(0..60));
}

#[tokio::test(start_paused = true)]
async fn a_note_is_as_durable_as_its_rows() {
    let dir = tempfile::tempdir().expect("temporary");
    let copies = tempfile::tempdir().expect("temporary");
    let spool = open(dir.path());
    assert_eq!(spool.note("a.jsonl").expect("read"), None);
    spool.put_noting(&[row("one")], "a.jsonl", b"1").expect("spooled");
    let left = crash(dir.path(), copies.path().join("copy"));
    let spool = open(&left);
    assert_eq!((spool.waiting().rows, spool.note("a.jsonl").expect("read")), (1, Some(b"1".to_vec())));
    spool.clear_note("a.jsonl").expect("cleared");
    assert_eq!(spool.note("a.jsonl").expect("read"), None);
}

/// One life of the client's process.
#[derive(Clone, Debug)]
struct Life {
    puts: u64,
    bad: Option<u64>,
    polls: usize,
    /// A connection breaks after so many more rows.
    break_after: Option<u64>,
    /// The session expires before the next life, and is remembered.
    expires: bool,
}

fn life() -> impl Strategy<Value = Life> {
    let bad = prop::option::weighted(0.4, 0..30u64);
    (0..120u64, bad, 0..60usize, prop::option::of(0..100u64), prop::bool::weighted(0.2))
        .prop_map(|(puts, bad, polls, break_after, expires)| Life { puts, bad, polls, break_after, expires })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn wherever_the_process_dies_each_row_is_in_once(lives in prop::collection::vec(life(), 1..6)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(survive(lives));
    }
}

async fn survive(lives: Vec<Life>) {
    let (fake, dirs) = (Fake::new(), tempfile::tempdir().expect("temporary"));
    let (mut dir, mut number) = (dirs.path().join("0"), 0);
    for (at, life) in lives.iter().enumerate() {
        let spool = open(&dir);
        for place in 0..life.puts {
            if life.bad == Some(place) {
                spool.put(&[row("bad")]).expect("spooled");
            }
            spool.put(&[row(format!("row {number}"))]).expect("spooled");
            number += 1;
        }
        let count = fake.with(|state| state.log.len() as u64);
        let faults = Faults { break_after_rows: life.break_after.map(|after| count + after), ..Faults::default() };
        fake.fault(NODES[at % 3], faults);
        let client = fake.client_with_seed(at as u64);
        // A paused clock passes when nothing else is to do: lives end in waits too.
        let _ = for_polls(life.polls, spool.deliver(&client, ObserveOptions::default(), |_| ())).await;
        let next = crash(&dir, dirs.path().join((at + 1).to_string()));
        drop((spool, client));
        dir = next;
        if life.expires {
            // What is on its way arrives before, as the session knows then.
            fake.pass(Duration::from_secs(1)).await;
            fake.with(|state| state.expire(true));
        }
    }
    fake.fault_everywhere(Faults::default());
    let spool = open(&dir);
    deliver(&spool, &fake).await.expect("delivered in the end");
    assert_eq!(fake.texts(), expected(0..number));
    assert_eq!(spool.waiting().rows, 0);
}
