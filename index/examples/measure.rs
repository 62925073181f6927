//! `measure DATA_DIR [--rows N] [--threads T] [--efc 64] [--m 16] [--metric cosine|dot|l2] [--dim D] [--build-only]`
//!
//! Place: a yardstick beside ../shared/trial-index, until `engram bench index` has all of it. Reads base.f16.npy,
//! query.f16.npy, truth.i32.npy; prints one JSON line with the names of ann_peers.py. `DATA_DIR` may also be
//! `synthetic`: clusters of 768 dimensions. Leaves out: peers.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a bench reads the clock and files")]

use engram_index::{Index, Inline, Metric, Options, Originals, Pool, Scan, Search, Snapshot, Workers};
use std::{path::Path, time::Instant};

struct Data {
    dim: usize,
    base: Vec<f32>,
    queries: Vec<f32>,
    truth: Vec<Vec<u32>>,
}

impl Originals for Data {
    fn vector(&self, row: u32, into: &mut [f32]) -> bool {
        into.copy_from_slice(&self.base[row as usize * self.dim..][..self.dim]);
        true
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let named = |name: &str| args.iter().position(|a| a == name).map(|at| args[at + 1].as_str());
    let number = |name: &str, default: usize| named(name).map_or(default, |v| v.parse().expect("a number"));
    let dir = args.first().expect("usage: measure DATA_DIR [--rows N] …");
    let rows = number("--rows", 100_000);
    let metric = match named("--metric") {
        Some("dot") => Metric::Dot,
        Some("l2") => Metric::L2,
        _ => Metric::Cosine,
    };
    let data = if dir == "synthetic" { synthetic(rows, number("--dim", 768)) } else { stored(Path::new(dir), rows) };
    let options =
        Options { ef_construction: number("--efc", 64), m: number("--m", 16), ..Options::new(data.dim, metric, 1) };
    let threads = number("--threads", 2);
    let (index, encode, whole) =
        build(&data, options, &Pool::new(std::num::NonZeroUsize::new(threads).expect("a thread")));
    let (alone, encode_1, whole_1) = build(&data, options, &Inline);
    assert_eq!(index.epoch(), alone.epoch(), "one graph for any number of threads");
    drop(alone);
    if let Err(broken) = index.check() {
        println!("broken: {broken}");
    }
    let rate = |seconds: f64| data.base.len() as f64 / data.dim as f64 / seconds;
    println!(
        "{{\"rows\": {}, \"dim\": {}, \"ef_construction\": {}, \"kernels\": \"{}\", \"inserts_per_s\": {:.0}, \
         \"inserts_per_s_1\": {:.0}, \"encode_us_per_row\": {:.2}, \"digest\": \"{:016x}\"}}",
        index.rows(),
        data.dim,
        options.ef_construction,
        index.kernels(),
        rate(encode + whole),
        rate(encode_1 + whole_1),
        1e6 / rate(encode_1),
        index.epoch().digest,
    );
    if args.iter().any(|arg| arg == "--build-only") {
        return;
    }
    for originals in [false, true] {
        curve(&index, &data, originals);
    }
    scan(&index, &data);
}

/// Seconds of CPU that this process has used; a better measure than the clock where others share the machine.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = stat.rsplit(')').next().into_iter().flat_map(|rest| rest.split_whitespace().skip(11).take(2));
    ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Seconds to encode and to build; CPU microseconds a row go to stdout.
fn build(data: &Data, options: Options, workers: &dyn Workers) -> (Index, f64, f64) {
    let index = Index::new(options).expect("good options");
    let (started, cpu) = (Instant::now(), cpu_seconds());
    data.base.chunks(data.dim).for_each(|x| assert!(index.push(x).is_ok()));
    let encoded = started.elapsed().as_secs_f64();
    let started = Instant::now();
    while let Some(batch) = index.next_batch() {
        index.build(batch, workers);
    }
    // The rest as a cut batch, so that the curve is the graph's alone.
    if index.epoch().rows < index.rows() {
        index.build(index.epoch().rows..index.rows(), workers);
    }
    println!("cpu_us_per_row {:.1}", (cpu_seconds() - cpu) * 1e6 / f64::from(index.rows()));
    (index, encoded, started.elapsed().as_secs_f64())
}

/// Recall@10 and queries a second on one thread, encoding of the query inside.
fn curve(index: &Index, data: &Data, originals: bool) {
    let mut points = Vec::new();
    for ef in [10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 400, 600] {
        let (mut rate, mut recall) = (0.0f64, 0.0);
        for _ in 0..2 {
            let (mut good, started) = (0, Instant::now());
            for (query, truth) in data.queries.chunks(data.dim).zip(&data.truth) {
                let cue = index.cue(query).expect("a good query");
                let params = Search { k: 10, ef, at: Snapshot::LATEST };
                let found = index.search(&cue, params, &|_| true, originals.then_some(data as &dyn Originals));
                good += found.hits.iter().filter(|hit| truth.contains(&hit.row)).count();
            }
            rate = rate.max(data.truth.len() as f64 / started.elapsed().as_secs_f64());
            recall = good as f64 / data.truth.len() as f64 / 10.0;
        }
        points.push((ef, recall, rate));
    }
    let at = |wanted: f64| {
        let after = points.iter().position(|point| point.1 >= wanted)?;
        let before = if after == 0 { (0, 0.0, points[0].2) } else { points[after - 1] };
        let share = (wanted - before.1) / (points[after].1 - before.1);
        Some((before.2 + share * (points[after].2 - before.2)).round())
    };
    let shown: Vec<String> =
        points.iter().map(|(ef, recall, rate)| format!("[{ef}, {recall:.4}, {rate:.0}]")).collect();
    println!("originals {originals}: qps_at_95 {:?} qps_at_99 {:?} curve [{}]", at(0.95), at(0.99), shown.join(", "));
}

fn scan(index: &Index, data: &Data) {
    let (mut good, started) = (0, Instant::now());
    let queries = data.truth.len().min(200);
    for (query, truth) in data.queries.chunks(data.dim).zip(&data.truth[..queries]) {
        let cue = index.cue(query).expect("a good query");
        let hits = index.scan(&cue, Scan { k: 10, candidates: 200, at: Snapshot::LATEST }, &|_| true, Some(data));
        good += hits.iter().filter(|hit| truth.contains(&hit.row)).count();
    }
    let each = started.elapsed().as_secs_f64() * 1e3 / queries as f64;
    println!("scan of {} rows: {each:.3} ms, recall {:.4}", index.rows(), good as f64 / queries as f64 / 10.0);
}

fn stored(dir: &Path, rows: usize) -> Data {
    let (shape, base) = npy(&dir.join("base.f16.npy"));
    let (all, dim) = (shape[0], shape[1]);
    let base = floats(&base[..rows.min(all) * dim * 2]);
    let queries = floats(&npy(&dir.join("query.f16.npy")).1);
    let (shape, bytes) = npy(&dir.join("truth.i32.npy"));
    let numbers: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
    let mut data = Data { dim, base, queries, truth: numbers.chunks(shape[1]).map(|row| row[..10].to_vec()).collect() };
    if rows < all {
        data.truth = nearest(&data, 200);
    }
    data
}

/// As shared/peers does it in spirit: centres, and rows near them on some directions; about 20 intrinsic dimensions.
fn synthetic(rows: usize, dim: usize) -> Data {
    let mix = |mut x: u64| {
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    let normal = |seed: u64| {
        let bits = mix(mix(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 77));
        (0..4).map(|i| f32::from((bits >> (16 * i)) as u16) / 65536.0 - 0.5).sum::<f32>() * 1.7
    };
    const DIRECTIONS: usize = 20;
    let clusters = rows / 500 + 1;
    let row = |row: usize| {
        let centre = mix(row as u64 + 1) as usize % clusters;
        let along: Vec<f32> = (0..DIRECTIONS).map(|d| normal(1 << 50 | (row * 64 + d) as u64)).collect();
        let value = move |i: usize| {
            let turned = (0..DIRECTIONS).map(|d| along[d] * normal(1 << 51 | ((centre * 64 + d) * 8192 + i) as u64));
            normal(1 << 52 | (centre * 8192 + i) as u64)
                + 0.22 * turned.sum::<f32>()
                + 0.1 * normal(1 << 53 | (row * 8192 + i) as u64)
        };
        (0..dim).map(value).collect::<Vec<f32>>()
    };
    let base = (0..rows).flat_map(row).collect();
    let queries = (rows..rows + 500).flat_map(row).collect();
    let mut data = Data { dim, base, queries, truth: Vec::new() };
    data.truth = nearest(&data, 500);
    data
}

/// The exact cosine neighbours of the first queries.
fn nearest(data: &Data, queries: usize) -> Vec<Vec<u32>> {
    let dot = |a: &[f32], b: &[f32]| {
        let mut sums = [0.0f32; 16];
        a.chunks_exact(16).zip(b.chunks_exact(16)).for_each(|(a, b)| (0..16).for_each(|i| sums[i] += a[i] * b[i]));
        sums.iter().sum::<f32>()
    };
    let norms: Vec<f32> = data.base.chunks(data.dim).map(|x| dot(x, x).sqrt()).collect();
    let best = |query: &[f32]| {
        let scores = data.base.chunks(data.dim).zip(&norms).map(|(x, norm)| dot(query, x) / norm);
        let mut scores: Vec<(f32, u32)> = scores.zip(0..).collect();
        scores.select_nth_unstable_by(9, |a, b| b.0.total_cmp(&a.0));
        scores[..10].iter().map(|score| score.1).collect()
    };
    data.queries.chunks(data.dim).take(queries).map(best).collect()
}

/// Shape and bytes of a little-endian, C-ordered array.
fn npy(path: &Path) -> (Vec<usize>, Vec<u8>) {
    let mut file = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let length = 10 + usize::from(u16::from_le_bytes([file[8], file[9]]));
    let header = String::from_utf8_lossy(&file[10..length]).into_owned();
    let shape = header.split("'shape': (").nth(1).and_then(|rest| rest.split(')').next()).expect("an npy header");
    let shape = shape.split(',').filter_map(|n| n.trim().parse().ok()).collect();
    file.drain(..length);
    (shape, file)
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<2>().0.iter().map(|b| half_to_f32(u16::from_le_bytes(*b))).collect()
}

fn half_to_f32(half: u16) -> f32 {
    let (sign, exponent, fraction) = (u32::from(half & 0x8000) << 16, half >> 10 & 31, u32::from(half & 1023));
    match exponent {
        0 => f32::from_bits(sign | (fraction as f32 / 16_777_216.0).to_bits()),
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (u32::from(exponent) + 112) << 23 | fraction << 13),
    }
}
