//! What an operator does about a disk that is lost for good: the dead member is removed, and the machine added again under a
//! new id, as a learner and then as a voter (docs/operations/membership.md). And how it comes to be lost: all at once, or
//! because the node refuses it after it has lied.
//!
//! Invariants that it looks at: `wiped_disk_refused`, `node_ids_never_reused`: what an operator could try instead is refused.
//! Leaves out: what the blank node itself does meanwhile (`crate::invariants`).

use crate::faults::Faults;
use crate::world::Act;
use engram_chaos::Lie;
use engram_client::ClientError;
use engram_proto::transport::timeout;
use std::time::Duration;

/// Between two attempts to change the members.
const PAUSE: Duration = Duration::from_millis(300);
/// How long a blank node under its old id is left to meet the others, if they reach it.
const MEETING: Duration = Duration::from_secs(2);
/// How long the operator waits for an answer before asking again.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between a lie and the loss of power: more than the durable mark is behind (`node/src/raft/log/writer.rs`).
const WITNESS: Duration = Duration::from_millis(1_000);
/// Within that a node that runs reads its log through, and writes a snapshot if there is rot (`node/src/integrity/own.rs`).
const MENDING: Duration = Duration::from_secs(20);
/// How long a start may take: lost record files are asked for during 20 s.
const START_LIMIT: Duration = Duration::from_secs(45);
/// After the window of the fault, how long the whole remedy may take, other faults and all.
const REMEDY_LIMIT: Duration = Duration::from_secs(60);

impl Faults {
    /// The disk of the node in the place of `voter` is lost; `replacement` takes its place, at `until` or some time after it. The
    /// error is a broken promise.
    pub async fn wipe(self, voter: u64, replacement: u64, until: Duration) -> Result<(), String> {
        let Some(node) = self.cluster.begin_replacing(voter) else { return Ok(()) };
        self.cluster.wipe(node);
        self.hands.act(Act::Crash { node, power: true });
        self.hands.act(Act::Restart { node });
        self.met(node).await;
        self.tried_in_vain(node, "its address", self.client.update_node(self.cluster.address(node))).await?;
        self.replace(voter, node, replacement, until + REMEDY_LIMIT).await
    }

    /// The disk of the node in the place of `voter` lies. Once it has, power fails, after a write's lie with enough time before
    /// that for the durable mark to follow, and after every other rot with enough for the node to find and mend it; a node that
    /// refuses then is replaced. The error is a broken promise.
    pub async fn lied_to(
        self,
        (voter, replacement): (u64, u64),
        (lie, draw): (Lie, u64),
        until: Duration,
    ) -> Result<(), String> {
        let (clock, cluster) = (&self.env.clock, &self.cluster);
        let Some(node) = cluster.begin_replacing(voter) else { return Ok(()) };
        cluster.lie(node, lie, draw);
        // A read may wait for the start: that reads everything.
        let limit = if lie == Lie::MisdirectedRead { clock.monotonic() + WITNESS } else { until };
        while !cluster.disk(node).has_lied() && clock.monotonic() < limit {
            clock.sleep(PAUSE / 3).await;
        }
        if matches!(lie, Lie::LostSync | Lie::MisdirectedWrite) {
            // One that is told only now would have no witness.
            cluster.disk(node).lies_no_more();
            clock.sleep(WITNESS).await;
        }
        if matches!(lie, Lie::LogRot | Lie::ManifestRot) && draw % 2 == 1 {
            clock.sleep(until.saturating_sub(clock.monotonic()).min(MENDING)).await;
        }
        cluster.must_keep_its_log(node);
        self.hands.act(Act::Crash { node, power: true });
        self.hands.act(Act::Restart { node });
        clock.sleep(PAUSE).await;
        let deadline = clock.monotonic() + START_LIMIT;
        while !cluster.runs(node) && !cluster.refuses(node) {
            if clock.monotonic() > deadline {
                return Err(format!(
                    "liveness: node {node} neither starts nor refuses its disk within {START_LIMIT:?}"
                ));
            }
            clock.sleep(PAUSE).await;
        }
        match cluster.refuses(node) {
            true => self.replace(voter, node, replacement, until + REMEDY_LIMIT).await,
            false => {
                cluster.disk(node).is_trusted();
                cluster.replaced(voter, node);
                Ok(())
            }
        }
    }

    /// Leaves a blank node until a member has spoken to it, or for a while.
    async fn met(&self, node: u64) {
        let deadline = self.env.clock.monotonic() + MEETING;
        while !self.cluster.was_refused(node) && self.env.clock.monotonic() < deadline {
            self.env.clock.sleep(PAUSE / 3).await;
        }
    }

    /// The remedy itself, for a node that takes part in nothing any more.
    async fn replace(&self, voter: u64, node: u64, replacement: u64, deadline: Duration) -> Result<(), String> {
        self.until_done(deadline, "removed", node, || self.remove(node)).await?;
        let again = self.client.add_node(self.cluster.address(node), true);
        self.tried_in_vain(node, "its id again", again).await?;
        self.hands.act(Act::Crash { node, power: false });
        self.hands.act(Act::Restart { node: replacement });
        for learner in [true, false] {
            let add = || async {
                let added = self.client.add_node(self.cluster.address(replacement), learner);
                let added = timeout(&*self.env.world(), PATIENCE, added).await;
                added.map_or_else(|| Err("no answer".into()), |added| added.map(drop).map_err(|e| e.to_string()))
            };
            self.until_done(deadline, if learner { "added" } else { "promoted" }, replacement, add).await?;
        }
        self.cluster.replaced(voter, replacement);
        Ok(())
    }

    /// What must not be possible with a node whose disk is lost. Another error of the moment says nothing.
    async fn tried_in_vain(
        &self,
        node: u64,
        what: &str,
        tried: impl Future<Output = Result<u64, ClientError>>,
    ) -> Result<(), String> {
        match timeout(&*self.env.world(), PATIENCE, tried).await {
            Some(Ok(_)) => return Err(format!("wiped_disk_refused: node {node} lost its disk, and {what} was taken")),
            Some(Err(error)) => self.cluster.trace(format_args!("the operator tries n{node}: {error}")),
            None => {}
        }
        Ok(())
    }

    /// Tries until it is done: the cluster may have no leader just now, or be busy with another change.
    async fn until_done<F>(&self, deadline: Duration, what: &str, node: u64, act: impl Fn() -> F) -> Result<(), String>
    where
        F: Future<Output = Result<(), String>>,
    {
        let clock = &self.env.clock;
        loop {
            let error = match act().await {
                Ok(()) => {
                    self.cluster.trace(format_args!("n{node} is {what}"));
                    return Ok(());
                }
                Err(error) => error,
            };
            if clock.monotonic() > deadline {
                return Err(format!("liveness: node {node} is not {what} within {REMEDY_LIMIT:?}: {error}"));
            }
            clock.sleep(PAUSE).await;
        }
    }
}
