//! Wall clocks that lie: each node asks libfaketime, which reads by how much from a file of the run.
//!
//! The library is put before the server's own (`LD_PRELOAD`) and reads the file anew at each question, so a clock jumps while
//! the process runs. The monotonic clock stays the kernel's; sleeps until a moment of that clock are refused by the library
//! (0.9.10, `clock_nanosleep` with `TIMER_ABSTIME`), and the server has none. Only runs whose plan has such faults load it.
//!
//! Leaves out: monotonic clocks that drift, as all processes have the machine's; servers that load no libraries, which
//! [`Clocks::is_asked`] finds out.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// The nodes' wall clocks.
#[derive(Clone, Debug)]
pub struct Clocks {
    library: PathBuf,
    dir: PathBuf,
}

impl Clocks {
    /// Clocks whose files are in the run's directory; `None` where the machine has no libfaketime.
    pub fn find(dir: &Path) -> Option<Self> {
        let mut places = Vec::new();
        for root in ["/usr/lib", "/usr/lib64", "/usr/local/lib"] {
            places.push(PathBuf::from(root));
            // Debian has a directory for each architecture.
            places.extend(std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
        places.sort();
        let library = places.into_iter().map(|place| place.join(LIBRARY)).find(|library| library.is_file())?;
        Some(Self { library, dir: dir.to_path_buf() })
    }

    fn file(&self, node: u64) -> PathBuf {
        self.dir.join(format!("node-{node}.clock"))
    }

    /// What a node's process is started with.
    pub fn environment(&self, node: u64) -> [(&'static str, OsString); 5] {
        [
            ("LD_PRELOAD", self.library.clone().into()),
            ("FAKETIME_TIMESTAMP_FILE", self.file(node).into()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("DONT_FAKE_MONOTONIC", "1".into()),
            ("NO_FAKE_STAT", "1".into()),
        ]
    }

    /// Sets how far ahead a node's clock is; behind if negative.
    pub fn set(&self, node: u64, offset_ms: i64) -> io::Result<()> {
        // Whoever reads meanwhile has the one or the other.
        let next = self.dir.join(format!("node-{node}.clock.next"));
        let (sign, ms) = (if offset_ms < 0 { '-' } else { '+' }, offset_ms.unsigned_abs());
        std::fs::write(&next, format!("{sign}{}.{:03}\n", ms / 1000, ms % 1000))?;
        std::fs::rename(next, self.file(node))
    }

    /// Whether a process has loaded the library.
    pub fn is_asked(&self, process: u32) -> bool {
        let library = self.library.display().to_string();
        std::fs::read_to_string(format!("/proc/{process}/maps")).is_ok_and(|maps| maps.contains(&library))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_is_what_the_file_says() {
        let dir = tempfile::tempdir().expect("temporary");
        let Some(clocks) = Clocks::find(dir.path()) else {
            eprintln!("not tested: no libfaketime here (Debian: faketime)");
            return;
        };
        clocks.set(1, 0).expect("written");
        let mut shell = std::process::Command::new("sh")
            .args(["-c", "while read -r _; do date +%s; done"])
            .envs(clocks.environment(1))
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("a shell");
        let (mut ask, out) = (shell.stdin.take().expect("piped"), shell.stdout.take().expect("piped"));
        let mut told = std::io::BufRead::lines(std::io::BufReader::new(out));
        let mut now = || -> i64 {
            std::io::Write::write_all(&mut ask, b"\n").expect("it listens");
            told.next().expect("it answers").expect("text").parse().expect("seconds")
        };
        let before = now();
        assert!(clocks.is_asked(shell.id()) && !clocks.is_asked(std::process::id()));
        for (offset_ms, seconds) in [(86_400_000, 86_400), (-86_400_000, -86_400), (0, 0)] {
            clocks.set(1, offset_ms).expect("written");
            // The test takes less than an hour.
            assert!((now() - before - seconds).abs() < 3_600, "{offset_ms} ms");
        }
        drop(ask);
        shell.wait().expect("ended");
    }
}
