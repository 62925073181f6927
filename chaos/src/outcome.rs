//! What the simulator says about a run: the last line of its standard output.
//!
//! ```json
//! {"verdict":"ok","seed":7,"world":"turmoil","trace_hash":"0123456789abcdef","events":1000,"simulated_ms":60000,
//!  "acked":500,"probes":{"log_is_full":2},"violation":null}
//! ```
//!
//! Invariant: `verdict` is `broken` exactly if there is a violation; reading refuses anything else.
//!
//! Leaves out: how the process ended ([`crate::runner`] compares the two).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::world::World;

/// Whether every promise held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every promise held.
    Ok,
    /// One was broken.
    Broken,
}

/// The first promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// The invariant's name.
    pub invariant: String,
    /// What was seen.
    pub detail: String,
    /// When, in simulated time.
    pub at_ms: u64,
}

/// The result of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether every promise held.
    pub verdict: Verdict,
    /// The plan's seed.
    pub seed: u64,
    /// The world that ran it.
    pub world: World,
    /// Hash of the trace: 16 hex digits. Equal seed, plan and build: equal hash.
    pub trace_hash: String,
    /// Events in the trace.
    pub events: u64,
    /// Simulated time.
    pub simulated_ms: u64,
    /// Observations acknowledged.
    pub acked: u64,
    /// How often the run came by each mark of the code.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub probes: BTreeMap<String, u64>,
    /// What broke.
    pub violation: Option<Violation>,
}

impl Outcome {
    /// Reads the line.
    pub fn parse(line: &str) -> Result<Outcome, String> {
        let outcome: Outcome = serde_json::from_str(line).map_err(|error| format!("is no verdict: {error}"))?;
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if outcome.trace_hash.len() != 16 || !outcome.trace_hash.bytes().all(hex) {
            return Err(format!("trace_hash: {:?} is not 16 hex digits", outcome.trace_hash));
        }
        if (outcome.verdict == Verdict::Broken) != outcome.violation.is_some() {
            return Err("verdict and violation contradict each other".into());
        }
        Ok(outcome)
    }

    /// The line to print.
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).expect("an outcome is plain data")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"verdict":"broken","seed":7,"world":"madsim","trace_hash":"0123456789abcdef","events":3,"simulated_ms":9,"acked":1,"violation":{"invariant":"once_per_sequence","detail":"twice","at_ms":5}}"#;

    #[test]
    fn a_verdict_reads_back_as_it_was_written() {
        assert_eq!(Outcome::parse(LINE).map(|outcome| outcome.to_line()), Ok(LINE.to_string()));
    }

    #[test]
    fn a_verdict_that_contradicts_itself_is_refused() {
        assert!(Outcome::parse(&LINE.replace("broken", "ok")).expect_err("violation").contains("contradict"));
        assert!(Outcome::parse(&LINE.replace("0123", "012g")).expect_err("hash").contains("16 hex"));
        assert!(Outcome::parse("{}").expect_err("fields").contains("missing field"));
    }
}
