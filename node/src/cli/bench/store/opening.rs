//! How long a log that holds so many bytes takes to open, beside reading the same files plainly.
//!
//! Invariant: each is timed with the files out of memory and with them in it; the log was closed well before. Leaves out:
//! a host that keeps the disk of a virtual machine in its own memory.

use super::args::Plan;
use super::drive::Work;
use super::kernel;
use super::payload::Payloads;
use super::report::Opening;
use super::subject::{Kind, Subject, World};
use super::watch::watch;
use std::io;
use std::path::Path;
use std::time::Duration;

/// A log that is not full by then is opened as it is.
const FILLING_TIME: Duration = Duration::from_secs(300);

/// Of entries of one size.
pub async fn measure(plan: &Plan, world: &World, dir: &Path, payloads: &Payloads) -> io::Result<Vec<Opening>> {
    let mut openings = Vec::new();
    // sled's files are the same in its other ways.
    for kind in plan.kinds().into_iter().filter(|kind| matches!(kind, Kind::Wal | Kind::SledFlush)) {
        openings.push(one(plan, world, kind, dir, payloads).await?);
    }
    Ok(openings)
}

async fn one(plan: &Plan, world: &World, kind: Kind, dir: &Path, payloads: &Payloads) -> io::Result<Opening> {
    let temporary = tempfile::tempdir_in(dir)?;
    let _watched = watch(kind, world, FILLING_TIME, dir);
    let place = temporary.path().join("log");
    let open = || Subject::open(kind, world, world.disk.clone(), &place);
    let mut subject = open()?;
    let work = Work { payloads, in_flight: plan.in_flight, time: FILLING_TIME, bytes: plan.open_bytes };
    let entries = subject.drive(&*world.clock, &work, |_| true).await?.entries;
    subject.close().await?;
    let name = if kind == Kind::Wal { kind.name() } else { "sled" };
    let mut opening = Opening::new(name, payloads, entries);
    for cold in [true, false] {
        let files = kernel::files(&place)?;
        let timed = if cold { &mut opening.cold } else { &mut opening.warm };
        if cold {
            kernel::forget(&files)?;
        }
        let start = world.clock.monotonic();
        opening.file_bytes = kernel::read_plainly(&files)?;
        timed.plain_s = world.clock.monotonic().saturating_sub(start).as_secs_f64();
        if cold {
            kernel::forget(&files)?;
        }
        let start = world.clock.monotonic();
        let subject = open()?;
        timed.open_s = world.clock.monotonic().saturating_sub(start).as_secs_f64();
        subject.close().await?;
    }
    temporary.close()?;
    opening.per_gb();
    Ok(opening)
}
