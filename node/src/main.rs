//! The `engram` command. All of it is in `engram_node::cli`, so that tests can reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    engram_node::cli::main()
}
