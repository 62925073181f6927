//! Record files: the same ones whoever writes them, written once, and never believed when they are damaged.
#![expect(clippy::disallowed_methods, reason = "the tests look at and damage files behind the node's back")]

use super::super::segments::SEGMENT_ROWS;
use super::super::snapshot::named;
use super::*;
use std::collections::BTreeSet;

/// A space of so many rows, every tenth of them forgotten.
fn filled(rows: u64) -> (Log, Arc<Space>) {
    let mut log = Log::new();
    let session = log.open();
    let space = log.data.space("notes").expect("there").clone();
    for first in (1..=rows).step_by(10) {
        let payloads: Vec<u8> = (first..first + 10).map(|row| row as u8).collect();
        log.send(session, session, first, &payloads);
        let rows = vec![(first - 1) as u32];
        log.apply(command::Kind::Forget(ForgetRows { space: space.id, rows, ..ForgetRows::default() }));
    }
    (log, space)
}

pub(super) fn files(manifest: &Bytes) -> BTreeSet<super::super::records::Hash> {
    named(manifest).expect("whole").0
}

#[test]
fn whole_pieces_are_written_once_and_are_the_same_on_every_node() {
    let (mut log, space) = filled(3000);
    let first = log.write(&log.freeze());
    assert_eq!(files(&first.manifest).len(), 3000 / SEGMENT_ROWS as usize);
    assert!(first.files.written > 2000 * 10, "{}", first.files.written);
    let session = log.open();
    log.send(session, session, 1, &[1]);
    let second = log.write(&log.freeze());
    assert_eq!((second.files.written, files(&second.manifest)), (0, files(&first.manifest)));

    // A node that was restored half-way cuts at the same rows as one that saw the whole log.
    let (mut twin, _) = filled(1500);
    twin.data = twin.decode(&twin.encode()).expect("whole");
    let session_of_twin = *twin.data.sessions.open.keys().next().expect("open");
    let twin_space = twin.data.space("notes").expect("there").id;
    for first in (1501..=3000u64).step_by(10) {
        let payloads: Vec<u8> = (first..first + 10).map(|row| row as u8).collect();
        twin.send(session_of_twin, session_of_twin, first, &payloads);
        let rows = vec![(first - 1) as u32];
        twin.apply(command::Kind::Forget(ForgetRows { space: twin_space, rows, ..ForgetRows::default() }));
    }
    assert_eq!(files(&twin.encode()), files(&first.manifest));

    let data = log.decode(&second.manifest).expect("whole");
    let restored = data.space("notes").expect("there");
    assert_eq!(restored.segments.cuts(), space.segments.cuts());
    assert_eq!((restored.rows.len(), data.digest), (3001, log.data.digest));
}

#[test]
fn erasing_writes_the_pieces_anew_that_had_the_rows_and_no_file_keeps_a_word() {
    let (mut log, space) = filled(3000);
    let before = log.write(&log.freeze());
    // Rows forgotten in the first piece alone.
    let outcome = log.apply(command::Kind::RaiseFloor(RaiseFloor { space: space.id, log_index: 100 }));
    assert!(matches!(outcome.kind, Some(outcome::Kind::Floor(floor)) if floor.erased > 0));
    let after = log.write(&log.freeze());
    let (old, new) = (files(&before.manifest), files(&after.manifest));
    assert_eq!((old.intersection(&new).count(), new.len()), (old.len() - 1, old.len()));
    let erased = space.past.erased();
    drop(before);
    log.records.sweep().expect("swept");
    let living: usize = new.iter().map(|file| count(&log.records.read(file).expect("held"), b"payload ")).sum();
    assert_eq!(living + count(&after.manifest, b"payload "), 3000 - erased as usize);
    let names = std::fs::read_dir(log.records.dir()).expect("there").count();
    assert_eq!(names, new.len(), "what nobody names is gone");
    assert_eq!(log.decode(&after.manifest).expect("whole").digest, log.data.digest);
}

#[test]
fn a_damaged_file_is_named_at_its_byte_whatever_byte_it_is() {
    let (log, _) = filled(1030);
    let image = log.write(&log.freeze());
    let [hash] = files(&image.manifest).into_iter().collect::<Vec<_>>()[..] else { panic!("one piece") };
    let path = log.records.path(&hash);
    let whole = std::fs::read(&path).expect("there");
    for at in (0..whole.len()).step_by(509).chain([whole.len() - 1]) {
        let mut bad = whole.clone();
        bad[at] ^= 4;
        std::fs::write(&path, &bad).expect("written");
        let damaged = log.decode(&image.manifest).map(drop).expect_err("damaged");
        assert_eq!(damaged.lost, Some(hash), "byte {at}: {damaged}");
        assert!(damaged.detail.contains("is damaged at byte") && damaged.offset <= at + 12, "byte {at}: {damaged}");
    }
    std::fs::remove_file(&path).expect("there");
    let gone = log.decode(&image.manifest).map(drop).expect_err("gone");
    assert_eq!(gone.lost, Some(hash), "{gone}");
    // From memory it is written as it was.
    assert_eq!(files(&log.encode()), [hash].into());
    assert_eq!(std::fs::read(&path).expect("there"), whole);
}
