//! Shrinking against simulators that fail for known reasons: the smallest plan is known beforehand.

use std::cell::Cell;

use engram_chaos::generate::{Request, generate};
use engram_chaos::outcome::{Outcome, Verdict};
use engram_chaos::plan::Plan;
use engram_chaos::profile::Profile;
use engram_chaos::runner::{Run, RunError};
use engram_chaos::shrink::{Shrink, shrink};
use engram_chaos::sweep::{Sweep, sweep};
use engram_chaos::{Kind, Violation, World, budget};

fn ran(plan: &Plan, invariant: Option<&str>) -> Result<Run, RunError> {
    let violation = invariant.map(|name| Violation { invariant: name.into(), detail: "planted".into(), at_ms: 9 });
    let outcome = Outcome {
        verdict: if violation.is_some() { Verdict::Broken } else { Verdict::Ok },
        seed: plan.seed,
        world: World::Turmoil,
        trace_hash: "0".repeat(16),
        events: 1,
        simulated_ms: plan.duration_ms,
        acked: 1,
        probes: std::collections::BTreeMap::new(),
        violation,
    };
    Ok(Run { outcome, wall_ms: 1, cpu_ms: Some(1) })
}

/// Fails if a crash overlaps a partition, and in another way if there is much of anything.
fn crash_in_partition(plan: &Plan) -> Result<Run, RunError> {
    let crashes = plan.faults.iter().filter(|fault| matches!(fault.kind, Kind::Crash { .. }));
    let hit = crashes.into_iter().any(|crash| {
        plan.faults.iter().any(|other| {
            matches!(other.kind, Kind::Partition { .. }) && other.at_ms < crash.until_ms && crash.at_ms < other.until_ms
        })
    });
    ran(plan, if hit { Some("lost_ack") } else { (plan.faults.len() > 12).then_some("slow") })
}

fn request(seed: u64) -> Request {
    Request { seed, profile: Profile::Combined, world: World::Turmoil, nodes: 5, duration_ms: 60_000 }
}

#[test]
fn a_failure_of_two_faults_shrinks_to_those_two_with_short_windows() {
    let mut shrunk_plans = 0;
    for seed in 0..40 {
        let plan = generate(request(seed));
        let failure = crash_in_partition(&plan).expect("runs").outcome.violation;
        if failure.is_none_or(|violation| violation.invariant != "lost_ack") {
            continue;
        }
        let Shrink::Smaller(small) = shrink(&plan, &crash_in_partition, 10_000, &|_, _| ()).expect("runs") else {
            panic!("seed {seed} fails");
        };
        shrunk_plans += 1;
        assert_eq!(small.violation.invariant, "lost_ack", "seed {seed}: another failure is no substitute");
        let mut kinds: Vec<&str> = small.plan.faults.iter().map(|fault| fault.kind.name()).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, ["crash", "partition"], "seed {seed}");
        assert!(small.plan.faults.iter().all(|fault| fault.until_ms - fault.at_ms <= 100), "seed {seed}");
        assert!(small.plan.duration_ms <= plan.duration_ms);
        assert_eq!((small.plan.validate(), budget::check(&small.plan)), (Ok(()), Ok(())));
    }
    assert!(shrunk_plans > 10, "only {shrunk_plans} of 40 seeds failed");
}

#[test]
fn a_failure_without_any_fault_shrinks_to_an_empty_plan() {
    let always = |plan: &Plan| ran(plan, Some("always"));
    let Shrink::Smaller(small) = shrink(&generate(request(3)), &always, 1_000, &|_, _| ()).expect("runs") else {
        panic!("it fails");
    };
    assert!(small.plan.faults.is_empty());
    assert_eq!(small.plan.duration_ms, 500);
}

#[test]
fn a_plan_that_breaks_nothing_is_left_alone() {
    let never = |plan: &Plan| ran(plan, None);
    assert_eq!(shrink(&generate(request(3)), &never, 1_000, &|_, _| ()), Ok(Shrink::Clean));
}

#[test]
fn the_number_of_runs_is_kept() {
    let heard = Cell::new(0);
    let always = |plan: &Plan| ran(plan, Some("always"));
    let result = shrink(&generate(request(3)), &always, 3, &|_, _| heard.set(heard.get() + 1)).expect("runs");
    let Shrink::Smaller(small) = result else { panic!("it fails") };
    assert_eq!((small.runs, heard.get()), (3, 2));
}

#[test]
fn a_sweep_gives_the_same_however_many_jobs_it_has() {
    let tally = |jobs| {
        let simulator = |plan: &Plan| match plan.seed {
            13 => Err(RunError("no disk".into())),
            _ => ran(plan, plan.seed.is_multiple_of(7).then_some("sevens")),
        };
        let seeds = Sweep { seeds: 10..40, jobs, deadline: None, done: &|_| false, plan: &generate };
        sweep(&simulator, request(0), &seeds, &|_, _| ())
    };
    let one = tally(1);
    assert_eq!(one.broken.iter().map(|(seed, _)| *seed).collect::<Vec<_>>(), [14, 21, 28, 35]);
    assert_eq!((one.clean, one.failed.len(), one.exit_code()), (25, 1, 1));
    assert_eq!(one, tally(4));
}
