//! The meta test: the same seed in two processes gives byte-identical traces; another seed gives another.
//!
//! Every byte that crosses a simulated wire is in the trace, so a look at a real clock, at entropy or at the order
//! of an unordered map anywhere in the node shows here.
#![expect(clippy::disallowed_methods, reason = "the test compares files that two processes wrote")]

use engram_chaos::generate::{Request, generate};
use engram_chaos::profile::Profile;
use engram_sim::world::NAME;
use std::path::Path;
use std::process::Command;

fn trace(args: &[&str], file: &Path) -> Vec<u8> {
    let mut run = Command::new(env!("CARGO_BIN_EXE_engram-sim"));
    let output = run.args(args).arg("--trace").arg(file).output().expect("the simulator starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    std::fs::read(file).expect("the trace was written")
}

fn twice(args: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("temporary");
    let first = trace(args, &dir.path().join("first"));
    let again = trace(args, &dir.path().join("again"));
    assert!(first.len() > 100_000, "{} bytes", first.len());
    if first != again {
        let line = first.split(|b| *b == b'\n').zip(again.split(|b| *b == b'\n')).position(|(a, b)| a != b);
        panic!("two runs of {args:?} differ from line {line:?} on");
    }
    first
}

#[test]
fn the_same_seed_replays_byte_for_byte_and_another_does_not() {
    let dir = tempfile::tempdir().expect("temporary");
    let first = twice(&["leader", "--seed", "7"]);
    assert_ne!(first, trace(&["leader", "--seed", "8"], &dir.path().join("other")));
}

#[test]
fn websockets_replay_byte_for_byte() {
    twice(&["web-socket", "--seed", "3"]);
}

/// Several crashes of each node: each life has a runtime, a pool and a clock of its own.
#[test]
fn a_plan_of_many_crashes_and_blackouts_replays_byte_for_byte() {
    twice(&["run", "--plan", concat!(env!("CARGO_MANIFEST_DIR"), "/seeds/blackouts.json")]);
}

/// Every profile, on seeds that nobody chose for it. `ENGRAM_SEEDS` says how many instead of two.
fn profile(profile: Profile) {
    let world = NAME.parse().expect("the build's own world");
    let seeds = std::env::var("ENGRAM_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(2);
    let dir = tempfile::tempdir().expect("temporary");
    for seed in 1..=seeds {
        let plan = generate(Request { seed, profile, world, nodes: 3, duration_ms: 20_000 });
        let file = dir.path().join(format!("{seed}.json"));
        plan.save(&file).expect("written");
        twice(&["run", "--plan", file.to_str().expect("a path of letters")]);
    }
}

macro_rules! profiles {
    ($($name:ident: $profile:ident),*) => {
        $(#[test]
        fn $name() {
            profile(Profile::$profile);
        })*
    };
}
profiles!(
    the_network_replays: Network,
    crashes_replay: Crash,
    disks_replay: Disk,
    clocks_replay: Clock,
    members_replay: Membership,
    bursts_replay: Overload,
    everything_replays: Combined
);
