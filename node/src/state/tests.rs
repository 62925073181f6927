//! The state machine against a naive model, and its snapshots.

use super::apply::Data;
use super::records::Records;
use super::snapshot::{Damaged, Frozen, Image, decode};
use super::spaces::Space;
use crate::env::OsDisk;
use crate::raft::types::log_id;
use bytes::Bytes;
use engram_proto::wire::log::{
    Chunk, Command, DropSpace, Entry, ExpireSession, ForgetRows, OpenSession, Outcome, RaiseFloor, Record,
    ResumeSession, Verdict, command, outcome,
};
use engram_proto::wire::v1::{ErrorKind, SpaceConfig};
use proptest::prelude::*;
use prost::Message;
use std::sync::Arc;
use tempfile::TempDir;

mod files;
mod generation;
mod graph;

struct Log {
    data: Data,
    index: u64,
    records: Records,
    _dir: TempDir,
}

impl Log {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary");
        let records = Records::open(Arc::new(OsDisk), dir.path().into()).expect("opens");
        let mut log = Self { data: Data::default(), index: 0, records, _dir: dir };
        log.apply(command::Kind::CreateSpace(space("notes")));
        log
    }

    fn apply(&mut self, kind: command::Kind) -> Outcome {
        let encoded = self.encoded(kind);
        if let Some(space) = self.data.reindex_at(&encoded) {
            let mut next = space.begin_next();
            next.step(&space.index);
            self.data.next = Some(next);
        }
        self.data.apply_command(log_id(1, self.index), &encoded).expect("decodes")
    }

    fn encoded(&mut self, kind: command::Kind) -> Bytes {
        self.index += 1;
        Command { stamp_ms: self.index * 10, kind: Some(kind) }.encode_to_vec().into()
    }

    fn freeze(&self) -> Frozen {
        Frozen::of(&self.data).0
    }

    fn write(&self, frozen: &Frozen) -> Image {
        frozen.encode(self.records.hold()).expect("written")
    }

    /// A snapshot's manifest; its files stay.
    fn encode(&self) -> Bytes {
        self.write(&self.freeze()).manifest
    }

    fn decode(&self, manifest: &Bytes) -> Result<Data, Damaged> {
        Ok(decode(manifest, &self.records)?.0)
    }

    fn open(&mut self) -> u64 {
        self.apply(command::Kind::Open(OpenSession { space: "notes".into() }));
        self.index
    }

    fn send(&mut self, session: u64, connection: u64, first_sequence: u64, payloads: &[u8]) -> Verdict {
        let records = payloads.iter().map(|payload| record(*payload)).collect();
        let chunks = vec![Chunk { session, connection, first_sequence, records, ..Chunk::default() }];
        let outcome = self.apply(command::Kind::Entry(Entry { chunks }));
        let Some(outcome::Kind::Entry(mut entry)) = outcome.kind else { panic!("{outcome:?}") };
        entry.verdicts.remove(0)
    }

    fn texts(&self) -> Vec<(u64, u64, String)> {
        let space = self.data.space("notes").expect("there");
        let row = |row| space.rows.get(row).expect("published");
        (0..space.rows.len())
            .map(row)
            .map(|row| (row.session, row.sequence, row.with(|record| record.text.clone()).unwrap_or_default()))
            .collect()
    }
}

fn space(name: &str) -> SpaceConfig {
    SpaceConfig { name: name.into(), dim: 2, ..SpaceConfig::default() }
}

fn record(payload: u8) -> Record {
    let embedding = [half::f16::ONE, half::f16::from_f32(f32::from(payload))];
    let embedding = embedding.iter().flat_map(|half| half.to_le_bytes()).collect();
    Record { text: format!("payload {payload}"), embedding, ..Record::default() }
}

fn kind_of(verdict: &Verdict) -> Option<ErrorKind> {
    verdict.refused.as_ref()?.error.as_ref().map(|error| error.kind())
}

#[test]
fn a_repeat_is_acked_with_its_first_log_index() {
    let mut log = Log::new();
    let session = log.open();
    log.send(session, session, 1, &[1, 2, 3]);
    let first = log.index;
    let verdict = log.send(session, session, 2, &[2, 3, 4]);
    assert_eq!(verdict.runs.len(), 2);
    assert_eq!((verdict.runs[0].log_index, verdict.runs[0].repeat), (first, true));
    assert_eq!((verdict.runs[0].first_sequence, verdict.runs[0].last_sequence), (2, 3));
    assert_eq!((verdict.runs[1].log_index, verdict.runs[1].repeat), (log.index, false));
    assert_eq!(log.texts().len(), 4);
}

#[test]
fn another_payload_under_a_used_number_is_invalid_and_changes_nothing() {
    let mut log = Log::new();
    let session = log.open();
    log.send(session, session, 1, &[1, 2]);
    let before = log.texts();
    let verdict = log.send(session, session, 2, &[9, 3]);
    assert_eq!(kind_of(&verdict), Some(ErrorKind::Invalid));
    assert_eq!(verdict.refused.expect("refused").expected, 3);
    assert_eq!(log.texts(), before);
}

#[test]
fn a_gap_is_refused_with_the_expected_number() {
    let mut log = Log::new();
    let session = log.open();
    let verdict = log.send(session, session, 2, &[2]);
    assert_eq!(verdict.refused.expect("gap").expected, 1);
    assert!(log.texts().is_empty());
}

#[test]
fn rows_of_a_superseded_connection_are_refused() {
    let mut log = Log::new();
    let session = log.open();
    log.apply(command::Kind::Resume(ResumeSession { session }));
    let newer = log.index;
    assert_eq!(kind_of(&log.send(session, session, 1, &[1])), Some(ErrorKind::Superseded));
    assert!(log.send(session, newer, 1, &[1]).refused.is_none());
}

#[test]
fn an_expired_session_is_lost_with_its_last_sequence() {
    let mut log = Log::new();
    let session = log.open();
    log.send(session, session, 1, &[1, 2]);
    let last_activity_ms = log.data.sessions.open[&session].last_activity_ms;
    log.apply(command::Kind::Expire(ExpireSession { session, last_activity_ms }));
    let outcome = log.apply(command::Kind::Resume(ResumeSession { session }));
    let Some(outcome::Kind::Refused(error)) = outcome.kind else { panic!("{outcome:?}") };
    assert_eq!((error.kind(), error.last_sequence), (ErrorKind::SessionLost, Some(2)));
}

#[test]
fn dropping_a_space_ends_its_sessions_and_frees_its_name() {
    let mut log = Log::new();
    let session = log.open();
    log.apply(command::Kind::DropSpace(DropSpace { name: "notes".into() }));
    assert_eq!(kind_of(&log.send(session, session, 1, &[1])), Some(ErrorKind::SessionLost));
    let outcome = log.apply(command::Kind::CreateSpace(space("notes")));
    assert!(matches!(outcome.kind, Some(outcome::Kind::Space(_))), "{outcome:?}");
}

#[test]
fn a_bad_record_in_the_log_is_refused_not_trusted() {
    let mut log = Log::new();
    let session = log.open();
    let records = vec![Record { embedding: vec![0; 3].into(), ..record(1) }];
    let chunks = vec![Chunk { session, connection: session, first_sequence: 1, records, ..Chunk::default() }];
    let outcome = log.apply(command::Kind::Entry(Entry { chunks }));
    let Some(outcome::Kind::Entry(entry)) = outcome.kind else { panic!("{outcome:?}") };
    assert_eq!(kind_of(&entry.verdicts[0]), Some(ErrorKind::Invalid));
}

#[test]
fn a_damaged_snapshot_is_refused_at_every_byte() {
    let mut log = Log::new();
    let session = log.open();
    log.send(session, session, 1, &[1, 2, 3]);
    let good = log.encode().to_vec();
    assert!(log.decode(&good.clone().into()).is_ok());
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(log.decode(&bad.into()).is_err(), "byte {at} of {}", good.len());
        assert!(log.decode(&good[..at].to_vec().into()).is_err(), "cut at {at}");
    }
}

proptest! {
    /// Sessions send, repeat, skip and resume in any order; a model that keeps plain lists must agree, before
    /// and after a snapshot at any point.
    #[test]
    fn sessions_take_each_number_once_in_order(
        steps in proptest::collection::vec((0usize..3, 0u64..8, 1usize..5, any::<bool>()), 1..60),
        cut in 0usize..60,
    ) {
        let mut log = Log::new();
        let mut sessions: Vec<(u64, u64, Vec<u8>)> = (0..3).map(|_| { let id = log.open(); (id, id, Vec::new()) }).collect();
        for (at, (who, back, rows, resume)) in steps.into_iter().enumerate() {
            if at == cut {
                let bytes = log.encode();
                let restored = log.decode(&bytes).expect("whole");
                prop_assert_eq!(restored.digest, log.data.digest);
                prop_assert_eq!(&restored.sessions, &log.data.sessions);
                log.data = restored;
                prop_assert_eq!(log.encode(), bytes);
            }
            let (session, connection, taken) = &mut sessions[who];
            if resume {
                log.apply(command::Kind::Resume(ResumeSession { session: *session }));
                *connection = log.index;
            }
            // From a few numbers back to one past a gap.
            let first = (taken.len() as u64 + 3).saturating_sub(back).max(1);
            let payloads: Vec<u8> = (0..rows as u64).map(|row| (first + row) as u8).collect();
            let verdict = log.send(*session, *connection, first, &payloads);
            let expected = taken.len() as u64 + 1;
            if first > expected {
                prop_assert_eq!(verdict.refused.expect("gap").expected, expected);
            } else {
                prop_assert!(verdict.refused.is_none());
                let last = first + rows as u64 - 1;
                (expected..=last).for_each(|sequence| taken.push(sequence as u8));
            }
        }
        for (session, _, taken) in &sessions {
            let rows = log.texts().into_iter().filter(|row| row.0 == *session);
            let rows: Vec<_> = rows.map(|(_, sequence, text)| (sequence, text)).collect();
            let model: Vec<_> = taken.iter().enumerate().map(|(at, payload)| (at as u64 + 1, format!("payload {payload}"))).collect();
            prop_assert_eq!(rows, model);
        }
    }
}

#[test]
fn forgets_are_counted_once_dated_and_part_of_the_snapshot() {
    let mut log = Log::new();
    let session = log.open();
    let id = log.data.space("notes").expect("there").id;
    let forget = |log: &mut Log, space: u64, rows: &[u32]| {
        let outcome =
            log.apply(command::Kind::Forget(ForgetRows { space, rows: rows.to_vec(), ..ForgetRows::default() }));
        match outcome.kind {
            Some(outcome::Kind::Forget(outcome)) => Ok(outcome.forgotten),
            Some(outcome::Kind::Refused(error)) => Err(error.kind()),
            other => panic!("{other:?}"),
        }
    };
    for first in (1..=200).step_by(2) {
        log.send(session, session, first, &[first as u8, 7]);
        if first % 20 == 1 {
            let row = (first / 2) as u32;
            assert_eq!(forget(&mut log, id, &[row, row, row + 1, 5000]), Ok(2));
        }
    }
    assert_eq!(forget(&mut log, id, &[0]), Ok(0));
    assert_eq!(forget(&mut log, id + 1, &[0]), Err(ErrorKind::NotFound));
    let space = log.data.space("notes").expect("there").clone();
    let seen: Vec<_> = (0..=log.index).map(|index| space.as_of(index)).collect();
    assert_eq!((seen[0].rows, seen[0].forgets), (0, 0));
    assert_eq!((seen[log.index as usize].rows, seen[log.index as usize].forgets), (200, 20));
    assert!(seen.is_sorted_by_key(|at| (at.rows, at.forgets)));
    while let Some(batch) = space.index.next_batch() {
        space.index.build(batch, &engram_index::Inline);
    }

    let bytes = log.encode();
    log.data = log.decode(&bytes).expect("intact");
    let twin = log.data.space("notes").expect("there").clone();
    while let Some(batch) = twin.index.next_batch() {
        twin.index.build(batch, &engram_index::Inline);
    }
    assert_eq!(twin.index.epoch(), space.index.epoch(), "the graph of the log, forgets in their places");
    assert!(twin.index.epoch().forgets > 0);
    assert_eq!((0..=log.index).map(|index| twin.as_of(index)).collect::<Vec<_>>(), seen);
    assert_eq!(log.encode(), bytes);
}

#[test]
fn a_name_replaces_and_is_forgotten_and_a_snapshot_keeps_both() {
    let mut log = Log::new();
    let session = log.open();
    let id = log.data.space("notes").expect("there").id;
    let send = |log: &mut Log, first_sequence: u64, names: &[&str]| {
        let named =
            |(at, name): (usize, &&str)| Record { id: (*name).into(), ..record(first_sequence as u8 + at as u8) };
        let records = names.iter().enumerate().map(named).collect();
        let chunks = vec![Chunk { session, connection: session, first_sequence, records, ..Chunk::default() }];
        log.apply(command::Kind::Entry(Entry { chunks }));
        log.index
    };
    let forget = |log: &mut Log, named: ForgetRows| match log.apply(command::Kind::Forget(named)).kind {
        Some(outcome::Kind::Forget(outcome)) => outcome.forgotten,
        other => panic!("{other:?}"),
    };
    let first = send(&mut log, 1, &["a", "b", "", "a"]);
    let second = send(&mut log, 5, &["b", "", "c"]);
    let gone = forget(&mut log, ForgetRows { space: id, ids: vec!["c".into(), "d".into()], ..ForgetRows::default() });
    let third = log.index;
    let fourth = send(&mut log, 8, &["c"]);
    let range = ForgetRows { space: id, from: 2, until: 4, ..ForgetRows::default() };
    assert_eq!((gone, forget(&mut log, range)), (1, 2), "rows 2 and 3");
    let check = |log: &Log| {
        let space = log.data.space("notes").expect("there").clone();
        let named = |id: &str, index: u64| space.named(id, space.as_of(index));
        assert_eq!((named("a", first), named("b", first), named("c", first)), (Some(3), Some(1), None));
        assert_eq!((named("a", second), named("b", second), named("c", second)), (Some(3), Some(4), Some(6)));
        assert_eq!((named("c", third), named("c", fourth)), (None, Some(7)));
        assert_eq!((named("a", log.index), named("b", log.index)), (None, Some(4)));
        let living = |index: u64| {
            let at = space.as_of(index);
            (0..at.rows).filter(|&row| space.index.lives(row, at)).collect::<Vec<_>>()
        };
        assert_eq!(living(first), [1, 2, 3], "the first a is replaced in the same entry");
        assert_eq!(living(log.index), [4, 5, 7]);
        assert_eq!((space.until(first * 10 - 1), space.until(first * 10), space.until(u64::MAX)), (0, 4, 8));
    };
    check(&log);
    let bytes = log.encode();
    log.data = log.decode(&bytes).expect("intact");
    check(&log);
    assert_eq!(log.encode(), bytes);
}

#[test]
fn what_is_erased_leaves_its_place_and_the_same_graph() {
    let mut log = Log::new();
    let session = log.open();
    let space = log.data.space("notes").expect("there").clone();
    for first in (1..=400).step_by(4) {
        let named = |at: u64| Record { id: format!("name {}", (first + at) % 100), ..record((first + at) as u8) };
        let records = (0..4).map(named).collect();
        let chunks = vec![Chunk { session, connection: session, first_sequence: first, records, ..Chunk::default() }];
        log.apply(command::Kind::Entry(Entry { chunks }));
    }
    let before = log.freeze();
    let whole = log.write(&before).manifest;
    let raise = |log: &mut Log, log_index: u64| {
        let outcome = log.apply(command::Kind::RaiseFloor(RaiseFloor { space: space.id, log_index }));
        match outcome.kind {
            Some(outcome::Kind::Floor(outcome)) => (outcome.floor, outcome.erased),
            other => panic!("{other:?}"),
        }
    };
    // Rows 0 to 99 were replaced by 100 to 199, at log indices 28 to 52.
    assert_eq!(raise(&mut log, 52), (52, 100));
    assert_eq!(raise(&mut log, 40), (52, 0), "a floor never falls");
    let text = |row: u32| space.rows.get(row).expect("published").with(|record| record.text.clone());
    assert!(text(0).is_some(), "a snapshot that is being written holds it");
    assert_eq!(log.write(&before).manifest, whole);
    drop(before);
    assert_eq!((text(0), text(99), text(100).is_some()), (None, None, true));
    assert_eq!(raise(&mut log, u64::MAX), (log.index, 200));
    let verdict = log.send(session, session, 1, &[9]);
    assert_eq!(kind_of(&verdict), Some(ErrorKind::Invalid), "an erased row still tells a repeat from another payload");

    let bytes = log.encode();
    assert_eq!(
        (count(&whole, b"payload "), count(&bytes, b"payload ")),
        (400, 100),
        "erased text is in no new snapshot"
    );
    let restored = log.decode(&bytes).expect("intact");
    let twin = restored.space("notes").expect("there").clone();
    for built in [&space, &twin] {
        while let Some(batch) = built.index.next_batch() {
            built.index.build(batch, &engram_index::Inline);
        }
    }
    assert_eq!(twin.index.epoch(), space.index.epoch(), "the graph of the log, erased rows in their places");
    assert_eq!((twin.earliest(), twin.past.erased()), (space.earliest(), 300));
    let living = |space: &Space| {
        let name = |at: u32| space.named(&format!("name {at}"), space.index.now());
        (0..100).map(name).collect::<Vec<_>>()
    };
    assert_eq!(living(&twin), living(&space));
    let again = log.write(&Frozen::of(&restored).0).manifest;
    assert!(again == log.encode(), "equal states, equal epochs");
}

fn count(bytes: &[u8], text: &[u8]) -> usize {
    bytes.windows(text.len()).filter(|window| *window == text).count()
}
