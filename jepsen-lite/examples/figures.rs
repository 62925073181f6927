//! Prints how fast registers are checked: histories of 100,000 operations in several shapes, valid and broken.
//!
//! `cargo run --release -p engram-jepsen-lite --example figures`
//!
//! Leaves out: reading files; the histories are made in memory.

#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a measurement: it reads the clock and prints")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::Instant;

use common::{Op, Rng, Shape, break_one, correct, history};
use engram_jepsen_lite::linear::{MEMORY_BYTES_DEFAULT, Register, check};

fn main() {
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
        measure(name, &ops);
        // Change one answer after another until the history is no longer valid.
        for _ in 0..50 {
            let mut broken = ops.clone();
            break_one(&mut rng, &mut broken[shape.ops * 9 / 10..], shape.values);
            if !check(&history(&broken), Register::Cas, MEMORY_BYTES_DEFAULT).is_valid() {
                measure(name, &broken);
                break;
            }
        }
    }
}

fn measure(name: &str, ops: &[Op]) {
    let history = history(ops);
    let start = Instant::now();
    let verdict = check(&history, Register::Cas, MEMORY_BYTES_DEFAULT);
    let seconds = start.elapsed().as_secs_f64();
    let rate = ops.len() as f64 / seconds;
    let sentence: String = verdict.sentence().chars().take(400).collect();
    println!("{name}: {} operations, {seconds:.2} s, {rate:.0} operations/s: {sentence}", ops.len());
}

fn shape(processes: usize, values: usize, cas: bool, unknown_percent: usize, unique_writes: bool) -> Shape {
    Shape { ops: 100_000, processes, values, cas, unknown_percent, unique_writes }
}
