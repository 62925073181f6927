//! `chaos sweep`: failures first, then the figures.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use engram_chaos::Plan;
use engram_chaos::generate::{Request, generate};
use engram_chaos::guide::Guide;
use engram_chaos::runner::RunError;
use engram_chaos::sweep::{FAILED_MAX, Sweep as Seeds, Tally, sweep as sweep_seeds};
use engram_chaos::sweep_log::{SweepLog, Swept};
use engram_chaos::{binary, report};

use super::Code;
use crate::args::{Guided, Sweep};

/// `chaos sweep`
pub fn sweep(args: &Sweep) -> Code {
    let request = args.draw.request(args.from, args.place.world);
    let simulator = args.place.simulator()?;
    let end = match args.seeds {
        Some(seeds) => args.from.checked_add(seeds).ok_or("--from plus --seeds is over 2^64")?,
        None => u64::MAX,
    };
    let log = match &args.resume {
        None => None,
        Some(file) => {
            let build = binary::fingerprint(&simulator.program).map_err(say)?;
            Some(SweepLog::open(file, &Swept::of(build, request)).map_err(say)?)
        }
    };
    let guide = args.guide.map(|Guided::Probes| Guide::default());
    let (start, live, done) = (Instant::now(), std::io::stderr().is_terminal(), AtomicU64::new(0));
    let seeds = Seeds {
        seeds: args.from..end,
        jobs: args.pace.jobs(),
        deadline: args.pace.budget.map(|budget| start + budget),
        done: &|seed| log.as_ref().is_some_and(|log| log.has(seed)),
        plan: &|request| guide.as_ref().map_or_else(|| generate(request), |guide| guide.plan(request)),
    };
    let unwritten: Mutex<Option<RunError>> = Mutex::new(None);
    let kept: Mutex<BTreeMap<u64, PathBuf>> = Mutex::default();
    let mut tally = sweep_seeds(&simulator, request, &seeds, &|plan, result| {
        let seed = plan.seed;
        if let (Some(guide), Ok(run)) = (&guide, result) {
            guide.learn(plan, &run.outcome);
            if run.outcome.violation.is_some()
                && let Ok(mut kept) = kept.lock()
            {
                kept.extend(keep(plan).map(|path| (seed, path)));
            }
        }
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        let line = match result {
            Ok(run) if run.outcome.violation.is_none() => None,
            Ok(run) => Some(report::run_line(run)),
            Err(error) => Some(format!("seed {seed} could not be run: {error}")),
        };
        let clear = if live { "\r\x1b[K" } else { "" };
        line.into_iter().for_each(|line| eprintln!("{clear}{line}"));
        if live {
            eprint!("\r{}", report::progress(done, args.seeds, start.elapsed()));
            let _ = std::io::stderr().flush();
        }
        if let (Some(log), Ok(run)) = (&log, result)
            && let Err(error) = log.add(&run.outcome)
            && let Ok(mut unwritten) = unwritten.lock()
        {
            unwritten.get_or_insert(error);
        }
    });
    let elapsed = start.elapsed();
    if live {
        eprintln!();
    }
    for outcome in log.iter().flat_map(|log| log.earlier(args.from..end)) {
        tally.remember(outcome);
    }
    print_failures(&tally, request, &kept.into_inner().unwrap_or_default());
    if let Some(seeds) = args.seeds.filter(|seeds| tally.seeds() < *seeds) {
        let why = if tally.failed.len() >= FAILED_MAX { "too many could not be run" } else { "the time was over" };
        println!("{why}: the sweep ended after {} of {seeds} seeds", tally.seeds());
    }
    println!("{}", report::tally_lines(&tally, elapsed));
    report::probe_lines(&tally).into_iter().for_each(|line| println!("{line}"));
    match unwritten.into_inner() {
        Ok(Some(error)) => Err(say(error)),
        _ => Ok(tally.exit_code()),
    }
}

/// Plans of guided sweeps are repeated from their files: their seeds alone say nothing.
fn print_failures(tally: &Tally, request: Request, kept: &BTreeMap<u64, PathBuf>) {
    let reproduce = |seed: &u64| match kept.get(seed) {
        Some(file) => report::reproduce_file(file, request.world),
        None => report::reproduce_seed(Request { seed: *seed, ..request }),
    };
    for (seed, violation) in &tally.broken {
        println!("{}", report::violation_line(*seed, violation));
        println!("{}", reproduce(seed));
    }
    for (seed, error) in &tally.failed {
        println!("seed {seed} could not be run: {error}");
        println!("{}", reproduce(seed));
    }
}

/// Writes a plan to the temporary directory; where, if it could be written.
fn keep(plan: &Plan) -> Option<PathBuf> {
    let file = std::env::temp_dir().join(format!("engram-guided-{}-{}.json", std::process::id(), plan.seed));
    match plan.save(&file) {
        Ok(()) => Some(file),
        Err(error) => {
            eprintln!("the plan of seed {} was not kept: {error}", plan.seed);
            None
        }
    }
}

fn say(error: RunError) -> String {
    error.to_string()
}
