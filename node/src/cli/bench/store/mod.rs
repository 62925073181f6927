//! `engram bench store`: the write-ahead log alone, against what the disk allows, and against sled in its place.
//!
//! Place: beside the corridor. `rates` appends through openraft's door and lets the disk write the same bytes in the same
//! groups; `opening` times the way back; `kill` counts what a killed process had acked and lost. Order: each size of
//! entries by itself, rounds within. Invariants: `flush_before_ack`: an entry that the log acked and lost fails the command;
//! a gate that is not met is printed, and is no failure: it depends on the disk. Leaves out: the rest of the node; power
//! loss, which is the simulated disk's.

mod args;
mod count;
mod drive;
mod figures;
mod kernel;
mod kill;
mod limit;
mod opening;
mod payload;
mod rates;
mod report;
mod sled_log;
mod subject;
mod text;
mod watch;

pub use args::StoreArgs;

use crate::cli::exit::Failure;
use crate::cli::out;
use args::Plan;
use payload::Payloads;
use report::Report;
use std::io;
use std::path::Path;
use subject::World;

/// Measures, prints, and fails where an invariant broke.
pub async fn run(args: StoreArgs) -> Result<(), Failure> {
    let (json, append) = (args.json, args.append);
    let plan = args.plan()?;
    if let Some(kind) = append {
        return kill::append(kind, &plan).await;
    }
    let failed = |e: io::Error| Failure::failed(format!("bench store in {}: {e}", plan.dir.display()));
    let world = World::os().map_err(failed)?;
    let (room, need) = (world.disk.available_bytes(&plan.dir).map_err(failed)?, plan.room());
    if room < need {
        let (room, need, dir) = (room >> 20, need >> 20, plan.dir.display());
        let text =
            format!("--dir {dir}: {room} MiB free, {need} needed; lower --most or --open-bytes, or name another");
        return Err(Failure::input(text));
    }
    let place = tempfile::Builder::new().prefix("engram-bench-store-").tempdir_in(&plan.dir).map_err(failed)?;
    let report = measure(&plan, &world, place.path()).await.map_err(failed)?;
    match json {
        true => out::line(serde_json::to_string(&report).expect("plain fields and string keys")),
        false => text::print(&report),
    }
    match report.lost() {
        0 => Ok(()),
        lost => Err(Failure::failed(format!("the log lost {lost} entries that it had acked; report this defect"))),
    }
}

async fn measure(plan: &Plan, world: &World, dir: &Path) -> io::Result<Report> {
    let mut report = Report::new(plan);
    for rows in &plan.rows {
        step(format_args!("appends entries of {rows} row(s)"));
        let payloads = Payloads::new(*rows);
        report.rates.extend(rates::measure(plan, world, dir, &payloads).await?);
    }
    let sizes = [plan.rows.iter().min(), plan.rows.iter().max().filter(|most| Some(*most) != plan.rows.iter().min())];
    for rows in sizes.into_iter().flatten().filter(|_| plan.open_bytes > 0) {
        step(format_args!("fills logs with entries of {rows} row(s) and opens them"));
        report.openings.extend(opening::measure(plan, world, dir, &Payloads::new(*rows)).await?);
    }
    for kind in plan.kinds().into_iter().filter(|_| plan.kills > 0) {
        step(format_args!("kills processes that append: {}", kind.name()));
        report.kills.push(kill::measure(plan, world, kind, dir).await?);
    }
    report.finish();
    Ok(report)
}

/// Words about what goes on, for the person who waits.
fn step(text: impl std::fmt::Display) {
    out::note(format_args!("bench store: {text}"));
}
