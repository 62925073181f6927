//! The state machine: one command at a time, a pure function of the log.
//!
//! Invariants `same_log_same_state`, `once_per_sequence`. Nothing here reads a clock, a configuration, a
//! random number or an order of arrival; a refusal is a replicated result like any other.

use super::generation::Next;
use super::integrity::{Integrity, Round};
use super::sessions::Sessions;
use super::spaces::{Origin, SPACES_MAX, Space};
use crate::raft::types::{LogId, Membership, StoredMembership};
use crate::spans::Traced;
use engram_mutants::mutant;
use engram_probes::probe;
use engram_proto::error::{Error, Kind};
use engram_proto::observation::{check_record, payload_hash};
use engram_proto::query::complete_space;
use engram_proto::wire::log::{
    Chunk, Command, DigestVote, Entry, EntryOutcome, FloorOutcome, ForgetOutcome, ForgetRows, Outcome, RaiseFloor,
    Record, Reindex, ReindexOutcome, RoundOutcome, Run, SessionOutcome, SpaceOutcome, Verdict, VoteOutcome, command,
    outcome,
};
use engram_proto::wire::v1::{Refused, SpaceConfig};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes of an encoded reindex, at most: a log time, a space, a generation, and their tags.
const REINDEX_BYTES_MAX: usize = 40;

/// Everything that the log determines.
#[derive(Default)]
pub struct Data {
    /// The last entry folded in.
    pub applied: Option<LogId>,
    /// The last membership folded in.
    pub membership: StoredMembership,
    /// Log time, milliseconds.
    pub stamp_ms: u64,
    /// Chained over all entries and their outcomes.
    pub digest: u64,
    /// Node ids that were ever members.
    pub nodes_seen: BTreeSet<u64>,
    /// By id.
    pub spaces: BTreeMap<u64, Arc<Space>>,
    /// Ids by name.
    pub names: BTreeMap<String, u64>,
    /// Who may append.
    pub sessions: Sessions,
    /// The log index of the last command that erased rows; 0 if none did.
    pub erased_index: u64,
    /// Whether the members agree.
    pub integrity: Integrity,
    /// What this node has to vote on; of this life alone.
    pub round: Option<Round>,
    /// Chunks of the entry at hand that somebody traces; decides nothing, and is not replicated.
    pub traced: Vec<Traced>,
    /// What `reindex_at` asked for: the entry at hand finds it begun, or begins it.
    pub next: Option<Next>,
}

impl Data {
    /// The space of a name.
    pub fn space(&self, name: &str) -> Result<&Arc<Space>, Error> {
        let id = self.names.get(name).ok_or_else(|| no_space(name))?;
        Ok(self.spaces.get(id).expect("names and spaces change together"))
    }

    /// The log index of a session's last row; 0 before the first.
    pub fn last_log_index(&self, session: u64) -> u64 {
        let Some(session) = self.sessions.open.get(&session) else { return 0 };
        let row = session.row(session.last_sequence).zip(self.spaces.get(&session.space));
        row.and_then(|(row, space)| space.rows.get(row)).map_or(0, |row| row.log_index)
    }

    /// Folds in a membership entry.
    pub fn apply_membership(&mut self, log_id: LogId, membership: Membership) {
        self.nodes_seen.extend(membership.nodes().map(|(id, _)| *id));
        self.membership = StoredMembership::new(Some(log_id), membership);
        self.advance(log_id, b"membership");
    }

    /// Folds in an entry without a command.
    pub fn apply_blank(&mut self, log_id: LogId) {
        self.advance(log_id, b"blank");
    }

    /// Folds in a command. A command that this version cannot decode is a broken assumption: the caller
    /// stops the node, because going on would make another state than its peers have.
    pub fn apply_command(&mut self, log_id: LogId, encoded: &bytes::Bytes) -> Result<Outcome, prost::DecodeError> {
        let command = Command::decode(encoded.clone())?;
        self.stamp_ms = self.stamp_ms.max(command.stamp_ms);
        let kind = match command.kind {
            Some(command::Kind::Entry(entry)) => outcome::Kind::Entry(self.entry(log_id.index, entry)),
            Some(command::Kind::Open(open)) => self.open(log_id.index, &open.space),
            Some(command::Kind::Resume(resume)) => self.resume(log_id.index, resume.session),
            Some(command::Kind::Expire(expire)) => {
                let last = self.last_log_index(expire.session);
                self.sessions.expire(expire.session, expire.last_activity_ms, last, self.stamp_ms);
                outcome::Kind::Session(SessionOutcome { session: expire.session, ..SessionOutcome::default() })
            }
            Some(command::Kind::CreateSpace(config)) => self.create_space(log_id.index, config),
            Some(command::Kind::DropSpace(dropped)) => self.drop_space(log_id.index, &dropped.name),
            Some(command::Kind::Forget(forget)) => self.forget(log_id.index, &forget),
            Some(command::Kind::RaiseFloor(raise)) => self.raise_floor(log_id.index, &raise),
            Some(command::Kind::OpenRound(_)) => {
                self.integrity.open(log_id.index, self.stamp_ms);
                outcome::Kind::Round(RoundOutcome {})
            }
            Some(command::Kind::DigestVote(vote)) => self.vote(vote),
            Some(command::Kind::Reindex(reindex)) => self.reindex(log_id.index, &reindex),
            None => refused(Error::new(Kind::Unsupported, "the command is not known to this version; upgrade")),
        };
        let outcome = Outcome { kind: Some(kind) };
        self.advance(log_id, &outcome.encode_to_vec());
        if self.integrity.round == log_id.index {
            let spaces = self.spaces.values().map(|space| (space.clone(), space.rows.len())).collect();
            self.round = Some(Round { log_index: log_id.index, state: self.digest, spaces });
        }
        Ok(outcome)
    }

    fn vote(&mut self, vote: DigestVote) -> outcome::Kind {
        let late = !self.integrity.vote(vote, &self.membership);
        if late {
            probe!("vote_too_late");
        }
        let quarantined = self.integrity.quarantined.keys().copied().collect();
        outcome::Kind::Vote(VoteOutcome { late, quarantined })
    }

    fn advance(&mut self, log_id: LogId, outcome: &[u8]) {
        let place = log_id.index ^ log_id.committed_leader_id().term.rotate_left(32);
        self.digest = xxh3_64_with_seed(outcome, self.digest.rotate_left(1) ^ place);
        self.applied = Some(log_id);
    }

    fn open(&mut self, id: u64, name: &str) -> outcome::Kind {
        let space = match self.space(name) {
            Ok(space) => space.id,
            Err(error) => return refused(error),
        };
        match self.sessions.open(id, space, self.stamp_ms) {
            Ok(()) => outcome::Kind::Session(SessionOutcome {
                session: id,
                connection: id,
                space: name.into(),
                ..SessionOutcome::default()
            }),
            Err(error) => refused(error),
        }
    }

    fn resume(&mut self, connection: u64, id: u64) -> outcome::Kind {
        let last_log_index = self.last_log_index(id);
        match self.sessions.resume(id, connection, self.stamp_ms) {
            Ok(session) => outcome::Kind::Session(SessionOutcome {
                session: id,
                connection,
                last_sequence: session.last_sequence,
                last_log_index,
                space: self.spaces.get(&session.space).map(|space| space.config.name.clone()).unwrap_or_default(),
            }),
            Err(error) => refused(error),
        }
    }

    fn create_space(&mut self, id: u64, config: SpaceConfig) -> outcome::Kind {
        let config = match complete_space(config) {
            Ok(config) => config,
            Err(error) => return refused(error),
        };
        if let Some(id) = self.names.get(&config.name) {
            let text = format!("space {:?} exists already (id {id}); choose another name or drop it", config.name);
            return refused(Error::new(Kind::Exists, text));
        }
        if self.spaces.len() >= SPACES_MAX {
            return refused(Error::overloaded(format!("there are {SPACES_MAX} spaces, the most; drop some"), 1000));
        }
        let name = config.name.clone();
        match Space::new(id, config) {
            Ok(space) => {
                self.spaces.insert(id, Arc::new(space));
                self.names.insert(name, id);
                outcome::Kind::Space(SpaceOutcome { id })
            }
            Err(text) => refused(Error::invalid(text)),
        }
    }

    fn drop_space(&mut self, log_index: u64, name: &str) -> outcome::Kind {
        let Some(id) = self.names.remove(name) else { return refused(no_space(name)) };
        let open = self.sessions.open.iter().filter(|(_, session)| session.space == id);
        let ended: Vec<u64> = open.map(|(session, _)| *session).collect();
        for session in ended {
            let last = self.last_log_index(session);
            self.sessions.end(session, last, self.stamp_ms);
        }
        self.spaces.remove(&id);
        self.erased_index = log_index;
        outcome::Kind::Space(SpaceOutcome { id })
    }

    fn forget(&mut self, log_index: u64, forget: &ForgetRows) -> outcome::Kind {
        match self.spaces.get(&forget.space) {
            Some(space) => {
                outcome::Kind::Forget(ForgetOutcome { forgotten: space.forget(log_index, self.stamp_ms, forget) })
            }
            None => refused(Error::not_found("the space was dropped")),
        }
    }

    fn raise_floor(&mut self, log_index: u64, raise: &RaiseFloor) -> outcome::Kind {
        match self.spaces.get(&raise.space) {
            Some(space) => {
                // A past cannot begin in the future.
                let erased = space.raise_floor(raise.log_index.min(log_index));
                if erased > 0 {
                    self.erased_index = log_index;
                }
                outcome::Kind::Floor(FloorOutcome { floor: space.earliest(), erased })
            }
            None => refused(Error::not_found("the space was dropped")),
        }
    }

    /// The space that the command will reindex, if that is what it does.
    pub fn reindex_at(&self, encoded: &bytes::Bytes) -> Option<Arc<Space>> {
        if encoded.len() > REINDEX_BYTES_MAX {
            return None;
        }
        let Some(command::Kind::Reindex(reindex)) = Command::decode(encoded.clone()).ok()?.kind else { return None };
        self.spaces.get(&reindex.space).filter(|space| space.is_due(reindex.generation)).cloned()
    }

    /// Proposed twice it is done once: the second time names a generation that is there already.
    fn reindex(&mut self, log_index: u64, reindex: &Reindex) -> outcome::Kind {
        let Some(space) = self.spaces.get_mut(&reindex.space) else {
            return refused(Error::not_found("the space was dropped"));
        };
        let (now, dropped) = (space.index.beginning().number, space.dead());
        if !space.is_due(reindex.generation) {
            probe!("reindex_passed_over");
            return outcome::Kind::Reindex(ReindexOutcome { generation: now, dropped: 0 });
        }
        probe!("reindex");
        let next = self.next.take().unwrap_or_else(|| space.begin_next());
        *space = Arc::new(space.reindexed(next));
        // The graphs that the open round is about are built no further.
        self.integrity.open(log_index, self.stamp_ms);
        outcome::Kind::Reindex(ReindexOutcome { generation: now + 1, dropped })
    }

    fn entry(&mut self, log_index: u64, entry: Entry) -> EntryOutcome {
        EntryOutcome { verdicts: entry.chunks.into_iter().map(|chunk| self.chunk(log_index, chunk)).collect() }
    }

    /// Row by row; the first refusal refuses the rest of the chunk.
    fn chunk(&mut self, log_index: u64, chunk: Chunk) -> Verdict {
        let mut verdict = Verdict { session: chunk.session, ..Verdict::default() };
        let stamp_ms = self.stamp_ms;
        let session = match self.sessions.appender(chunk.session, chunk.connection) {
            Ok(session) => session,
            Err(error) => {
                verdict.refused = Some(refusal(chunk.first_sequence, 0, error));
                return verdict;
            }
        };
        session.last_activity_ms = stamp_ms;
        let Some(space) = self.spaces.get(&session.space) else {
            verdict.refused =
                Some(refusal(chunk.first_sequence, 0, Error::not_found("the session's space was dropped")));
            return verdict;
        };
        // No session comes so far: whatever is beyond is a gap, and counting on from it cannot overflow.
        let first_sequence = chunk.first_sequence.min(u64::MAX / 2);
        for (sequence, record) in (first_sequence..).zip(chunk.records) {
            let expected = session.last_sequence + 1;
            let result = if sequence < expected && !mutant!("repeat_appended") {
                repeat(space, session.row(sequence), sequence, &record)
            } else if sequence > expected && !mutant!("gap_taken") {
                probe!("gap_at_apply");
                let text = format!("sequence {sequence} leaves a gap; send {expected} first");
                Err(Error::invalid(text))
            } else {
                let origin = Origin { log_index, stamp_ms, session: chunk.session, sequence };
                append(space, origin, record).map(|row| {
                    session.take(row);
                    (log_index, false)
                })
            };
            match result {
                Ok((log_index, repeat)) => extend(&mut verdict.runs, sequence, log_index, repeat),
                Err(error) => {
                    verdict.refused = Some(refusal(sequence, session.last_sequence + 1, error));
                    break;
                }
            }
        }
        if !chunk.trace.is_empty() {
            self.traced.push(Traced { trace: chunk.trace, space: space.id, rows: space.rows.len() });
        }
        verdict
    }
}

fn no_space(name: &str) -> Error {
    Error::not_found(format!("no space is called {name:?}; create it first"))
}

fn refused(error: Error) -> outcome::Kind {
    outcome::Kind::Refused(error.into())
}

fn refusal(sequence: u64, expected: u64, error: Error) -> Refused {
    Refused { sequence, expected, error: Some(error.into()) }
}

/// A number that was taken before: the same payload is acked again, another is invalid.
fn repeat(space: &Space, row: Option<u32>, sequence: u64, record: &Record) -> Result<(u64, bool), Error> {
    let row = row.and_then(|row| space.rows.get(row));
    let row = row.ok_or_else(|| Error::invalid(format!("sequence {sequence} is not one; they start at 1")))?;
    if row.payload_hash != payload_hash(record) {
        probe!("repeat_with_another_payload");
        let text = format!("sequence {sequence} was taken by another observation; numbers are not reused");
        return Err(Error::invalid(text));
    }
    probe!("repeat_acked");
    Ok((row.log_index, true))
}

/// Checks again what the edge checked: the proposer may have been another version. The row that had its id is forgotten.
fn append(space: &Space, origin: Origin, record: Record) -> Result<u32, Error> {
    check_record(&record, space.shape)?;
    let bytes = record.encoded_len();
    let row = space.push(origin, record)?;
    space.segments.grow(row + 1, bytes);
    if let Some(previous) = space.rows.get(row).and_then(|row| row.previous)
        && !mutant!("replaced_row_stays")
    {
        let replaced = ForgetRows { rows: vec![previous], ..ForgetRows::default() };
        space.forget(origin.log_index, origin.stamp_ms, &replaced);
    }
    Ok(row)
}

fn extend(runs: &mut Vec<Run>, sequence: u64, log_index: u64, repeat: bool) {
    if let Some(last) = runs.last_mut()
        && (last.log_index, last.repeat, last.last_sequence + 1) == (log_index, repeat, sequence)
    {
        last.last_sequence = sequence;
        return;
    }
    runs.push(Run { first_sequence: sequence, last_sequence: sequence, log_index, repeat });
}
