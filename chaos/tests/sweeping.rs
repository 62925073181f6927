//! `chaos sweep` against a simulator that is a shell script: its report, its budget, and going on where it stopped.

#![cfg(all(unix, feature = "cli"))]
#![allow(clippy::disallowed_methods, reason = "a test of a command line tool: it writes the files that the tool reads")]

mod bench;

use bench::{Bench, SCRIPT, code, err, out};

#[test]
fn a_sweep_reports_each_failure_with_its_line_before_the_figures() {
    let bench = Bench::new(SCRIPT);
    let clean = bench.chaos("sweep --seeds 6 --from 100 --jobs 2 --seconds 5 --profile network");
    assert_eq!(code(&clean), Some(0), "{}", err(&clean));
    assert!(out(&clean).starts_with("6 seeds: 6 ok, 0 broken, 0 not run\n12 acked in "), "{}", out(&clean));
    assert!(out(&clean).contains(" seeds an hour of a core (") && out(&clean).ends_with("a wall second\n"));
    let broken = bench.chaos("sweep --seeds 3 --jobs 2 --profile crash");
    assert_eq!(code(&broken), Some(1));
    let lines: Vec<String> = out(&broken).lines().map(String::from).collect();
    for seed in 0..3 {
        let found = format!("BROKEN: no_acked_loss at 700 ms: one is gone (seed {seed})");
        let again =
            format!("reproduce: cargo chaos run --seed {seed} --minutes 1 --world turmoil --profile crash --nodes 3");
        assert_eq!(lines[2 * seed..][..2], [found, again]);
    }
    assert_eq!(lines[6], "3 seeds: 0 ok, 3 broken, 0 not run");
    assert!(!err(&broken).contains('\r'), "a progress line is for terminals: {}", err(&broken));
}

#[test]
fn a_sweep_goes_on_where_it_stopped_and_remembers_what_was_broken() {
    let bench = Bench::new(SCRIPT);
    let draw = "--from 5 --seconds 9 --profile crash --resume done.jsonl";
    assert_eq!(code(&bench.chaos(&format!("sweep --seeds 2 {draw}"))), Some(1));
    // A process that was killed while it wrote leaves half a line.
    bench.save("done.jsonl", &format!("{}{{\"verdict\":\"o", bench.read("done.jsonl")));
    let more = bench.chaos(&format!("sweep --seeds 4 {draw}"));
    assert_eq!(code(&more), Some(1), "{}", err(&more));
    assert!(out(&more).contains("4 seeds: 0 ok, 4 broken, 0 not run, 2 of them by an earlier sweep\n4 acked in"));
    assert_eq!(out(&more).matches("reproduce: ").count(), 4, "{}", out(&more));
    let none = bench.chaos(&format!("sweep --seeds 4 {draw}"));
    assert!(out(&none).contains("4 of them by an earlier sweep\n0 acked in"), "{}", out(&none));
    assert_eq!((code(&none), bench.read("done.jsonl").lines().count()), (Some(1), 5));
}

#[test]
fn a_file_of_another_sweep_or_another_build_is_refused_by_name() {
    let bench = Bench::new(SCRIPT);
    bench.chaos("sweep --seeds 1 --seconds 9 --profile network --resume done.jsonl");
    let refused = |arguments: &str| {
        let output = bench.chaos(&format!("sweep --seeds 1 {arguments} --resume done.jsonl"));
        assert_eq!(code(&output), Some(2), "{arguments}");
        err(&output)
    };
    let profile = refused("--seconds 9 --profile crash");
    assert!(profile.contains("done.jsonl: is of another profile: network there, crash here;"), "{profile}");
    assert!(refused("--seconds 8 --profile network").contains("another length: 9000 ms there, 8000 ms here"));
    assert!(refused("--seconds 9 --profile network --nodes 5").contains("another number of nodes: 3 there, 5 here"));
    bench.program("engram-sim", &format!("{SCRIPT}# another build\n"));
    assert!(refused("--seconds 9 --profile network").contains("done.jsonl: is of another build: "));
    bench.save("done.jsonl", "{}\n");
    assert!(refused("--seconds 9 --profile network").contains("done.jsonl: is of no sweep: missing field `build`"));
}

#[test]
fn a_budget_ends_a_sweep_between_runs_and_it_says_how_many_there_were() {
    let bench = Bench::new(&SCRIPT.replace("plan=", "sleep 0.4\nplan="));
    let output = bench.chaos("sweep --budget 1s --jobs 1 --seeds 1000 --seconds 5 --profile network");
    assert_eq!(code(&output), Some(0), "{}", err(&output));
    let first = out(&output).lines().next().expect("a line").to_string();
    assert!(
        ["1", "2", "3"]
            .iter()
            .any(|ran| first == format!("the time was over: the sweep ended after {ran} of 1000 seeds"))
    );
    let endless = bench.chaos("sweep --budget 1s --seconds 5 --profile network");
    assert_eq!(code(&endless), Some(0), "{}", err(&endless));
    assert_eq!(code(&bench.chaos("sweep --seconds 5")), Some(2), "neither seeds nor a budget");
    assert!(err(&bench.chaos("sweep --budget 10")).contains("is no time: 90s, 10m, 2h"));
}

#[test]
fn a_simulator_that_refuses_every_plan_ends_a_sweep_soon() {
    let bench = Bench::new("#!/bin/sh\nexit 2\n");
    let output = bench.chaos("sweep --seeds 1000 --jobs 1");
    assert_eq!(code(&output), Some(2));
    let text = out(&output);
    assert!(
        text.contains("too many could not be run: the sweep ended after 20 of 1000 seeds\n20 seeds: 0 ok"),
        "{text}"
    );
    assert_eq!(text.matches("reproduce: ").count(), 20, "{text}");
}
