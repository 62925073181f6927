//! The commands: each prints what it found and returns the exit code.
//!
//! Leaves out: arguments (`args.rs`) and the sentences ([`engram_chaos::report`]).

pub mod diff;
pub mod mutants;
pub mod replay;
pub mod sweep;

use std::path::Path;

use engram_chaos::binary::{self, Purpose};
use engram_chaos::generate::generate;
use engram_chaos::plan::{Origin, Plan, PlanError};
use engram_chaos::runner::{RunError, Simulate, Simulator};
use engram_chaos::shrink::{Shrink as Shrunken, shrink as shrink_plan};
use engram_chaos::{World, corpus as plans, report, runner};

use crate::args::{Corpus, Drawn, Place, Run, Shrink};

/// An exit code, or why there is none.
pub type Code = Result<u8, String>;

impl Place {
    fn simulator(&self) -> Result<Simulator, String> {
        let program = binary::locate(self.world, Purpose::Plain, self.sim_bin.clone(), say_command);
        Ok(runner::simulator(&program.map_err(|error| error.to_string())?, self.world))
    }
}

/// Tells of a command before it runs.
fn say_command(line: &str) {
    eprintln!("running: {line}");
}

/// `chaos run`
pub fn run(args: &Run) -> Code {
    let request = args.draw.request(args.seed, args.place.world);
    let simulator = Simulator { echo: true, ..args.place.simulator()? };
    let run = simulator.simulate(&generate(request)).map_err(|error| error.to_string())?;
    println!("{}", report::run_line(&run));
    let broken = run.outcome.violation.is_some();
    if broken {
        println!("{}", report::reproduce_seed(request));
    }
    if args.trace_hash {
        println!("{}", run.outcome.trace_hash);
    }
    Ok(u8::from(broken))
}

/// `chaos shrink`
pub fn shrink(args: &Shrink) -> Code {
    let plan = load(&args.file)?;
    let out = args.out.clone().unwrap_or_else(|| args.file.with_extension("min.json"));
    let simulator = args.place.simulator()?;
    let heard = |plan: &Plan, failed: bool| {
        let (faults, end) = (plan.faults.len(), if failed { "fails too" } else { "does not fail that way" });
        eprintln!("{faults} faults in {} ms: {end}", plan.duration_ms);
    };
    match shrink_plan(&plan, &simulator, args.runs, &heard).map_err(|error| error.to_string())? {
        Shrunken::Clean => {
            println!("{}: every promise held; there is nothing to shrink", args.file.display());
            Ok(0)
        }
        Shrunken::Smaller(mut shrunk) => {
            let cause = format!("{}: {}", shrunk.violation.invariant, shrunk.violation.detail);
            shrunk.plan.origin = Some(Origin { commit: commit(), cause });
            shrunk.plan.save(&out).map_err(|error| error.to_string())?;
            print!("{}", report::shrunk(&plan, &shrunk));
            println!("written: {}", out.display());
            println!("{}", report::reproduce_file(&out, args.place.world));
            Ok(1)
        }
    }
}

/// `chaos plan`
pub fn plan(args: &Drawn) -> Code {
    print!("{}", generate(args.draw.request(args.seed, args.world)).to_json());
    Ok(0)
}

/// `chaos corpus`
pub fn corpus(args: &Corpus) -> Code {
    let world = args.place.world;
    let (can, cannot): (Vec<_>, Vec<_>) =
        plans::load(&args.directory).map_err(say)?.into_iter().partition(|(_, plan)| world.lacks(plan).is_none());
    for (path, plan) in &cannot {
        println!("{}: skipped, {}", path.display(), lacking(world, plan));
    }
    let (mut broken, mut failed) = (0, 0);
    let simulator = if can.is_empty() { None } else { Some(args.place.simulator()?) };
    for (path, plan) in &can {
        let Some(simulator) = &simulator else { continue };
        match simulator.simulate(plan) {
            Ok(run) => {
                println!("{}: {}", path.display(), report::run_line(&run));
                if run.outcome.violation.is_some() {
                    broken += 1;
                    println!("{}", report::reproduce_file(path, world));
                }
            }
            Err(RunError(error)) => {
                failed += 1;
                println!("{}: could not be run: {error}", path.display());
                println!("{}", report::reproduce_file(path, world));
            }
        }
    }
    let (count, skipped) = (can.len(), cannot.len());
    println!("{count} plans in {world}: {broken} broken, {failed} not run, {skipped} skipped");
    Ok(if broken > 0 {
        1
    } else if failed > 0 {
        2
    } else {
        0
    })
}

fn say(error: PlanError) -> String {
    error.to_string()
}

fn load(path: &Path) -> Result<Plan, String> {
    Plan::load(path).map_err(say)
}

fn lacking(world: World, plan: &Plan) -> String {
    let kind = world.lacks(plan).map_or("no", |(_, fault)| fault.kind.name());
    format!("{world} does not execute {kind} faults")
}

/// The commit that the present directory is at, for the corpus.
fn commit() -> String {
    let output = std::process::Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    let text =
        output.ok().filter(|output| output.status.success()).and_then(|output| String::from_utf8(output.stdout).ok());
    text.map_or("unknown".into(), |text| text.trim().to_string())
}
