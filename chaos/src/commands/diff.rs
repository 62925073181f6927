//! `chaos diff`: the same plans in both worlds.

use std::path::{Path, PathBuf};

use engram_chaos::World;
use engram_chaos::binary::{self, Purpose};
use engram_chaos::diff::{Compared, Verdict, compare};
use engram_chaos::generate::{Request, generate};
use engram_chaos::plan::Plan;
use engram_chaos::profile::Profile;
use engram_chaos::report;
use engram_chaos::runner::{Simulate, Simulator, simulator};
use engram_chaos::summary::Summary;
use engram_chaos::sweep::FAILED_MAX;

use super::{Code, say_command};
use crate::args::Diff;

/// What came of a pair, for the last line.
#[derive(Default)]
struct Count {
    equal: u64,
    different: u64,
    incomparable: u64,
    failed: u64,
}

/// `chaos diff`
pub fn diff(args: &Diff) -> Code {
    let end = args.from.checked_add(args.seeds).ok_or("--from plus --seeds is over 2^64")?;
    let worlds = [(World::Turmoil, &args.turmoil_bin), (World::Madsim, &args.madsim_bin)];
    let mut simulators = Vec::new();
    for (world, given) in worlds {
        let given = given.clone().map_or_else(|| built(world), Ok)?;
        simulators.push(simulator(&given, world));
    }
    let mut count = Count::default();
    for seed in args.from..end {
        let request = args.draw.request_or(seed, World::Turmoil, Profile::Network, 30);
        let (line, failure) = pair(&simulators, request, &mut count).unwrap_or_else(|error| {
            count.failed += 1;
            (format!("could not be run: {error}"), true)
        });
        println!("seed {seed}: {line}");
        if failure {
            println!("{}", reproduce(request));
        }
        if count.failed >= FAILED_MAX as u64 {
            break;
        }
    }
    let Count { equal, different, incomparable, failed } = count;
    let seeds = equal + different + incomparable + failed;
    let found = format!("{equal} equal, {different} different, {incomparable} not comparable, {failed} not run");
    println!("{seeds} seeds in both worlds: {found}");
    Ok(match (different, failed, equal) {
        (1.., _, _) => 1,
        (0, 0, 1..) => 0,
        _ => 2,
    })
}

/// A simulator that is built now: the one of the environment is of one world only.
fn built(world: World) -> Result<PathBuf, String> {
    binary::build(world, Purpose::Plain, say_command).map_err(|error| error.to_string())
}

/// Runs one plan in each world: what to print, and whether it is a failure.
fn pair(simulators: &[Simulator], request: Request, count: &mut Count) -> Result<(String, bool), String> {
    let plan = common(generate(request));
    let mut summaries = Vec::new();
    for simulator in simulators {
        let file = SummaryFile::new(simulator.world, request.seed);
        let simulator = Simulator { summary: Some(file.0.clone()), ..simulator.clone() };
        let run = simulator.simulate(&plan).map_err(|error| format!("{}: {error}", simulator.world))?;
        if run.outcome.violation.is_some() {
            count.different += 1;
            return Ok((report::run_line(&run), true));
        }
        summaries.push(file.load()?);
    }
    Ok(match compare(&summaries[0], &summaries[1]) {
        Verdict::Equal(Compared { observations, beyond, digest, logs_equal_to }) => {
            count.equal += 1;
            let logs = logs_equal_to.map_or("nowhere".into(), |index| format!("up to index {index}"));
            let (one, two) = beyond;
            let line = format!(
                "equal: {observations} observations, digest {digest}; {one} and {two} more beyond them; logs equal {logs}"
            );
            (line, false)
        }
        Verdict::Differs(why) => {
            count.different += 1;
            (format!("DIFFERENT: {why}"), true)
        }
        Verdict::Incomparable(why) => {
            count.incomparable += 1;
            (format!("not comparable: {why}"), false)
        }
    })
}

/// The faults that both worlds execute: leaving some out keeps a plan valid.
fn common(mut plan: Plan) -> Plan {
    plan.faults.retain(|fault| World::ALL.into_iter().all(|world| world.supports(&fault.kind)));
    plan
}

fn reproduce(request: Request) -> String {
    let Request { seed, profile, nodes, duration_ms, .. } = request;
    let time = report::time_argument(duration_ms);
    format!("reproduce: cargo chaos diff --seeds 1 --from {seed} {time} --profile {profile} --nodes {nodes}")
}

/// A file in the temporary directory, as long as this lives.
struct SummaryFile(PathBuf);

impl SummaryFile {
    fn new(world: World, seed: u64) -> Self {
        let name = format!("engram-chaos-{}-{world}-{seed}.summary.json", std::process::id());
        SummaryFile(std::env::temp_dir().join(name))
    }

    fn load(&self) -> Result<Summary, String> {
        Summary::load(Path::new(&self.0))
    }
}

impl Drop for SummaryFile {
    fn drop(&mut self) {
        // A file that is left behind in the temporary directory harms nobody.
        let _ = std::fs::remove_file(&self.0);
    }
}
