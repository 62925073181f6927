//! The graph in a snapshot.

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
    let restored = |frozen: &Frozen| {
        let (data, _) = decode(frozen.encode().into()).expect("whole");
        data.space("notes").expect("there").clone()
    };
    grow(&mut log, 300);
    let space = log.data.space("notes").expect("there").clone();
    build(&space, 3);
    let (frozen, _) = Frozen::of(&log.data);
    let twin = restored(&frozen);
    assert!(twin.index.epoch().number == 3 && twin.index.epoch().forgets > 0);
    assert_eq!((twin.index.epoch(), twin.index.now()), (space.index.epoch(), space.index.now()));
    twin.index.check().expect("a graph like any other");
    build(&space, usize::MAX);
    build(&twin, usize::MAX);
    assert_eq!(twin.index.epoch(), space.index.epoch(), "it goes on as the one it was taken from");
    assert_eq!(restored(&frozen).index.epoch(), space.index.epoch(), "built since it was frozen, of rows that it has");

    grow(&mut log, 900);
    build(&space, usize::MAX);
    let late = restored(&frozen);
    assert_eq!((late.rows.len(), late.index.epoch().rows), (300, 0), "a graph of later rows is left out");
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
        space.index.build_all(&engram_index::Inline, &mut |_| ControlFlow::Continue(()));
    };
    build(&space);
    let sound = space.index.epoch();
    assert!((0..sound.rows).any(|row| space.index.flip_bit(row)));
    space.index.check().expect_err("damaged");
    let (data, _) = decode(Frozen::of(&log.data).0.encode().into()).expect("every checksum is right");
    let read = data.space("notes").expect("there");
    assert_eq!((read.rows.len(), read.index.epoch().rows), (200, 0));
    build(read);
    assert_eq!((read.index.epoch(), read.index.check()), (sound, Ok(())));
}
