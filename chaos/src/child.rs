//! A child process of which only the ends are kept: the last line of its output, the last lines of its complaints.
//!
//! Invariant: memory is bounded whatever the child prints; the child is gone when [`run`] returns.
//!
//! Leaves out: what the lines mean.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of a line that are kept.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Lines of standard error that are kept.
const COMPLAINTS_MAX: usize = 40;

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Whether it was killed because its time was over.
    pub killed: bool,
    /// The last line of standard output that is not empty.
    pub last_line: String,
    /// The last lines of standard error.
    pub complaints: Vec<String>,
}

impl Ended {
    /// The complaint that says most: a panic's message, or else the last line.
    pub fn complaint(&self) -> String {
        let panic = self.complaints.iter().position(|line| line.contains("panicked at"));
        match panic {
            Some(at) => self.complaints[at..].iter().take(2).map(String::as_str).collect::<Vec<_>>().join(" "),
            None => self.complaints.last().cloned().unwrap_or("it printed nothing to standard error".into()),
        }
    }
}

/// Runs `command` to its end, or kills it after `wall_time_max`.
pub(crate) fn run(command: &mut Command, echo: bool, wall_time_max: Duration) -> std::io::Result<Ended> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let child = Mutex::new(child);
    let (done, killed) = (AtomicBool::new(false), AtomicBool::new(false));
    let (last_line, complaints) = std::thread::scope(|scope| {
        let complaints = scope.spawn(|| stderr.map(|pipe| tail(pipe, echo)).unwrap_or_default());
        let watchdog = scope.spawn(|| watch(&child, wall_time_max, &done, &killed));
        let last_line = stdout.map(|pipe| tail(pipe, false)).unwrap_or_default().pop_back().unwrap_or_default();
        let complaints = complaints.join().unwrap_or_default();
        done.store(true, Ordering::Release);
        watchdog.thread().unpark();
        (last_line, complaints.into())
    });
    let status = child.into_inner().unwrap_or_else(PoisonError::into_inner).wait()?;
    Ok(Ended { code: status.code(), killed: killed.into_inner(), last_line, complaints })
}

fn watch(child: &Mutex<Child>, wall_time_max: Duration, done: &AtomicBool, killed: &AtomicBool) {
    let start = Instant::now();
    while !done.load(Ordering::Acquire) {
        let left = wall_time_max.saturating_sub(start.elapsed());
        if left.is_zero() {
            killed.store(true, Ordering::Release);
            // It fails only if the child has ended by itself, which is as good.
            let _ = child.lock().unwrap_or_else(PoisonError::into_inner).kill();
            return;
        }
        std::thread::park_timeout(left);
    }
}

/// The last lines that are not empty; passes all of them on if `echo` is set.
fn tail(pipe: impl Read, echo: bool) -> VecDeque<String> {
    let (mut reader, mut lines, mut bytes) = (BufReader::new(pipe), VecDeque::new(), Vec::new());
    loop {
        bytes.clear();
        match reader.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => return lines,
            Ok(_) => {}
        }
        if echo {
            // Nobody listens to standard error any more: not a reason to stop the run.
            let _ = std::io::stderr().write_all(&bytes);
        }
        let line = String::from_utf8_lossy(&bytes).trim().to_string();
        if !line.is_empty() {
            lines.push_back(line);
        }
        if lines.len() > COMPLAINTS_MAX {
            lines.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, wall_time_max: Duration) -> Ended {
        run(Command::new("sh").arg("-c").arg(script), false, wall_time_max).expect("sh starts")
    }

    #[test]
    fn the_last_line_and_the_exit_code_are_kept() {
        let ended = shell("seq 1 100000; echo last; echo; echo why >&2; exit 3", Duration::from_secs(60));
        assert_eq!((ended.code, ended.last_line.as_str(), ended.killed), (Some(3), "last", false));
        assert_eq!(ended.complaint(), "why");
    }

    #[test]
    fn a_child_that_does_not_end_is_killed() {
        let ended = shell("exec sleep 60", Duration::from_millis(50));
        assert!(ended.killed && ended.code.is_none());
    }

    #[test]
    fn the_message_of_a_panic_says_most() {
        let ended =
            shell("echo 'thread panicked at x.rs:1:' >&2; echo boom >&2; echo note >&2", Duration::from_secs(60));
        assert_eq!(ended.complaint(), "thread panicked at x.rs:1: boom");
    }
}
