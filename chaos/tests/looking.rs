//! `chaos trace` and the breakpoints of `chaos replay` against a simulator that is a shell script with a small trace.

#![cfg(all(unix, feature = "cli"))]
#![allow(clippy::disallowed_methods, reason = "a test of a command line tool: it writes the files that the tool reads")]

mod bench;

use bench::{Bench, code, err, out};

const TRACED: &str = r#"#!/bin/sh
seed=$(sed -n 's/.*"seed": \([0-9]*\),/\1/p' "$3" | head -1)
[ "$4" = --trace ] || exit 3
{
  echo '             0 n1 begins life 1'
  echo '       1000000 n1 role leader=1 role=Leader term=1'
  echo '       2000000 n1 writes 9 bytes #00000000'
  i=1
  while [ $i -le 300 ]; do echo "  ${i}000000000 n1 applied digest=aa index=$i term=1"; i=$((i+1)); done
} > "$5"
echo '{"verdict":"broken","seed":'$seed',"world":"turmoil","trace_hash":"00000000000000ff","events":3,"simulated_ms":300000,"acked":2,"violation":{"invariant":"no_acked_loss","detail":"one is gone","at_ms":700}}'
exit 1
"#;

#[test]
fn a_page_shows_the_run_and_the_exit_code_its_verdict() {
    let bench = Bench::new(TRACED);
    let output = bench.chaos("trace 7 --seconds 5 -o t.html");
    assert_eq!(code(&output), Some(1), "{}", err(&output));
    let again = "reproduce: cargo chaos run --seed 7 --seconds 5 --world turmoil --profile combined --nodes 3";
    assert!(out(&output).ends_with(&format!("written: t.html\n{again}\n")), "{}", out(&output));
    let page = bench.read("t.html");
    assert!(page.starts_with("<!doctype html>") && page.contains(again) && page.contains("no_acked_loss"));
    bench.save("plan.json", &out(&bench.chaos("plan --seed 9")));
    let output = bench.chaos("trace --plan plan.json");
    assert!(
        out(&output).contains("written: trace-9.html\nreproduce: cargo chaos replay plan.json"),
        "{}",
        out(&output)
    );
    assert_eq!(code(&bench.chaos("trace")), Some(2));
}

#[test]
fn a_breakpoint_shows_the_last_two_hundred_events_and_how_the_nodes_stood() {
    let bench = Bench::new(TRACED);
    let output = bench.chaos("replay --seed 7 --seconds 5 --until-index 250");
    assert_eq!(code(&output), Some(1), "{}", err(&output));
    let text = out(&output);
    assert!(
        text.contains("the last 200 events of nodes before the breakpoint:\n   51000.000 ms  n1  applied"),
        "{text}"
    );
    let end = "  250000.000 ms  n1  applied digest=aa index=250 term=1\nthe nodes then:\nnode 1: leader in term 1, life 1, \
               applied 250\nreproduce: ";
    assert!(text.contains(end), "{text}");
    let time = out(&bench.chaos("replay --seed 7 --seconds 5 --until-ms 2500"));
    assert!(time.contains("the last 4 events of nodes") && time.contains("applied 2\n"), "{time}");
    let late = bench.chaos("replay --seed 7 --seconds 5 --until-index 400");
    assert_eq!(code(&late), Some(2));
    assert!(err(&late).contains("no node applied log index 400; the highest was 300"), "{}", err(&late));
    assert_eq!(code(&bench.chaos("replay --seed 7 --until-index 1 --until-ms 1")), Some(2));
}
