//! What the kernel knows of this process: memory, processor time, descriptors.
//!
//! Leaves out: systems without /proc, and other processes; there is nothing to tell then.
#![expect(clippy::disallowed_methods, reason = "the process' own figures are files")]

/// Fixed by Linux' interface to user space, whatever the kernel counts in.
const TICKS_A_SECOND: f64 = 100.0;

/// Now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Process {
    /// Bytes.
    pub resident_bytes: u64,
    /// User and system time since the start.
    pub cpu_seconds: f64,
    /// Open file descriptors.
    pub open_files: u64,
    /// Most that may be open; `u64::MAX`: no limit.
    pub open_files_max: u64,
    /// Seconds since the Unix epoch.
    pub started: f64,
}

/// Reads the figures; `None` where the system has no /proc.
pub fn process() -> Option<Process> {
    let stat = read("/proc/self/stat")?;
    // Since the machine's start.
    let started = words(&stat).nth(19)?.parse::<f64>().ok()? / TICKS_A_SECOND;
    let booted =
        read("/proc/stat")?.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok())?;
    let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    Some(Process {
        resident_bytes: resident_bytes(),
        cpu_seconds: cpu_of(&stat),
        open_files: std::fs::read_dir("/proc/self/fd").ok()?.count() as u64,
        open_files_max: limits.current.unwrap_or(u64::MAX),
        started: booted + started,
    })
}

/// Processor time that this process has used, in seconds: steadier than the clock where others share the machine.
pub fn cpu_seconds() -> f64 {
    cpu_of(&read("/proc/self/stat").unwrap_or_default())
}

/// Resident bytes now.
pub fn resident_bytes() -> u64 {
    status_bytes("VmRSS:")
}

/// A size of /proc/self/status in bytes; 0 where there is none.
pub fn status_bytes(name: &str) -> u64 {
    kibibytes(&read("/proc/self/status").unwrap_or_default(), name) * 1024
}

fn read(path: &str) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// After the name, which is in brackets and may hold anything.
fn words(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit(')').next().unwrap_or_default().split_whitespace()
}

fn cpu_of(stat: &str) -> f64 {
    words(stat).skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_A_SECOND
}

fn kibibytes(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_status_is_read() {
        let status = "VmPeak:\t  9 kB\nVmHWM:\t   1234 kB\nVmRSS:\t 900 kB\n";
        assert_eq!((kibibytes(status, "VmHWM:"), kibibytes(status, "VmRSS:"), kibibytes("", "VmHWM:")), (1234, 900, 0));
    }

    #[test]
    fn this_process_has_figures() {
        let Some(process) = process() else { return };
        assert!(process.resident_bytes > 1 << 20 && process.open_files >= 3, "{process:?}");
        assert!(process.open_files_max >= process.open_files && process.started > 1.6e9, "{process:?}");
    }
}
