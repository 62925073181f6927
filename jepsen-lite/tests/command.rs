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
    let mut command = Command::new(env!("CARGO_BIN_EXE_jepsen-lite"));
    command.arg("check").args(arguments.split_whitespace()).current_dir(bench.path());
    let Output { status, stdout, .. } = command.output().expect("jepsen-lite starts");
    (status.code(), String::from_utf8_lossy(&stdout).into_owned())
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
