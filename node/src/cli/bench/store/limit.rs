//! The disk's own limit: the same bytes in the same groups, to one preallocated file, one sync a group.
//!
//! Place: beside the log's figures, in the same run on the same disk, by the same calls. Invariant: what is written is
//! neither zeros nor repeated within a group, and the file's room is allocated and synced before the time runs.

use super::payload::noise;
use crate::cli::feed;
use crate::env::{Clock, Disk, Open};
use hdrhistogram::Histogram;
use std::io;
use std::path::Path;

/// The log closes a group at this size: larger ones are not written.
pub const LARGE_GROUP: u64 = 8 << 20;

/// How fast it went.
pub struct Limit {
    /// Until the last sync.
    pub seconds: f64,
    /// Microseconds of a write and its sync.
    pub latency: Histogram<u64>,
}

/// The same bytes in groups as large as the log writes them.
pub fn large(groups: &[u64]) -> Vec<u64> {
    let all: u64 = groups.iter().sum();
    let mut large = vec![LARGE_GROUP; (all / LARGE_GROUP) as usize];
    large.extend(Some(all % LARGE_GROUP).filter(|rest| *rest > 0));
    large
}

/// Writes `groups`, sizes in bytes, into a file of its own in `dir`, and removes it.
pub fn limit(disk: &dyn Disk, clock: &dyn Clock, dir: &Path, groups: &[u64]) -> io::Result<Limit> {
    let path = dir.join("limit");
    let file = disk.open(&path, Open::CreateNew)?;
    let bytes = noise(7, groups.iter().max().map_or(0, |most| *most as usize));
    file.preallocate(groups.iter().sum::<u64>().max(1))?;
    file.sync_data()?;
    disk.sync_dir(dir)?;
    let (mut latency, mut at, start) = (feed::histogram(), 0, clock.monotonic());
    for group in groups {
        let begun = clock.monotonic();
        file.write_at(at, &bytes[..*group as usize])?;
        file.sync_data()?;
        latency.saturating_record(clock.monotonic().saturating_sub(begun).as_micros() as u64);
        at += group;
    }
    let seconds = clock.monotonic().saturating_sub(start).as_secs_f64();
    disk.remove(&path)?;
    Ok(Limit { seconds, latency })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{OsClock, OsDisk};

    #[test]
    fn large_groups_hold_the_same_bytes() {
        let groups = large(&[LARGE_GROUP - 1, 5, LARGE_GROUP]);
        assert_eq!(groups, [LARGE_GROUP, LARGE_GROUP, 4]);
        assert!(large(&[]).is_empty());
    }

    #[test]
    fn each_group_is_timed_and_the_file_goes() {
        let dir = tempfile::tempdir().expect("temporary");
        let limit = limit(&OsDisk, &OsClock::start(), dir.path(), &[100, 5000]).expect("written");
        assert_eq!((limit.latency.len(), OsDisk.list(dir.path()).expect("listed").len()), (2, 0));
    }
}
