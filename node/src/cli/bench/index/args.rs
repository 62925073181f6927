//! The flags of `engram bench index`, and the plan that they make.
//!
//! Invariant: a plan is complete and its numbers are in range; what a flag may not be is said before anything is built.
//! Leaves out: files; `data` opens them.

use super::peers::Peers;
use crate::cli::exit::Failure;
use clap::{Args, ValueEnum};
use engram_index::{Metric, Options};
use std::path::PathBuf;
use std::str::FromStr;

/// Rows that one index can number, and more than any machine at hand builds.
const ROWS_MAX: usize = 1 << 30;
/// Threads beyond which a list of them is a slip of the pen.
const THREADS_MAX: usize = 1024;
/// Seeds rotation and levels; any number would do, this one stays.
const SALT: u64 = 1;

/// What to measure, and on which data.
#[derive(Debug, Args)]
pub struct IndexArgs {
    /// Folder with base.f16.npy (rows, dim), query.f16.npy (queries, dim) and truth.i32.npy (queries, 100): the exact
    /// cosine neighbours, nearest first.
    #[arg(long, value_name = "DIR", conflicts_with = "synthetic")]
    data: Option<PathBuf>,
    /// Vectors made from a fixed seed, such as 768x100000.
    #[arg(long, value_name = "DIMxROWS")]
    synthetic: Option<Size>,
    /// What made vectors look like.
    #[arg(long, value_enum, default_value_t, conflicts_with = "data")]
    shape: Shape,
    /// What nearness means.
    #[arg(long, value_enum, default_value_t)]
    metric: MetricArg,
    /// Only the first rows of the data; the exact neighbours are then computed anew.
    #[arg(long, value_name = "N", conflicts_with = "synthetic")]
    rows: Option<usize>,
    /// Numbers of threads, separated by commas; each builds the index anew. Default: 1 and all cores.
    #[arg(long, value_name = "T,…", value_delimiter = ',')]
    threads: Vec<usize>,
    /// Rows a batch, separated by commas, for rows that come after nine tenths of the data; `auto` as the index cuts
    /// them. `--batch none` leaves this out.
    #[arg(long, value_name = "B,…", value_delimiter = ',', default_value = "1,100,500")]
    batch: Vec<BatchArg>,
    /// Width of the search that finds a row's links; by dimension and metric otherwise.
    #[arg(long, value_name = "N")]
    ef_construction: Option<usize>,
    /// Links a row makes.
    #[arg(long, value_name = "N", default_value_t = 16)]
    m: usize,
    /// Forget this share of the rows after the build (0.3: three tenths) and measure recall among the others.
    #[arg(long, value_name = "SHARE")]
    forget: Option<f64>,
    /// Where f16 originals are kept: in memory, or in a file read at positions (then in TMPDIR where they are made).
    #[arg(long, value_enum, default_value_t)]
    originals: OriginalsArg,
    /// Folder with ann_peers.py: measures other libraries on the same data, right after, with their own defaults.
    #[arg(long, value_name = "DIR")]
    peers: Option<PathBuf>,
    /// Which of them, separated by commas.
    #[arg(
        long,
        value_name = "NAME,…",
        value_delimiter = ',',
        requires = "peers",
        default_value = "hnswlib,faiss,faiss-sq8,usearch-b1"
    )]
    peer: Vec<String>,
    /// A Python that has their packages.
    #[arg(long, value_name = "PATH", default_value = "python3", env = "ENGRAM_PEERS_PYTHON")]
    python: PathBuf,
    /// Print one JSON object on one line.
    #[arg(long)]
    pub json: bool,
}

/// `DIMxROWS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Coordinates of a vector.
    pub dim: usize,
    /// How many.
    pub rows: usize,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no DIMxROWS; write two numbers, such as 768x100000");
        let (dim, rows) = text.split_once('x').ok_or_else(wrong)?;
        let number = |part: &str| part.parse().map_err(|_| wrong());
        Ok(Self { dim: number(dim)?, rows: number(rows)? })
    }
}

/// What made vectors look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// Clusters of some 20 intrinsic dimensions, rows in random order.
    #[default]
    Clustered,
    /// Every coordinate by itself: as many intrinsic dimensions as coordinates.
    Uniform,
    /// As clustered, each vector ten times.
    Duplicates,
    /// As clustered, one cluster after another.
    Sorted,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum MetricArg {
    #[default]
    Cosine,
    Dot,
    L2,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum OriginalsArg {
    #[default]
    Memory,
    Disk,
}

/// Rows a batch, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BatchArg {
    Some(Batch),
    None,
}

impl FromStr for BatchArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("auto", _) => Ok(Self::Some(Batch::Auto)),
            ("none", _) => Ok(Self::None),
            (_, Ok(rows @ 1..=8192)) => Ok(Self::Some(Batch::Rows(rows))),
            _ => Err(format!("{text:?} is no batch; write 1 to 8192, auto or none")),
        }
    }
}

/// Rows of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// So many.
    Rows(u32),
    /// As many as the index says.
    Auto,
}

/// Where vectors come from.
#[derive(Debug)]
pub enum Source {
    /// A folder, and how many of its rows.
    Folder(PathBuf, Option<usize>),
    /// Made.
    Made(Size, Shape),
}

/// What will be measured.
#[derive(Debug)]
pub struct Plan {
    /// The data.
    pub source: Source,
    /// Of the space.
    pub metric: Metric,
    /// Rising.
    pub threads: Vec<usize>,
    /// Cores of this machine.
    pub cores: usize,
    /// In the order given; a single row first, as what the others are compared with.
    pub batches: Vec<Batch>,
    /// Width of a build's beam; the index's own choice otherwise.
    pub ef_construction: Option<usize>,
    /// Links a row makes.
    pub m: usize,
    /// Share of the rows to forget.
    pub forget: Option<f64>,
    /// Originals are read from a file.
    pub on_disk: bool,
    /// The other libraries.
    pub peers: Option<Peers>,
}

impl Plan {
    /// The options of an index of vectors of `dim` coordinates.
    pub fn options(&self, dim: usize) -> Result<Options, Failure> {
        let chosen = Options::new(dim, self.metric, SALT);
        let ef_construction = self.ef_construction.unwrap_or(chosen.ef_construction);
        let options = Options { m: self.m, ef_construction, ..chosen };
        options.validate().map_err(|e| Failure::input(format!("bench index: {e}")))?;
        Ok(options)
    }
}

impl IndexArgs {
    /// The plan; an error says which flag to correct.
    pub fn plan(self) -> Result<Plan, Failure> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let source = match (self.data, self.synthetic) {
            (Some(dir), _) => Source::Folder(dir, self.rows),
            (None, Some(size)) => Source::Made(size, self.shape),
            (None, None) => {
                return Err(Failure::input("bench index: no data; give --data DIR or --synthetic DIMxROWS"));
            }
        };
        let metric = match self.metric {
            MetricArg::Cosine => Metric::Cosine,
            MetricArg::Dot => Metric::Dot,
            MetricArg::L2 => Metric::L2,
        };
        if let Source::Made(size, _) = &source
            && !(100..=ROWS_MAX).contains(&size.rows)
        {
            return Err(Failure::input(format!("--synthetic: {} rows; 100 to {ROWS_MAX} can be made", size.rows)));
        }
        let mut threads = if self.threads.is_empty() { vec![1, cores] } else { self.threads };
        threads.sort_unstable();
        threads.dedup();
        if let Some(wrong) = threads.iter().find(|&&threads| !(1..=THREADS_MAX).contains(&threads)) {
            return Err(Failure::input(format!("--threads {wrong}: 1 to {THREADS_MAX}")));
        }
        if let Some(share) = self.forget.filter(|share| !(0.0..=0.99).contains(share)) {
            return Err(Failure::input(format!("--forget {share}: a share from 0 to 0.99, such as 0.3")));
        }
        if self.peers.is_some() && metric != Metric::Cosine {
            return Err(Failure::input("--peers measures by cosine; leave out --metric, or --peers"));
        }
        let rows = self.rows;
        let peers = self.peers.map(|dir| Peers { dir, python: self.python, names: self.peer, rows, m: self.m, cores });
        let batches = self.batch.into_iter().filter_map(|batch| match batch {
            BatchArg::Some(batch) => Some(batch),
            BatchArg::None => None,
        });
        Ok(Plan {
            source,
            metric,
            threads,
            cores,
            batches: batches.collect(),
            ef_construction: self.ef_construction,
            m: self.m,
            forget: self.forget,
            on_disk: self.originals == OriginalsArg::Disk,
            peers,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: IndexArgs,
    }

    fn plan(line: &str) -> Result<Plan, String> {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|e| e.to_string())?;
        line.args.plan().map_err(|e| e.message)
    }

    #[test]
    fn the_default_is_one_thread_and_all() {
        let plan = plan("--synthetic 8x1000").expect("a good line");
        assert_eq!((plan.threads[0], plan.threads.last()), (1, Some(&plan.cores)));
        assert_eq!(plan.batches, [1, 100, 500].map(Batch::Rows));
        assert!(matches!(plan.source, Source::Made(Size { dim: 8, rows: 1000 }, Shape::Clustered)));
    }

    #[test]
    fn a_wrong_flag_is_named_with_what_to_write() {
        let says = |line: &str, words: &str| {
            let error = plan(line).expect_err("refused");
            assert!(error.contains(words), "{line}: {error}");
        };
        says("", "--data DIR or --synthetic DIMxROWS");
        says("--data d --synthetic 8x1000", "cannot be used with");
        says("--synthetic 8", "such as 768x100000");
        says("--synthetic 8x1000 --batch many", "1 to 8192, auto or none");
        says("--synthetic 8x1000 --threads 0", "--threads 0: 1 to");
        says("--synthetic 8x10", "10 rows; 100 to");
        says("--synthetic 8x1000 --forget 1", "such as 0.3");
        says("--synthetic 8x1000 --peers p --metric l2", "by cosine");
        let wide = plan("--synthetic 9000x1000").expect("a size that can be read");
        assert!(wide.options(9000).is_err_and(|e| e.message.contains("9000")));
    }
}
