//! The corpus: plans that failed once, kept as files, run on every change.
//!
//! Leaves out: how a plan gets there (`chaos shrink` writes one; a person adds the cause).

use std::path::{Path, PathBuf};

use crate::plan::{Plan, PlanError};

/// Where the corpus is in the workspace.
pub const DIRECTORY: &str = "sim/seeds";

/// Every plan of `directory` (files ending in `.json`), by name. One bad file is an error: a corpus that is read in
/// part guards nothing.
pub fn load(directory: &Path) -> Result<Vec<(PathBuf, Plan)>, PlanError> {
    let unreadable = |error: std::io::Error| PlanError {
        file: Some(directory.display().to_string()),
        message: format!("can't be listed: {error}"),
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            paths.push(path);
        }
    }
    paths.sort();
    paths.into_iter().map(|path| Plan::load(&path).map(|plan| (path, plan))).collect()
}
