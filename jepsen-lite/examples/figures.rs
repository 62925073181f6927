//! Prints how fast registers are checked: histories of 100,000 operations in several shapes, valid and broken.
//!
//! `cargo run --release -p engram-jepsen-lite --example figures`; with a directory the histories are kept there, for other
//! checkers (`examples/porcupine`).
//!
//! Leaves out: reading files; the histories are made in memory.

#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a measurement: it reads the clock and prints")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::path::{Path, PathBuf};
use std::time::Instant;

use common::{Op, Rng, Shape, break_one, correct, history};
use engram_jepsen_lite::history::Event;
use engram_jepsen_lite::linear::{MEMORY_BYTES_DEFAULT, Register, check};
use engram_jepsen_lite::{History, Model, sample};

fn main() {
    let keep: Option<PathBuf> = std::env::args_os().nth(1).map(PathBuf::from);
    if let Some(dir) = &keep {
        for model in [Model::Register, Model::CasRegister] {
            let made = sample::history(model, &sample::Shape::large(100_000), &mut Rng(1));
            write(dir, &format!("10 keys, {model}"), &made.to_jsonl());
        }
        for keys in [100, 1_000, 10_000] {
            write(dir, &format!("{keys} keys, cas-register"), &many_keys(keys).to_jsonl());
        }
    }
    let shapes = [
        ("2 clients, 5 values, cas", shape(2, 5, true, 0, false)),
        ("5 clients, 5 values, cas", shape(5, 5, true, 0, false)),
        ("5 clients, 5 values, cas, 1 % unknown", shape(5, 5, true, 1, false)),
        ("20 clients, 5 values, cas", shape(20, 5, true, 0, false)),
        ("20 clients, unique writes", shape(20, 5, false, 0, true)),
        ("20 clients, unique writes, 2 % unknown", shape(20, 5, false, 2, true)),
        ("50 clients, 10 values", shape(50, 10, false, 0, false)),
    ];
    for (name, shape) in shapes {
        let mut rng = Rng(7);
        let ops = correct(&mut rng, &shape);
        measure(name, &ops, keep.as_deref());
        // Change one answer after another until the history is no longer valid.
        for _ in 0..50 {
            let mut broken = ops.clone();
            break_one(&mut rng, &mut broken[shape.ops * 9 / 10..], shape.values);
            if !check(&history(&broken), Register::Cas, MEMORY_BYTES_DEFAULT).is_valid() {
                measure(&format!("{name}, broken"), &broken, keep.as_deref());
                break;
            }
        }
    }
}

fn measure(name: &str, ops: &[Op], keep: Option<&Path>) {
    let history = history(ops);
    if let Some(dir) = keep {
        write(dir, name, &history.to_jsonl());
    }
    let start = Instant::now();
    let verdict = check(&history, Register::Cas, MEMORY_BYTES_DEFAULT);
    let seconds = start.elapsed().as_secs_f64();
    let rate = ops.len() as f64 / seconds;
    let sentence: String = verdict.sentence().chars().take(400).collect();
    println!("{name}: {} operations, {seconds:.2} s, {rate:.0} operations/s: {sentence}", ops.len());
}

/// 100,000 operations on so many keys, each of them asked by ten clients.
fn many_keys(keys: usize) -> History {
    let mut rng = Rng(7);
    let shape = Shape { ops: 100_000 / keys, ..shape(10, 5, true, 0, false) };
    let mut events = Vec::new();
    for key in 0..keys {
        for (at, event) in history(&correct(&mut rng, &shape)).events.into_iter().enumerate() {
            let process = event.process + (key * shape.ops) as i64;
            events.push((at, key, Event { process, key: format!("key {key}").into(), ..event }));
        }
    }
    events.sort_by_key(|(at, key, _)| (*at, *key));
    let mut all = History::new("many keys");
    events.into_iter().for_each(|(_, _, event)| all.push(event));
    all
}

fn write(dir: &Path, name: &str, text: &str) {
    let name: String =
        name.chars().filter_map(|c| if c == ' ' { Some('-') } else { (c != ',' && c != '%').then_some(c) }).collect();
    std::fs::write(dir.join(format!("{name}.jsonl")), text).expect("a directory that exists");
}

fn shape(processes: usize, values: usize, cas: bool, unknown_percent: usize, unique_writes: bool) -> Shape {
    Shape { ops: 100_000, processes, values, cas, unknown_percent, unique_writes }
}
