//! What the kernel knows of this process: memory and processor time.
//!
//! Place: read before and after a build. Leaves out: systems without /proc; there the figures are 0.
#![expect(clippy::disallowed_methods, reason = "the process' own figures are files")]

/// Processor time that this process has used, in seconds: steadier than the clock where others share the machine.
pub fn cpu_seconds() -> f64 {
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = std::fs::read("/proc/self/stat").unwrap_or_default();
    let stat = String::from_utf8_lossy(&stat);
    // The name, in brackets, may hold anything; user and system time are the 12th and 13th words after it.
    let ticks = stat.rsplit(')').next().into_iter().flat_map(|rest| rest.split_whitespace().skip(11).take(2));
    ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_A_SECOND
}

/// Resident bytes now.
pub fn resident_bytes() -> u64 {
    status("VmRSS:")
}

/// Most resident bytes since the last [`reset_peak`].
pub fn peak_bytes() -> u64 {
    status("VmHWM:")
}

/// Forgets the peak so far. Where that is not allowed the next peak is of the whole run, which is never less.
pub fn reset_peak() {
    drop(std::fs::write("/proc/self/clear_refs", "5"));
}

fn status(name: &str) -> u64 {
    let text = std::fs::read("/proc/self/status").unwrap_or_default();
    kibibytes(&String::from_utf8_lossy(&text), name) * 1024
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
}
