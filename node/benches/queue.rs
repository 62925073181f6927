//! Admission alone, as chunks of one row go through it: `cargo bench -p engram-node --bench queue`.
//!
//! Place: measures `engram_node::bench`. An operation is an enqueue (permit, push, wake) or a dequeue (pop, permit back).
//! The table at the end holds the gates beside what was found. Leaves out: making chunks, and what settles them.

use criterion::{BenchmarkId, Criterion, Throughput};
use engram_node::bench::{Item, Maker, Producer, Queue};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Items in flight of one producer in the timed part.
const STOCK: usize = 1000;
const MILLION: usize = 1_000_000;
const PAIR_NS_MAX: f64 = 500.0;
const OPERATIONS_MIN: f64 = 4e6;

/// Name, what was found in words, and whether that is enough.
type Line = (String, String, Option<bool>);

fn items(count: usize) -> Vec<Item> {
    let mut maker = Maker::default();
    (0..count).map(|_| maker.item()).collect()
}

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// One thread puts and takes in turn, all lanes in use.
fn pairs(queue: &Queue, producer: &Producer<'_>, item: &mut Option<Item>, times: u64) -> Duration {
    timed(|| {
        for at in 0..times {
            let next = item.take().expect("put back below");
            assert!(producer.put(next, at as usize), "refused");
            *item = queue.take();
        }
    })
}

/// One thread puts a thousand, then takes a thousand.
fn runs(queue: &Queue, producer: &Producer<'_>, stock: &mut Vec<Item>, times: u64) -> Duration {
    let rounds = times.div_ceil(STOCK as u64);
    let spent = timed(|| {
        for _ in 0..rounds {
            stock.drain(..).enumerate().for_each(|(at, item)| assert!(producer.put(item, at), "refused"));
            while let Some(item) = queue.take() {
                stock.push(item);
            }
        }
    });
    spent.mul_f64(times as f64 / (rounds * STOCK as u64) as f64)
}

/// What went through and how long that took.
struct Through {
    spent: Duration,
    put: u64,
    taken: u64,
    sum_put: u64,
    sum_taken: u64,
    longest_put: Duration,
}

/// Each producer puts its own `count` items while consumers take. What is taken is kept until the end, so that the
/// time is of the queue and not of freeing.
fn through(producers: usize, consumers: usize, count: usize) -> Through {
    let total = producers * count;
    let queue = Queue::new(2 * total);
    let stocks: Vec<Vec<Item>> = (0..producers).map(|_| items(count)).collect();
    let sum_put = stocks.iter().flatten().map(Item::sequence).sum();
    let (left, ready) = (AtomicU64::new(total as u64), AtomicBool::new(false));
    let wait = || {
        while !ready.load(Ordering::Acquire) {
            thread::yield_now();
        }
    };
    let put = |stock: Vec<Item>| {
        let producer = queue.producer();
        wait();
        timed(|| stock.into_iter().enumerate().for_each(|(at, item)| assert!(producer.put(item, at), "refused")))
    };
    let take = || {
        let mut kept = Vec::with_capacity(total);
        wait();
        while left.load(Ordering::Relaxed) > 0 {
            match queue.take() {
                Some(item) => {
                    kept.push(item);
                    left.fetch_sub(1, Ordering::Relaxed);
                }
                // With more threads than cores the others must run to bring more.
                None => thread::yield_now(),
            }
        }
        kept
    };
    let (mut kept, mut longest_put): (Vec<Vec<Item>>, _) = (Vec::new(), Duration::ZERO);
    let spent = thread::scope(|scope| {
        let (put, take) = (&put, &take);
        let putting: Vec<_> = stocks.into_iter().map(|stock| scope.spawn(move || put(stock))).collect();
        let taking: Vec<_> = (0..consumers).map(|_| scope.spawn(take)).collect();
        timed(|| {
            ready.store(true, Ordering::Release);
            let times = putting.into_iter().map(|thread| thread.join().expect("a producer"));
            longest_put = times.max().unwrap_or_default();
            kept = taking.into_iter().map(|thread| thread.join().expect("a consumer")).collect();
        })
    });
    assert_eq!(queue.depth(), 0, "credit_conserved");
    Through {
        spent,
        put: total as u64,
        taken: kept.iter().map(|kept| kept.len() as u64).sum(),
        sum_put,
        sum_taken: kept.iter().flatten().map(Item::sequence).sum(),
        longest_put,
    }
}

/// A pair's best time; others on the machine slow it down, never speed it up.
fn alone(criterion: &mut Criterion, lines: &mut Vec<Line>) {
    let mut group = criterion.benchmark_group("queue");
    group.throughput(Throughput::Elements(2));
    let queue = Queue::new(MILLION);
    let producer = queue.producer();
    let (mut item, mut stock) = (items(1).pop(), items(STOCK));
    let mut best = [f64::INFINITY; 2];
    for (name, best) in ["in turn", "a thousand each"].into_iter().zip(&mut best) {
        group.bench_function(BenchmarkId::new("enqueue + dequeue", name), |bencher| {
            bencher.iter_custom(|times| {
                let spent = match name {
                    "in turn" => pairs(&queue, &producer, &mut item, times),
                    _ => runs(&queue, &producer, &mut stock, times),
                };
                *best = best.min(spent.as_nanos() as f64 / times as f64);
                spent
            });
        });
        if best.is_finite() {
            let met = *best < PAIR_NS_MAX;
            lines.push((format!("enqueue + dequeue, {name}, < 500 ns"), format!("{best:.0} ns"), Some(met)));
        }
    }
    group.finish();
}

fn together(lines: &mut Vec<Line>) {
    let mut least = f64::INFINITY;
    for (producers, consumers) in [(1, 1), (2, 1), (2, 2), (4, 1), (4, 2)] {
        let runs = (0..3).map(|_| through(producers, consumers, MILLION / producers));
        let rates = runs.map(|run| 2.0 * run.taken as f64 / run.spent.as_secs_f64());
        let rate = rates.fold(0.0, f64::max);
        least = least.min(rate);
        lines.push((
            format!("{producers} producers, {consumers} consumers"),
            format!("{:.1} M operations/s", rate / 1e6),
            None,
        ));
    }
    let found = format!("{:.1} M, the slowest of these", least / 1e6);
    lines.push(("> 4 M operations/s".into(), found, Some(least > OPERATIONS_MIN)));
    let (queue, stock) = (Queue::new(2 * MILLION), items(MILLION));
    let producer = queue.producer();
    let mut admitted = 0;
    let spent = timed(|| {
        admitted = stock.into_iter().enumerate().map(|(at, item)| producer.put(item, at)).filter(|put| *put).count();
    });
    let found = format!("{admitted} in {} ms, nobody taking", spent.as_millis());
    lines.push(("1M enqueues do not block".into(), found, Some(admitted == MILLION && queue.depth() == MILLION)));
    let run = through(4, 2, MILLION / 4);
    let whole = run.taken == run.put && run.sum_taken == run.sum_put;
    let found = format!(
        "{} of {} in {} ms, puts done after {} ms",
        run.taken,
        run.put,
        run.spent.as_millis(),
        run.longest_put.as_millis()
    );
    lines.push(("4 producers, 2 consumers lose nothing".into(), found, Some(whole)));
}

#[expect(clippy::print_stdout, reason = "the report is what the bench is run for")]
fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let mut lines = Vec::new();
    alone(&mut criterion, &mut lines);
    // With --test, as `cargo test --benches` says it, only that the bench runs is asked.
    if !std::env::args().any(|word| word == "--test") {
        together(&mut lines);
    }
    criterion.final_summary();
    for (name, found, met) in lines {
        let met = met.map_or("", |met| if met { "met" } else { "NOT MET" });
        println!("{name:<48}{found:<58}{met}");
    }
}
