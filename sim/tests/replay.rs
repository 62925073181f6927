//! The meta test: the same seed in two processes gives byte-identical traces; another seed gives another.
//!
//! Every byte that crosses a simulated wire is in the trace, so a look at a real clock, at entropy or at the order
//! of an unordered map anywhere in the node shows here.
#![expect(clippy::disallowed_methods, reason = "the test compares files that two processes wrote")]

use std::path::Path;
use std::process::Command;

fn trace(seed: &str, file: &Path) -> Vec<u8> {
    let mut run = Command::new(env!("CARGO_BIN_EXE_engram-sim"));
    let output = run.args(["leader", "--seed", seed, "--trace"]).arg(file).output().expect("the simulator starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    std::fs::read(file).expect("the trace was written")
}

#[test]
fn the_same_seed_replays_byte_for_byte_and_another_does_not() {
    let dir = tempfile::tempdir().expect("temporary");
    let first = trace("7", &dir.path().join("first"));
    let again = trace("7", &dir.path().join("again"));
    let other = trace("8", &dir.path().join("other"));
    assert!(first.len() > 100_000, "{} bytes", first.len());
    if first != again {
        let line = first.split(|b| *b == b'\n').zip(again.split(|b| *b == b'\n')).position(|(a, b)| a != b);
        panic!("two runs of seed 7 differ from line {line:?} on");
    }
    assert_ne!(first, other);
}
