//! The demo's data, carried inside the binary: node/demo-data/README.md says where it is from.

use crate::cli::exit::Failure;
use crate::cli::npy::Npy;

static BASE: &[u8] = include_bytes!("../../../demo-data/base.f16.npy");
static BASE_TEXT: &str = include_str!("../../../demo-data/base.txt");
static QUERY: &[u8] = include_bytes!("../../../demo-data/query.f16.npy");
static QUERY_TEXT: &str = include_str!("../../../demo-data/query.txt");

/// Rows that are there.
pub const ROWS_MAX: u64 = 10_000;

/// Texts and their vectors, `[f32; dim]`, as stored: half floats widened.
pub struct Set {
    /// One a row.
    pub texts: Vec<&'static str>,
    /// One a row.
    pub vectors: Vec<Vec<f32>>,
}

/// What is observed, and what is asked.
pub struct Data {
    /// Observations.
    pub base: Set,
    /// Cues that are not among them.
    pub cues: Set,
    /// Components of a vector.
    pub dim: u32,
}

fn set(npy: &'static [u8], texts: &'static str, rows: usize) -> Result<Set, Failure> {
    let broken = |e: String| Failure::failed(format!("the demo's own data is broken: {e}; build it again"));
    let npy = Npy::parse(npy).map_err(broken)?;
    let texts: Vec<&str> = texts.lines().take(rows).collect();
    let vectors: Vec<Vec<f32>> = (0..texts.len()).map_while(|row| npy.row(row)).collect();
    match vectors.len() == texts.len() {
        true => Ok(Set { texts, vectors }),
        false => Err(broken(format!("{} texts, {} vectors", texts.len(), vectors.len()))),
    }
}

impl Data {
    /// The first `rows` observations and all cues.
    pub fn load(rows: u64) -> Result<Self, Failure> {
        let base = set(BASE, BASE_TEXT, rows as usize)?;
        let cues = set(QUERY, QUERY_TEXT, usize::MAX)?;
        let dim = base.vectors.first().map_or(0, Vec::len) as u32;
        Ok(Self { base, cues, dim })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_data_is_whole_and_its_texts_are_distinct() {
        let data = Data::load(ROWS_MAX).expect("whole");
        assert_eq!((data.base.texts.len() as u64, data.cues.texts.len(), data.dim), (ROWS_MAX, 200, 384));
        let texts: BTreeSet<&str> = data.base.texts.iter().copied().collect();
        assert_eq!(texts.len() as u64, ROWS_MAX, "a doubled row is told by its text");
        assert!(data.cues.texts.iter().all(|cue| !texts.contains(cue)), "cues are held out");
    }
}
