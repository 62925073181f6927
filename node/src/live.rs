//! Sessions with a live connection, here or on a follower: they are not idle.
//!
//! Idleness is measured by the leader's monotonic time and starts anew with each term, so that a new leader
//! never expires a session for a silence that it did not witness.

use crate::env::Env;
use crate::leader::{Leader, Leadership};
use crate::proposer::Proposer;
use crate::raft::net::PeerCalls;
use engram_mutants::mutant;
use engram_proto::wire::log::{ExpireSession, command};
use engram_proto::wire::peer::KeepAliveRequest;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often live sessions are told to the leader, and idle ones looked for.
const ROUND: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Table {
    /// Connections on this node, by session.
    here: BTreeMap<u64, usize>,
    /// When a session was last known to live, by this node's monotonic time.
    seen: BTreeMap<u64, Duration>,
    /// The term that `seen` is of.
    term: u64,
}

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Live(Arc<Mutex<Table>>);

/// A connection of a session; its drop ends it.
pub struct LiveGuard {
    live: Live,
    session: u64,
}

impl Drop for LiveGuard {
    fn drop(&mut self) {
        let mut table = self.live.table();
        if let Some(count) = table.here.get_mut(&self.session) {
            *count -= 1;
            if *count == 0 {
                table.here.remove(&self.session);
            }
        }
    }
}

impl Live {
    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection of `session` begins.
    pub fn enter(&self, session: u64) -> LiveGuard {
        *self.table().here.entry(session).or_default() += 1;
        LiveGuard { live: self.clone(), session }
    }

    /// A follower says that these live there.
    pub fn keep_alive(&self, sessions: &[u64], now: Duration) {
        let mut table = self.table();
        for session in sessions {
            // Only sessions that the leader tracks: a peer cannot grow the table.
            if let Some(seen) = table.seen.get_mut(session) {
                *seen = now;
            }
        }
    }

    /// Sessions idle for `limit`, of those that are open; forgets the ones that are not.
    fn idle(&self, open: &BTreeMap<u64, u64>, term: u64, now: Duration, limit: Duration) -> Vec<ExpireSession> {
        let mut table = self.table();
        if table.term != term {
            table.term = term;
            table.seen.clear();
        }
        table.seen.retain(|session, _| open.contains_key(session));
        let mut idle = Vec::new();
        for (session, last_activity_ms) in open {
            let here = table.here.contains_key(session) && !mutant!("live_session_expires");
            let seen = table.seen.entry(*session).or_insert(now);
            if here {
                *seen = now;
            }
            let limit = if mutant!("live_session_expires") { limit / 100 } else { limit };
            if now.saturating_sub(*seen) >= limit {
                idle.push(ExpireSession { session: *session, last_activity_ms: *last_activity_ms });
            }
        }
        idle
    }

    /// Runs until the node stops.
    pub async fn run(self, env: Env, leadership: Leadership, proposer: Proposer, limit: Duration) {
        loop {
            env.clock.sleep(ROUND).await;
            match leadership.leader() {
                Leader::Here { term } => {
                    let open = {
                        let data = leadership.state().read();
                        data.sessions.open.iter().map(|(id, session)| (*id, session.last_activity_ms)).collect()
                    };
                    for expire in self.idle(&open, term, env.clock.monotonic(), limit) {
                        tracing::info!(node = leadership.node(), session = expire.session, "session is idle: expires");
                        // Doubt is harmless: the next round proposes it again if it did not happen.
                        drop(proposer.command(command::Kind::Expire(expire)).await);
                    }
                }
                Leader::There(connection) => {
                    let sessions: Vec<u64> = self.table().here.keys().copied().collect();
                    if !sessions.is_empty() {
                        let request = KeepAliveRequest { header: connection.header(), sessions };
                        let call = |mut client: PeerCalls| async move { client.keep_alive(request).await };
                        // Lost: the next round says it again, and a session outlives many rounds.
                        drop(connection.answer(KEEP_ALIVE_TIMEOUT, call).await);
                    }
                }
                Leader::Unknown => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idleness_starts_anew_with_each_term_and_spares_live_sessions() {
        let live = Live::default();
        let open: BTreeMap<u64, u64> = [(1, 10), (2, 20), (3, 30)].into();
        let at = Duration::from_secs;
        let idle = |term, now| live.idle(&open, term, at(now), at(300)).iter().map(|e| e.session).collect::<Vec<_>>();
        let guard = live.enter(1);
        assert!(idle(1, 0).is_empty());
        live.keep_alive(&[2, 99], at(200));
        assert_eq!(idle(1, 300), [3]);
        assert!(idle(2, 301).is_empty(), "a new term has seen nothing yet");
        drop(guard);
        assert_eq!(idle(2, 601), [1, 2, 3]);
    }
}
