//! The models by name: one place that the command, the simulator and the driver share.
//!
//! Leaves out: what a model means; its module says so.

use std::fmt;
use std::str::FromStr;

use crate::history::History;
use crate::linear::{self, Register};
use crate::verdict::Verdict;
use crate::{counter, once, set};

/// A kind of history that can be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// Exactly-once streams.
    Observations,
    /// Linearizable registers with read and write.
    Register,
    /// Linearizable registers with read, write and compare-and-set.
    CasRegister,
    /// A set that only grows.
    Set,
    /// A counter within bounds.
    Counter,
}

impl Model {
    /// Every model.
    pub const ALL: [Model; 5] = [Model::Observations, Model::Register, Model::CasRegister, Model::Set, Model::Counter];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Model::Observations => "observations",
            Model::Register => "register",
            Model::CasRegister => "cas-register",
            Model::Set => "set",
            Model::Counter => "counter",
        }
    }

    /// Checks `history`; a search may use `memory_bytes`.
    pub fn check(self, history: &History, memory_bytes: usize) -> Verdict {
        let mut verdict = match self {
            Model::Observations => once::check(history),
            Model::Register => linear::check(history, Register::Plain, memory_bytes),
            Model::CasRegister => linear::check(history, Register::Cas, memory_bytes),
            Model::Set => set::check(history),
            Model::Counter => counter::check(history),
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
