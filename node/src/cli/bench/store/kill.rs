//! What was acked and is not there after the process that acked it was killed.
//!
//! Place: a child of this binary appends and prints each ack; this process kills it with SIGKILL, reads what it printed to
//! the end, opens the log and compares. Invariants: only a printed ack counts; an entry counts as kept if its bytes are
//! what was appended; a child whose stdout is gone stops, so none is left behind. Leaves out: power loss. The kernel keeps
//! what was written, synced or not; that is the simulated disk's business.

use super::args::Plan;
use super::drive::{FIRST, Work};
use super::payload::Payloads;
use super::report::Killed;
use super::subject::{Kind, Subject, World};
use crate::cli::exit::Failure;
use crate::cli::out;
use clap::ValueEnum;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// From the first ack to the first kill, and how much later each next one comes, up to so many steps.
const FIRST_KILL: Duration = Duration::from_millis(310);
const LATER: Duration = Duration::from_millis(170);
const STEPS: u64 = 7;
/// For a child that acks nothing.
const PATIENCE: Duration = Duration::from_secs(30);
/// Entries that are compared at once.
const PIECE: u64 = 1024;

/// The child's part: appends and prints until nobody reads, or until it is killed.
pub async fn append(kind: Kind, plan: &Plan) -> Result<(), Failure> {
    let failed = |e: io::Error| Failure::failed(format!("{}: {e}", plan.dir.display()));
    let world = World::os().map_err(failed)?;
    let mut subject = Subject::open(kind, &world, world.disk.clone(), &plan.dir.join("log")).map_err(failed)?;
    let payloads = Payloads::new(plan.rows[0]);
    let work = Work { payloads: &payloads, in_flight: plan.in_flight, time: plan.time, bytes: plan.bytes };
    subject.drive(&*world.clock, &work, out::still_read).await.map_err(failed)?;
    // Closing would make durable what a kill is to find undone.
    world.clock.sleep(PATIENCE).await;
    Ok(())
}

/// This process' part, for one subject.
pub async fn measure(plan: &Plan, world: &World, kind: Kind, dir: &Path) -> io::Result<Killed> {
    // Small entries: the most acks in the time.
    let payloads = Payloads::new(plan.rows.iter().copied().min().unwrap_or(1));
    let mut killed = Killed::new(kind.name(), payloads.rows);
    for kill in 0..plan.kills {
        let place = tempfile::tempdir_in(dir)?;
        let acked = acked_until_killed(plan, world, kind, place.path(), &payloads, kill).await?;
        killed.kills += 1;
        killed.acked += acked;
        match Subject::open(kind, world, world.disk.clone(), &place.path().join("log")) {
            Err(e) => {
                (killed.not_opened, killed.error) = (killed.not_opened + 1, Some(e.to_string()));
                killed.lose(acked);
            }
            Ok(mut subject) => {
                killed.lose(lost(&mut subject, acked, &payloads).await?);
                subject.close().await?;
            }
        }
        place.close()?;
    }
    Ok(killed)
}

fn child(plan: &Plan, kind: Kind, place: &Path, payloads: &Payloads) -> io::Result<Child> {
    let name = kind.to_possible_value().ok_or_else(|| io::Error::other("a subject without a name"))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["bench", "store", "--append", name.get_name(), "--seconds", "600", "--dir"]).arg(place);
    command.args(["--rows", &payloads.rows.to_string(), "--in-flight", &plan.in_flight.to_string()]);
    command.stdout(Stdio::piped()).kill_on_drop(true).spawn()
}

/// Entries that were acked before the kill.
async fn acked_until_killed(
    plan: &Plan,
    world: &World,
    kind: Kind,
    place: &Path,
    payloads: &Payloads,
    kill: u64,
) -> io::Result<u64> {
    let mut child = child(plan, kind, place, payloads)?;
    let stdout = child.stdout.take().ok_or_else(|| io::Error::other("no pipe from the child"))?;
    let mut lines = BufReader::new(stdout).lines();
    let late = world.clock.sleep(PATIENCE);
    let mut last = tokio::select! {
        biased; // an ack that came in time counts
        index = next(&mut lines) => index?.ok_or_else(|| io::Error::other("the child ended before its first ack"))?,
        () = late => return Err(io::Error::other("the child acks nothing")),
    };
    let mut time = world.clock.sleep(FIRST_KILL + LATER * (kill % STEPS) as u32);
    loop {
        tokio::select! {
            biased; // the kill first: acks never end
            () = &mut time => break,
            index = next(&mut lines) => match index? {
                Some(index) => last = index,
                None => return Err(io::Error::other("the child ended before it was killed")),
            },
        }
    }
    child.start_kill()?;
    while let Some(index) = next(&mut lines).await? {
        last = index;
    }
    child.wait().await?;
    Ok(last + 1 - FIRST)
}

async fn next(lines: &mut Lines<BufReader<ChildStdout>>) -> io::Result<Option<u64>> {
    let Some(line) = lines.next_line().await? else { return Ok(None) };
    line.parse().map(Some).map_err(|e| io::Error::other(format!("the child printed {line:?}: {e}")))
}

/// Of the first `acked` entries, those that are not there as they were appended.
async fn lost(subject: &mut Subject, acked: u64, payloads: &Payloads) -> io::Result<u64> {
    let (mut kept, end) = (0, FIRST + acked);
    let mut from = FIRST;
    while from < end {
        let to = (from + PIECE).min(end);
        let entries = subject.read(from..to).await?;
        kept += entries.iter().filter(|entry| **entry == payloads.entry(entry.log_id.index)).count() as u64;
        from = to;
    }
    Ok(acked - kept)
}
