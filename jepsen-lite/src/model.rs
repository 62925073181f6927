//! The models by name: one place that the command, the simulator and the driver share.
//!
//! Leaves out: what a model means; its module says so.

use std::fmt;
use std::str::FromStr;

use crate::history::History;
use crate::linear::{self, Register};
use crate::verdict::Verdict;
use crate::{counter, once, recall, sessions, set, set_full};

/// A kind of history that can be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// Exactly-once streams.
    Observations,
    /// Linearizable registers with read and write.
    Register,
    /// Linearizable registers with read, write and compare-and-set.
    CasRegister,
    /// A set that only grows, by its last read.
    Set,
    /// A set that only grows, by all its reads.
    SetFull,
    /// A counter within bounds.
    Counter,
    /// Session guarantees by read level.
    Sessions,
    /// Recalls that are what their snapshot allows.
    Recall,
    /// Recalls that saw every ack before them.
    LinearizableRecall,
}

/// What a check is told beside the history.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// What the search of a register may use for one key.
    pub memory_bytes: usize,
    /// `set-full`: stale reads are violations.
    pub linearizable: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { memory_bytes: linear::MEMORY_BYTES_DEFAULT, linearizable: false }
    }
}

impl Model {
    /// Every model.
    pub const ALL: [Model; 9] = [
        Model::Observations,
        Model::Register,
        Model::CasRegister,
        Model::Set,
        Model::SetFull,
        Model::Counter,
        Model::Sessions,
        Model::Recall,
        Model::LinearizableRecall,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Model::Observations => "observations",
            Model::Register => "register",
            Model::CasRegister => "cas-register",
            Model::Set => "set",
            Model::SetFull => "set-full",
            Model::Counter => "counter",
            Model::Sessions => "sessions",
            Model::Recall => "recall",
            Model::LinearizableRecall => "linearizable-recall",
        }
    }

    /// Checks `history`; a search may use `memory_bytes`.
    pub fn check(self, history: &History, memory_bytes: usize) -> Verdict {
        self.check_with(history, &Settings { memory_bytes, ..Settings::default() })
    }

    /// Checks `history` as `settings` say.
    pub fn check_with(self, history: &History, settings: &Settings) -> Verdict {
        let mut verdict = match self {
            Model::Observations => once::check(history),
            Model::Register => linear::check(history, Register::Plain, settings.memory_bytes),
            Model::CasRegister => linear::check(history, Register::Cas, settings.memory_bytes),
            Model::Set => set::check(history),
            Model::SetFull => set_full::check(history, settings.linearizable),
            Model::Counter => counter::check(history),
            Model::Sessions => sessions::check(history),
            Model::Recall => recall::check(history, false),
            Model::LinearizableRecall => recall::check(history, true),
        };
        if let Verdict::Valid(summary) = &mut verdict {
            let backwards = history.times_backwards();
            if backwards > 0 {
                let note =
                    format!("{backwards} events carry an earlier time than the line before; lines were followed");
                summary.notes.push(note);
            }
            if summary.operations == 0 {
                summary.notes.push("the history is empty".into());
            }
        }
        verdict
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Model {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Model::ALL.map(Model::name).join(", ");
        Model::ALL.into_iter().find(|model| model.name() == text).ok_or(format!("no such model; there are {names}"))
    }
}
