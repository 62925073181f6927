//! `engram bench index`: the index measured alone, on given or made data.
//!
//! Place: the front of the bench; `args` are read into data, then each part measures one thing, and `report` prints it.
//! Order: batches, a build for each number of threads, saving, curves, scan, forgetting, and the peers right after,
//! so that ratios are of the same minutes. Invariant `same_log_same_graph`: every number of threads gives one digest,
//! else the command fails. Leaves out: the server; rows come from memory or from one file.

pub(super) mod args;
mod batches;
mod builds;
mod curve;
mod data;
mod gates;
mod peers;
mod process;
mod report;
mod subject;
pub(super) mod synthetic;
mod text;
mod truth;

pub use args::IndexArgs;

use crate::cli::exit::Failure;
use crate::cli::out;
use args::Plan;
use data::Data;
use report::Report;

/// Measures, prints, and fails where an invariant broke. A gate that is not met is printed, and is no failure: it
/// depends on the machine.
pub fn run(args: IndexArgs) -> Result<(), Failure> {
    let json = args.json;
    let plan = args.plan()?;
    if let Some(peers) = &plan.peers {
        peers.check()?;
    }
    let data = Data::of(&plan)?;
    let report = measure(&plan, &data)?;
    match json {
        true => out::line(serde_json::to_string(&report).expect("plain fields and string keys")),
        false => text::print(&report),
    }
    let broken =
        |what: &str| Err(Failure::failed(format!("the index of {}: {what}; this is a defect, report it", report.data)));
    if report.check != "ok" {
        return broken(&report.check);
    }
    match report.forgotten.as_ref().map_or(0, |forgotten| forgotten.seen) {
        0 => Ok(()),
        seen => broken(&format!("{seen} hits are forgotten rows")),
    }
}

fn measure(plan: &Plan, data: &Data) -> Result<Report, Failure> {
    let batches = batches::measure(plan, data)?;
    let (subject, builds) = builds::measure(plan, data)?;
    let mut report = Report::new(plan, data);
    report.take_batches(&batches);
    report.take_builds(builds);
    report.take_parts(&subject.parts(), subject.kernels());
    step("checks, saves and loads");
    report.check = subject.check();
    report.saved = subject.save_and_load()?;
    for originals in [false, true] {
        step(format_args!("searches {}", if originals { "with originals" } else { "by codes alone" }));
        report.take_curve(originals, curve::curve(&subject, data, &data.truth, originals)?);
    }
    step("scans");
    report.take_scan(curve::scan(&subject, data)?);
    if let Some(peers) = &plan.peers {
        report.peers = peers.measure(data)?;
    }
    if let Some(share) = plan.forget {
        step(format_args!("forgets {:.0} % and searches the rest", share * 100.0));
        report.forgotten = Some(curve::forgotten(&subject, data, share, plan.cores)?);
    }
    report.ratios = gates::ratios(&report);
    report.gates = gates::gates(&report);
    Ok(report)
}

/// Words about what goes on, for the person who waits.
fn step(text: impl std::fmt::Display) {
    out::note(format_args!("bench index: {text}"));
}
