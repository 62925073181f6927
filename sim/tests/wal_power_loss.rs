//! Power fails before each write, sync and rename of a log's workload, enumerated; after each, the log opens,
//! loses nothing that was told as durable, invents nothing, and its vote does not go back.
#![cfg(not(madsim))]

use engram_index::{Inline, Workers};
use engram_node::env::{Clock, Job, Lane, Pool};
use engram_node::raft::types::{Entry, Payload, TypeConfig, Vote, log_id};
use engram_node::raft::wal::{Log, OpenError, Options, Recovery};
use engram_sim::disk::SimDisk;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use openraft::EntryPayload;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Jobs run where they are submitted: the enumeration has no other order.
struct Here;

impl Pool for Here {
    fn submit(&self, _lane: Lane, job: Job) {
        job();
    }
    fn workers(&self) -> Arc<dyn Workers> {
        Arc::new(Inline)
    }
}

/// Each look is 20 ms later, so that the durable mark is written now and then.
#[derive(Default)]
struct Ticks(AtomicU64);

impl Clock for Ticks {
    fn monotonic(&self) -> Duration {
        Duration::from_millis(20 * self.0.fetch_add(1, Ordering::Relaxed))
    }
    fn wall_ms(&self) -> u64 {
        0
    }
    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

fn open(disk: &SimDisk) -> Result<(Log, Recovery), OpenError> {
    let options = Options { dir: "/wal".into(), segment_bytes: 64 << 10, cache_bytes: 4 << 10, identity: [1; 16] };
    Log::open(Arc::new(disk.clone()), Arc::new(Here), Arc::new(Ticks::default()), options)
}

fn entry(term: u64, index: u64) -> Entry {
    let bytes = 100 + (index as usize * 7919) % 9000;
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(Payload(vec![term as u8; bytes].into())) }
}

/// What was told as durable.
#[derive(Default)]
struct Told {
    entries: BTreeMap<u64, Entry>,
    vote: Option<Vote>,
    purged: u64,
    /// Everything that was ever handed in, by index: what may be found beyond what was told.
    offered: BTreeMap<u64, Vec<Entry>>,
    /// A truncation was begun: entries above may be gone, told or not.
    truncating: Option<u64>,
}

fn done<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing waits: jobs run where they are submitted")
}

fn append(log: &mut Log, told: &mut Told, entries: Vec<Entry>) -> bool {
    use openraft::async_runtime::Oneshot;
    type Channel = <engram_node::env::Rt as openraft::AsyncRuntime>::Oneshot;
    let (sender, receiver) = Channel::channel();
    let callback: IOFlushed<TypeConfig> = IOFlushed::signal(sender);
    for entry in &entries {
        told.offered.entry(entry.log_id.index).or_default().push(entry.clone());
    }
    if done(log.append(entries.clone(), callback)).is_err() || !matches!(done(receiver), Ok(Ok(()))) {
        return false;
    }
    told.entries.extend(entries.into_iter().map(|entry| (entry.log_id.index, entry)));
    true
}

/// Until the power fails, or to the end.
fn work(disk: &SimDisk, told: &mut Told) -> Option<()> {
    let (mut log, _) = open(disk).ok()?;
    for term in 1..5u64 {
        let vote = Vote::new_committed(term, 1);
        done(log.save_vote(&vote)).ok()?;
        told.vote = Some(vote);
        let from = told.entries.last_key_value().map_or(0, |(index, _)| index + 1);
        for group in 0..6 {
            let entries = (0..3).map(|at| entry(term, from + group * 3 + at)).collect();
            append(&mut log, told, entries).then_some(())?;
            done(log.save_committed(Some(log_id(term, from + group * 3)))).ok()?;
        }
        let keep = from + 12;
        told.truncating = Some(keep);
        done(log.truncate_after(Some(log_id(term, keep)))).ok()?;
        told.entries.split_off(&(keep + 1));
        told.truncating = None;
        if term % 2 == 0 {
            told.purged = from;
            done(log.purge(log_id(term, from))).ok()?;
        }
    }
    done(log.close());
    Some(())
}

fn check(disk: &SimDisk, told: &Told, context: &str) {
    let (mut log, recovery) = open(disk).unwrap_or_else(|error| panic!("{context}: {error}"));
    let found = done(log.try_get_log_entries(0..u64::MAX)).expect("readable");
    let found: BTreeMap<u64, Entry> = found.into_iter().map(|entry| (entry.log_id.index, entry)).collect();
    for (index, entry) in told.entries.iter().filter(|(index, _)| **index > told.purged) {
        let may_be_gone = told.truncating.is_some_and(|keep| *index > keep);
        let same = found.get(index) == Some(entry);
        assert!(same || may_be_gone, "{context}: entry {index} was durable and is not there ({recovery})");
    }
    for (index, entry) in &found {
        assert!(told.offered[index].contains(entry), "{context}: entry {index} was never handed in");
    }
    let vote = done(log.read_vote()).expect("readable");
    assert!(vote >= told.vote, "{context}: the vote went back from {:?} to {vote:?}", told.vote);
}

#[test]
fn power_loss_before_any_operation_loses_nothing_that_was_told() {
    let whole = SimDisk::new(0);
    work(&whole, &mut Told::default()).expect("the power stays on");
    let operations = whole.operations();
    assert!(operations > 100, "{operations} operations");
    for seed in 0..6 {
        for cut in 0..=operations {
            let disk = SimDisk::new(seed * 10_000 + cut);
            let mut told = Told::default();
            disk.fail_power_after(cut);
            let finished = work(&disk, &mut told).is_some();
            assert_eq!(finished, cut == operations, "seed {seed} cut {cut}");
            disk.power_loss();
            let context = format!("seed {seed}, power lost after operation {cut} of {operations}");
            check(&disk, &told, &context);
            // A second opening finds what the first one left.
            disk.power_loss();
            check(&disk, &told, &context);
        }
    }
}

#[test]
fn a_failed_sync_poisons_the_log_and_what_was_told_stays() {
    let disk = SimDisk::new(3);
    let (mut log, _) = open(&disk).expect("opens");
    let mut told = Told::default();
    assert!(append(&mut log, &mut told, vec![entry(1, 0)]));
    disk.fail_next_sync();
    assert!(!append(&mut log, &mut told, vec![entry(1, 1)]));
    assert!(log.poisoned().is_some());
    assert!(!append(&mut log, &mut told, vec![entry(1, 2)]), "nothing is written after a failed sync");
    disk.power_loss();
    check(&disk, &told, "after a failed sync");
}

#[test]
fn a_full_disk_is_told_before_an_append_fails_and_recovers() {
    let disk = SimDisk::new(4);
    let (mut log, _) = open(&disk).expect("opens");
    let mut told = Told::default();
    disk.set_capacity(90 << 10);
    let mut index = 0;
    while !log.is_full() {
        assert!(append(&mut log, &mut told, vec![entry(1, index)]), "refused before it was told as full");
        index += 1;
    }
    done(log.save_vote(&Vote::new(2, 1))).expect("room was kept for a vote");
    disk.set_capacity(1 << 30);
    // Asking tries again; the second question sees it.
    log.is_full();
    assert!(!log.is_full());
    assert!(append(&mut log, &mut told, vec![entry(1, index)]));
    check(&disk, &told, "after a full disk");
}
