//! Snapshots and record files against power loss, enumerated: before every operation of the disk in a workload that applies,
//! erases, reindexes, snapshots and is sent another node's snapshot, and again while it opens. What comes back is the state at the
//! last snapshot that was told durable, or at the one that was being written, whole, and the log goes on from there.
//! And against rot: a byte changed anywhere is never a wrong state.

use bytes::Bytes;
use engram_node::env::{Clock, Disk, Env, File, Job, Lane, Listener, Net, Open, Pool, Seed};
use engram_node::raft::types::{Entry, Payload, log_id};
use engram_node::state::{Machine, Unreadable};
use engram_proto::transport::BoxIo;
use engram_proto::wire::log::{
    Chunk, Command, Entry as Rows, ForgetRows, OpenSession, RaiseFloor, Record, Reindex, command,
};
use engram_proto::wire::v1::SpaceConfig;
use engram_sim::disk::SimDisk;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use openraft::EntryPayload;
use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine};
use prost::Message;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Runs a job where it is submitted.
struct Inline;

impl Pool for Inline {
    fn submit(&self, _lane: Lane, job: Job) {
        job();
    }
    fn workers(&self) -> Arc<dyn engram_index::Workers> {
        Arc::new(engram_index::Inline)
    }
}

struct Still;

impl Clock for Still {
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
    fn wall_ms(&self) -> u64 {
        0
    }
    fn sleep(&self, _duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

struct Alone;

impl Net for Alone {
    fn bind(&self, _: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        unreachable!("nobody listens")
    }
    fn connect(&self, _: String) -> BoxFuture<'static, io::Result<BoxIo>> {
        unreachable!("nobody connects")
    }
}

const DIR: &str = "/node";

fn open(disk: &SimDisk) -> Result<Machine, Unreadable> {
    let (net, pool, clock) = (Arc::new(Alone), Arc::new(Inline), Arc::new(Still));
    let env = Env { net, disk: Arc::new(disk.clone()), clock, pool, seed: Seed(1), process: || None };
    Machine::open(env, 1, Path::new(DIR))
}

#[derive(Clone)]
enum Step {
    Apply(Entry),
    Snapshot,
    /// Another node's snapshot of everything comes.
    Sent,
}

/// A space that grows over two cuts, forgets and erases.
fn workload() -> Vec<Step> {
    let mut steps = Vec::new();
    let mut index = 0;
    let mut apply = |steps: &mut Vec<Step>, kind: command::Kind| {
        index += 1;
        let command = Command { stamp_ms: index * 10, kind: Some(kind) }.encode_to_vec();
        steps.push(Step::Apply(Entry {
            log_id: log_id(1, index),
            payload: EntryPayload::Normal(Payload(command.into())),
        }));
        index
    };
    let config = SpaceConfig { name: "notes".into(), dim: 2, ..SpaceConfig::default() };
    let space = apply(&mut steps, command::Kind::CreateSpace(config));
    let session = apply(&mut steps, command::Kind::Open(OpenSession { space: "notes".into() }));
    for first_sequence in (1..=2400u64).step_by(300) {
        let record = |at: u64| Record {
            text: format!("memory {at}"),
            embedding: Bytes::from(vec![0, 60, at as u8, 60]),
            ..Record::default()
        };
        let records = (first_sequence..first_sequence + 300).map(record).collect();
        let chunks = vec![Chunk { session, connection: session, first_sequence, records, ..Chunk::default() }];
        apply(&mut steps, command::Kind::Entry(Rows { chunks }));
        let rows = (0..20).map(|row| first_sequence as u32 / 2 + row).collect();
        let at = apply(&mut steps, command::Kind::Forget(ForgetRows { space, rows, ..ForgetRows::default() }));
        match first_sequence {
            601 | 1801 => steps.push(Step::Snapshot),
            1501 => {
                apply(&mut steps, command::Kind::RaiseFloor(RaiseFloor { space, log_index: at }));
                apply(&mut steps, command::Kind::Reindex(Reindex { space, generation: 1 }));
                steps.push(Step::Snapshot);
            }
            _ => {}
        }
    }
    steps.push(Step::Sent);
    steps
}

fn entry(step: &Step) -> Option<&Entry> {
    match step {
        Step::Apply(entry) => Some(entry),
        _ => None,
    }
}

/// Applies an entry, unless the state has it already, and builds what can be built.
fn apply(machine: &mut Machine, entry: &Entry) {
    let applied = machine.watermark().applied();
    if entry.log_id.index > applied {
        let entries = futures_util::stream::iter([Ok((entry.clone(), None))]);
        {
            let mut applying = std::pin::pin!(machine.apply(entries));
            // A reindex gives its thread away now and then.
            let applied = std::iter::repeat_with(|| applying.as_mut().now_or_never()).find_map(|applied| applied);
            applied.expect("it repeats").expect("applied");
        }
        let space = machine.read().spaces.values().next().cloned();
        if let Some(space) = space {
            space.index.index().build_all(&engram_index::Inline, &mut |_| ControlFlow::Continue(()));
        }
    }
}

/// (applied, digest) after each entry.
fn digests(steps: &[Step]) -> Vec<u64> {
    let mut machine = open(&SimDisk::new(0)).expect("new");
    let mut digests = vec![machine.read().digest];
    for entry in steps.iter().filter_map(entry) {
        apply(&mut machine, entry);
        digests.push(machine.read().digest);
    }
    digests
}

/// Another node's snapshot of everything.
fn other(steps: &[Step]) -> (SimDisk, Machine) {
    let disk = SimDisk::new(77);
    let mut machine = open(&disk).expect("new");
    steps.iter().filter_map(entry).for_each(|entry| apply(&mut machine, entry));
    machine.build_snapshot().now_or_never().expect("inline").expect("written");
    (disk, machine)
}

/// What `raft::ship::pull` does, without a network.
fn sent(machine: &mut Machine, from: &mut Machine) -> io::Result<()> {
    let snapshot = from.get_current_snapshot().now_or_never().expect("inline")?.expect("one was written");
    let image = machine.image(snapshot.snapshot.manifest.clone()).expect("whole");
    let missing = image.files.missing().into_iter();
    let arrive = |hash| machine.records().arrive(&hash, &from.records().read(&hash).expect("there"));
    machine.records().name(missing.map(arrive).collect::<io::Result<_>>()?)?;
    machine.install_snapshot(&snapshot.meta, image).now_or_never().expect("inline")
}

/// Leads the steps on a disk whose power fails after `cut` operations; answers the last index that was told durable.
fn lead(disk: &SimDisk, steps: &[Step], from: &mut Machine, cut: u64) -> u64 {
    disk.fail_power_after(cut);
    let Ok(mut machine) = open(disk) else { return 0 };
    let mut told = 0;
    for step in steps {
        let durable = match step {
            Step::Apply(entry) => {
                apply(&mut machine, entry);
                continue;
            }
            Step::Snapshot => machine.build_snapshot().now_or_never().expect("inline").map(drop),
            Step::Sent => sent(&mut machine, from),
        };
        if durable.is_ok() {
            told = machine.watermark().snapshot();
        }
    }
    told
}

fn files(disk: &SimDisk, dir: &str) -> Vec<PathBuf> {
    let dir = Path::new(DIR).join(dir);
    disk.list(&dir).unwrap_or_default().into_iter().map(|name| dir.join(name)).collect()
}

/// Opens after power loss and compares.
fn check(disk: &SimDisk, digests: &[u64], told: u64, what: &str) -> Machine {
    let machine = open(disk).unwrap_or_else(|e| panic!("{what}: {e:?}"));
    let (applied, digest) = (machine.watermark().applied(), machine.read().digest);
    assert!(applied >= told, "{what}: index {told} was told durable, the state is at {applied}");
    assert_eq!(digest, digests[applied as usize], "{what}: another state at index {applied}");
    machine
}

#[test]
fn power_lost_before_any_operation_leaves_a_whole_snapshot_and_the_log_goes_on() {
    let steps = workload();
    let digests = digests(&steps);
    let (_disk, mut from) = other(&steps);
    let whole = SimDisk::new(0);
    assert_eq!(lead(&whole, &steps, &mut from, u64::MAX), digests.len() as u64 - 1);
    assert!(whole.operations() > 40, "{}", whole.operations());
    for cut in 0..=whole.operations() {
        let disk = SimDisk::new(1000 + cut);
        let told = lead(&disk, &steps, &mut from, cut);
        disk.power_loss();
        let what = format!("power lost after {cut} operations");
        // And once more while it opens.
        disk.fail_power_after(disk.operations() + cut % 5);
        drop(open(&disk));
        disk.power_loss();
        let mut machine = check(&disk, &digests, told, &what);
        steps.iter().filter_map(entry).for_each(|entry| apply(&mut machine, entry));
        machine.build_snapshot().now_or_never().expect("inline").unwrap_or_else(|e| panic!("{what}: {e}"));
        drop(machine);
        disk.power_loss();
        let last = digests.len() as u64 - 1;
        let machine = check(&disk, &digests, last, &what);
        let left = files(&disk, "records").len();
        let named = machine.read().spaces.values().map(|space| space.segments.cuts().ends.len()).sum::<usize>();
        assert!((named..=named + 2).contains(&left), "{what}: {left} record files for {named} pieces");
    }
}

/// One byte in so many: `ENGRAM_STRIDE=1` tries them all.
fn stride() -> usize {
    std::env::var("ENGRAM_STRIDE").ok().and_then(|stride| stride.parse().ok()).unwrap_or(509)
}

#[test]
fn rot_at_any_byte_is_refused_or_named_and_never_a_wrong_state() {
    let steps = workload();
    let (_disk, mut from) = other(&steps);
    let disk = SimDisk::new(5);
    lead(&disk, &steps, &mut from, u64::MAX);
    for path in files(&disk, "snapshots").into_iter().chain(files(&disk, "records")) {
        let length = disk.open(&path, Open::Read).and_then(|file| File::len(&*file)).expect("there");
        for at in (0..length).step_by(stride()) {
            disk.flip(&path, at).expect("flipped");
            let what = format!("{}, byte {at}", path.display());
            let name = path.file_name().expect("named").to_string_lossy().into_owned();
            match open(&disk).err() {
                Some(Unreadable::Lost(lost)) => {
                    assert!(lost.damage.detail.contains(&name) && lost.damage.detail.contains("at byte"), "{what}");
                    assert_eq!(lost.files.missing().len(), 1, "{what}");
                }
                Some(Unreadable::Refused(error)) => assert!(error.to_string().contains(&name), "{what}: {error}"),
                None => panic!("{what}: not seen"),
            }
            disk.flip(&path, at).expect("flipped back");
        }
    }
    open(&disk).expect("as it was");
}
