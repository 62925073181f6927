//! What the kernel knows of a node's process: processor time by thread role, and memory.
//!
//! Place: read at the start and the end of a stream; memory now and then between. A role is a thread's name; a thread
//! that has ended by then (the index starts some for each batch) counts as `ended threads`. Leaves out: systems without
//! /proc; there the figures are 0.
#![expect(clippy::disallowed_methods, reason = "another process' figures are files")]

use std::collections::BTreeMap;

const TICKS_A_SECOND: f64 = 100.0;
/// Threads that do not run any more.
const ENDED: &str = "ended threads";

/// Processor seconds so far, of the whole and of the threads that live, by thread id: name, seconds.
#[derive(Clone, Debug, Default)]
pub struct Times {
    whole: f64,
    threads: BTreeMap<u32, (String, f64)>,
}

/// Of one process.
pub fn times(process: u32) -> Times {
    let whole = stat(&format!("/proc/{process}/stat")).map_or(0.0, |(_, seconds)| seconds);
    let folder = std::fs::read_dir(format!("/proc/{process}/task"));
    let threads = folder.into_iter().flatten().flatten();
    let thread = |entry: std::fs::DirEntry| {
        let id = entry.file_name().to_string_lossy().parse().ok()?;
        Some((id, stat(&entry.path().join("stat").to_string_lossy())?))
    };
    Times { whole, threads: threads.filter_map(thread).collect() }
}

impl Times {
    /// Seconds between, by role, the whole under "".
    pub fn since(&self, before: &Self) -> BTreeMap<String, f64> {
        let mut roles = BTreeMap::new();
        let whole = self.whole - before.whole;
        let mut left = whole;
        for (id, (name, seconds)) in &self.threads {
            let spent = seconds - before.threads.get(id).map_or(0.0, |(_, seconds)| *seconds);
            *roles.entry(name.clone()).or_default() += spent;
            left -= spent;
        }
        roles.insert(ENDED.to_string(), left.max(0.0));
        roles.insert(String::new(), whole);
        roles
    }
}

/// Name and processor seconds of a `stat` file.
fn stat(path: &str) -> Option<(String, f64)> {
    parse(&String::from_utf8_lossy(&std::fs::read(path).ok()?))
}

/// The name, in brackets, may hold anything; user and system time are the 12th and 13th words after it.
fn parse(stat: &str) -> Option<(String, f64)> {
    let (head, rest) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_string();
    let ticks = rest.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok());
    Some((name, ticks.sum::<f64>() / TICKS_A_SECOND))
}

/// Resident bytes: now, and the most so far.
pub fn memory(process: u32) -> (u64, u64) {
    let text = std::fs::read(format!("/proc/{process}/status")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let line = |name| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    let bytes = |name| line(name).unwrap_or(0) * 1024;
    (bytes("VmRSS:"), bytes("VmHWM:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_name() {
        let line = "12 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0";
        assert_eq!(parse(line), Some(("a (b) c".to_string(), 2.0)));
        assert_eq!(parse("12 S"), None);
    }

    #[test]
    fn time_of_ended_threads_is_what_the_others_do_not_explain() {
        let of = |whole, seconds| Times { whole, threads: [(7, ("wal".to_string(), seconds))].into() };
        let roles = of(5.0, 2.0).since(&of(1.0, 0.5));
        assert_eq!((roles["wal"], roles[ENDED], roles[""]), (1.5, 2.5, 4.0));
    }
}
