//! Rot in closed segments, looked for while the log is open.

use super::{append, entry, now, open, segments};
use crate::raft::log::format::Position;
use crate::raft::log::{Log, Rot};
use crate::raft::types::log_id;
use openraft::storage::RaftLogStorage;
use std::fs;
use std::path::Path;

/// Looks at everything once.
fn through(log: &Log) -> Result<(), Rot> {
    let mut at = Position::default();
    loop {
        at = now(log.scrub(at)).unwrap()?;
        if at == Position::default() {
            return Ok(());
        }
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 4;
    fs::write(path, bytes).unwrap();
}

#[test]
fn rot_anywhere_in_a_closed_segment_is_found_by_file_and_byte() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path()).unwrap();
    through(&log).unwrap();
    (0..30).for_each(|index| drop(append(&mut log, [entry(1, index, 1500)])));
    through(&log).unwrap();
    let mut closed = segments(dir.path());
    // One is written to, one made ahead.
    closed.truncate(closed.len() - 2);
    assert!(closed.len() > 2, "{closed:?}");
    for (number, name) in (1..).zip(&closed) {
        let path = dir.path().join("wal").join(name);
        let used = fs::read(&path).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
        for at in (0..=used).step_by(251) {
            flip(&path, at);
            let rot = through(&log).expect_err("seen");
            assert!(
                rot.segment == number && rot.detail.contains(&format!("{name} is damaged at byte")),
                "{at}: {rot:?}"
            );
            flip(&path, at);
        }
        let whole = fs::read(&path).unwrap();
        let mut zeros = whole.clone();
        zeros[5000..].fill(0);
        fs::write(&path, zeros).unwrap();
        assert_eq!(through(&log).expect_err("zeros").segment, number);
        fs::write(&path, whole).unwrap();
    }
    through(&log).unwrap();
}

#[test]
fn a_damaged_segment_goes_once_its_entries_are_purged_and_the_log_opens_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path()).unwrap();
    (0..30).for_each(|index| drop(append(&mut log, [entry(1, index, 1500)])));
    let second = dir.path().join("wal").join(&segments(dir.path())[1]);
    flip(&second, 6000);
    let rot = through(&log).expect_err("seen");
    let upto = now(log.give_up(rot.segment)).unwrap().expect("it is there");
    assert!((10..25).contains(&upto), "{upto}");
    now(log.purge(log_id(1, upto))).unwrap();
    assert_eq!(now(log.give_up(rot.segment)).unwrap(), None);
    assert!(!second.exists());
    through(&log).unwrap();
    // The first group of the one that is written to says where the one before ended: it is closed, then it can go.
    let last = segments(dir.path()).len() - 2;
    let path = dir.path().join("wal").join(&segments(dir.path())[last]);
    flip(&path, 4100);
    let rot = through(&log).expect_err("seen");
    assert!(rot.detail.contains("at byte 4096"), "{rot:?}");
    let upto = now(log.give_up(rot.segment)).unwrap().expect("it is there");
    drop(append(&mut log, [entry(1, 30, 10)]));
    now(log.purge(log_id(1, upto))).unwrap();
    assert_eq!((upto, now(log.give_up(rot.segment)).unwrap()), (29, None));
    now(log.close());
    drop(log);
    let (log, report) = open(dir.path()).unwrap();
    assert_eq!((report.first_index, report.last_index), (Some(30), Some(30)));
    through(&log).unwrap();
}
