//! `engram doctor`: whether this machine can keep a node's promises, and whether a cluster's nodes are well.
//!
//! Place: before a node is started, or beside one that is slow. Reads, and writes one small file that it removes.
//! Leaves out: proof that a disk keeps what it synced, which takes a power loss; a sync that is too fast is said.

use super::exit::Failure;
use super::out::{self, Table};
use super::{Target, client};
use crate::env::{Disk, Env, Open, OsDisk, process};
use crate::run::CONNECTIONS_MAX;
use clap::Args;
use engram_client::Error;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Syncs that are measured, of a block each.
const SYNCS: usize = 64;
const BLOCK: usize = 4096;
/// No storage without a battery is durable in less.
const SYNC_MIN: Duration = Duration::from_micros(20);
/// Slower than this and every ack is late.
const SYNC_MAX: Duration = Duration::from_millis(20);
/// Less free space than a few log segments and a snapshot take.
const FREE_MIN: u64 = 4 << 30;
/// Descriptors beyond connections: files, and the process' own.
const FILES_BESIDE: u64 = 512;
/// Round trips beyond which heartbeats and acks suffer.
const TRIP_MAX: Duration = Duration::from_millis(50);
const TRIPS: usize = 10;

/// What to look at.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Where a data directory is or will be: its disk is looked at.
    #[arg(long, value_name = "DIR", default_value = ".")]
    data_dir: PathBuf,
    /// Look at the cluster of --endpoints as well.
    #[arg(long)]
    cluster: bool,
    #[command(flatten)]
    target: Target,
}

/// What was found, and what to do where it is not well.
struct Found {
    what: &'static str,
    found: String,
    advice: Option<String>,
}

fn found(what: &'static str, found: impl Into<String>, advice: Option<String>) -> Found {
    Found { what, found: found.into(), advice }
}

/// Prints a line for each thing; a failure if one of them is not well.
pub fn run(args: &DoctorArgs) -> Result<(), Failure> {
    let env = Env::os(NonZeroUsize::MIN).map_err(|e| Failure::failed(format!("threads do not start: {e}")))?;
    let mut all = disk(&env, &args.data_dir)?;
    all.extend(process::process().map(|process| files(process.open_files_max)));
    all.extend(clock_source());
    if args.cluster {
        all.extend(client(cluster(&env, &args.target))?);
    }
    let mut table = Table::new(&["what", "found", "look"]);
    for Found { what, found, advice } in &all {
        table.row([(*what).to_string(), found.clone(), advice.clone().unwrap_or_else(|| "well".into())]);
    }
    out::line(table.render());
    match all.iter().filter(|found| found.advice.is_some()).count() {
        0 => Ok(()),
        count => Err(Failure::failed(format!("{count} of {} are not well", all.len()))),
    }
}

fn disk(env: &Env, dir: &Path) -> Result<Vec<Found>, Failure> {
    let failed =
        |e: std::io::Error| Failure::input(format!("{e}; name a directory that can be written with --data-dir"));
    let path = dir.join(format!("engram-doctor-{}.tmp", std::process::id()));
    let file = OsDisk.open(&path, Open::CreateNew).map_err(failed)?;
    let mut times = Vec::with_capacity(SYNCS);
    let measured = (0..SYNCS).try_for_each(|at| {
        let begun = env.clock.monotonic();
        file.write_at((at * BLOCK) as u64, &[at as u8; BLOCK])?;
        file.sync_data()?;
        times.push(env.clock.monotonic() - begun);
        Ok(())
    });
    drop(file);
    measured.and(OsDisk.remove(&path)).map_err(failed)?;
    times.sort();
    let (median, worst) = (times[SYNCS / 2], times[SYNCS - 1]);
    let advice = match median {
        median if median < SYNC_MIN => {
            Some("faster than storage is: memory, or a cache that loses what it acked".into())
        }
        median if median > SYNC_MAX => {
            Some("every ack waits for it: use a faster disk, or one that is not shared".into())
        }
        _ => None,
    };
    let free = OsDisk.available_bytes(dir).map_err(failed)?;
    let scarce = (free < FREE_MIN).then(|| "at 0 no rows are taken; free space, or use a larger disk".to_string());
    Ok(vec![
        found("a write of 4 KiB and its sync", format!("{median:.1?} median, {worst:.1?} worst of {SYNCS}"), advice),
        found("free space", format!("{:.1} GiB", free as f64 / f64::from(1 << 30)), scarce),
    ])
}

fn files(limit: u64) -> Found {
    let need = 2 * CONNECTIONS_MAX as u64 + FILES_BESIDE;
    let advice = (limit < need).then(|| format!("allow {need} (ulimit -n, LimitNOFILE=): connections are files"));
    let limit = if limit == u64::MAX { "no limit".to_string() } else { limit.to_string() };
    found("open files allowed", limit, advice)
}

#[expect(clippy::disallowed_methods, reason = "the machine's own figures are files")]
fn clock_source() -> Option<Found> {
    let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let source = String::from_utf8(std::fs::read(path).ok()?).ok()?.trim().to_string();
    let slow = ["hpet", "acpi_pm", "jiffies", "refined-jiffies"].contains(&source.as_str());
    let advice = slow.then(|| "reading it is slow; look why the kernel left the processor's own".to_string());
    Some(found("the kernel's clock", source, advice))
}

async fn cluster(env: &Env, target: &Target) -> Result<Vec<Found>, Failure> {
    let asking = target.client()?;
    let status = asking.status().await?;
    let mut all = Vec::new();
    let leader = status.leader.map_or("none".to_string(), |leader| format!("node {leader}"));
    let advice = status.leader.is_none().then(|| "start the voters that are down; look at the network".to_string());
    all.push(found("leader", leader, advice));
    let mut versions = vec![status.version.clone()];
    for member in status.members.iter().filter_map(|member| member.address.clone()) {
        let on = asking.on(&member.client_address);
        let mut trips = Vec::with_capacity(TRIPS);
        let asked = async {
            for _ in 0..TRIPS {
                let begun = env.clock.monotonic();
                let status = on.status().await?;
                trips.push((env.clock.monotonic() - begun, status));
            }
            Ok::<_, Error>(())
        };
        let what = "a member's answer from here";
        let who = format!("node {} at {}", member.node, member.client_address);
        if let Err(error) = asked.await {
            all.push(found(what, who, Some(error.to_string())));
            continue;
        }
        trips.sort_by_key(|(took, _)| *took);
        let (median, status) = &trips[TRIPS / 2];
        let slow = (*median > TRIP_MAX)
            .then(|| "slower than heartbeats like: raise raft.* times, or look at the network".into());
        let unready = (!status.not_ready_reason.is_empty()).then(|| status.not_ready_reason.clone());
        all.push(found(what, format!("{who}: {median:.1?} median of {TRIPS}"), unready.or(slow)));
        versions.push(status.version.clone());
    }
    versions.sort();
    versions.dedup();
    let advice = (versions.len() > 1).then(|| "finish the upgrade".to_string());
    all.push(found("releases", versions.join(", "), advice));
    Ok(all)
}
