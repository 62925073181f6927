//! How far the other members have applied the log: for rows that are acked once they are searchable on several nodes.
//!
//! Place in the corridor: `state → applied → edge`. A member is asked only while a stream waits, and answers once it has
//! applied what is waited for: an ack takes about one round trip more. However many streams wait, one question a member
//! is under way, so a member that does not answer holds nobody up whom the others suffice.
//! Invariant `searchable_on_n`: a wait for n members ends once n have applied the index; where the cluster has fewer by
//! then, once all have.
//! Leaves out: whether a member still is where it was. One that starts again may have to catch up.

use crate::env::Clock;
use crate::leader::Leadership;
use crate::raft::net::{Connection, Network, PeerCalls};
use crate::raft::types::Member;
use engram_mutants::mutant;
use engram_proto::wire::peer::AppliedRequest;
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::watch;

/// How long a member holds an answer back for want of progress: then it says how far it is.
pub const HOLD: Duration = Duration::from_secs(1);
/// How long a member may take to answer, and how long it is left alone when it did not.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// The other members of the cluster.
pub trait Others: Send + Sync {
    /// Their ids, as of now.
    fn ids(&self) -> BTreeSet<u64>;
    /// How far one of them has applied, told once that is `at_least`; `None`, after a pause, when it did not answer.
    fn ask(&self, node: u64, at_least: u64) -> Question;
}

/// A question under way.
pub type Question = BoxFuture<'static, Option<u64>>;

/// What is known of the other members. Cheap to clone.
#[derive(Clone)]
pub struct Elsewhere(Arc<Shared>);

struct Shared {
    others: Box<dyn Others>,
    /// Log indexes that are waited for, with how many wait.
    wanted: watch::Sender<BTreeMap<u64, usize>>,
    /// The largest index that each other member is known to have applied.
    known: watch::Sender<BTreeMap<u64, u64>>,
}

/// Somebody waits for an index; its drop ends that.
struct Waiting<'a>(&'a Shared, u64);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // Less to ask wakes nobody.
        self.0.wanted.send_if_modified(|wanted| {
            let count = wanted.get_mut(&self.1).expect("counted when the wait began");
            *count -= 1;
            if *count == 0 {
                wanted.remove(&self.1);
            }
            false
        });
    }
}

impl Elsewhere {
    /// Knows nothing yet of `others`.
    pub fn new(others: impl Others + 'static) -> Self {
        let (wanted, known) = (watch::Sender::default(), watch::Sender::default());
        Self(Arc::new(Shared { others: Box::new(others), wanted, known }))
    }

    /// Ends once `index` is applied on so many members other than this node, or on all that there are. Cancel safe.
    pub async fn reached(&self, index: u64, others: usize) {
        if others == 0 || mutant!("searchable_here_is_enough") {
            return;
        }
        self.look_at_members();
        let reached = |known: &BTreeMap<u64, u64>| {
            let there = known.values().filter(|applied| **applied >= index).count();
            there >= others.min(known.len())
        };
        let mut known = self.0.known.subscribe();
        if reached(&known.borrow()) {
            return;
        }
        let _waiting = self.wait(index);
        // The sender lives in self: the wait cannot fail.
        drop(known.wait_for(reached).await);
    }

    fn wait(&self, index: u64) -> Waiting<'_> {
        self.0.wanted.send_modify(|wanted| *wanted.entry(index).or_default() += 1);
        Waiting(&self.0, index)
    }

    /// Runs until the node stops: asks as long as somebody waits.
    pub async fn run(self) {
        let mut wanted = self.0.wanted.subscribe();
        let mut asked = BTreeMap::new();
        loop {
            self.look_at_members();
            self.ask(&mut asked);
            tokio::select! {
                biased; // answers first: they may end the wait that a question would be for
                (node, applied) = answer(&mut asked) => {
                    asked.remove(&node);
                    self.learn(node, applied);
                }
                changed = wanted.changed() => changed.expect("self holds the sender"),
            }
        }
    }

    /// Begins with new members, at nothing, and forgets those that are none any more.
    fn look_at_members(&self) {
        let ids = self.0.others.ids();
        self.0.known.send_if_modified(|known| {
            if known.keys().eq(&ids) {
                return false;
            }
            known.retain(|node, _| ids.contains(node));
            for node in &ids {
                known.entry(*node).or_default();
            }
            true
        });
    }

    /// Asks each member that is behind what is waited for, unless it is asked already. The lowest index comes first: what is
    /// waited for is committed, so the others are not far, and the answer says how far the member has come by then.
    fn ask(&self, asked: &mut BTreeMap<u64, Question>) {
        let (wanted, known) = (self.0.wanted.borrow(), self.0.known.borrow());
        for (node, applied) in known.iter().filter(|(node, _)| !asked.contains_key(node)).collect::<Vec<_>>() {
            if let Some((index, _)) = wanted.range(applied + 1..).next() {
                asked.insert(*node, self.0.others.ask(*node, *index));
            }
        }
    }

    fn learn(&self, node: u64, applied: Option<u64>) {
        self.0.known.send_if_modified(|known| match (known.get_mut(&node), applied) {
            (Some(before), Some(now)) if now > *before => {
                *before = now + if mutant!("applied_overstated") { 20 } else { 0 };
                true
            }
            _ => false,
        });
    }
}

/// The next answer; of two at once that of the lower node. Pending while nobody is asked. Cancel safe.
async fn answer(asked: &mut BTreeMap<u64, Question>) -> (u64, Option<u64>) {
    poll_fn(|cx| {
        for (node, question) in asked.iter_mut() {
            if let Poll::Ready(applied) = question.as_mut().poll(cx) {
                return Poll::Ready((*node, applied));
            }
        }
        Poll::Pending
    })
    .await
}

/// The members as Raft knows them, over the network.
pub struct Peers {
    leadership: Leadership,
    network: Network,
    clock: Arc<dyn Clock>,
    connections: Mutex<BTreeMap<u64, (Member, Connection)>>,
}

impl Peers {
    /// Of the node whose leadership it is.
    pub fn new(leadership: Leadership, network: Network, clock: Arc<dyn Clock>) -> Self {
        Self { leadership, network, clock, connections: Mutex::default() }
    }

    fn connection(&self, node: u64) -> Option<Connection> {
        let member = self.leadership.members().remove(&node)?;
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        match connections.get(&node) {
            Some((known, connection)) if *known == member => Some(connection.clone()),
            _ => {
                let connection = self.network.connect(node, &member);
                connections.insert(node, (member, connection.clone()));
                Some(connection)
            }
        }
    }
}

impl Others for Peers {
    fn ids(&self) -> BTreeSet<u64> {
        let mut ids: BTreeSet<u64> = self.leadership.members().into_keys().collect();
        ids.remove(&self.leadership.node());
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).retain(|node, _| ids.contains(node));
        ids
    }

    fn ask(&self, node: u64, at_least: u64) -> Question {
        let (connection, clock, from) = (self.connection(node), self.clock.clone(), self.leadership.node());
        Box::pin(async move {
            if let Some(connection) = connection {
                let request = AppliedRequest { header: connection.header(), at_least };
                let call = |mut client: PeerCalls| async move { client.applied(request).await };
                match connection.answer(ANSWER_TIMEOUT, call).await {
                    Ok(answer) => return Some(answer.log_index),
                    Err(status) => {
                        tracing::debug!(
                            node = from,
                            to = node,
                            reason = status.message(),
                            "no word of what is applied"
                        );
                    }
                }
            }
            clock.sleep(RETRY_PAUSE).await;
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::pin::pin;
    use tokio::sync::oneshot;

    /// Members that answer when a test says so.
    #[derive(Clone, Default)]
    struct Fake(Arc<Mutex<State>>);

    #[derive(Default)]
    struct State {
        ids: BTreeSet<u64>,
        /// Questions under way, by member: what was asked for, and where the answer goes.
        open: BTreeMap<u64, (u64, oneshot::Sender<Option<u64>>)>,
    }

    impl Others for Fake {
        fn ids(&self) -> BTreeSet<u64> {
            self.0.lock().expect("no panic").ids.clone()
        }

        fn ask(&self, node: u64, at_least: u64) -> Question {
            let (answer, question) = oneshot::channel();
            let before = self.0.lock().expect("no panic").open.insert(node, (at_least, answer));
            assert!(before.is_none(), "two questions to node {node}");
            Box::pin(async move { question.await.expect("answered") })
        }
    }

    impl Fake {
        fn asked(&self) -> Vec<(u64, u64)> {
            self.0.lock().expect("no panic").open.iter().map(|(node, (index, _))| (*node, *index)).collect()
        }

        fn answer(&self, node: u64, applied: Option<u64>) {
            let (_, answer) = self.0.lock().expect("no panic").open.remove(&node).expect("asked");
            answer.send(applied).expect("somebody listens");
        }
    }

    /// Members 2 and 3 beside this node.
    fn elsewhere() -> (Fake, Elsewhere) {
        let fake = Fake::default();
        fake.0.lock().expect("no panic").ids = [2, 3].into();
        (fake.clone(), Elsewhere::new(fake))
    }

    /// Lets a future do what it can now; says whether it has ended.
    macro_rules! turn {
        ($future:expr) => {
            $future.as_mut().now_or_never().is_some()
        };
    }

    #[test]
    fn one_of_two_suffices_where_one_is_asked_for_though_the_other_never_answers() {
        let (fake, elsewhere) = elsewhere();
        let (mut task, mut one) = (pin!(elsewhere.clone().run()), pin!(elsewhere.reached(10, 1)));
        let mut both = pin!(elsewhere.reached(10, 2));
        assert!(!turn!(task) && fake.asked().is_empty(), "nobody waits, nobody is asked");
        assert!(!turn!(one) && !turn!(both) && !turn!(task));
        assert_eq!(fake.asked(), [(2, 10), (3, 10)]);
        fake.answer(3, Some(12));
        assert!(!turn!(task) && turn!(one) && !turn!(both));
        assert_eq!(fake.asked(), [(2, 10)], "node 3 is as far as anybody needs");
    }

    #[test]
    fn many_streams_ask_a_member_once_and_an_answer_serves_all_that_it_covers() {
        let (fake, elsewhere) = elsewhere();
        let mut task = pin!(elsewhere.clone().run());
        let mut waits: Vec<_> = (10..20).map(|index| Box::pin(elsewhere.reached(index, 2))).collect();
        waits.iter_mut().for_each(|wait| assert!(!turn!(wait)));
        assert!(!turn!(task));
        assert_eq!(fake.asked(), [(2, 10), (3, 10)]);
        fake.answer(2, Some(100));
        fake.answer(3, Some(14));
        assert!(!turn!(task));
        let reached: Vec<bool> = waits.iter_mut().map(|wait| turn!(wait)).collect();
        assert_eq!(reached, [true, true, true, true, true, false, false, false, false, false]);
        // The next question is for the first that is not there, however late the others are woken.
        assert_eq!(fake.asked(), [(3, 15)]);
    }

    #[test]
    fn a_member_that_did_not_answer_is_asked_again_as_long_as_somebody_waits() {
        let (fake, elsewhere) = elsewhere();
        let mut task = pin!(elsewhere.clone().run());
        {
            let mut both = pin!(elsewhere.reached(10, 2));
            assert!(!turn!(both) && !turn!(task));
            fake.answer(2, None);
            assert!(!turn!(task));
            assert_eq!(fake.asked(), [(2, 10), (3, 10)]);
        }
        fake.answer(2, None);
        fake.answer(3, Some(9));
        assert!(!turn!(task));
        assert!(fake.asked().is_empty(), "the wait was dropped");
    }

    #[test]
    fn a_member_that_is_removed_is_not_waited_for_and_a_new_one_is() {
        let (fake, elsewhere) = elsewhere();
        let (mut task, mut both) = (pin!(elsewhere.clone().run()), pin!(elsewhere.reached(10, 2)));
        assert!(!turn!(both) && !turn!(task));
        fake.0.lock().expect("no panic").ids = [3, 4].into();
        fake.answer(3, Some(10));
        assert!(!turn!(task) && !turn!(both));
        assert_eq!(fake.asked(), [(2, 10), (4, 10)]);
        fake.0.lock().expect("no panic").ids = [3].into();
        fake.answer(2, Some(10));
        assert!(!turn!(task) && turn!(both), "all that there are have it");
    }
}
