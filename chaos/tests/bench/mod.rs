//! The `chaos` command in a directory of its own, with a simulator that is a shell script.

#![allow(dead_code, reason = "each test file uses its part")]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

/// Fails with a broken promise if the plan holds a power loss, and remembers nothing.
pub const SCRIPT: &str = r#"#!/bin/sh
plan="$3"
seed=$(sed -n 's/.*"seed": \([0-9]*\),/\1/p' "$plan" | head -1)
[ -n "$5" ] && echo trace > "$5"
echo "noise before the verdict"
if grep -q power_loss "$plan"; then
  echo '{"verdict":"broken","seed":'$seed',"world":"turmoil","trace_hash":"00000000000000ff","events":3,"simulated_ms":1000,"acked":2,"violation":{"invariant":"no_acked_loss","detail":"one is gone","at_ms":700}}'
  exit 1
fi
echo '{"verdict":"ok","seed":'$seed',"world":"turmoil","trace_hash":"00000000000000aa","events":3,"simulated_ms":1000,"acked":2,"violation":null}'
"#;

pub struct Bench {
    directory: TempDir,
    pub simulator: PathBuf,
}

impl Bench {
    pub fn new(script: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let simulator = directory.path().join("engram-sim");
        let bench = Bench { directory, simulator };
        bench.program("engram-sim", script);
        bench
    }

    /// Another program beside the simulator.
    pub fn program(&self, name: &str, script: &str) {
        self.save(name, script);
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(0o755)).expect("executable");
    }

    pub fn chaos(&self, arguments: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
        command.args(arguments.split_whitespace()).env("ENGRAM_SIM_BIN", &self.simulator);
        command.current_dir(self.directory.path()).output().expect("chaos starts")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn save(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("written");
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("readable")
    }
}

pub fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

pub fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
