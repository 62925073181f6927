//! The log on real files. Power loss is enumerated on the simulated disk, in sim/tests/wal_power_loss.rs.
#![expect(clippy::disallowed_methods, reason = "the tests look at and damage files behind the log's back")]

mod damage;
mod once;
mod scrub;
mod suite;

use super::{Log, OpenError, Options, Recovery};
use crate::env::{Clock, Job, Lane, OsDisk, Pool};
use crate::raft::types::{Entry, Member, Membership, Payload, TypeConfig, Vote, log_id};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use openraft::EntryPayload;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::OneshotReceiverOf;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fs, io};

/// Runs jobs where they are submitted, or, while held, when they are let go.
#[derive(Default)]
struct Inline {
    held: Mutex<Option<VecDeque<Job>>>,
}

impl Inline {
    fn hold(&self) {
        *self.held.lock().unwrap() = Some(VecDeque::new());
    }

    fn let_go(&self) {
        let jobs = self.held.lock().unwrap().take();
        jobs.into_iter().flatten().for_each(|job| job());
    }
}

impl Pool for Inline {
    fn submit(&self, lane: Lane, job: Job) {
        if lane == Lane::Wal
            && let Some(held) = self.held.lock().unwrap().as_mut()
        {
            return held.push_back(job);
        }
        job();
    }

    fn workers(&self) -> Arc<dyn engram_index::Workers> {
        unreachable!("the log has no batches")
    }
}

/// Time stands still: the mark moves only when the log is opened or closed.
struct Still;

impl Clock for Still {
    fn monotonic(&self) -> Duration {
        Duration::from_secs(1)
    }
    fn wall_ms(&self) -> u64 {
        0
    }
    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

const IDENTITY: [u8; 16] = *b"one disk's name.";

fn options(dir: &Path) -> Options {
    Options { dir: dir.join("wal"), segment_bytes: 16 << 10, cache_bytes: 1000, identity: IDENTITY }
}

fn open(dir: &Path) -> Result<(Log, Recovery), OpenError> {
    Log::open(Arc::new(OsDisk), Arc::<Inline>::default(), Arc::new(Still), options(dir))
}

/// With an inline pool nothing waits.
fn now<T>(work: impl Future<Output = T>) -> T {
    work.now_or_never().expect("nothing waits with an inline pool")
}

fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(Payload(vec![index as u8; bytes].into())) }
}

fn append(log: &mut Log, entries: impl IntoIterator<Item = Entry>) -> OneshotReceiverOf<TypeConfig, io::Result<()>> {
    let (tx, rx) = TypeConfig::oneshot();
    let entries: Vec<Entry> = entries.into_iter().collect();
    now(log.append(entries, IOFlushed::signal(tx))).unwrap();
    rx
}

fn read(log: &mut Log) -> Vec<Entry> {
    now(log.try_get_log_entries(..)).unwrap()
}

fn segments(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir.join("wal")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".wal")).collect();
    names.sort();
    names
}

#[test]
fn a_reopened_log_holds_what_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let members = BTreeMap::from([(1, Member::default()), (2, Member::default())]);
    let membership = Membership::new(vec![BTreeSet::from([1, 2])], members).unwrap();
    let given = vec![
        Entry { log_id: log_id(0, 0), payload: EntryPayload::Membership(membership) },
        Entry { log_id: log_id(1, 1), payload: EntryPayload::Blank },
        entry(1, 2, 100),
        entry(1, 3, 0),
    ];
    let (mut log, fresh) = open(dir.path()).unwrap();
    assert_eq!((fresh.entries, fresh.segments), (0, 0));
    append(&mut log, given.clone());
    now(log.save_vote(&Vote::new_committed(7, 3))).unwrap();
    now(log.save_committed(Some(log_id(1, 2)))).unwrap();
    now(log.close());
    let (mut log, report) = open(dir.path()).unwrap();
    assert_eq!(read(&mut log), given);
    assert_eq!(now(log.read_vote()).unwrap(), Some(Vote::new_committed(7, 3)));
    assert_eq!(now(log.read_committed()).unwrap(), Some(log_id(1, 2)));
    assert_eq!((log.flushed(), log.submitted()), (Some(log_id(1, 3)), Some(log_id(1, 3))));
    let line = report.to_string();
    assert!(line.contains("4 entries (0 to 3)") && line.contains("no unfinished write"), "{line}");
}

#[test]
fn a_truncation_and_what_followed_it_survive() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path()).unwrap();
    append(&mut log, (0..10).map(|index| entry(1, index, 50)));
    now(log.truncate_after(Some(log_id(1, 4)))).unwrap();
    assert_eq!((log.flushed(), log.submitted()), (Some(log_id(1, 4)), Some(log_id(1, 4))));
    append(&mut log, [entry(2, 5, 60)]);
    let held = read(&mut log);
    assert_eq!(held.last().unwrap(), &entry(2, 5, 60));
    drop(log);
    let (mut log, _) = open(dir.path()).unwrap();
    assert_eq!(read(&mut log), held);
}

#[test]
fn a_hole_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path()).unwrap();
    append(&mut log, [entry(1, 0, 10)]);
    assert!(now(log.append([entry(1, 1, 10), entry(1, 3, 10)], IOFlushed::noop())).is_err());
    assert_eq!(read(&mut log), [entry(1, 0, 10)]);
}

#[test]
fn purged_segments_are_removed_and_the_rest_is_readable_from_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path()).unwrap();
    for index in 0..200 {
        append(&mut log, [entry(1, index, 700)]);
    }
    let before = segments(dir.path()).len();
    assert!(before > 8, "{before}");
    now(log.purge(log_id(1, 150))).unwrap();
    let left: Vec<Entry> = (151..200).map(|index| entry(1, index, 700)).collect();
    assert_eq!(read(&mut log), left, "most of them are no longer in memory");
    assert!(segments(dir.path()).len() < before - 5);
    drop(log);
    let (mut log, report) = open(dir.path()).unwrap();
    assert_eq!(read(&mut log), left);
    assert_eq!((report.first_index, report.last_index), (Some(151), Some(199)));
    now(log.purge(log_id(9, 500))).unwrap();
    append(&mut log, [entry(9, 501, 10)]);
    drop(log);
    assert_eq!(read(&mut open(dir.path()).unwrap().0), [entry(9, 501, 10)]);
    assert_eq!(segments(dir.path()).len(), 2, "the one that is written and the next");
}

#[test]
fn all_that_waits_is_one_group_and_is_told_only_then() {
    let dir = tempfile::tempdir().unwrap();
    let pool = Arc::new(Inline::default());
    let (mut log, _) = Log::open(Arc::new(OsDisk), pool.clone(), Arc::new(Still), options(dir.path())).unwrap();
    let before = log.counters();
    pool.hold();
    let mut flushed: Vec<_> = (0..20).map(|index| append(&mut log, [entry(1, index, 40)])).collect();
    assert_eq!(read(&mut log).len(), 20, "readable before it is durable");
    assert_eq!((log.flushed(), log.submitted()), (None, Some(log_id(1, 19))));
    assert!(flushed.pop().unwrap().now_or_never().is_none(), "not told before it is durable");
    pool.let_go();
    assert!(flushed.into_iter().all(|done| matches!(now(done), Ok(Ok(())))));
    assert_eq!(log.flushed(), Some(log_id(1, 19)));
    let after = log.counters();
    assert_eq!((after.groups - before.groups, after.entries - before.entries), (1, 20));
}

#[test]
fn a_committed_mark_alone_writes_nothing_and_goes_with_the_next_group() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path()).unwrap();
    append(&mut log, [entry(1, 0, 10)]);
    let before = log.counters().groups;
    now(log.save_committed(Some(log_id(1, 0)))).unwrap();
    assert_eq!(log.counters().groups, before);
    append(&mut log, [entry(1, 1, 10)]);
    assert_eq!(log.counters().groups, before + 1);
    drop(log);
    assert_eq!(now(open(dir.path()).unwrap().0.read_committed()).unwrap(), Some(log_id(1, 0)));
}

#[test]
fn tending_writes_a_committed_mark_that_is_alone_and_moves_the_durable_mark() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path()).unwrap();
    append(&mut log, [entry(1, 0, 10)]);
    now(log.save_committed(Some(log_id(1, 0)))).unwrap();
    let mark = fs::read(dir.path().join("wal/durable")).unwrap();
    assert!(log.tend().now_or_never().is_none(), "it goes on as long as the node");
    assert_ne!(fs::read(dir.path().join("wal/durable")).unwrap(), mark);
    let groups = log.counters().groups;
    assert!(log.tend().now_or_never().is_none());
    assert_eq!(log.counters().groups, groups, "nothing is left to do");
    drop(log);
    assert_eq!(now(open(dir.path()).unwrap().0.read_committed()).unwrap(), Some(log_id(1, 0)));
}

#[test]
fn an_append_larger_than_a_segment_gets_a_segment_of_its_size() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path()).unwrap();
    append(&mut log, [entry(1, 0, 10)]);
    let large = [entry(1, 1, 60_000), entry(1, 2, 30_000)];
    append(&mut log, large.clone());
    append(&mut log, [entry(1, 3, 10)]);
    drop(log);
    let (mut log, _) = open(dir.path()).unwrap();
    assert_eq!(read(&mut log)[1..3], large);
}

#[test]
fn a_read_is_limited_in_bytes_but_gives_an_entry() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path()).unwrap();
    append(&mut log, (0..3).map(|index| entry(1, index, 5 << 20)));
    assert_eq!(now(log.limited_get_log_entries(1, 3)).unwrap(), [entry(1, 1, 5 << 20)]);
    assert!(now(log.limited_get_log_entries(3, 3)).unwrap().is_empty());
}

#[test]
fn an_entry_that_rots_while_the_log_is_open_is_an_error_that_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path()).unwrap();
    append(&mut log, [entry(1, 0, 600)]);
    append(&mut log, [entry(1, 1, 900)]);
    let file = dir.path().join("wal/0000000000000001.wal");
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(600).position(|bytes| bytes == [0; 600]).unwrap().max(4300);
    bytes[at] ^= 4;
    fs::write(&file, bytes).unwrap();
    let told = now(log.limited_get_log_entries(0, 1)).unwrap_err().to_string();
    assert!(told.contains("0000000000000001.wal is damaged at byte"), "{told}");
}

#[test]
fn a_roll_lets_the_files_of_what_is_purged_go() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path()).unwrap();
    let word = |payload: &str| Entry {
        payload: EntryPayload::Normal(Payload(payload.as_bytes().to_vec().into())),
        ..entry(1, 0, 0)
    };
    append(&mut log, [word("a word to be gone"), entry(1, 1, 10)]);
    log.roll();
    append(&mut log, [entry(1, 2, 10)]);
    assert_eq!(log.lowest(), Some(0));
    now(log.purge(log_id(1, 1))).unwrap();
    assert_eq!(log.lowest(), Some(2));
    let bytes = |name: fs::DirEntry| fs::read(name.path()).unwrap();
    let files: Vec<Vec<u8>> = fs::read_dir(dir.path().join("wal")).unwrap().map(|name| bytes(name.unwrap())).collect();
    assert!(!files.iter().any(|bytes| bytes.windows(6).any(|part| part == b"a word")));
    // Nothing is written between: a roll of a fresh segment is none.
    log.roll();
    log.roll();
    append(&mut log, [entry(1, 3, 10)]);
    drop(log);
    let (mut log, report) = open(dir.path()).unwrap();
    assert_eq!((log.lowest(), report.entries), (Some(2), 2));
    assert_eq!(read(&mut log).len(), 2);
}
