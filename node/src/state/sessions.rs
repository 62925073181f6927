//! The replicated session table: who may append, what was appended, what is answered to a repeat.
//!
//! Invariant `once_per_sequence`: a (session, sequence) has one row at most, and rows come in sequence order.
//! Every replica holds the same table at the same log index: nothing here reads a clock or a configuration.
//!
//! Caps are part of the format: all replicas refuse at the same point.

use engram_mutants::mutant;
use engram_probes::probe;
use engram_proto::error::{Error, Kind};
use std::collections::BTreeMap;

/// Sessions that may be open at once.
pub const SESSIONS_MAX: usize = 100_000;
/// Expired sessions that are remembered, and for how long by log time.
pub const TOMBSTONES_MAX: usize = 100_000;
/// 24 h.
pub const TOMBSTONE_MS: u64 = 24 * 60 * 60 * 1000;

/// Where rows of consecutive sequences start: they end where the next run starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The run's first sequence.
    pub first_sequence: u64,
    /// Its row in the space.
    pub first_row: u32,
}

/// One open session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The space that it appends to.
    pub space: u64,
    /// The log index of the open or resume that may append now.
    pub connection: u64,
    /// The last sequence that has a row; 0 before the first.
    pub last_sequence: u64,
    /// Log time of the last command about it.
    pub last_activity_ms: u64,
    /// Rising in both fields' order of sequence.
    pub runs: Vec<Run>,
}

impl Session {
    /// The row of a sequence that was taken.
    pub fn row(&self, sequence: u64) -> Option<u32> {
        if sequence == 0 || sequence > self.last_sequence {
            return None;
        }
        let at = self.runs.partition_point(|run| run.first_sequence <= sequence).checked_sub(1)?;
        let run = self.runs[at];
        Some(run.first_row + (sequence - run.first_sequence) as u32)
    }

    /// Notes that the next sequence is at `row`.
    pub fn take(&mut self, row: u32) {
        self.last_sequence += 1;
        let next = |run: &Run| u64::from(run.first_row) + (self.last_sequence - run.first_sequence) == u64::from(row);
        if !self.runs.last().is_some_and(next) {
            self.runs.push(Run { first_sequence: self.last_sequence, first_row: row });
        }
    }
}

/// What is left of an expired session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The last sequence that was committed.
    pub last_sequence: u64,
    /// Its log index.
    pub last_log_index: u64,
    /// Log time.
    pub expired_at_ms: u64,
}

/// The table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    /// By id: the log index of the open.
    pub open: BTreeMap<u64, Session>,
    /// By id.
    pub tombstones: BTreeMap<u64, Tombstone>,
}

impl Sessions {
    /// Opens session `id` (the log index of this command).
    pub fn open(&mut self, id: u64, space: u64, now_ms: u64) -> Result<(), Error> {
        if self.open.len() >= SESSIONS_MAX {
            let text = format!("the session table is full ({SESSIONS_MAX}); close idle streams and open again later");
            return Err(Error::overloaded(text, 1000));
        }
        let session = Session { space, connection: id, last_sequence: 0, last_activity_ms: now_ms, runs: Vec::new() };
        self.open.insert(id, session);
        Ok(())
    }

    /// Gives the session to a newer connection (the log index of this command).
    pub fn resume(&mut self, id: u64, connection: u64, now_ms: u64) -> Result<&Session, Error> {
        if !self.open.contains_key(&id) {
            return Err(self.lost(id));
        }
        let session = self.open.get_mut(&id).expect("looked up above");
        session.connection = connection;
        session.last_activity_ms = session.last_activity_ms.max(now_ms);
        Ok(session)
    }

    /// The error for a session that is not open.
    pub fn lost(&self, id: u64) -> Error {
        probe!("session_is_lost");
        match self.tombstones.get(&id) {
            Some(tombstone) => Error::session_lost(
                format!(
                    "session {id} expired after sequence {}; open a new one and send what comes after it",
                    tombstone.last_sequence
                ),
                Some(tombstone.last_sequence),
            ),
            None => Error::session_lost(
                format!("session {id} is not known; what it sent and saw no ack for has an unknown outcome"),
                None,
            ),
        }
    }

    /// The session that may append under `connection`.
    pub fn appender(&mut self, id: u64, connection: u64) -> Result<&mut Session, Error> {
        let Some(session) = self.open.get(&id) else {
            return Err(self.lost(id));
        };
        if session.connection != connection {
            probe!("session_superseded");
            let text = format!("session {id} was resumed by a newer connection; this one must stop");
            return Err(Error::new(Kind::Superseded, text));
        }
        Ok(self.open.get_mut(&id).expect("looked up above"))
    }

    /// Ends an idle session; nothing when there was activity after `last_activity_ms`.
    pub fn expire(&mut self, id: u64, last_activity_ms: u64, last_log_index: u64, now_ms: u64) -> bool {
        let late = mutant!("live_session_expires");
        let idle = self.open.get(&id).is_some_and(|session| session.last_activity_ms <= last_activity_ms || late);
        if idle {
            probe!("session_expires");
            self.end(id, last_log_index, now_ms);
        }
        idle
    }

    /// Replaces a session by its tombstone.
    pub fn end(&mut self, id: u64, last_log_index: u64, now_ms: u64) {
        let Some(session) = self.open.remove(&id) else { return };
        let tombstone = Tombstone { last_sequence: session.last_sequence, last_log_index, expired_at_ms: now_ms };
        self.tombstones.insert(id, tombstone);
        self.tombstones.retain(|_, tombstone| now_ms.saturating_sub(tombstone.expired_at_ms) < TOMBSTONE_MS);
        while self.tombstones.len() > TOMBSTONES_MAX {
            self.tombstones.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened() -> Sessions {
        let mut sessions = Sessions::default();
        sessions.open(7, 1, 100).expect("room");
        sessions
    }

    #[test]
    fn runs_merge_while_rows_are_neighbours() {
        let mut sessions = opened();
        let session = sessions.appender(7, 7).expect("open");
        [10, 11, 12, 20, 21].into_iter().for_each(|row| session.take(row));
        assert_eq!(session.runs.len(), 2);
        let rows: Vec<_> = (0..=6).map(|sequence| session.row(sequence)).collect();
        assert_eq!(rows, [None, Some(10), Some(11), Some(12), Some(20), Some(21), None]);
    }

    #[test]
    fn a_resume_supersedes_the_older_connection() {
        let mut sessions = opened();
        sessions.resume(7, 50, 200).expect("open");
        assert_eq!(sessions.appender(7, 7).expect_err("older").kind(), Kind::Superseded);
        assert!(sessions.appender(7, 50).is_ok());
    }

    #[test]
    fn expiry_spares_a_session_with_later_activity() {
        let mut sessions = opened();
        sessions.resume(7, 50, 200).expect("open");
        assert!(!sessions.expire(7, 100, 0, 300));
        assert!(sessions.expire(7, 200, 49, 300));
        let lost = sessions.resume(7, 60, 400).expect_err("expired");
        assert_eq!((lost.kind(), lost.0.last_sequence), (Kind::SessionLost, Some(0)));
        assert_eq!(sessions.lost(8).0.last_sequence, None);
    }

    #[test]
    fn tombstones_go_after_a_day() {
        let mut sessions = opened();
        sessions.open(8, 1, 100).expect("room");
        sessions.end(7, 0, 1000);
        sessions.end(8, 0, 1000 + TOMBSTONE_MS);
        assert_eq!(sessions.tombstones.keys().copied().collect::<Vec<_>>(), [8]);
    }
}
