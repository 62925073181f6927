//! Histories of other tools in this project's form.
//!
//! | format | what it is | module |
//! |---|---|---|
//! | `edn` | a Jepsen `history.edn`: operation maps, one a line or in one vector | `op.rs` |
//! | `etcd-log` | the log of the Jepsen test of etcd in 2014, as Porcupine's test data has it | `log.rs` |
//!
//! Invariant `nothing_guessed`: what does not say who did what is refused by file, line and column; what is left
//! out (other processes than clients, lines of other loggers) is counted.
//!
//! Leaves out: opening files, and what the operations mean to a model.

mod assemble;
mod edn;
mod json;
mod log;
mod number;
mod op;

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::history::{EventType, History};

/// A line and a column, both from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// Why a file can't be converted, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvertError {
    /// The file.
    pub file: String,
    /// Where in it.
    pub place: Place,
    /// What is wrong.
    pub message: String,
}

impl ConvertError {
    fn new(file: &str, place: Place, message: impl Into<String>) -> Self {
        Self { file: file.into(), place, message: message.into() }
    }
}

impl fmt::Display for ConvertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.place.line, self.place.column, self.message)
    }
}

impl std::error::Error for ConvertError {}

/// What a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Jepsen's `history.edn`.
    Edn,
    /// The log of the Jepsen test of etcd.
    EtcdLog,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 2] = [Format::Edn, Format::EtcdLog];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Format::Edn => "edn",
            Format::EtcdLog => "etcd-log",
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Format::ALL.map(Format::name).join(" and ");
        Format::ALL.into_iter().find(|format| format.name() == text).ok_or(format!("no such format; there are {names}"))
    }
}

/// How values name keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Keys {
    /// `[key value]` if tagged so, or if every client operation has one, reads too.
    #[default]
    Detect,
    /// Every value is `[key value]`.
    Tuple,
    /// No value is, unless it is tagged so.
    None,
}

/// What the reader is told beside the text.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How values name keys.
    pub keys: Keys,
    /// What each register holds at first, if not null: written by a process of its own before all else.
    pub initial: Option<Value>,
    /// Whether an `ok` read of null says nothing, as Knossos has it; else it says that the register held null.
    pub null_reads_unknown: bool,
}

/// A history, and what was left out or changed on the way.
#[derive(Debug)]
pub struct Converted {
    /// The history in this project's form.
    pub history: History,
    /// One sentence each.
    pub notes: Vec<String>,
}

/// Converts `text`; `source` names it in errors.
pub fn convert(format: Format, source: &str, text: &str, options: &Options) -> Result<Converted, ConvertError> {
    let (ops, notes) = match format {
        Format::Edn => op::read(source, text)?,
        Format::EtcdLog => log::read(source, text)?,
    };
    assemble::assemble(source, ops, notes, options)
}

/// One event as the file tells it.
#[derive(Debug)]
struct Op {
    place: Place,
    process: i64,
    kind: EventType,
    f: String,
    value: Value,
    /// From a tagged tuple.
    key: Option<Value>,
    time: Option<u64>,
}
