//! `chaos replay` and `chaos trace`: one plan again, read up to a breakpoint, or drawn as a page.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use engram_chaos::breakpoint::{self, Breakpoint};
use engram_chaos::generate::generate;
use engram_chaos::plan::Plan;
use engram_chaos::runner::{Simulate, Simulator};
use engram_chaos::trace::Line;
use engram_chaos::{World, budget, page, report};

use super::{Code, load};
use crate::args::{Draw, Replay, Trace};

/// Events that are shown before a breakpoint.
const SHOWN: usize = 200;

/// `chaos replay`
pub fn replay(args: &Replay) -> Code {
    let world = args.place.world;
    let (plan, again) = source(args.file.as_deref(), args.seed, &args.draw, world)?;
    let trace = args.trace.clone().unwrap_or_else(|| trace_file(&plan, world));
    let simulator = Simulator { echo: true, trace: Some(trace.clone()), ..args.place.simulator()? };
    print!("{}", report::timeline(&plan));
    warn_of_budget(&plan);
    let run = simulator.simulate(&plan).map_err(|error| error.to_string())?;
    println!("{}", report::run_line(&run));
    println!("trace: {}", trace.display());
    let breakpoint = args.until_index.map(Breakpoint::Index).or(args.until_ms.map(Breakpoint::Ms));
    if let Some(breakpoint) = breakpoint {
        let stopped = breakpoint::stop(&read(&trace)?, breakpoint, SHOWN)?;
        println!("the last {} events of nodes before the breakpoint:", stopped.lines.len());
        stopped.lines.iter().for_each(|line| println!("{}", breakpoint::event_line(line)));
        println!("the nodes then:");
        stopped.nodes.iter().for_each(|(node, state)| println!("{}", breakpoint::node_line(*node, state)));
    }
    let broken = run.outcome.violation.is_some();
    if broken {
        println!("{again}");
    }
    Ok(u8::from(broken))
}

/// `chaos trace`
pub fn trace(args: &Trace) -> Code {
    let world = args.place.world;
    let (plan, again) = source(args.plan.as_deref(), args.seed, &args.draw, world)?;
    let out = args.out.clone().unwrap_or_else(|| format!("trace-{}.html", plan.seed).into());
    let trace = std::env::temp_dir().join(format!("engram-chaos-{}.trace", std::process::id()));
    let simulator = Simulator { trace: Some(trace.clone()), ..args.place.simulator()? };
    let run = simulator.simulate(&plan).map_err(|error| error.to_string())?;
    println!("{}", report::run_line(&run));
    let lines = read(&trace);
    // A file that is left behind in the temporary directory harms nobody.
    let _ = std::fs::remove_file(&trace);
    let page = page::page(&plan, &run.outcome, &lines?, &again);
    std::fs::write(&out, page).map_err(|error| format!("{}: can't be written: {error}", out.display()))?;
    println!("written: {}", out.display());
    let broken = run.outcome.violation.is_some();
    if broken {
        println!("{again}");
    }
    Ok(u8::from(broken))
}

fn read(trace: &Path) -> Result<Vec<Line>, String> {
    let named = |error: std::io::Error| format!("{}: can't be read: {error}", trace.display());
    engram_chaos::trace::read(BufReader::new(File::open(trace).map_err(named)?)).map_err(named)
}

/// The plan, and the line that runs it again.
fn source(file: Option<&Path>, seed: Option<u64>, draw: &Draw, world: World) -> Result<(Plan, String), String> {
    match (file, seed) {
        (Some(file), _) => Ok((load(file)?, report::reproduce_file(file, world))),
        (None, Some(seed)) => {
            let request = draw.request(seed, world);
            Ok((generate(request), report::reproduce_seed(request)))
        }
        (None, None) => Err("a plan or a seed is needed".into()),
    }
}

fn trace_file(plan: &Plan, world: World) -> PathBuf {
    std::env::temp_dir().join(format!("engram-chaos-{}-{world}.trace", plan.seed))
}

fn warn_of_budget(plan: &Plan) {
    if let Err(over) = budget::check(plan) {
        eprintln!("note: {over}");
    }
}
