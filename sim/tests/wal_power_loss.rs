//! The write-ahead log against power loss, enumerated: before every operation of the disk in a workload, and again
//! while it recovers. What comes back is the log as it was after some operation, none that was told lost, none
//! invented, whatever the disk kept of unsynced writes and names.

use bytes::Bytes;
use engram_node::env::{Clock, Disk, Job, Lane, Pool, Seed};
use engram_node::raft::log::{Log, Options, Recovery};
use engram_node::raft::types::{Entry, LogId, Payload, TypeConfig, Vote, log_id};
use engram_sim::disk::SimDisk;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use openraft::EntryPayload;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use rand::RngExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Runs a job where it is submitted: every operation is a group of its own.
struct Inline;

impl Pool for Inline {
    fn submit(&self, _lane: Lane, job: Job) {
        job();
    }
    fn workers(&self) -> Arc<dyn engram_index::Workers> {
        unreachable!("the log has no batches")
    }
}

/// Ten milliseconds pass at each look: the mark follows now and then.
#[derive(Default)]
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.fetch_add(10, Ordering::Relaxed))
    }
    fn wall_ms(&self) -> u64 {
        0
    }
    fn sleep(&self, _duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Entry>),
    Vote(Vote),
    Truncate(Option<LogId>),
    Purge(LogId),
    Commit(LogId),
}

/// What the log should hold.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    vote: Option<Vote>,
    purged: Option<LogId>,
    last: Option<LogId>,
    entries: Vec<Entry>,
}

impl Model {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::Append(entries) => {
                self.last = entries.last().map(|entry| entry.log_id).or(self.last);
                self.entries.extend(entries.iter().cloned());
            }
            Step::Vote(vote) => self.vote = Some(*vote),
            Step::Truncate(last) => {
                self.entries.retain(|entry| Some(entry.log_id) <= *last);
                self.last = *last;
            }
            Step::Purge(upto) => {
                self.entries.retain(|entry| entry.log_id > *upto);
                self.purged = Some(*upto);
                self.last = self.last.max(Some(*upto));
            }
            Step::Commit(_) => {}
        }
    }
}

fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    let payload = match bytes {
        0 => EntryPayload::Blank,
        _ => EntryPayload::Normal(Payload(Bytes::from(vec![(index * 7 + term) as u8; bytes]))),
    };
    Entry { log_id: log_id(term, index), payload }
}

/// A life of a log, as Raft would lead it.
fn workload(seed: u64, steps: usize) -> Vec<Step> {
    let mut rng = Seed(seed).stream("workload");
    let (mut model, mut made, mut term) = (Model::default(), Vec::new(), 1);
    while made.len() < steps {
        let next = model.last.map_or(0, |last| last.index + 1);
        let step = match rng.random_range(0..10u32) {
            0 => {
                term += 1;
                Step::Vote(Vote::new(term, rng.random_range(1..4)))
            }
            1 if model.entries.len() > 3 => {
                let keep = rng.random_range(1..model.entries.len());
                term += 1;
                Step::Truncate(Some(model.entries[keep - 1].log_id))
            }
            2 | 3 if model.entries.len() > 6 => {
                let upto = rng.random_range(0..model.entries.len() - 1);
                Step::Purge(model.entries[upto].log_id)
            }
            4 if model.last.is_some() => Step::Commit(model.last.expect("just looked")),
            _ => {
                let count = rng.random_range(1..4);
                Step::Append((0..count).map(|i| entry(term, next + i, rng.random_range(0..900))).collect())
            }
        };
        model.apply(&step);
        made.push(step);
    }
    made
}

fn open(disk: &SimDisk) -> Result<(Log, Recovery), String> {
    let options = Options {
        dir: PathBuf::from("/node/wal"),
        segment_bytes: 8192,
        cache_bytes: 2000,
        identity: *b"0123456789abcdef",
    };
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Log::open(disk, Arc::new(Inline), Arc::<Ticking>::default(), options).map_err(|e| e.to_string())
}

/// Takes one step; true when it was told durable.
fn take(log: &mut Log, step: &Step) -> bool {
    let inline = "nothing waits with an inline pool";
    match step {
        Step::Append(entries) => {
            let (tx, rx) = TypeConfig::oneshot();
            let appended = log.append(entries.clone(), IOFlushed::signal(tx)).now_or_never().expect(inline);
            appended.is_ok() && matches!(rx.now_or_never(), Some(Ok(Ok(()))))
        }
        Step::Vote(vote) => log.save_vote(vote).now_or_never().expect(inline).is_ok(),
        // These three may be told before they are durable: they count once something after them does.
        Step::Truncate(last) => {
            drop(log.truncate_after(*last).now_or_never().expect(inline));
            false
        }
        Step::Purge(upto) => {
            drop(log.purge(*upto).now_or_never().expect(inline));
            false
        }
        Step::Commit(id) => {
            drop(log.save_committed(Some(*id)).now_or_never().expect(inline));
            false
        }
    }
}

fn content(log: &mut Log) -> Model {
    let inline = "nothing waits with an inline pool";
    let state = log.get_log_state().now_or_never().expect(inline).expect("open");
    let entries = log.try_get_log_entries(0..u64::MAX).now_or_never().expect(inline).expect("readable");
    let vote = log.read_vote().now_or_never().expect(inline).expect("open");
    Model { vote, purged: state.last_purged_log_id, last: state.last_log_id, entries }
}

/// Leads `steps` on a disk whose power fails after `cut` operations; answers how many steps must have come true.
fn lead(disk: &SimDisk, steps: &[Step], cut: u64) -> usize {
    disk.fail_power_after(cut);
    let Ok((mut log, _)) = open(disk) else { return 0 };
    let mut told = 0;
    for (at, step) in steps.iter().enumerate() {
        if take(&mut log, step) {
            told = at + 1;
        }
    }
    log.close().now_or_never();
    if log.poisoned().is_none() { steps.len() } else { told }
}

fn models(steps: &[Step]) -> Vec<Model> {
    let mut model = Model::default();
    let mut all = vec![model.clone()];
    for step in steps {
        model.apply(step);
        all.push(model.clone());
    }
    all
}

/// Opens after power loss and compares; answers after how many steps the log stands.
fn check(disk: &SimDisk, all: &[Model], told: usize, what: &str) -> usize {
    let (mut log, report) = open(disk).unwrap_or_else(|e| panic!("{what}: {e}"));
    let found = content(&mut log);
    let stands = (told..all.len()).find(|at| all[*at] == found);
    stands.unwrap_or_else(|| {
        let nearest = all.iter().position(|model| *model == found);
        panic!("{what}: {told} steps were told durable; found {nearest:?}: {found:#?} {report}")
    })
}

fn operations(steps: &[Step]) -> u64 {
    let disk = SimDisk::new(0);
    assert_eq!(lead(&disk, steps, u64::MAX), steps.len());
    disk.operations()
}

#[test]
fn power_lost_before_any_operation_loses_nothing_told_and_invents_nothing() {
    for seed in 0..6 {
        let steps = workload(seed, 60);
        let all = models(&steps);
        for cut in 0..=operations(&steps) {
            let disk = SimDisk::new(seed * 1_000_003 + cut);
            let told = lead(&disk, &steps, cut);
            disk.power_loss();
            let what = format!("seed {seed}, power lost after {cut} operations");
            let stands = check(&disk, &all, told, &what);
            disk.power_loss();
            check(&disk, &all[..=stands], stands, &format!("{what}, and again after it was opened"));
        }
    }
}

#[test]
fn power_lost_in_any_operation_of_a_recovery_changes_nothing() {
    for seed in 0..3 {
        let steps = workload(100 + seed, 25);
        let all = models(&steps);
        for cut in 0..=operations(&steps) {
            for second in 0..12 {
                let disk = SimDisk::new(seed * 1_000_003 + cut * 13 + second);
                let told = lead(&disk, &steps, cut);
                disk.power_loss();
                disk.fail_power_after(disk.operations() + second);
                drop(open(&disk));
                disk.power_loss();
                check(&disk, &all, told, &format!("seed {seed}, cut {cut}, second cut {second}"));
            }
        }
    }
}

#[test]
fn a_process_that_dies_anywhere_keeps_what_it_wrote_and_goes_on() {
    for seed in 0..4 {
        let steps = workload(200 + seed, 40);
        let all = models(&steps);
        for cut in 0..=operations(&steps) {
            let disk = SimDisk::new(seed * 1_000_003 + cut);
            let told = lead(&disk, &steps, cut);
            disk.crash();
            disk.fail_power_after(u64::MAX);
            let stands = check(&disk, &all, told, &format!("seed {seed}, died after {cut} operations"));
            // What it was given after the crash is durable: power loss may not take it back.
            disk.power_loss();
            let again = check(&disk, &all, stands, &format!("seed {seed}, died after {cut}, then lost power"));
            let (mut log, _) = open(&disk).expect("it just was opened");
            for step in &steps[again..] {
                take(&mut log, step);
            }
            assert_eq!(content(&mut log), all[steps.len()], "seed {seed}, died after {cut}, went on");
        }
    }
}

#[test]
fn a_failed_sync_poisons_for_good() {
    let disk = SimDisk::new(7);
    let (mut log, _) = open(&disk).expect("new");
    assert!(take(&mut log, &Step::Append(vec![entry(1, 0, 10)])));
    disk.fail_next_sync();
    assert!(!take(&mut log, &Step::Append(vec![entry(1, 1, 10)])));
    let cause = log.until_poisoned().now_or_never().expect("poisoned");
    assert_eq!(log.poisoned(), Some(cause));
    assert!(!take(&mut log, &Step::Vote(Vote::new(2, 1))));
    disk.power_loss();
    let (mut log, _) = open(&disk).expect("sound");
    assert_eq!(content(&mut log).vote, None);
    assert_eq!(content(&mut log).entries[0], entry(1, 0, 10));
}

#[test]
fn a_full_disk_shows_before_an_append_waits_and_ends_when_space_returns() {
    let disk = SimDisk::new(8);
    let (mut log, _) = open(&disk).expect("new");
    let used = (1 << 40) - disk.available_bytes(&PathBuf::from("/")).expect("known");
    disk.set_capacity(used);
    let mut next = 0;
    while !log.is_full() {
        assert!(take(&mut log, &Step::Append(vec![entry(1, next, 500)])), "entry {next} before it was full");
        next += 1;
    }
    assert!(take(&mut log, &Step::Append(vec![entry(1, next, 500)])), "there is room left when it shows");
    next += 1;
    let mut waiting = Vec::new();
    for index in next..next + 20 {
        let (tx, rx) = TypeConfig::oneshot();
        let appended = log.append([entry(1, index, 500)], IOFlushed::signal(tx)).now_or_never().expect("at once");
        appended.expect("not an error");
        waiting.push(rx);
    }
    assert!(waiting.pop().expect("twenty").now_or_never().is_none(), "it waits for room");
    assert_eq!(log.poisoned(), None);
    let read = log.try_get_log_entries(0..u64::MAX).now_or_never().expect("inline").expect("readable");
    assert_eq!(read.len() as u64, next + 20);
    // A purge makes room although appends wait before it.
    let purged = log_id(1, next - 2);
    log.purge(purged).now_or_never().expect("at once").expect("not an error");
    disk.set_capacity(1 << 40);
    for _ in 0..100 {
        log.close().now_or_never();
    }
    assert!(!log.is_full());
    assert_eq!(log.flushed(), Some(log_id(1, next + 19)));
    drop(log);
    disk.power_loss();
    let (mut log, _) = open(&disk).expect("sound");
    assert_eq!(content(&mut log).last, Some(log_id(1, next + 19)));
    assert_eq!(content(&mut log).purged, Some(purged));
}
