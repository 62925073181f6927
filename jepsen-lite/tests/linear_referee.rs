//! The linearizability checker against two referees, and against histories that are valid by construction.
//!
//! Each failing case prints its seed; the generator is fixed, so the seed is the case.

mod common;

use common::{Kind, Op, Rng, Shape, break_one, brute, correct, history, wing_gong};
use engram_jepsen_lite::Verdict;
use engram_jepsen_lite::linear::{MEMORY_BYTES_DEFAULT, Register, check};
use engram_jepsen_lite::verdict::Span;

fn decided(ops: &[Op], seed: u64) -> bool {
    match check(&history(ops), Register::Cas, MEMORY_BYTES_DEFAULT) {
        Verdict::Valid(_) => true,
        Verdict::Invalid(_) => false,
        other => panic!("seed {seed}: {other:?}"),
    }
}

/// How many cases: `cases`, or as many times more as JEPSEN_LITE_EFFORT says.
fn seeds(first: u64, cases: u64) -> std::ops::Range<u64> {
    let effort = std::env::var("JEPSEN_LITE_EFFORT").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    first..first + cases * effort
}

fn small_shape(rng: &mut Rng, ops: usize) -> Shape {
    Shape {
        ops: 1 + rng.below(ops),
        processes: 1 + rng.below(5),
        values: 1 + rng.below(4),
        cas: rng.chance(60),
        unknown_percent: [0, 10, 40][rng.below(3)],
        unique_writes: rng.chance(30),
    }
}

/// Any events in any order, with any answers: mostly invalid.
fn arbitrary(rng: &mut Rng) -> Vec<Op> {
    let shape = small_shape(rng, 7);
    let mut ops = correct(rng, &shape);
    for op in &mut ops {
        op.answer = match op.kind {
            Kind::Read => rng.below(shape.values + 1) as i64 - 1,
            _ => rng.below(2) as i64,
        };
    }
    ops
}

#[test]
fn enumerating_every_order_gives_the_same_verdict_on_thousands_of_small_histories() {
    let mut invalid = 0;
    let cases = seeds(0, 40_000);
    for seed in cases.clone() {
        let mut rng = Rng(seed);
        let ops = match seed % 4 {
            0 => arbitrary(&mut rng),
            _ => {
                let shape = small_shape(&mut rng, 8);
                let mut ops = correct(&mut rng, &shape);
                break_one(&mut rng, &mut ops, shape.values);
                ops
            }
        };
        let expected = brute(&ops, 0, -1);
        invalid += u64::from(!expected);
        assert_eq!(decided(&ops, seed), expected, "seed {seed}:\n{}", history(&ops).to_jsonl());
    }
    let share = invalid * 100 / (cases.end - cases.start);
    assert!((10..90).contains(&share), "the cases are lopsided: {share} % invalid");
}

#[test]
fn another_algorithm_gives_the_same_verdict_on_middle_sized_histories() {
    let mut invalid = 0;
    let cases = seeds(1 << 32, 4_000);
    for seed in cases.clone() {
        let mut rng = Rng(seed);
        let mut shape = small_shape(&mut rng, 20);
        shape.ops = 10 + rng.below(16);
        shape.unknown_percent = shape.unknown_percent.min(15);
        let mut ops = correct(&mut rng, &shape);
        if rng.chance(80) {
            break_one(&mut rng, &mut ops, shape.values);
        }
        let expected = wing_gong(&ops);
        invalid += u64::from(!expected);
        assert_eq!(decided(&ops, seed), expected, "seed {seed}:\n{}", history(&ops).to_jsonl());
    }
    let share = invalid * 100 / (cases.end - cases.start);
    assert!((10..90).contains(&share), "the cases are lopsided: {share} % invalid");
}

#[test]
fn histories_of_a_correct_register_are_valid() {
    for seed in 200_000..200_300 {
        let mut rng = Rng(seed);
        let mut shape = small_shape(&mut rng, 1);
        shape.ops = 400;
        shape.processes = 1 + rng.below(12);
        let ops = correct(&mut rng, &shape);
        assert!(decided(&ops, seed), "seed {seed}");
    }
}

/// Operations that the counterexample shows, by the lines of their invocations.
fn shown(ops: &[Op], verdict: &Verdict) -> Option<Vec<Op>> {
    let spans = &verdict.counterexample()?.spans;
    let history = history(ops);
    let at = |line: usize| history.events[line - 1].time as usize;
    spans.iter().map(|span| ops.iter().find(|op| op.from == at(span.from_line)).copied()).collect()
}

#[test]
fn a_counterexample_that_starts_with_null_is_invalid_by_itself() {
    let (mut looked, mut sizes) = (0, 0);
    for seed in 300_000..303_000 {
        let mut rng = Rng(seed);
        let mut shape = small_shape(&mut rng, 1);
        shape.ops = 40;
        let mut ops = correct(&mut rng, &shape);
        break_one(&mut rng, &mut ops, shape.values);
        let verdict = check(&history(&ops), Register::Cas, MEMORY_BYTES_DEFAULT);
        let Some(part) = shown(&ops, &verdict) else { continue };
        let sentence = &verdict.counterexample().expect("shown").sentence;
        // A part that starts anywhere must be invalid from each value, null among them.
        assert!(part.len() > 60 || !wing_gong(&part), "seed {seed}: {sentence}\n{}", history(&part).to_jsonl());
        let prefix = verdict.counterexample().and_then(|found| found.prefix.as_ref()).expect("a register's");
        let done = |span: &&Span| span.known && span.to_line.is_some_and(|line| line < prefix.before_line);
        let placed = prefix.spans.iter().filter(done).all(|span| span.point.is_some());
        assert!(placed, "seed {seed}: an operation of the prefix is not in its order\n{}", history(&ops).to_jsonl());
        (looked, sizes) = (looked + 1, sizes + part.len());
    }
    assert!(looked > 500, "only {looked} were invalid");
    assert!(sizes / looked <= 8, "counterexamples have {} operations on average", sizes / looked);
}

#[test]
fn a_search_over_its_memory_is_undecided_and_not_a_guess() {
    let shape = Shape { ops: 2_000, processes: 8, values: 3, cas: true, unknown_percent: 1, unique_writes: false };
    let ops = correct(&mut Rng(1), &shape);
    let verdict = check(&history(&ops), Register::Cas, 4 << 10);
    assert!(matches!(&verdict, Verdict::Undecided { reason } if reason.contains("key \"x\"")), "{verdict:?}");
    assert!(check(&history(&ops), Register::Cas, MEMORY_BYTES_DEFAULT).is_valid());
}

/// An unknown write of what the register holds already changes nothing, yet another write can come before it. The
/// search once left such a step out and called this history invalid.
#[test]
fn an_unknown_write_of_the_present_value_lets_another_write_slip_in() {
    let mut rng = Rng((1 << 32) + 56_501);
    let mut shape = small_shape(&mut rng, 20);
    shape.ops = 10 + rng.below(16);
    shape.unknown_percent = shape.unknown_percent.min(15);
    let mut ops = correct(&mut rng, &shape);
    if rng.chance(80) {
        break_one(&mut rng, &mut ops, shape.values);
    }
    assert!(wing_gong(&ops) && decided(&ops, 0));
}
