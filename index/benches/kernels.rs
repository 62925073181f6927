//! Each kernel set that this CPU has, in ns and GB/s beside what the memory gives: `cargo bench -p engram-index --bench
//! kernels`, with a filter behind `--` as for any criterion bench.
//!
//! Place: measures `engram_index::bench`. Rows in the cache show what the instructions cost; a run over a table far larger
//! than the last cache shows how near to the memory's speed a scan comes. The table at the end has the best sample of each.
//! Leaves out: whole searches and builds.

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, measurement::WallTime};
use engram_index::{
    Kernels,
    bench::{Bits, Encoding, dot_narrow, hamming_run},
};
use std::{
    hint::black_box,
    time::{Duration, Instant},
};

/// Far larger than a last-level cache.
const MEMORY_BYTES: usize = 512 << 20;
const DIMS: [usize; 3] = [384, 768, 1536];

struct Line {
    name: String,
    bytes: usize,
    best_ns: f64,
}

#[derive(Default)]
struct Report(Vec<Line>);

impl Report {
    /// Benches `work`, which does `items` things over `bytes` in all.
    fn bench(
        &mut self,
        group: &mut BenchmarkGroup<WallTime>,
        name: (&str, &str),
        items: usize,
        bytes: usize,
        mut work: impl FnMut(),
    ) {
        let mut best = f64::INFINITY;
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::new(name.0, name.1), |bencher| {
            bencher.iter_custom(|times| {
                let spent = timed(times, &mut work);
                best = best.min(spent.as_nanos() as f64 / times as f64);
                spent
            });
        });
        if best.is_finite() {
            let name = format!("{} {}", name.0, name.1);
            self.0.push(Line { name, bytes: bytes / items, best_ns: best / items as f64 });
        }
    }

    #[expect(clippy::print_stdout, reason = "the report is what the bench is run for")]
    fn print(&self, memory: f64) {
        println!("memory, one thread reading {} MiB: {memory:.1} GB/s\n", MEMORY_BYTES >> 20);
        println!("{:<28}{:>12}{:>10}{:>14}", "kernel", "ns each", "GB/s", "of memory's");
        for Line { name, bytes, best_ns } in &self.0 {
            let speed = *bytes as f64 / best_ns;
            println!("{name:<28}{best_ns:>12.2}{speed:>10.1}{:>13.0}%", 100.0 * speed / memory);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn timed(times: u64, work: &mut impl FnMut()) -> Duration {
    let start = Instant::now();
    (0..times).for_each(|_| work());
    start.elapsed()
}

fn noise(seed: usize) -> u64 {
    let x = (seed as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ (x >> 31)
}

/// The best of some reads of all of it, in GB/s.
fn memory_speed(memory: &[u64]) -> f64 {
    let mut read = || {
        let sum = memory.as_chunks::<32>().0.iter().fold([0u64; 32], |mut sums, part| {
            sums.iter_mut().zip(part).for_each(|(sum, word)| *sum = sum.wrapping_add(*word));
            sums
        });
        black_box(sum);
    };
    let best = (0..8).map(|_| timed(1, &mut read)).min().expect("eight reads");
    size_of_val(memory) as f64 / best.as_nanos() as f64
}

fn bits(criterion: &mut Criterion, report: &mut Report, memory: &[u64]) {
    const CACHED: usize = 256;
    for dim in DIMS {
        let width = dim / 64;
        let query: Vec<u64> = (0..width).map(noise).collect();
        let cached = &memory[..CACHED * width];
        let table = Bits::new(width, &memory[..1024 * width]);
        let ids: [u32; 32] = std::array::from_fn(|i| noise(i) as u32 % 1024);
        let mut out = vec![0; memory.len() / width];
        let mut group = criterion.benchmark_group(format!("bits/{dim}"));
        for kernels in Kernels::all() {
            let id = format!("{dim} {}", kernels.name);
            report.bench(&mut group, ("run", &id), CACHED, CACHED * width * 8, || {
                hamming_run(&kernels, black_box(cached), &query, &mut out[..CACHED]);
            });
            report.bench(&mut group, ("gather", &id), ids.len(), ids.len() * width * 8, || {
                table.gather(&kernels, &query, black_box(&ids), &mut out[..ids.len()]);
            });
            let rows = out.len();
            report.bench(&mut group, ("run_memory", &id), rows, rows * width * 8, || {
                hamming_run(&kernels, black_box(&memory[..rows * width]), &query, &mut out);
            });
        }
        group.finish();
    }
}

fn dots(criterion: &mut Criterion, report: &mut Report) {
    const ROWS: usize = 32;
    for dim in &DIMS[..2] {
        let codes: Vec<u8> = (0..ROWS * dim).map(|i| noise(i) as u8 & 127).collect();
        let mut group = criterion.benchmark_group(format!("dot/{dim}"));
        for kernels in Kernels::all() {
            let id = format!("{dim} {}", kernels.name);
            report.bench(&mut group, ("dot_narrow", &id), ROWS, ROWS * dim, || {
                let (query, rows) = (&codes[..*dim], black_box(&codes).chunks_exact(*dim));
                black_box(rows.map(|row| dot_narrow(&kernels, query, row)).sum::<i32>());
            });
        }
        group.finish();
    }
}

fn encoding(criterion: &mut Criterion, report: &mut Report) {
    const ROWS: usize = 16;
    for dim in DIMS {
        let rows: Vec<f32> = (0..ROWS * dim).map(|i| noise(i) as i32 as f32 / 2e9).collect();
        let mut group = criterion.benchmark_group(format!("encode/{dim}"));
        for kernels in Kernels::all() {
            let mut encoding = Encoding::new(dim, kernels);
            let id = format!("{dim} {}", kernels.name);
            report.bench(&mut group, ("encode", &id), ROWS, ROWS * dim * 4, || {
                rows.chunks_exact(dim).for_each(|row| _ = black_box(encoding.encode(row)));
            });
        }
        group.finish();
    }
}

fn main() {
    let memory: Vec<u64> = (0..MEMORY_BYTES / 8).map(noise).collect();
    let speed = memory_speed(&memory);
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let mut report = Report::default();
    bits(&mut criterion, &mut report, &memory);
    dots(&mut criterion, &mut report);
    encoding(&mut criterion, &mut report);
    criterion.final_summary();
    // Others on the machine slow a read down, never speed it up: the better of before and after.
    report.print(speed.max(memory_speed(&memory)));
}
