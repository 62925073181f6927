//! A child process of which little is kept: the last line of its output, the first panic and the last line of its
//! complaints.
//!
//! Invariant: memory is bounded whatever the child prints; the child is gone when [`run`] returns.
//!
//! CPU time comes from `/proc`, which tells of a child until it is waited for: in steps of 10 ms, on Linux alone.
//!
//! Leaves out: what the lines mean.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of a line that are kept.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Length of a clock tick of `/proc/PID/stat`: Linux tells all processes of hundredths of a second.
const TICK_MS: u64 = 10;

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether it was killed because its time was over.
    pub killed: bool,
    /// CPU time of it and of the children that it waited for; `None` where the system does not tell.
    pub cpu_ms: Option<u64>,
    /// The last line of standard output that is not empty.
    pub last_line: String,
    /// What it printed to standard error, in short.
    pub complaints: Kept,
}

/// What is kept of lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The first line that tells of a panic, and the one after it: later panics are mostly of the clearing up.
    panic: Vec<String>,
    /// The last line that is not empty.
    last: Option<String>,
}

impl Kept {
    fn add(&mut self, line: String) {
        if self.panic.len() == 1 || (self.panic.is_empty() && line.contains("panicked at")) {
            self.panic.push(line.clone());
        }
        self.last = Some(line);
    }
}

impl Ended {
    /// The complaint that says most: a panic's message, or else the last line.
    pub fn complaint(&self) -> String {
        match (self.complaints.panic.is_empty(), &self.complaints.last) {
            (false, _) => self.complaints.panic.join(" "),
            (true, Some(last)) => last.clone(),
            (true, None) => "it printed nothing to standard error".into(),
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
        let complaints = scope.spawn(|| stderr.map(|pipe| keep(pipe, echo)).unwrap_or_default());
        let watchdog = scope.spawn(|| watch(&child, wall_time_max, &done, &killed));
        let last_line = stdout.map(|pipe| keep(pipe, false)).unwrap_or_default().last.unwrap_or_default();
        let complaints = complaints.join().unwrap_or_default();
        done.store(true, Ordering::Release);
        watchdog.thread().unpark();
        (last_line, complaints)
    });
    let mut child = child.into_inner().unwrap_or_else(PoisonError::into_inner);
    // It closed its pipes, so it has ended or is about to; until it is waited for its figures are there.
    let cpu_ms = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).ok().and_then(|stat| cpu_ms(&stat));
    let status = child.wait()?;
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    let signal = None;
    Ok(Ended { code: status.code(), signal, killed: killed.into_inner(), cpu_ms, last_line, complaints })
}

/// User and system time, own and of children, from a line of `/proc/PID/stat` (proc_pid_stat(5), fields 14 to 17).
fn cpu_ms(stat: &str) -> Option<u64> {
    // The second field is the name in brackets, which may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: Vec<u64> = rest.split_whitespace().skip(11).take(4).map_while(|field| field.parse().ok()).collect();
    (ticks.len() == 4).then(|| ticks.iter().sum::<u64>() * TICK_MS)
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

/// Reads to the end; passes every line on if `echo` is set.
fn keep(pipe: impl Read, echo: bool) -> Kept {
    let (mut reader, mut kept, mut bytes) = (BufReader::new(pipe), Kept::default(), Vec::new());
    loop {
        bytes.clear();
        match reader.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => return kept,
            Ok(_) => {}
        }
        if echo {
            // Nobody listens to standard error any more: not a reason to stop the run.
            let _ = std::io::stderr().write_all(&bytes);
        }
        let line = String::from_utf8_lossy(&bytes).trim().to_string();
        if !line.is_empty() {
            kept.add(line);
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
    fn the_time_that_a_child_computed_is_told_and_the_time_that_it_slept_is_not() {
        let slept = shell("exec sleep 0.3", Duration::from_secs(60)).cpu_ms;
        let computed = shell("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done", Duration::from_secs(60)).cpu_ms;
        if cfg!(target_os = "linux") {
            assert!(slept.is_some_and(|ms| ms < 100) && computed.is_some_and(|ms| ms >= 20), "{slept:?} {computed:?}");
        }
        assert_eq!(cpu_ms("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 1 2 3 4 20 0 1"), Some(100));
        assert_eq!(cpu_ms("7 (a) S 1 2"), None);
    }

    #[test]
    fn a_child_that_does_not_end_is_killed() {
        let ended = shell("exec sleep 60", Duration::from_millis(50));
        assert!(ended.killed && ended.code.is_none());
    }

    #[test]
    fn the_message_of_the_first_panic_says_most() {
        let script = "echo 'thread panicked at x.rs:1:' >&2; echo boom >&2; seq 1 99 >&2; echo 'panicked at y' >&2";
        let ended = shell(script, Duration::from_secs(60));
        assert_eq!(ended.complaint(), "thread panicked at x.rs:1: boom");
    }
}
