//! The graph in a snapshot.

use super::super::segments::Checkpoint;
use super::*;
use std::ops::ControlFlow;

#[test]
fn a_snapshot_has_the_graph_as_far_as_it_was_built_and_no_further() {
    let mut log = Log::new();
    let session = log.open();
    let id = log.data.space("notes").expect("there").id;
    let grow = |log: &mut Log, to: u64| {
        let from = log.data.space("notes").expect("there").rows.len();
        for sequence in u64::from(from) + 1..=to {
            log.send(session, session, sequence, &[sequence as u8]);
            if sequence % 9 == 0 {
                let rows = vec![(sequence / 2) as u32];
                log.apply(command::Kind::Forget(ForgetRows { space: id, rows, ..ForgetRows::default() }));
            }
        }
    };
    let build = |space: &Space, batches: usize| {
        for _ in 0..batches {
            let Some(batch) = space.index.next_batch() else { return };
            space.index.build(batch, &engram_index::Inline);
        }
    };
    let restored = |log: &Log, frozen: &Frozen| {
        let data = log.decode(&log.write(frozen).manifest).expect("whole");
        data.space("notes").expect("there").clone()
    };
    grow(&mut log, 300);
    let space = log.data.space("notes").expect("there").clone();
    build(&space, 3);
    let (frozen, _) = Frozen::of(&log.data);
    let twin = restored(&log, &frozen);
    assert!(twin.index.epoch().number == 3 && twin.index.epoch().forgets > 0);
    assert_eq!((twin.index.epoch(), twin.index.now()), (space.index.epoch(), space.index.now()));
    twin.index.check().expect("a graph like any other");
    build(&space, usize::MAX);
    build(&twin, usize::MAX);
    assert_eq!(twin.index.epoch(), space.index.epoch(), "it goes on as the one it was taken from");
    assert_eq!(
        restored(&log, &frozen).index.epoch(),
        space.index.epoch(),
        "built since it was frozen, of rows that it has"
    );

    grow(&mut log, 900);
    build(&space, usize::MAX);
    let late = restored(&log, &frozen);
    assert_eq!((late.rows.len(), late.index.epoch().rows), (300, 256), "a graph of later rows is left out");
    build(&late, usize::MAX);
    assert_eq!(late.index.epoch(), twin.index.epoch());
}

#[test]
fn a_graph_that_was_damaged_before_it_was_written_is_built_anew_from_the_rows() {
    let mut log = Log::new();
    let session = log.open();
    (1..=200).for_each(|sequence| drop(log.send(session, session, sequence, &[sequence as u8])));
    let space = log.data.space("notes").expect("there").clone();
    let build = |space: &Space| {
        space.index.index().build_all(&engram_index::Inline, &mut |_| ControlFlow::Continue(()));
    };
    build(&space);
    let sound = space.index.epoch();
    assert!((0..sound.rows).any(|row| space.index.flip_bit(row)));
    space.index.check().expect_err("damaged");
    let data = log.decode(&log.encode()).expect("every checksum is right");
    let read = data.space("notes").expect("there");
    assert_eq!((read.rows.len(), read.index.epoch().rows), (200, 0));
    build(read);
    assert_eq!((read.index.epoch(), read.index.check()), (sound, Ok(())));
}

#[test]
fn a_large_graph_is_in_files_that_serve_until_it_has_grown_by_a_quarter() {
    let mut log = Log::new();
    let session = log.open();
    let space = log.data.space("notes").expect("there").clone();
    let grow = |log: &mut Log, space: &Space, to: u64| {
        for sequence in u64::from(space.rows.len()) + 1..=to {
            log.send(session, session, sequence, &[sequence as u8]);
        }
        space.index.index().build_all(&engram_index::Inline, &mut |_| ControlFlow::Continue(()));
    };
    grow(&mut log, &space, 800);
    let first = log.write(&log.freeze());
    let checkpoint = space.segments.checkpoint().expect("in files");
    assert_eq!(checkpoint.rows, space.index.epoch().rows);
    grow(&mut log, &space, 900);
    let second = log.write(&log.freeze());
    assert_eq!((second.files.written, space.segments.checkpoint()), (0, Some(checkpoint.clone())));

    // What is restored goes on with the same files, builds the rest to the same graph, and writes that once.
    let data = log.decode(&second.manifest).expect("whole");
    let twin = data.space("notes").expect("there").clone();
    let read = Checkpoint { restored: true, ..checkpoint.clone() };
    assert_eq!((twin.index.epoch().rows, twin.segments.checkpoint()), (checkpoint.rows, Some(read)));
    assert_eq!(log.write(&Frozen::of(&data).0).manifest, second.manifest);
    twin.index.index().build_all(&engram_index::Inline, &mut |_| ControlFlow::Continue(()));
    assert_eq!(twin.index.epoch(), space.index.epoch());
    let again = log.write(&Frozen::of(&data).0);
    let rest = |image: &Image| {
        let data = log.decode(&image.manifest).expect("whole");
        let space = data.space("notes").expect("there");
        (space.index.epoch(), space.index.next_batch().is_some())
    };
    assert_eq!((rest(&second).1, rest(&again)), (true, (twin.index.epoch(), false)));
    assert!(again.files.written > 0);
    assert_eq!(log.write(&Frozen::of(&data).0).files.written, 0);

    grow(&mut log, &space, 1020);
    let third = log.write(&log.freeze());
    assert!(third.files.written > 0 && space.segments.checkpoint() != Some(checkpoint));
    assert_eq!(
        log.decode(&third.manifest).expect("whole").space("notes").expect("there").index.epoch(),
        space.index.epoch()
    );
    drop((first, second));
    log.records.sweep().expect("swept");
    log.decode(&third.manifest).expect("its files are held");
}
