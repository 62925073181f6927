//! What a run committed, in a form that two worlds can be compared by: `engram-sim run --summary FILE` writes it.
//!
//! ```json
//! {"unknown":false,"observations":["1/1 0f8a1c5e2b7d9034","1/2 77aa00b1c2d3e4f5"],"digests":{"4":"0a164d6f9aa0d477"}}
//! ```
//!
//! Invariant: `observations` are sorted, and no session has a sequence twice; reading refuses anything else.
//!
//! Leaves out: at which log index an observation was committed, which differs between worlds for good reasons.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a run committed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Whether the client of any observation never learnt its outcome.
    pub unknown: bool,
    /// The observations that were acked as committed, or read in the end, sorted.
    pub observations: Vec<Committed>,
    /// The state's digest by log index, 16 hex digits, as far as a node told.
    pub digests: BTreeMap<u64, String>,
}

/// An observation that is committed. In files it is `session/sequence payload`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Committed {
    /// The session by a name that is the same in every world, such as the number of the simulated client: the ids that
    /// nodes give out are not.
    pub session: String,
    /// Its sequence.
    pub sequence: u64,
    /// A hash of text and embedding.
    pub payload: String,
}

impl fmt::Display for Committed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} {}", self.session, self.sequence, self.payload)
    }
}

impl FromStr for Committed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once(' ').and_then(|(name, payload)| {
            let (session, sequence) = name.rsplit_once('/')?;
            let sound = !session.is_empty() && !payload.is_empty() && !payload.contains(' ');
            Some((session, sequence.parse().ok()?, payload)).filter(|_| sound)
        });
        let (session, sequence, payload) = parts.ok_or(format!("{text:?} is not \"session/sequence payload\""))?;
        Ok(Committed { session: session.into(), sequence, payload: payload.into() })
    }
}

impl TryFrom<String> for Committed {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Committed> for String {
    fn from(committed: Committed) -> String {
        committed.to_string()
    }
}

impl Summary {
    /// Of these observations, in any order.
    pub fn new(unknown: bool, mut observations: Vec<Committed>, digests: BTreeMap<u64, String>) -> Summary {
        observations.sort();
        Summary { unknown, observations, digests }
    }

    /// Reads a file; it keeps the invariant then.
    pub fn load(path: &Path) -> Result<Summary, String> {
        let named = |message: String| format!("{}: {message}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| named(format!("can't be read: {error}")))?;
        Summary::from_json(&text).map_err(named)
    }

    /// Reads JSON; it keeps the invariant then.
    pub fn from_json(text: &str) -> Result<Summary, String> {
        let summary: Summary = serde_json::from_str(text).map_err(|error| format!("is no summary: {error}"))?;
        for pair in summary.observations.windows(2) {
            let same = (&pair[0].session, pair[0].sequence) == (&pair[1].session, pair[1].sequence);
            if same || pair[0] > pair[1] {
                let why = if same { "is there twice" } else { "is out of order" };
                return Err(format!("observations: {}/{} {why}", pair[1].session, pair[1].sequence));
            }
        }
        Ok(summary)
    }

    /// The file's text.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a summary is plain data") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_reads_back_as_it_was_written() {
        let line = |text: &str| text.parse::<Committed>().expect("well formed");
        let digests = BTreeMap::from([(4, "0a".to_string()), (10, "0b".to_string())]);
        let summary = Summary::new(true, vec![line("a/b/10 ff"), line("a/b/9 ee"), line("1/1 dd")], digests);
        let text =
            r#"{"unknown":true,"observations":["1/1 dd","a/b/9 ee","a/b/10 ff"],"digests":{"4":"0a","10":"0b"}}"#;
        assert_eq!(summary.to_json().trim_end(), text);
        assert_eq!(Summary::from_json(text), Ok(summary));
    }

    #[test]
    fn disorder_repeats_and_other_shapes_are_refused() {
        let read = |list: &str| {
            Summary::from_json(&format!(r#"{{"unknown":false,"observations":[{list}],"digests":{{}}}}"#))
                .expect_err("refused")
        };
        assert_eq!(read(r#""1/2 a","1/1 b""#), "observations: 1/1 is out of order");
        assert_eq!(read(r#""1/1 a","1/1 b""#), "observations: 1/1 is there twice");
        for wrong in ["1/1", "1/x a", "/1 a", "1/1 a b", "1/1 "] {
            assert!(read(&format!("\"{wrong}\"")).contains("is not \"session/sequence payload\""), "{wrong}");
        }
    }
}
