//! `chaos diff` against two simulators that are shell scripts.

#![cfg(all(unix, feature = "cli"))]
#![allow(clippy::disallowed_methods, reason = "a test of a command line tool: it writes the files that the tool reads")]

mod bench;

use std::process::Output;

use bench::{Bench, code, err, out};

/// A simulator of a world that commits these observations.
fn world(name: &str, unknown: bool, observations: &str) -> String {
    format!(
        r#"#!/bin/sh
seed=$(sed -n 's/.*"seed": \([0-9]*\),/\1/p' "$3" | head -1)
[ "$4" = --summary ] || exit 3
echo '{{"unknown":{unknown},"observations":[{observations}],"digests":{{"1":"0a"}}}}' > "$5"
echo '{{"verdict":"ok","seed":'$seed',"world":"{name}","trace_hash":"00000000000000aa","events":3,"simulated_ms":1000,"acked":2,"violation":null}}'
"#
    )
}

fn diff(turmoil: &str, madsim: &str) -> Output {
    let bench = Bench::new("#!/bin/sh\nexit 3\n");
    bench.program("one", turmoil);
    bench.program("two", madsim);
    bench.chaos("diff --seeds 2 --from 7 --turmoil-bin ./one --madsim-bin ./two")
}

#[test]
fn worlds_that_committed_the_same_as_far_as_both_got_are_equal() {
    let output = diff(
        &world("turmoil", false, r#""1/1 aa","1/2 bb""#),
        &world("madsim", false, r#""1/1 aa","1/2 bb","1/3 cc""#),
    );
    assert_eq!(code(&output), Some(0), "{}", err(&output));
    assert!(out(&output).starts_with("seed 7: equal: 2 observations, digest "), "{}", out(&output));
    assert!(out(&output).contains("; 0 and 1 more beyond them; logs equal up to index 1\n"), "{}", out(&output));
    assert!(out(&output).ends_with("2 seeds in both worlds: 2 equal, 0 different, 0 not comparable, 0 not run\n"));
}

#[test]
fn a_row_of_one_world_alone_differs_and_comes_with_its_line() {
    let output = diff(
        &world("turmoil", false, r#""1/1 aa","1/2 bb","1/3 cc""#),
        &world("madsim", false, r#""1/1 aa","1/3 cc""#),
    );
    assert_eq!(code(&output), Some(1), "{}", err(&output));
    let head = "seed 7: DIFFERENT: 1/2 is not in the second world, and a later sequence is committed in both\n\
                reproduce: cargo chaos diff --seeds 1 --from 7 --seconds 30 --profile network --nodes 3\n";
    assert!(out(&output).starts_with(head), "{}", out(&output));
}

#[test]
fn where_nothing_could_be_compared_the_exit_code_is_two() {
    let doubt = diff(&world("turmoil", true, r#""1/1 aa""#), &world("madsim", false, r#""1/1 aa""#));
    assert_eq!(code(&doubt), Some(2), "{}", err(&doubt));
    assert!(out(&doubt).contains("not comparable: an outcome is unknown"), "{}", out(&doubt));
    let torn = diff(&world("turmoil", false, r#""1/1""#), &world("madsim", false, r#""1/1 aa""#));
    assert_eq!(code(&torn), Some(2));
    assert!(out(&torn).contains(".summary.json: is no summary: "), "{}", out(&torn));
    assert_eq!(out(&torn).matches("reproduce: ").count(), 2, "{}", out(&torn));
    let swapped = diff(&world("madsim", false, r#""1/1 aa""#), &world("madsim", false, r#""1/1 aa""#));
    assert_eq!(code(&swapped), Some(2));
    assert!(out(&swapped).contains("the simulator ran seed 7 in madsim; asked was 7 in turmoil"), "{}", out(&swapped));
}
