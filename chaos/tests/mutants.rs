//! `chaos mutants` against a simulator that is a shell script with planted bugs of its own.

#![cfg(all(unix, feature = "cli"))]
#![allow(clippy::disallowed_methods, reason = "a test of a command line tool: it writes the files that the tool reads")]

mod bench;

use bench::{Bench, SCRIPT, code, err, out};

/// `early` is caught by the first seed, `late` by seed 3, `never` by none; `refused` can't be run.
const PLANTED: &str = r#"#!/bin/sh
if [ "$1" = mutants ]; then printf 'never\nearly\nlate\nrefused\n'; exit 0; fi
seed=$(sed -n 's/.*"seed": \([0-9]*\),/\1/p' "$3" | head -1)
[ "$4" = --mutant ] || [ -z "$4" ] || exit 3
found=
[ "$5" = early ] && found=once_per_sequence
[ "$5" = late ] && [ "$seed" -ge 3 ] && found=election_safety
[ "$5" = refused ] && { echo "no mutant refused" >&2; exit 2; }
if [ -n "$found" ]; then
  echo '{"verdict":"broken","seed":'$seed',"world":"turmoil","trace_hash":"00000000000000ff","events":3,"simulated_ms":1000,"acked":2,"violation":{"invariant":"'$found'","detail":"seen","at_ms":700}}'
  exit 1
fi
echo '{"verdict":"ok","seed":'$seed',"world":"turmoil","trace_hash":"00000000000000aa","events":3,"simulated_ms":1000,"acked":2,"violation":null}'
"#;

#[test]
fn mutants_that_are_all_caught_exit_zero_with_a_table_the_dearest_first() {
    let bench = Bench::new(PLANTED);
    let output = bench.chaos("mutants --only early,late --per-mutant-seeds 5 --jobs 2 --json found.json");
    assert_eq!(code(&output), Some(0), "{}", err(&output));
    let text = out(&output);
    let fate = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).expect("a line of the table");
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields[1].to_string(), fields[3].to_string())
    };
    assert_eq!(fate("early"), ("1".into(), "once_per_sequence".into()), "{text}");
    assert_eq!(fate("late"), ("4".into(), "election_safety".into()), "{text}");
    let last = text.lines().last().expect("a summary");
    assert!(last.starts_with("caught 2 of 2, median ") && last.ends_with(" planted bugs per core-hour"), "{last}");
    let json: serde_json::Value = serde_json::from_str(&bench.read("found.json")).expect("JSON");
    assert_eq!(
        (json["caught"].as_u64(), json["of"].as_u64(), json["duration_ms"].as_u64()),
        (Some(2), Some(2), Some(30_000))
    );
    let late = json["mutants"].as_array().expect("a list").iter().find(|mutant| mutant["name"] == "late");
    let late = late.expect("late is there");
    assert_eq!((late["seed"].as_u64(), late["caught_by"].as_str()), (Some(3), Some("election_safety")));
    let again = "cargo chaos mutants --only late --from 3 --per-mutant-seeds 1 --seconds 30 --world turmoil \
                 --profile combined --nodes 3";
    assert_eq!(late["reproduce"].as_str(), Some(again));
}

#[test]
fn a_mutant_that_is_not_caught_comes_first_exits_one_and_is_hunted_again_by_its_line() {
    let bench = Bench::new(PLANTED);
    let output = bench.chaos("mutants --only late,never --per-mutant-seeds 4 --profile network --seconds 9");
    assert_eq!(code(&output), Some(1), "{}", err(&output));
    let lines: Vec<String> = out(&output).lines().map(String::from).collect();
    assert!(lines[0].starts_with("planted bug  seeds    core-s  caught by"), "{}", lines[0]);
    assert!(lines[1].starts_with("never            4 ") && lines[1].ends_with("  not caught"), "{}", lines[1]);
    let again = "reproduce: cargo chaos mutants --only never --from 0 --per-mutant-seeds 4 --seconds 9 --world turmoil \
                 --profile network --nodes 3";
    assert_eq!(lines[3], again);
    assert!(lines[4].starts_with("caught 1 of 2, median"), "{}", lines[4]);
}

#[test]
fn a_red_baseline_ends_the_hunt_before_it_begins() {
    let bench = Bench::new(&SCRIPT.replacen("#!/bin/sh", "#!/bin/sh\n[ \"$1\" = mutants ] && echo one && exit 0", 1));
    let output = bench.chaos("mutants --profile crash --minutes 2 --per-mutant-seeds 2");
    assert_eq!(code(&output), Some(1), "{}", err(&output));
    let text = out(&output);
    assert!(text.starts_with("seed 0 is broken without a mutant: no_acked_loss: one is gone\nreproduce: "), "{text}");
    assert!(out(&output).ends_with("nothing was hunted: a seed that fails by itself proves nothing\n"));
}

#[test]
fn what_can_not_be_hunted_exits_two_and_says_why() {
    let without = Bench::new(SCRIPT.replacen("#!/bin/sh", "#!/bin/sh\n[ \"$1\" = mutants ] && exit 0", 1).as_str());
    let output = without.chaos("mutants");
    assert_eq!(code(&output), Some(2));
    assert!(err(&output).contains("this simulator was built without mutants"), "{}", err(&output));
    let bench = Bench::new(PLANTED);
    let stranger = bench.chaos("mutants --only nobody");
    assert_eq!(code(&stranger), Some(2));
    assert!(err(&stranger).contains("there is no mutant nobody; there are never, early, late, refused"));
    let refused = bench.chaos("mutants --only refused,early --per-mutant-seeds 1");
    assert_eq!(code(&refused), Some(2), "{}", err(&refused));
    assert!(out(&refused).contains("not run: the simulator refused the plan: no mutant refused"), "{}", out(&refused));
}

#[test]
fn a_sample_is_drawn_by_the_first_seed() {
    let bench = Bench::new(PLANTED);
    let drawn = |from: u64| {
        let output = out(&bench.chaos(&format!("mutants --sample 2 --from {from} --per-mutant-seeds 1")));
        output.lines().skip(1).take(2).map(|line| line.split(' ').next().unwrap_or("").to_string()).collect::<Vec<_>>()
    };
    let samples: Vec<Vec<String>> = (0..8).map(drawn).collect();
    assert!(samples.iter().all(|sample| sample.len() == 2 && sample[0] != sample[1]), "{samples:?}");
    assert!(samples.iter().any(|sample| *sample != samples[0]), "{samples:?}");
    assert_eq!(drawn(0), samples[0]);
}
