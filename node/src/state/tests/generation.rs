//! Generations of a space's index: what they answer, and how they come through snapshots.

use super::super::generation::Beginning;
use super::files::files;
use super::*;
use engram_index::{Epoch, Hit, Scan, Search, Snapshot};
use engram_proto::wire::log::{OpenRound, Reindex, SnapshotGeneration};

/// A log, and beside it one that is told the same but for the reindexes.
struct Twins {
    log: Log,
    plain: Log,
    session: u64,
    rows: u64,
    generation: u32,
}

impl Twins {
    fn new() -> Self {
        let (mut log, mut plain) = (Log::new(), Log::new());
        let session = log.open();
        assert_eq!(plain.open(), session);
        Self { log, plain, session, rows: 0, generation: 0 }
    }

    fn apply(&mut self, kind: command::Kind) -> Outcome {
        let outcome = self.log.apply(kind.clone());
        assert_eq!(self.plain.apply(kind), outcome);
        outcome
    }

    fn send(&mut self, rows: u64) {
        let id = |at: u64| if at.is_multiple_of(5) { format!("name {}", at % 20) } else { String::new() };
        let named = |at: u64| Record { id: id(at), ..record((at * 37) as u8) };
        let records = (self.rows..self.rows + rows).map(named).collect();
        let (session, first_sequence) = (self.session, self.rows + 1);
        let chunk = Chunk { session, connection: session, first_sequence, records, ..Chunk::default() };
        self.apply(command::Kind::Entry(Entry { chunks: vec![chunk] }));
        self.rows += rows;
    }

    fn forget(&mut self, from: u64, until: u64) {
        let (from, until, space) = (from as u32, until as u32, self.space().id);
        self.apply(command::Kind::Forget(ForgetRows { space, from, until, ..ForgetRows::default() }));
    }

    fn raise(&mut self, log_index: u64) {
        let space = self.space().id;
        self.apply(command::Kind::RaiseFloor(RaiseFloor { space, log_index }));
    }

    /// How many rows are dropped.
    fn reindex(&mut self) -> u32 {
        let (space, generation) = (self.space().id, self.generation + 1);
        let outcome = self.log.apply(command::Kind::Reindex(Reindex { space, generation }));
        self.plain.apply(command::Kind::OpenRound(OpenRound {}));
        let Some(outcome::Kind::Reindex(outcome)) = outcome.kind else { panic!("{outcome:?}") };
        self.generation = outcome.generation;
        outcome.dropped
    }

    fn restart(&mut self) {
        self.log.data = self.log.decode(&self.log.encode()).expect("whole");
    }

    fn space(&self) -> Arc<Space> {
        self.log.data.space("notes").expect("there").clone()
    }

    /// Both answer alike, at every log index that can be asked for.
    fn check(&self) {
        let (space, plain) = (self.space(), self.plain.data.space("notes").expect("there").clone());
        let now = space.index.now();
        assert_eq!((now, space.rows.len()), (plain.index.now(), plain.rows.len()));
        assert_eq!((space.earliest(), space.past.erased()), (plain.earliest(), plain.past.erased()));
        for log_index in (space.earliest()..=self.log.index).step_by(3).chain([self.log.index]) {
            let at = space.as_of(log_index);
            assert_eq!(at, plain.as_of(log_index), "at {log_index}");
            for row in 0..space.rows.len() {
                assert_eq!(space.index.lives(row, at), plain.index.lives(row, at), "row {row} at {log_index}");
            }
            for cue in [3u64, 77] {
                assert_eq!(scanned(&space, cue, at), scanned(&plain, cue, at), "cue {cue} at {log_index}");
            }
            for name in (0..20).map(|name| format!("name {name}")) {
                assert_eq!(space.named(&name, at), plain.named(&name, at), "{name} at {log_index}");
            }
        }
        let forgets = |space: &Space| {
            (space.past.erased()..now.forgets)
                .map(|at| space.index.forget_at(at).map(|forget| forget.0))
                .collect::<Vec<_>>()
        };
        assert_eq!(forgets(&space), forgets(&plain));
        assert!(
            (0..space.rows.len()).all(|row| space.index.dropped(row) || space.index.code(row) == plain.index.code(row))
        );
    }
}

fn scanned(space: &Space, cue: u64, at: Snapshot) -> Vec<Hit> {
    let cue = space.index.cue(&[1.0, cue as f32]).expect("a good cue");
    space.index.scan(&cue, Scan { k: 20, candidates: 100, at }, &|row| row % 7 != 3, space)
}

fn built(space: &Space) -> Epoch {
    while let Some(batch) = space.index.next_batch() {
        space.index.build(batch, &engram_index::Inline);
    }
    space.index.check().expect("a graph like any other");
    space.index.epoch()
}

#[derive(Clone, Debug)]
enum Step {
    Send(u64),
    /// Of what is there, in hundredths.
    Forget(u64, u64),
    Raise(u64),
    Reindex,
    Restart,
    Build,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..40u64).prop_map(Step::Send),
        4 => (0..100u64, 1..40u64).prop_map(|(from, rows)| Step::Forget(from, rows)),
        2 => (0..40u64).prop_map(Step::Raise),
        3 => Just(Step::Reindex),
        1 => Just(Step::Restart),
        1 => Just(Step::Build),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Reindexes at random points change no answer of a scan, and nothing that a snapshot brings elsewhere.
    #[test]
    fn reindexes_change_no_answer(steps in prop::collection::vec(step(), 5..40)) {
        let mut twins = Twins::new();
        twins.send(30);
        for step in steps {
            match step {
                Step::Send(rows) => twins.send(rows),
                Step::Forget(from, rows) => twins.forget(twins.rows * from / 100, twins.rows * from / 100 + rows),
                Step::Raise(back) => twins.raise(twins.log.index.saturating_sub(back)),
                Step::Reindex => {
                    let dead = twins.space().dead();
                    prop_assert_eq!(twins.reindex(), dead);
                }
                Step::Restart => twins.restart(),
                Step::Build => drop(built(&twins.space())),
            }
        }
        twins.check();
        let epoch = built(&twins.space());
        let unbuilt = twins.log.decode(&twins.log.encode()).expect("whole");
        twins.restart();
        twins.check();
        prop_assert_eq!(built(&twins.space()), epoch);
        prop_assert_eq!(built(unbuilt.space("notes").expect("there")), epoch);
    }
}

/// A space of 1,200 rows of which all but the last 200 and every hundredth are erased.
fn mostly_erased() -> Twins {
    let mut twins = Twins::new();
    (0..12).for_each(|_| twins.send(100));
    (0..10).for_each(|hundred| twins.forget(hundred * 100, hundred * 100 + 99));
    twins.raise(u64::MAX);
    twins
}

#[test]
fn a_reindex_is_done_once_and_gives_the_memory_back() {
    let mut twins = mostly_erased();
    built(&twins.space());
    let (old, dead) = (twins.space(), twins.space().dead());
    assert_eq!((twins.reindex(), twins.generation), (dead, 1));
    let space = twins.space();
    assert!(dead >= 990 && space.index.index().rows() == 1200 - dead && space.dead() == 0);
    assert_eq!(twins.log.data.integrity.round, twins.log.index, "votes are on the new graph");
    assert_eq!((space.index.unbuilt(), space.index.epoch().rows), (0, dead), "what was there throttles nobody");
    let id = space.id;
    for generation in [1, 2, 3] {
        let outcome = twins.log.apply(command::Kind::Reindex(Reindex { space: id, generation }));
        twins.plain.apply(command::Kind::OpenRound(OpenRound {}));
        let Some(outcome::Kind::Reindex(outcome)) = outcome.kind else { panic!("{outcome:?}") };
        assert_eq!((outcome.generation, outcome.dropped), (1, 0), "there is nothing more to drop");
    }
    assert!(built(&space).number > old.index.epoch().number + 1, "epochs go on");
    assert!(space.index.footprint().total() * 4 < old.index.footprint().total());
    twins.check();

    // Whoever reads the old one reads on, and finds with the graph what a reader of the new one does.
    twins.send(50);
    let (space, cue) = (twins.space(), old.index.cue(&[1.0, 99.0]).expect("a good cue"));
    let found = |space: &Space, at| {
        let params = Search { k: 50, ef: 400, at };
        space.index.search(&cue, params, &|_| true, space).hits.iter().map(|hit| hit.row).collect::<Vec<_>>()
    };
    assert_eq!(found(&old, old.index.now()), found(&space, old.index.now()));
    assert_eq!(found(&space, space.index.now()), {
        let scan = Scan { k: 50, candidates: 1000, at: space.index.now() };
        space.index.scan(&cue, scan, &|_| true, &*space).iter().map(|hit| hit.row).collect::<Vec<_>>()
    });
}

#[test]
fn a_snapshot_that_was_begun_before_a_reindex_is_written_as_it_was_and_the_next_has_no_code_of_what_is_dropped() {
    let mut twins = mostly_erased();
    built(&twins.space());
    let frozen = twins.log.freeze();
    let before = twins.log.write(&frozen);
    assert!(twins.reindex() > 0);
    let again = twins.log.write(&frozen);
    assert_eq!(files(&again.manifest), files(&before.manifest));
    assert!(again.manifest == before.manifest);
    drop(frozen);

    built(&twins.space());
    let after = twins.log.write(&twins.log.freeze());
    let bytes = |image: &Image| -> usize {
        files(&image.manifest).iter().map(|file| twins.log.records.read(file).expect("held").len()).sum()
    };
    assert!(bytes(&after) * 2 < bytes(&before), "{} of {}", bytes(&after), bytes(&before));
    // A node that starts from the older one and is told the rest has the same files.
    let (space, index) = (twins.space(), twins.log.index);
    let mut late = Log { data: twins.log.decode(&before.manifest).expect("whole"), index: index - 1, ..Log::new() };
    // What is copied before the state is locked is what is copied after.
    let encoded = late.encoded(command::Kind::Reindex(Reindex { space: space.id, generation: 1 }));
    late.data.apply_command(log_id(1, index), &encoded).expect("decodes");
    assert_eq!(late.data.digest, twins.log.data.digest);
    assert_eq!(built(late.data.space("notes").expect("there")), space.index.epoch());
    assert_eq!(files(&late.encode()), files(&after.manifest));
    twins.restart();
    twins.check();
    assert_eq!(twins.space().index.beginning(), space.index.beginning());
    assert_eq!(files(&twins.log.encode()), files(&after.manifest));
}

#[test]
fn a_watcher_that_was_away_hears_of_all_that_is_dropped_before_what_was_forgotten_since() {
    let mut twins = mostly_erased();
    let before = twins.space().as_of(0);
    twins.reindex();
    twins.forget(1196, 1198);
    let space = twins.space();
    let heard = |from| space.index.forgotten(from, space.index.now()).collect::<Vec<_>>();
    assert_eq!(heard(Snapshot { rows: 300, ..before }).len(), 297 + 2);
    assert_eq!(heard(Snapshot { rows: 1200, forgets: space.index.forgets() }), [1196, 1197]);
}

#[test]
fn runs_that_do_not_fit_the_rows_are_no_generation() {
    let mut twins = mostly_erased();
    twins.reindex();
    let begun = twins.space().index.beginning().clone();
    let wire = begun.to_wire().expect("not the first");
    assert_eq!(Beginning::from_wire(&wire, 1200), Some(begun));
    assert_eq!(Beginning::from_wire(&wire, 1199), None, "more rows than there are");
    assert_eq!(Beginning::from_wire(&SnapshotGeneration { forgets: 3, ..wire.clone() }, 1200), None);
    let endless = SnapshotGeneration { runs: vec![1, u32::MAX, 5], ..wire };
    assert_eq!(Beginning::from_wire(&endless, u64::MAX), None);
}
