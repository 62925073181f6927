//! How fast each subject takes entries of one size, and how fast the disk takes the same bytes right beside.
//!
//! Invariants: in a round the subjects follow one another at once, and every other round goes backwards, so that nobody
//! always comes after the same neighbour; every subject begins with an empty folder, which is removed before the next.
//! Bytes are read off after the subject was closed, its time ends with the last ack. Leaves out: reads.

use super::args::Plan;
use super::count::Counting;
use super::drive::Work;
use super::figures::{Figures, Sample};
use super::kernel;
use super::limit::{LARGE_GROUP, large, limit};
use super::payload::Payloads;
use super::subject::{Kind, Subject, World};
use super::watch::watch;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Whose turn it is.
enum Turn {
    Log(Kind),
    /// The disk's own, in the groups of the log's last turn.
    Disk {
        large: bool,
    },
}

impl Turn {
    fn name(&self) -> String {
        match self {
            Self::Log(kind) => kind.name().to_string(),
            Self::Disk { large: false } => "the disk, same groups".to_string(),
            Self::Disk { large: true } => format!("the disk, groups of {} MiB", LARGE_GROUP >> 20),
        }
    }
}

/// What the write-ahead log wrote in its last turn.
#[derive(Default)]
struct Written {
    entries: u64,
    groups: Vec<u64>,
}

/// Where, and what of.
struct Place<'a> {
    plan: &'a Plan,
    world: &'a World,
    dir: &'a Path,
    payloads: &'a Payloads,
}

/// Of one size of entries: the log first, the disk's limits next.
pub async fn measure(plan: &Plan, world: &World, dir: &Path, payloads: &Payloads) -> io::Result<Vec<Figures>> {
    let mut turns = vec![Turn::Log(Kind::Wal), Turn::Disk { large: false }, Turn::Disk { large: true }];
    turns.extend(plan.kinds().into_iter().filter(|kind| *kind != Kind::Wal).map(Turn::Log));
    let place = Place { plan, world, dir, payloads };
    let mut samples: Vec<Vec<Sample>> = turns.iter().map(|_| Vec::new()).collect();
    let mut written = Written::default();
    for round in 0..plan.rounds {
        let mut order: Vec<usize> = (0..turns.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            samples[at].push(match &turns[at] {
                Turn::Log(kind) => place.log(*kind, &mut written).await?,
                Turn::Disk { large } => place.disk(*large, &written)?,
            });
        }
    }
    let figures = |(turn, of): (&Turn, &Vec<Sample>)| Figures::of(turn.name(), payloads, of, &samples[1]);
    Ok(turns.iter().zip(&samples).map(figures).collect())
}

impl Place<'_> {
    async fn log(&self, kind: Kind, written: &mut Written) -> io::Result<Sample> {
        let Self { plan, world, payloads, .. } = self;
        let place = tempfile::tempdir_in(self.dir)?;
        let _watched = watch(kind, world, plan.time, self.dir);
        let disk = Arc::new(Counting::new(world.disk.clone()));
        let mut subject = Subject::open(kind, world, disk.clone(), &place.path().join("log"))?;
        disk.take();
        let (before, groups) = (kernel::io_so_far(), subject.groups());
        let work = Work { payloads, in_flight: plan.in_flight, time: plan.time, bytes: plan.bytes };
        let driven = subject.drive(&*world.clock, &work, |_| true).await?;
        let groups = subject.groups().zip(groups).map(|(after, before)| after - before);
        subject.close().await?;
        let (io, counts) = (kernel::io_since(before), disk.take());
        place.close()?;
        let mut sample = Sample {
            entries: driven.entries,
            seconds: driven.seconds,
            latency: driven.latency,
            groups,
            group_syncs: None,
            written: io.map(|io| io.handed),
            to_disk: io.map(|io| io.to_disk),
        };
        if kind == Kind::Wal {
            (sample.group_syncs, sample.written) = (Some(counts.groups.len() as u64), Some(counts.bytes));
            *written = Written { entries: driven.entries, groups: counts.groups };
        }
        Ok(sample)
    }

    fn disk(&self, in_large: bool, written: &Written) -> io::Result<Sample> {
        let groups = if in_large { large(&written.groups) } else { written.groups.clone() };
        let before = kernel::io_so_far();
        let limit = limit(&*self.world.disk, &*self.world.clock, self.dir, &groups)?;
        Ok(Sample {
            entries: written.entries,
            seconds: limit.seconds,
            latency: limit.latency,
            groups: Some(groups.len() as u64),
            group_syncs: Some(groups.len() as u64),
            written: Some(groups.iter().sum()),
            to_disk: kernel::io_since(before).map(|io| io.to_disk),
        })
    }
}
