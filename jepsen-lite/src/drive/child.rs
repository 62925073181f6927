//! A child process that cannot outlive the driver: `jepsen-lite child --parent PID -- COMMAND…`.
//!
//! The driver starts itself, which asks the kernel for SIGKILL at the death of its parent and then becomes the command.
//! That holds when the driver is killed with SIGKILL, too, and for a process that stands still. Linux only.

use clap::Args;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// What to become.
#[derive(Args)]
pub struct Child {
    /// The driver.
    #[arg(long)]
    parent: i32,
    /// The command and its arguments.
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

/// Becomes the command; returns only if that can't be.
pub fn become_it(child: &Child) -> ExitCode {
    let asked = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    if let Err(error) = asked {
        eprintln!("the kernel ties no process to its parent's life: {error}");
        return ExitCode::from(2);
    }
    if parent != Some(child.parent) {
        // It died before it could be tied to this process.
        return ExitCode::from(2);
    }
    let Some((program, arguments)) = child.command.split_first() else { return ExitCode::from(2) };
    let error = Command::new(program).args(arguments).exec();
    eprintln!("{}: {error}", program.display());
    ExitCode::from(2)
}

/// A command that runs as such a child.
pub fn command(program: &std::path::Path) -> std::io::Result<tokio::process::Command> {
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    command.arg("child").arg("--parent").arg(std::process::id().to_string()).arg("--").arg(program);
    command.stdin(std::process::Stdio::null()).kill_on_drop(true);
    // A node's and a command's settings are those of the run alone.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ENGRAM_")) {
        command.env_remove(name);
    }
    Ok(command)
}
