//! Other libraries, measured by a script of their own on the same files.
//!
//! Place: right after our curves, so that ratios are of the same minutes; a process each, so that memory is its own.
//! Invariant: a peer that could not be measured is in the report with the reason, not left out.
//! Leaves out: setting them up; the script says how.

use super::data::Data;
use super::step;
use crate::cli::exit::Failure;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SCRIPT: &str = "ann_peers.py";

/// The script and how to call it.
#[derive(Debug)]
pub struct Peers {
    /// Holds the script.
    pub dir: PathBuf,
    /// Runs it.
    pub python: PathBuf,
    /// Libraries by the script's names.
    pub names: Vec<String>,
    /// The first rows of a folder alone.
    pub rows: Option<usize>,
    /// Links a row makes, as ours.
    pub m: usize,
    /// Threads that build.
    pub cores: usize,
}

impl Peers {
    /// Whether the script runs at all, before anything else takes its time.
    pub fn check(&self) -> Result<(), Failure> {
        let script = self.dir.join(SCRIPT);
        if !script.is_file() {
            return Err(Failure::input(format!("--peers {}: no {SCRIPT} there", self.dir.display())));
        }
        let output = self.call(&["--help".into()])?;
        match output.status.success() {
            true => Ok(()),
            false => Err(Failure::input(format!(
                "{} {}: {}; name a Python that has the packages with --python",
                self.python.display(),
                script.display(),
                last_line(&output.stderr)
            ))),
        }
    }

    /// The script's line for each library.
    pub fn measure(&self, data: &Data) -> Result<Vec<Value>, Failure> {
        let folder = data.folder()?;
        self.names.iter().map(|name| self.one(name, &folder)).collect()
    }

    fn one(&self, name: &str, folder: &Path) -> Result<Value, Failure> {
        step(format_args!("measures {name}"));
        let mut words: Vec<OsString> = vec![folder.into(), "--peers".into(), name.into()];
        words.extend(["--m".into(), self.m.to_string().into()]);
        words.extend(["--threads".into(), self.cores.to_string().into()]);
        if let Some(rows) = self.rows {
            words.extend(["--rows".into(), rows.to_string().into()]);
        }
        let output = self.call(&words)?;
        let line = line_of(&output.stdout).filter(|_| output.status.success());
        Ok(line.unwrap_or_else(|| {
            let error = last_line(&output.stderr);
            step(format_args!("{name} was not measured: {error}"));
            json!({ "peer": name, "error": error })
        }))
    }

    fn call(&self, words: &[OsString]) -> Result<Output, Failure> {
        let output = Command::new(&self.python).arg(self.dir.join(SCRIPT)).args(words).output();
        output.map_err(|e| Failure::input(format!("--python {}: {e}", self.python.display())))
    }
}

/// The last line that is a JSON object.
fn line_of(stdout: &[u8]) -> Option<Value> {
    let text = String::from_utf8_lossy(stdout);
    text.lines().rev().find_map(|line| serde_json::from_str(line).ok().filter(Value::is_object))
}

fn last_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_is_found_among_other_lines() {
        let line = line_of(b"warning: x\n{\"peer\": \"hnswlib\", \"qps_at_95\": null}\n\n").expect("an object");
        assert_eq!(line["peer"], "hnswlib");
        assert_eq!(line_of(b"3\nnothing"), None);
        assert_eq!(last_line(b"Traceback\nImportError: no faiss\n\n"), "ImportError: no faiss");
    }
}
