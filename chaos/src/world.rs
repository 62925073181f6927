//! The worlds that a plan can run in, and what each of them can do.
//!
//! Leaves out: how to build and start one ([`crate::binary`], [`crate::runner`]).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::kind::Kind;
use crate::plan::{Fault, Plan};

/// A simulated world. Each is a build of the simulator of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum World {
    /// turmoil: simulated TCP over the real tokio.
    Turmoil,
    /// madsim: another network, another scheduler.
    Madsim,
}

impl World {
    /// Every world.
    pub const ALL: [World; 2] = [World::Turmoil, World::Madsim];

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            World::Turmoil => "turmoil",
            World::Madsim => "madsim",
        }
    }

    /// Whether this world executes faults of this kind.
    pub fn supports(self, kind: &Kind) -> bool {
        // turmoil runs every task of a node that lives: it cannot make one stand still.
        self == World::Madsim || !matches!(kind, Kind::Pause { .. })
    }

    /// The first fault of `plan` that this world can't execute.
    pub fn lacks(self, plan: &Plan) -> Option<(usize, &Fault)> {
        plan.faults.iter().enumerate().find(|(_, fault)| !self.supports(&fault.kind))
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for World {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        World::ALL.into_iter().find(|world| world.name() == text).ok_or("there are turmoil and madsim".into())
    }
}
