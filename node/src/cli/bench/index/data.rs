//! The vectors of a bench: rows as half floats, in memory or in a file; queries; exact neighbours.
//!
//! Place: between the plan and everything that measures. Invariant: rows are read as they are stored, so that other
//! libraries, which read the same files, see the same numbers. Leaves out: texts.
#![expect(clippy::disallowed_methods, reason = "a command reads the person's files; there is no Env here")]

use super::args::{Plan, Source};
use super::{step, synthetic, truth};
use crate::cli::exit::Failure;
use crate::cli::npy::{Layout, Number};
use engram_index::{Metric, Originals};
use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Neighbours that are kept of each query; other libraries' scripts expect as many.
pub const NEIGHBOURS: usize = 100;
/// Bytes of the longest vector in half floats.
const ROW_BYTES_MAX: usize = 2 * 4096;

/// Rows as half floats.
pub enum Store {
    /// `[f16; rows × dim]`
    Memory(Vec<f16>),
    /// The same in a file, from byte `start` on.
    Disk { file: File, start: u64, path: PathBuf },
}

/// What is measured on.
pub struct Data {
    /// For the report.
    pub name: String,
    /// Said of made data: intrinsic dimension.
    pub intrinsic: Option<String>,
    /// Coordinates.
    pub dim: usize,
    /// Rows.
    pub rows: usize,
    /// The rows.
    pub store: Store,
    /// `[f32; queries × dim]`
    pub queries: Vec<f32>,
    /// What is near to them.
    pub truth: truth::Truth,
    /// What is near to what.
    pub metric: Metric,
    folder: Option<PathBuf>,
    /// Holds files that are gone after the bench.
    temporary: Option<TempDir>,
}

impl Originals for Data {
    fn vector(&self, row: u32, into: &mut [f32]) -> bool {
        let row = row as usize;
        row < self.rows && self.read(row, into).is_ok()
    }
}

impl Data {
    /// Opens or makes what the plan says.
    pub fn of(plan: &Plan) -> Result<Self, Failure> {
        let mut data = match &plan.source {
            Source::Folder(dir, rows) => stored(plan, dir, *rows)?,
            Source::Made(size, shape) => {
                plan.options(size.dim)?;
                let temporary = if plan.on_disk || plan.peers.is_some() { Some(folder()?) } else { None };
                let made = synthetic::Made::new(*size, *shape);
                step(format_args!("makes {} rows of {} dimensions", size.rows, size.dim));
                let store = made_store(plan, &made, *size, temporary.as_ref())?;
                Self {
                    name: format!("synthetic {}x{} {shape:?}", size.dim, size.rows).to_lowercase(),
                    intrinsic: Some(made.intrinsic()),
                    dim: size.dim,
                    rows: size.rows,
                    store,
                    queries: made.queries(),
                    truth: truth::Truth::default(),
                    metric: plan.metric,
                    folder: None,
                    temporary,
                }
            }
        };
        if data.truth.rows.is_empty() {
            step(format_args!("finds the exact neighbours of {} queries", data.query_count()));
            data.truth = truth::exact(&data, plan.cores, &|_| true)?;
        }
        Ok(data)
    }

    /// How many queries there are.
    pub fn query_count(&self) -> usize {
        self.queries.len() / self.dim
    }

    /// One row into `[f32; dim]`.
    pub fn read(&self, row: usize, into: &mut [f32]) -> Result<(), Failure> {
        match &self.store {
            Store::Memory(base) => base[row * self.dim..][..self.dim].convert_to_f32_slice(into),
            Store::Disk { file, start, path } => {
                let mut bytes = [0u8; ROW_BYTES_MAX];
                let mut halves = [0u16; ROW_BYTES_MAX / 2];
                let bytes = &mut bytes[..2 * self.dim];
                file.read_exact_at(bytes, start + (row * 2 * self.dim) as u64).map_err(|e| broken(path, &e))?;
                let halves = &mut halves[..self.dim];
                bytes.as_chunks().0.iter().zip(&mut *halves).for_each(|(two, half)| *half = u16::from_le_bytes(*two));
                halves.reinterpret_cast::<f16>().convert_to_f32_slice(into);
            }
        }
        Ok(())
    }

    /// A folder that other programs can read the same data from; for made data it is written now.
    pub fn folder(&self) -> Result<PathBuf, Failure> {
        if let Some(folder) = &self.folder {
            return Ok(folder.clone());
        }
        let folder = self.temporary.as_ref().expect("made beside the plan's peers").path().to_path_buf();
        if let Store::Memory(base) = &self.store {
            let halves = base.iter().flat_map(|half| half.to_le_bytes());
            write(&folder.join("base.f16.npy"), Number::F16, self.rows, self.dim, halves)?;
        }
        let queries = self.queries.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes());
        write(&folder.join("query.f16.npy"), Number::F16, self.query_count(), self.dim, queries)?;
        let truth = self.truth.rows.iter().flatten().flat_map(|row| row.to_le_bytes());
        write(&folder.join("truth.i32.npy"), Number::I32, self.query_count(), NEIGHBOURS.min(self.rows), truth)?;
        Ok(folder)
    }
}

/// A folder of npy files.
fn stored(plan: &Plan, dir: &Path, rows: Option<usize>) -> Result<Data, Failure> {
    let (base_path, query_path) = (dir.join("base.f16.npy"), dir.join("query.f16.npy"));
    let (file, base) = open(&base_path, Number::F16)?;
    plan.options(base.columns)?;
    let rows_used = rows.unwrap_or(base.rows);
    if rows_used > base.rows || rows_used < NEIGHBOURS {
        let text =
            format!("{}: {} rows; --rows {rows_used} must be {NEIGHBOURS} to as many", base_path.display(), base.rows);
        return Err(Failure::input(text));
    }
    let (mut query_file, query) = open(&query_path, Number::F16)?;
    if query.columns != base.columns || query.rows == 0 {
        let text = format!(
            "{}: {} queries of {} dimensions beside rows of {}; both must come from one model",
            query_path.display(),
            query.rows,
            query.columns,
            base.columns
        );
        return Err(Failure::input(text));
    }
    let halves = read_halves(&mut query_file, &query_path, query.rows * query.columns)?;
    let mut queries = vec![0.0; halves.len()];
    halves.convert_to_f32_slice(&mut queries);
    let own_truth = rows_used == base.rows && plan.metric == Metric::Cosine;
    let truth = if own_truth {
        read_truth(&dir.join("truth.i32.npy"), query.rows, base.rows)?
    } else {
        truth::Truth::default()
    };
    let store = match plan.on_disk {
        true => Store::Disk { file, start: base.start as u64, path: base_path },
        false => Store::Memory(read_halves(&mut { file }, &base_path, rows_used * base.columns)?),
    };
    Ok(Data {
        name: dir.display().to_string(),
        intrinsic: None,
        dim: base.columns,
        rows: rows_used,
        store,
        queries,
        truth,
        metric: plan.metric,
        folder: Some(dir.to_path_buf()),
        temporary: None,
    })
}

fn made_store(
    plan: &Plan,
    made: &synthetic::Made,
    size: super::args::Size,
    temporary: Option<&TempDir>,
) -> Result<Store, Failure> {
    let Some(folder) = temporary.filter(|_| plan.on_disk) else {
        let mut base = Vec::with_capacity(size.rows * size.dim);
        made.rows(plan.cores, |rows| {
            base.extend_from_slice(rows);
            Ok(())
        })?;
        return Ok(Store::Memory(base));
    };
    let path = folder.path().join("base.f16.npy");
    let fault = |e: &std::io::Error| unwritable(&path, e);
    let mut file = BufWriter::new(File::create(&path).map_err(|e| fault(&e))?);
    let head = Layout::header(Number::F16, size.rows, size.dim);
    file.write_all(&head).map_err(|e| fault(&e))?;
    let mut bytes = Vec::new();
    made.rows(plan.cores, |rows| {
        bytes.clear();
        bytes.extend(rows.iter().flat_map(|half| half.to_le_bytes()));
        file.write_all(&bytes).map_err(|e| fault(&e))
    })?;
    file.flush().map_err(|e| fault(&e))?;
    let file = File::open(&path).map_err(|e| fault(&e))?;
    Ok(Store::Disk { file, start: head.len() as u64, path })
}

fn read_truth(path: &Path, queries: usize, rows: usize) -> Result<truth::Truth, Failure> {
    let (mut file, layout) = open(path, Number::I32)?;
    if layout.rows != queries || layout.columns < 10 {
        let text = format!(
            "{}: {} rows of {}; one row a query ({queries}) and at least 10 neighbours are needed",
            path.display(),
            layout.rows,
            layout.columns
        );
        return Err(Failure::input(text));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|e| broken(path, &e))?;
    let numbers: Vec<u32> = bytes.as_chunks().0.iter().map(|four| u32::from_le_bytes(*four)).collect();
    if let Some(wrong) = numbers.iter().find(|&&row| row as usize >= rows) {
        let text =
            format!("{}: row {wrong} where base.f16.npy has {rows}; the files are of different data", path.display());
        return Err(Failure::input(text));
    }
    let rows = numbers.chunks(layout.columns).map(<[u32]>::to_vec).collect();
    Ok(truth::Truth { rows, bars: Vec::new() })
}

/// A file, its position at its first number.
fn open(path: &Path, wanted: Number) -> Result<(File, Layout), Failure> {
    let unreadable = |e: std::io::Error| {
        Failure::input(format!("{}: {e}; --data wants base.f16.npy, query.f16.npy, truth.i32.npy", path.display()))
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let len = file.metadata().map_err(unreadable)?.len();
    let mut head = Vec::new();
    Read::by_ref(&mut file).take(Layout::HEAD_BYTES as u64).read_to_end(&mut head).map_err(unreadable)?;
    let layout = Layout::parse(&head, usize::try_from(len).unwrap_or(usize::MAX));
    let layout = layout.map_err(|e| Failure::input(format!("{}: {e}", path.display())))?;
    if layout.number != wanted {
        let text = format!("{}: numbers of type {:?}; {wanted:?} is read here", path.display(), layout.number);
        return Err(Failure::input(text));
    }
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(layout.start as u64)).map_err(unreadable)?;
    Ok((file, layout))
}

fn read_halves(file: &mut File, path: &Path, count: usize) -> Result<Vec<f16>, Failure> {
    let mut halves = Vec::with_capacity(count);
    let mut bytes = vec![0u8; 1 << 20];
    while halves.len() < count {
        let part = (2 * (count - halves.len())).min(bytes.len());
        file.read_exact(&mut bytes[..part]).map_err(|e| broken(path, &e))?;
        halves.extend(bytes[..part].as_chunks().0.iter().map(|two| f16::from_le_bytes(*two)));
    }
    Ok(halves)
}

fn write(
    path: &Path,
    number: Number,
    rows: usize,
    columns: usize,
    bytes: impl Iterator<Item = u8>,
) -> Result<(), Failure> {
    let written = File::create(path).and_then(|file| {
        let mut file = BufWriter::new(file);
        file.write_all(&Layout::header(number, rows, columns))?;
        let mut part = Vec::with_capacity(1 << 16);
        let mut bytes = bytes.peekable();
        while bytes.peek().is_some() {
            part.clear();
            part.extend(bytes.by_ref().take(1 << 16));
            file.write_all(&part)?;
        }
        file.flush()
    });
    written.map_err(|e| unwritable(path, &e))
}

fn folder() -> Result<TempDir, Failure> {
    let made = tempfile::Builder::new().prefix("engram-bench-").tempdir();
    made.map_err(|e| Failure::failed(format!("no temporary folder: {e}; set TMPDIR to one that can be written")))
}

fn broken(path: &Path, error: &std::io::Error) -> Failure {
    Failure::input(format!("{}: {error}; is the disk sound, and the file still there?", path.display()))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("{}: {error}; set TMPDIR to a folder with room", path.display()))
}
