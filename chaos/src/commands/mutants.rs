//! `chaos mutants`: the baseline, the hunt, the table.

use std::time::{Duration, Instant};

use engram_chaos::binary::{self, Purpose};
use engram_chaos::generate::{Request, generate};
use engram_chaos::mutants as planted;
use engram_chaos::mutants_report::Hunted;
use engram_chaos::plan::Plan;
use engram_chaos::profile::Profile;
use engram_chaos::report;
use engram_chaos::runner::{Run, RunError, Simulate, Simulator, simulator};
use engram_chaos::sweep::{Sweep, sweep};

use super::{Code, say_command};
use crate::args::Mutants;

/// A mutant may take so many times as long as the slowest run without one; a longer run is a broken promise.
const SLOWER_MAX: u64 = 20;
/// It may take so long in any case.
const WALL_MS_MIN: u64 = 60_000;

/// `chaos mutants`
pub fn mutants(args: &Mutants) -> Code {
    let request = args.draw.request_or(args.from, args.place.world, Profile::Combined, 30);
    let end = args.from.checked_add(args.per_mutant_seeds).ok_or("--from plus --per-mutant-seeds is over 2^64")?;
    let program = binary::locate(args.place.world, Purpose::Mutants, args.place.sim_bin.clone(), say_command)
        .map_err(|error| error.to_string())?;
    let names = chosen(args, planted::names(&program).map_err(|error| error.to_string())?, || {
        format!("{}: this simulator was built without mutants; it needs RUSTFLAGS=\"--cfg mutants\"", program.display())
    })?;
    let deadline = args.pace.budget.map(|budget| Instant::now() + budget);
    let plain = simulator(&program, args.place.world);
    eprintln!("without a mutant: seeds {} to {}", args.from, end - 1);
    let sweep_args =
        Sweep { seeds: args.from..end, jobs: args.pace.jobs(), deadline, done: &|_| false, plan: &generate };
    let (slowest, cpu_time) = match baseline(&plain, request, &sweep_args)? {
        Baseline::Clean { slowest_ms, cpu_time } => (slowest_ms, cpu_time),
        Baseline::Red => return Ok(1),
    };
    let wall_time_max = Duration::from_millis((slowest * SLOWER_MAX).max(WALL_MS_MIN));
    let run = |name: &str, plan: &Plan| -> Result<Run, RunError> {
        Simulator { mutant: Some(name.to_string()), wall_time_max, ..plain.clone() }.simulate(plan)
    };
    let hunt = planted::Hunt { request, seeds: args.per_mutant_seeds, jobs: args.pace.jobs(), deadline };
    let found = planted::hunt(names, hunt, &run, &|mutant| {
        let fate = mutant.caught.as_ref().map_or("not caught", |violation| violation.invariant.as_str());
        eprintln!("{}: {fate} after {} seeds", mutant.name, mutant.seeds_run);
    });
    let hunted = Hunted::new(request, args.per_mutant_seeds, cpu_time, found);
    print!("{}", hunted.table());
    hunted.reproduce().iter().for_each(|line| println!("{line}"));
    println!("{}", hunted.summary());
    if let Some(file) = &args.json {
        let text = format!("{:#}\n", hunted.to_json());
        std::fs::write(file, text).map_err(|error| format!("{}: can't be written: {error}", file.display()))?;
    }
    Ok(hunted.exit_code())
}

/// The mutants to hunt.
fn chosen(args: &Mutants, all: Vec<String>, without: impl FnOnce() -> String) -> Result<Vec<String>, String> {
    if all.is_empty() {
        return Err(without());
    }
    if let Some(stranger) = args.only.iter().find(|name| !all.contains(name)) {
        return Err(format!("--only: there is no mutant {stranger}; there are {}", all.join(", ")));
    }
    Ok(match args.sample {
        Some(count) => planted::sample(&all, count, args.from),
        None if args.only.is_empty() => all,
        None => all.into_iter().filter(|name| args.only.contains(name)).collect(),
    })
}

enum Baseline {
    /// Every promise held.
    Clean { slowest_ms: u64, cpu_time: bool },
    /// One was broken; it is printed.
    Red,
}

/// The same seeds without a mutant.
fn baseline(plain: &Simulator, request: Request, seeds: &Sweep<'_>) -> Result<Baseline, String> {
    let tally = sweep(plain, request, seeds, &|_, _| ());
    if let Some((seed, violation)) = tally.broken.first() {
        let request = Request { seed: *seed, ..request };
        println!("seed {seed} is broken without a mutant: {}: {}", violation.invariant, violation.detail);
        println!("{} --sim-bin {}", report::reproduce_seed(request), plain.program.display());
        println!("nothing was hunted: a seed that fails by itself proves nothing");
        return Ok(Baseline::Red);
    }
    if let Some((seed, error)) = tally.failed.first() {
        return Err(format!("seed {seed} without a mutant could not be run: {error}"));
    }
    if tally.clean < seeds.seeds.end - seeds.seeds.start {
        let clean = tally.clean;
        return Err(format!("the time was over after {clean} seeds without a mutant; give more, or fewer seeds"));
    }
    Ok(Baseline::Clean { slowest_ms: tally.slowest_ms, cpu_time: tally.cpu_time })
}
