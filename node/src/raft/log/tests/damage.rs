//! Every byte of a small log, torn and rotten: the log that opens is the log that was written.

use super::*;

/// Two groups below the mark, one above it; answers the segment's file and where each group begins and the last ends.
fn small(dir: &Path) -> (std::path::PathBuf, Vec<Entry>, usize, usize) {
    let (mut log, _) = open(dir).unwrap();
    now(log.save_vote(&Vote::new(3, 2))).unwrap();
    append(&mut log, [entry(3, 0, 120), entry(3, 1, 30)]);
    now(log.close());
    let file = dir.join("wal/0000000000000001.wal");
    let end = used(&file);
    append(&mut log, [entry(3, 2, 200)]);
    let after = used(&file);
    (file, vec![entry(3, 0, 120), entry(3, 1, 30), entry(3, 2, 200)], end, after)
}

/// Where the groups end.
fn used(file: &Path) -> usize {
    fs::read(file).unwrap().iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1).next_multiple_of(8)
}

#[test]
fn a_group_torn_at_any_byte_is_cut_and_the_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (file, entries, start, end) = small(dir.path());
    let whole = fs::read(&file).unwrap();
    let mark = fs::read(dir.path().join("wal/durable")).unwrap();
    for cut in start..end {
        let mut torn = whole.clone();
        torn[cut..end].fill(0);
        let is_whole = torn == whole;
        fs::write(&file, &torn).unwrap();
        fs::write(dir.path().join("wal/durable"), &mark).unwrap();
        let (mut log, report) = open(dir.path()).unwrap();
        let left = if is_whole { 3 } else { 2 };
        assert_eq!(read(&mut log), entries[..left], "torn at {cut}");
        assert_eq!(report.torn_bytes > 0, cut > start && !is_whole, "torn at {cut}: {report}");
        append(&mut log, [entry(4, left as u64, 5)]);
        drop(log);
        let (mut log, _) = open(dir.path()).unwrap();
        assert_eq!(read(&mut log).last().unwrap(), &entry(4, left as u64, 5), "torn at {cut}");
        assert_eq!(now(log.read_vote()).unwrap(), Some(Vote::new(3, 2)));
    }
}

#[test]
fn any_byte_of_the_last_group_lost_alone_above_the_mark_is_a_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    let (file, entries, start, end) = small(dir.path());
    let whole = fs::read(&file).unwrap();
    let mark = fs::read(dir.path().join("wal/durable")).unwrap();
    for at in start..end {
        let mut torn = whole.clone();
        torn[at] ^= 0x40;
        fs::write(&file, &torn).unwrap();
        fs::write(dir.path().join("wal/durable"), &mark).unwrap();
        assert_eq!(read(&mut open(dir.path()).unwrap().0), entries[..2], "byte {at}");
    }
}

#[test]
fn rot_in_any_byte_that_was_durable_is_refused_by_file_and_offset() {
    let dir = tempfile::tempdir().unwrap();
    let (file, _, _, end) = small(dir.path());
    drop(open(dir.path()).unwrap()); // the mark moves to the end
    let whole = fs::read(&file).unwrap();
    for at in 0..end {
        let mut rotten = whole.clone();
        rotten[at] ^= 0x10;
        fs::write(&file, &rotten).unwrap();
        match open(dir.path()) {
            Err(OpenError::Rot { file: named, offset, .. }) => {
                assert_eq!(named, file);
                assert!(offset <= at as u64, "byte {at} was reported at {offset}");
            }
            Err(other) => panic!("byte {at}: {other}"),
            Ok((_, report)) => panic!("byte {at}: opened, {report}"),
        }
        assert!(fs::read(&file).unwrap() == rotten, "byte {at}: a refusal changes nothing");
    }
}

#[test]
fn rot_before_a_later_group_is_refused_without_the_mark() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path()).unwrap();
    let file = dir.path().join("wal/0000000000000001.wal");
    let start = used(&file);
    append(&mut log, [entry(1, 0, 100)]);
    let end = used(&file);
    append(&mut log, [entry(1, 1, 100)]);
    let whole = fs::read(&file).unwrap();
    let mark = fs::read(dir.path().join("wal/durable")).unwrap();
    for at in start..end {
        let mut rotten = whole.clone();
        rotten[at] ^= 1;
        fs::write(&file, &rotten).unwrap();
        fs::write(dir.path().join("wal/durable"), &mark).unwrap();
        assert!(matches!(open(dir.path()), Err(OpenError::Rot { .. })), "byte {at}");
    }
}

#[test]
fn rot_in_any_byte_of_the_mark_or_past_the_end_gives_the_same_log_or_a_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let (file, entries, _, end) = small(dir.path());
    drop(open(dir.path()).unwrap());
    let mark = dir.path().join("wal/durable");
    let (whole, marked) = (fs::read(&file).unwrap(), fs::read(&mark).unwrap());
    for at in (0..64).chain(4096..4160) {
        let mut rotten = marked.clone();
        rotten[at] ^= 1;
        fs::write(&mark, &rotten).unwrap();
        assert_eq!(read(&mut open(dir.path()).unwrap().0), entries, "mark, byte {at}");
    }
    fs::write(&mark, &marked).unwrap();
    for at in end..whole.len().min(end + 400) {
        let mut rotten = whole.clone();
        rotten[at] ^= 1;
        fs::write(&file, &rotten).unwrap();
        assert_eq!(read(&mut open(dir.path()).unwrap().0), entries, "past the end, byte {at}");
    }
}

#[test]
fn a_missing_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path()).unwrap();
    (0..80).for_each(|index| drop(append(&mut log, [entry(1, index, 700)])));
    now(log.close());
    drop(log);
    let mut names = segments(dir.path());
    names.pop(); // the next one, not yet written
    names.push("durable".into());
    for name in names {
        let (there, away) = (dir.path().join("wal").join(&name), dir.path().join("away"));
        fs::rename(&there, &away).unwrap();
        assert!(matches!(open(dir.path()), Err(OpenError::Rot { .. })), "{name} is missing");
        fs::rename(&away, &there).unwrap();
    }
    assert_eq!(read(&mut open(dir.path()).unwrap().0).len(), 80);
}

#[test]
fn another_disks_log_and_a_later_version_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (file, ..) = small(dir.path());
    let other = Options { identity: [9; 16], ..options(dir.path()) };
    let opened = Log::open(Arc::new(OsDisk), Arc::<Inline>::default(), Arc::new(Still), other);
    assert!(matches!(opened, Err(OpenError::OtherDisk { found: IDENTITY, .. })));
    let mut bytes = fs::read(&file).unwrap();
    bytes[8] = 2;
    let sum = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..4096]);
    bytes[12..16].copy_from_slice(&sum.to_le_bytes());
    fs::write(&file, &bytes).unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::Version { found: 2, .. })));
}
