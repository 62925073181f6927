//! Which seeds of a sweep are done, so that a sweep that was stopped can go on.
//!
//! A file of JSON lines: first what was swept, then an [`Outcome`] for each run, written as it ends.
//!
//! ```json
//! {"build":"0123456789abcdef","world":"turmoil","profile":"crash","nodes":3,"duration_ms":30000}
//! {"verdict":"ok","seed":7,"world":"turmoil","trace_hash":"0123456789abcdef","events":1000,"simulated_ms":41000,"acked":500,"violation":null}
//! ```
//!
//! Invariant: a file holds runs of one build, one world and one kind of plan; another's is refused. Half a last line,
//! left by a process that was killed, is cut off.
//!
//! Leaves out: seeds that could not be run, which are tried again.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::generate::Request;
use crate::outcome::Outcome;
use crate::runner::RunError;
use crate::world::World;

/// What was swept: everything that a result depends on, but the seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Swept {
    /// [`crate::binary::fingerprint`] of the simulator.
    pub build: String,
    /// The world.
    pub world: World,
    /// The profile's name.
    pub profile: String,
    /// How many nodes.
    pub nodes: u64,
    /// How long faults may happen.
    pub duration_ms: u64,
}

impl Swept {
    /// What this build sweeps with `request`.
    pub fn of(build: String, request: Request) -> Swept {
        let Request { profile, world, nodes, duration_ms, .. } = request;
        Swept { build, world, profile: profile.name().into(), nodes, duration_ms }
    }

    /// The first thing that differs: its name, there and here.
    fn differs(&self, here: &Swept) -> Option<(&'static str, String, String)> {
        let fields = |swept: &Swept| {
            let Swept { build, world, profile, nodes, duration_ms } = swept;
            let length = format!("{duration_ms} ms");
            [build.clone(), world.to_string(), profile.clone(), nodes.to_string(), length]
        };
        let names = ["build", "world", "profile", "number of nodes", "length"];
        let pairs = fields(self).into_iter().zip(fields(here));
        let mut named = names.into_iter().zip(pairs);
        named.find(|(_, (there, here))| there != here).map(|(name, (there, here))| (name, there, here))
    }
}

/// The file, open for more.
#[derive(Debug)]
pub struct SweepLog {
    file: File,
    path: PathBuf,
    done: BTreeMap<u64, Outcome>,
}

impl SweepLog {
    /// Reads the file, or begins one.
    pub fn open(path: &Path, swept: &Swept) -> Result<SweepLog, RunError> {
        let named = |message: String| RunError(format!("{}: {message}", path.display()));
        let io = |error: std::io::Error| named(error.to_string());
        let mut file = File::options().read(true).append(true).create(true).open(path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(named("another sweep writes it; give another file".into())),
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(io)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64).map_err(io)?;
        let mut lines = text[..whole].lines().enumerate();
        match lines.next() {
            None => {
                let head = serde_json::to_string(swept).expect("plain data");
                writeln!(file, "{head}").map_err(io)?;
            }
            Some((_, head)) => {
                let there: Swept = serde_json::from_str(head).map_err(|e| named(format!("is of no sweep: {e}")))?;
                if let Some((name, there, here)) = there.differs(swept) {
                    let advice = "give another file to --resume, or remove this one";
                    return Err(named(format!("is of another {name}: {there} there, {here} here; {advice}")));
                }
            }
        }
        let mut done = BTreeMap::new();
        for (at, line) in lines {
            let outcome = Outcome::parse(line).map_err(|error| named(format!("line {}: {error}", at + 1)))?;
            done.insert(outcome.seed, outcome);
        }
        Ok(SweepLog { file, path: path.to_path_buf(), done })
    }

    /// Whether this seed was done before the file was opened.
    pub fn has(&self, seed: u64) -> bool {
        self.done.contains_key(&seed)
    }

    /// What was done before the file was opened, of these seeds.
    pub fn earlier(&self, seeds: Range<u64>) -> impl Iterator<Item = &Outcome> {
        self.done.range(seeds).map(|(_, outcome)| outcome)
    }

    /// Notes a run.
    pub fn add(&self, outcome: &Outcome) -> Result<(), RunError> {
        // One write a line: a killed process leaves a prefix.
        let line = format!("{}\n", outcome.to_line());
        let written = (&self.file).write_all(line.as_bytes());
        written.map_err(|error| RunError(format!("{}: can't be written: {error}", self.path.display())))
    }
}
