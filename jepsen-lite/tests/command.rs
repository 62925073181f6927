//! The `jepsen-lite` command: exit codes, one verdict a line, the page.

#![cfg(feature = "cli")]
#![allow(clippy::disallowed_methods, reason = "a test of a command line tool: it writes the files that the tool reads")]

use std::process::{Command, Output};

use tempfile::TempDir;

const GOOD: &str = r#"{"process":0,"type":"invoke","f":"write","key":"x","value":1,"time":1}
{"process":0,"type":"ok","f":"write","key":"x","value":1,"time":2}
"#;
const BAD: &str = r#"{"process":0,"type":"invoke","f":"read","key":"x","value":null,"time":1}
{"process":0,"type":"ok","f":"read","key":"x","value":7,"time":2}
"#;
const TORN: &str = "{\"process\":0,\"type\":\"inv";

fn bench() -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (name, text) in [("good", GOOD), ("bad", BAD), ("torn", TORN)] {
        std::fs::write(directory.path().join(name), text).expect("written");
    }
    directory
}

fn check(bench: &TempDir, arguments: &str) -> (Option<i32>, String) {
    let (code, out, _) = run(bench, &format!("check {arguments}"));
    (code, out)
}

/// Exit code, standard output, standard error.
fn run(bench: &TempDir, arguments: &str) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jepsen-lite"));
    command.args(arguments.split_whitespace()).current_dir(bench.path());
    let Output { status, stdout, stderr } = command.output().expect("jepsen-lite starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn one_verdict_a_line_and_the_highest_code_wins() {
    let bench = bench();
    assert_eq!(
        check(&bench, "--model register good"),
        (Some(0), "good: valid (1 operations, 0 of them unknown, 1 keys or sessions)\n".into())
    );
    let (code, out) = check(&bench, "--model register good bad good");
    assert_eq!((code, out.lines().count()), (Some(1), 3));
    assert!(out.lines().nth(1).expect("three").starts_with("bad: invalid: linearizable: register \"x\""), "{out}");
    let (code, out) = check(&bench, "--model cas-register torn bad missing");
    assert_eq!(code, Some(2));
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("torn:1: is not an event"), "{out}");
    assert!(lines[2].starts_with("missing: can't be read"), "{out}");
}

#[test]
fn json_verdicts_name_their_file() {
    let bench = bench();
    let (code, out) = check(&bench, "--model register --json bad torn");
    assert_eq!(code, Some(2));
    let lines: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    assert_eq!((&lines[0]["verdict"], &lines[0]["file"]), (&"invalid".into(), &"bad".into()));
    assert_eq!(lines[0]["spans"][0]["label"], "read → 7");
    assert_eq!((&lines[1]["verdict"], &lines[1]["line"]), (&"unusable".into(), &1.into()));
}

#[test]
fn the_page_is_written_for_every_file() {
    let bench = bench();
    assert_eq!(check(&bench, "--model register --html page.html good bad").0, Some(1));
    let page = std::fs::read_to_string(bench.path().join("page.html")).expect("written");
    assert!(page.contains("<svg") && page.contains("read → 7") && !page.contains("http"), "{page}");
    assert_eq!(check(&bench, "--model register --html no/where.html good").0, Some(2));
}

#[test]
fn bad_arguments_exit_with_two() {
    let bench = bench();
    assert_eq!(check(&bench, "--model weather good").0, Some(2));
    assert_eq!(check(&bench, "--model register").0, Some(2));
}

const STALE_SET: &str = r#"{"process":0,"type":"invoke","f":"add","value":1,"time":1}
{"process":0,"type":"ok","f":"add","value":1,"time":2}
{"process":1,"type":"invoke","f":"read","value":null,"time":3}
{"process":1,"type":"ok","f":"read","value":[],"time":4}
{"process":1,"type":"invoke","f":"read","value":null,"time":5}
{"process":1,"type":"ok","f":"read","value":[1],"time":6}
"#;

#[test]
fn stale_elements_are_violations_where_that_is_asked_for() {
    let bench = bench();
    std::fs::write(bench.path().join("stale"), STALE_SET).expect("written");
    let (code, out) = check(&bench, "--model set-full --json stale");
    let value: serde_json::Value = serde_json::from_str(&out).expect("an object");
    assert_eq!((code, &value["figures"]["stale"]), (Some(0), &1.into()), "{out}");
    let (code, out) = check(&bench, "--model set-full --linearizable stale");
    assert_eq!(code, Some(1), "{out}");
    assert!(out.starts_with("stale: invalid: no_stale_read: set null: element 1 was known from line 2 on"), "{out}");
    assert_eq!(check(&bench, "--model register --linearizable good").0, Some(2));
}

#[test]
fn speed_is_told_with_files_and_without() {
    let bench = bench();
    let (code, out) = check(&bench, "--model register --bench good");
    assert!(code == Some(0) && out.contains("[1 operations, read in ") && out.contains(" operations/s]"), "{out}");
    let (code, out) = check(&bench, "--bench --operations 200");
    assert_eq!((code, out.lines().count()), (Some(0), 9), "{out}");
    assert!(out.lines().all(|line| line.contains(" operations/s: valid (")), "{out}");
    assert_eq!(check(&bench, "--bench good").0, Some(2), "files need a model");
}

#[test]
fn a_converted_history_is_one_that_is_checked() {
    let bench = bench();
    let edn = "{:process 0, :type :invoke, :f :cas, :value [nil 1]}\n{:process 0, :type :ok, :f :cas, :value [nil 1]}";
    std::fs::write(bench.path().join("history.edn"), edn).expect("written");
    let (code, out, _) = run(&bench, "convert --from edn history.edn");
    assert_eq!(code, Some(0));
    assert!(out.ends_with("\"f\":\"cas\",\"key\":null,\"value\":[null,1],\"result\":true,\"time\":0}\n"), "{out}");
    assert_eq!(run(&bench, "convert --from edn --out history.jsonl history.edn").0, Some(0));
    assert_eq!(check(&bench, "--model cas-register history.jsonl").0, Some(0));
    assert_eq!(run(&bench, "convert --from edn --initial 5 --out other.jsonl history.edn").0, Some(0));
    assert_eq!(check(&bench, "--model cas-register other.jsonl").0, Some(1));
}

#[test]
fn what_can_not_be_converted_exits_with_two_and_writes_nothing() {
    let bench = bench();
    std::fs::write(bench.path().join("torn.edn"), "{:process 0, :type :invoke, :f :read}\n{:process 0")
        .expect("written");
    let (code, out, error) = run(&bench, "convert --from edn torn.edn");
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(error.starts_with("torn.edn:2:1: the file ends"), "{error}");
    std::fs::write(bench.path().join("bytes"), b"INFO\n ab\xff").expect("written");
    assert!(run(&bench, "convert --from etcd-log bytes").2.starts_with("bytes:2:4: is not UTF-8"));
    assert_eq!(run(&bench, "convert --from edn missing").0, Some(2));
    assert_eq!(run(&bench, "convert --from csv torn.edn").0, Some(2));
}
