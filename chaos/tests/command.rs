//! The `chaos` command against a simulator that is a shell script.

#![cfg(all(unix, feature = "cli"))]
#![allow(clippy::disallowed_methods, reason = "a test of a command line tool: it writes the files that the tool reads")]

mod bench;

use std::path::Path;

use bench::{Bench, SCRIPT, code, err, out};
use engram_chaos::Plan;

#[test]
fn a_clean_run_exits_zero_and_ends_with_the_trace_hash() {
    let bench = Bench::new(SCRIPT);
    let output = bench.chaos("run --seed 4 --seconds 10 --profile network --trace-hash");
    assert_eq!(code(&output), Some(0), "{}", err(&output));
    assert!(out(&output).starts_with("ok: seed 4 in turmoil"), "{}", out(&output));
    assert_eq!(out(&output).lines().last(), Some("00000000000000aa"));
}

#[test]
fn a_broken_run_exits_one_with_the_line_that_repeats_it() {
    let bench = Bench::new(SCRIPT);
    let output = bench.chaos("run --seed 4 --minutes 1 --profile crash");
    assert_eq!(code(&output), Some(1), "{}", err(&output));
    assert!(out(&output).contains("BROKEN: no_acked_loss at 700 ms: one is gone"), "{}", out(&output));
    let again = "reproduce: cargo chaos run --seed 4 --minutes 1 --world turmoil --profile crash --nodes 3";
    assert!(out(&output).contains(again), "{}", out(&output));
}

#[test]
fn shrinking_writes_a_plan_with_its_cause_that_replays() {
    let bench = Bench::new(SCRIPT);
    let plan = bench.chaos("plan --seed 9 --profile crash");
    bench.save("big.json", &out(&plan));
    let output = bench.chaos("shrink big.json -o small.json");
    assert_eq!(code(&output), Some(1), "{}", err(&output));
    let small = Plan::load(&bench.path("small.json")).expect("a valid plan");
    assert_eq!(small.faults.len(), 1);
    assert_eq!(small.origin.expect("a cause").cause, "no_acked_loss: one is gone");
    let replay = bench.chaos("replay small.json --trace t.trace");
    assert_eq!(code(&replay), Some(1));
    assert!(out(&replay).contains("power lost at"), "{}", out(&replay));
    assert!(out(&replay).contains("reproduce: cargo chaos replay small.json --world turmoil"), "{}", out(&replay));
    assert!(bench.path("t.trace").exists());
}

#[test]
fn the_corpus_runs_every_plan_and_skips_what_the_world_can_not_do() {
    let bench = Bench::new(SCRIPT);
    std::fs::create_dir(bench.path("seeds")).expect("created");
    let plan = |kind: &str| {
        format!(
            r#"{{"version":1,"seed":7,"profile":"p","duration_ms":1000,"nodes":3,"faults":[{{"at_ms":1,"until_ms":9,"kind":{kind}}}]}}"#
        )
    };
    bench.save("seeds/a.json", &plan(r#"{"crash":{"node":1}}"#));
    bench.save("seeds/b.json", &plan(r#"{"pause":{"node":1}}"#));
    let output = bench.chaos("corpus seeds");
    assert_eq!(code(&output), Some(0), "{}", err(&output));
    assert!(out(&output).contains("b.json: skipped, turmoil does not execute pause faults"), "{}", out(&output));
    assert!(out(&output).ends_with("1 plans in turmoil: 0 broken, 0 not run, 1 skipped\n"), "{}", out(&output));
    bench.save("seeds/c.json", &plan(r#"{"power_loss":{"nodes":[1]}}"#));
    assert_eq!(code(&bench.chaos("corpus seeds")), Some(1));
    bench.save("seeds/d.json", "{}");
    let output = bench.chaos("corpus seeds");
    assert_eq!(code(&output), Some(2));
    assert!(err(&output).contains("d.json: is not a plan: missing field"), "{}", err(&output));
}

#[test]
fn what_can_not_be_run_exits_two_and_says_why() {
    let refusing = Bench::new("#!/bin/sh\necho 'nodes: too many' >&2\nexit 2\n");
    let output = refusing.chaos("run --seed 1");
    assert_eq!(code(&output), Some(2));
    assert!(err(&output).contains("the simulator refused the plan: nodes: too many"), "{}", err(&output));
    let silent = Bench::new("#!/bin/sh\nexit 0\n");
    assert_eq!(code(&silent.chaos("run --seed 1")), Some(2));
    let missing = refusing.chaos("run --seed 1 --sim-bin /nowhere/engram-sim");
    assert_eq!(code(&missing), Some(2));
    assert!(err(&missing).contains("/nowhere/engram-sim: is no file"), "{}", err(&missing));
    assert_eq!(code(&refusing.chaos("replay nothing.json")), Some(2));
    assert_eq!(code(&refusing.chaos("run --seed 1 --profile weather")), Some(2));
}

#[test]
fn a_simulator_that_panics_broke_a_promise() {
    let bench =
        Bench::new("#!/bin/sh\necho \"thread 'main' panicked at src/x.rs:1:2:\" >&2\necho boom >&2\nexit 101\n");
    let output = bench.chaos("run --seed 1");
    assert_eq!(code(&output), Some(1), "{}", err(&output));
    assert!(out(&output).contains("BROKEN: panic at 0 ms: exit code 101: thread 'main' panicked"), "{}", out(&output));
    assert!(Path::new(&bench.simulator).exists());
}

#[test]
fn a_simulator_that_aborts_broke_a_promise_and_one_that_is_killed_was_not_run() {
    let aborted = Bench::new("#!/bin/sh\nkill -ABRT $$\n").chaos("run --seed 1");
    assert_eq!(code(&aborted), Some(1), "{}", err(&aborted));
    assert!(out(&aborted).contains("BROKEN: panic at 0 ms: ended by signal 6: "), "{}", out(&aborted));
    let killed = Bench::new("#!/bin/sh\nkill -KILL $$\n").chaos("run --seed 1");
    assert_eq!(code(&killed), Some(2), "{}", out(&killed));
    assert!(err(&killed).contains("signal 9: somebody killed the simulator"), "{}", err(&killed));
}
