//! Published histories of etcd get their published verdicts.
//!
//! Leaves out: the other 86 logs and Knossos' histories; docs/testing/jepsen-lite.md says how they were checked.

#![allow(clippy::disallowed_methods, reason = "a test that reads its data")]

use std::path::{Path, PathBuf};

use engram_jepsen_lite::convert::{Format, Options, convert};
use engram_jepsen_lite::history::EventType;
use engram_jepsen_lite::linear::MEMORY_BYTES_DEFAULT;
use engram_jepsen_lite::{History, Model};

/// The logs that their publisher calls linearizable; all others are not.
const LINEARIZABLE: [&str; 8] = ["002", "005", "007", "018", "025", "031", "038", "098"];

fn logs() -> Vec<(String, History)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/etcd");
    let entries = std::fs::read_dir(dir).expect("readable").map(|entry| entry.expect("readable").path());
    let mut paths: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
    paths.sort();
    let converted = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("text");
        let name = path.file_stem().expect("named").to_string_lossy().replace("etcd_", "");
        let converted = convert(Format::EtcdLog, &name, &text, &Options::default()).expect("a log");
        (name, converted.history)
    };
    paths.into_iter().map(converted).collect()
}

#[test]
fn logs_of_etcd_get_their_published_verdicts() {
    let logs = logs();
    assert_eq!(logs.len(), 16);
    for (name, history) in logs {
        let verdict = Model::CasRegister.check(&history, MEMORY_BYTES_DEFAULT);
        let right = if LINEARIZABLE.contains(&&*name) { 0 } else { 1 };
        assert_eq!(verdict.exit_code(), right, "etcd_{name}.log: {}", verdict.sentence());
    }
}

/// Porcupine takes a compare-and-set that failed for one that saw another value; here it saw nothing. Both agree.
#[test]
fn what_a_failed_compare_and_set_saw_changes_no_published_verdict() {
    for (name, mut history) in logs() {
        for event in history.events.iter_mut().filter(|event| event.kind == EventType::Fail && event.f == "cas") {
            (event.kind, event.result) = (EventType::Ok, Some(false));
        }
        let verdict = Model::CasRegister.check(&history, MEMORY_BYTES_DEFAULT);
        let right = if LINEARIZABLE.contains(&&*name) { 0 } else { 1 };
        assert_eq!(verdict.exit_code(), right, "etcd_{name}.log: {}", verdict.sentence());
    }
}
