//! The log on real files: what was told as durable is there after any reopening, and damage is never believed.
#![expect(clippy::disallowed_methods, reason = "the tests damage files")]

use super::{Log, OpenError, Options, Recovery};
use crate::env::{Clock, OsDisk, Pool, Rt, Threads};
use crate::raft::types::{Entry, LogId, Payload, TypeConfig, Vote, log_id};
use futures_util::future::BoxFuture;
use openraft::async_runtime::Oneshot;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::{AsyncRuntime, EntryPayload};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

struct Still;

impl Clock for Still {
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
    fn wall_ms(&self) -> u64 {
        0
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(Rt::sleep(duration))
    }
}

fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    let payload = EntryPayload::Normal(Payload(vec![index as u8; bytes].into()));
    Entry { log_id: log_id(term, index), payload }
}

fn open_with(dir: &Path, segment_bytes: u64, cache_bytes: usize) -> Result<(Log, Recovery), OpenError> {
    let pool: Arc<dyn Pool> = Arc::new(Threads::start(1).expect("threads start"));
    let options = Options { dir: dir.to_path_buf(), segment_bytes, cache_bytes, identity: [7; 16] };
    Log::open(Arc::new(OsDisk), pool, Arc::new(Still), options)
}

fn open(dir: &Path) -> Log {
    open_with(dir, 64 << 10, 0).expect("opens").0
}

async fn append(log: &mut Log, entries: Vec<Entry>) {
    let (done, told) = <<Rt as AsyncRuntime>::Oneshot as Oneshot>::channel();
    let callback: IOFlushed<TypeConfig> = IOFlushed::signal(done);
    log.append(entries, callback).await.expect("taken");
    told.await.expect("told").expect("durable");
}

async fn indexes(log: &mut Log) -> Vec<(u64, u64)> {
    let entries = log.try_get_log_entries(0..u64::MAX).await.expect("readable");
    entries.iter().map(|entry| (entry.log_id.committed_leader_id().term, entry.log_id.index)).collect()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(dir).expect("there").map(|entry| entry.expect("read").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "wal"));
    paths.sort();
    paths
}

#[test]
fn entries_votes_and_marks_survive_reopening_from_disk_alone() {
    let dir = tempfile::tempdir().expect("temporary");
    run(async {
        let mut log = open(dir.path());
        log.save_vote(&Vote::new_committed(3, 2)).await.expect("durable");
        append(&mut log, (0..200).map(|index| entry(1, index, 1000)).collect()).await;
        append(&mut log, (200..210).map(|index| entry(2, index, 10)).collect()).await;
        log.save_committed(Some(log_id(1, 150))).await.expect("queued");
        log.close().await;
        let mut again = open(dir.path());
        assert_eq!(again.read_vote().await.expect("read"), Some(Vote::new_committed(3, 2)));
        assert_eq!(again.read_committed().await.expect("read"), Some(log_id(1, 150)));
        assert_eq!(again.flushed(), Some(log_id(2, 209)));
        let entries = again.try_get_log_entries(0..u64::MAX).await.expect("read");
        assert_eq!(entries.len(), 210);
        assert_eq!(entries[77], entry(1, 77, 1000));
        let part = again.limited_get_log_entries(5, 9).await.expect("read");
        assert_eq!(part.iter().map(|entry| entry.log_id.index).collect::<Vec<_>>(), [5, 6, 7, 8]);
    });
}

#[test]
fn a_truncated_tail_stays_gone_and_is_written_anew() {
    let dir = tempfile::tempdir().expect("temporary");
    run(async {
        let mut log = open(dir.path());
        append(&mut log, (0..10).map(|index| entry(1, index, 100)).collect()).await;
        log.truncate_after(Some(log_id(1, 4))).await.expect("durable");
        append(&mut log, (5..7).map(|index| entry(2, index, 100)).collect()).await;
        let expected = vec![(1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (2, 5), (2, 6)];
        assert_eq!(indexes(&mut log).await, expected);
        log.close().await;
        assert_eq!(indexes(&mut open(dir.path())).await, expected);
    });
}

#[test]
fn a_purge_removes_segments_and_keeps_vote_and_purge_point() {
    let dir = tempfile::tempdir().expect("temporary");
    run(async {
        let mut log = open(dir.path());
        log.save_vote(&Vote::new(9, 1)).await.expect("durable");
        for index in 0..400 {
            append(&mut log, vec![entry(1, index, 1000)]).await;
        }
        let before = segments(dir.path()).len();
        log.purge(log_id(1, 350)).await.expect("durable");
        assert!(segments(dir.path()).len() + 3 < before, "{before} segments before");
        log.close().await;
        let mut again = open(dir.path());
        assert_eq!(again.read_vote().await.expect("read"), Some(Vote::new(9, 1)));
        let state = again.get_log_state().await.expect("read");
        assert_eq!(state.last_purged_log_id, Some(log_id(1, 350)));
        assert_eq!(indexes(&mut again).await.first(), Some(&(1, 351)));
    });
}

#[test]
fn a_purge_past_the_end_leaves_an_empty_log_that_goes_on() {
    let dir = tempfile::tempdir().expect("temporary");
    run(async {
        let mut log = open(dir.path());
        append(&mut log, (0..5).map(|index| entry(1, index, 10)).collect()).await;
        log.purge(log_id(4, 100)).await.expect("durable");
        append(&mut log, vec![entry(4, 101, 10)]).await;
        log.close().await;
        assert_eq!(indexes(&mut open(dir.path())).await, [(4, 101)]);
    });
}

#[test]
fn an_entry_larger_than_a_segment_is_kept() {
    let dir = tempfile::tempdir().expect("temporary");
    run(async {
        let mut log = open(dir.path());
        append(&mut log, vec![entry(1, 0, 10), entry(1, 1, 300_000), entry(1, 2, 10)]).await;
        log.close().await;
        assert_eq!(indexes(&mut open(dir.path())).await, [(1, 0), (1, 1), (1, 2)]);
    });
}

/// A store of three groups; the last one's place and length.
fn small_store(dir: &Path, closed: bool) -> (usize, usize) {
    run(async {
        let mut log = open(dir);
        log.save_vote(&Vote::new(1, 1)).await.expect("durable");
        append(&mut log, vec![entry(1, 0, 40), entry(1, 1, 40)]).await;
        let path = &segments(dir)[0];
        let used = |path: &Path| {
            let bytes = std::fs::read(path).expect("there");
            bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| (last + 1).next_multiple_of(8))
        };
        let before = used(path);
        append(&mut log, vec![entry(1, 2, 40), entry(1, 3, 40)]).await;
        if closed {
            log.close().await;
        }
        (before, used(path))
    })
}

#[test]
fn a_last_group_torn_at_any_byte_is_cut_and_nothing_before_it_is_lost() {
    let dir = tempfile::tempdir().expect("temporary");
    let (from, to) = small_store(dir.path(), false);
    // As if power had failed before the mark followed.
    std::fs::remove_file(dir.path().join("durable")).expect("there");
    let path = segments(dir.path()).remove(0);
    let good = std::fs::read(&path).expect("there");
    for cut in from..to {
        let mut torn = good.clone();
        torn[cut..to].fill(0);
        std::fs::write(&path, &torn).expect("written");
        let (mut log, recovery) = open_with(dir.path(), 64 << 10, 0).expect("a torn end is no rot");
        let found = run(indexes(&mut log));
        // A cut in the padding tears nothing.
        assert!(found == [(1, 0), (1, 1)] || torn == good, "cut at {cut}: {found:?} {recovery}");
    }
}

#[test]
fn damage_at_any_byte_below_the_mark_is_refused_or_changes_nothing() {
    let dir = tempfile::tempdir().expect("temporary");
    let (_, to) = small_store(dir.path(), true);
    let path = segments(dir.path()).remove(0);
    let good = std::fs::read(&path).expect("there");
    let whole = [(1, 0), (1, 1), (1, 2), (1, 3)];
    let mut refused = 0;
    for at in (0..60).chain(4096..to) {
        let mut bad = good.clone();
        bad[at] ^= 0x20;
        std::fs::write(&path, &bad).expect("written");
        match open_with(dir.path(), 64 << 10, 0) {
            Err(error) => {
                assert!(error.to_string().contains(".wal"), "{error}");
                refused += 1;
            }
            Ok((mut log, _)) => assert_eq!(run(indexes(&mut log)), whole, "byte {at}"),
        }
    }
    assert!(refused >= to - 4096, "{refused} refused");
}

#[test]
fn a_missing_segment_and_another_directorys_segment_are_refused() {
    let dir = tempfile::tempdir().expect("temporary");
    run(async {
        let mut log = open(dir.path());
        for index in 0..300 {
            append(&mut log, vec![entry(1, index, 1000)]).await;
        }
        log.close().await;
    });
    let pool: Arc<dyn Pool> = Arc::new(Threads::start(1).expect("threads start"));
    let options = Options { dir: dir.path().into(), segment_bytes: 64 << 10, cache_bytes: 0, identity: [8; 16] };
    let other = Log::open(Arc::new(OsDisk), pool, Arc::new(Still), options);
    assert!(matches!(other, Err(OpenError::OtherDisk { .. })));
    let all = segments(dir.path());
    for missing in [1, all.len() - 2] {
        let aside = dir.path().join("aside");
        std::fs::rename(&all[missing], &aside).expect("moved");
        assert!(matches!(open_with(dir.path(), 64 << 10, 0), Err(OpenError::Rot { .. })), "segment {missing}");
        std::fs::rename(&aside, &all[missing]).expect("moved back");
    }
    std::fs::remove_file(&all[all.len() - 1]).expect("removed");
    std::fs::remove_file(&all[all.len() - 2]).expect("removed");
    assert!(matches!(open_with(dir.path(), 64 << 10, 0), Err(OpenError::Rot { .. })), "the end is missing");
}

#[test]
fn the_last_log_id_is_told_before_it_is_durable_and_flushed_after() {
    let dir = tempfile::tempdir().expect("temporary");
    run(async {
        let mut log = open(dir.path());
        let submitted = |log: &Log| -> (Option<LogId>, Option<LogId>) { (log.submitted(), log.flushed()) };
        assert_eq!(submitted(&log), (None, None));
        append(&mut log, vec![entry(1, 0, 10)]).await;
        assert_eq!(submitted(&log), (Some(log_id(1, 0)), Some(log_id(1, 0))));
    });
}
