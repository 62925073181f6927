//! Executes a plan's timeline on the nodes, their disks, clocks, pools and connections, and on who is a member.
//!
//! Leaves out: what a plan may be (`engram_chaos`), and how a world crashes a host or cuts a link ([`crate::world`]).

use crate::cluster::Cluster;
use crate::slow::Slow;
use crate::workload::Load;
use crate::world::{Act, CALM_DELAY_MS, Hands};
use engram_chaos::{Kind, Plan};
use engram_client::Client;
use engram_node::env::{Env, Rt, Seed};
use engram_proto::transport::timeout;
use openraft::AsyncRuntime;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Between two attempts to change the members.
const PAUSE: Duration = Duration::from_millis(300);
/// Steps of virtual time in which a node whose power goes may meet that in the middle of its disk's work; then it goes.
const POWER_FADES_MS: u64 = 30;
/// How long a newcomer's removal may take, faults and all.
const REMOVAL_LIMIT: Duration = Duration::from_secs(60);

/// The hands of a run's plan.
#[derive(Clone)]
pub struct Faults {
    /// Whom.
    pub cluster: Cluster,
    /// With what.
    pub hands: Arc<dyn Hands>,
    /// An administrator's.
    pub client: Client,
    /// The client host's world.
    pub env: Env,
    /// The writers' load.
    pub load: Load,
}

impl Faults {
    /// Executes the plan, its time counted from `started`; newcomers are gone when it returns. The error is a broken promise.
    pub async fn follow(&self, plan: &Plan, started: Duration) -> Result<(), String> {
        let clock = &self.env.clock;
        let (mut stays, mut begun) = (Vec::new(), BTreeMap::new());
        for action in plan.actions() {
            let at = started + Duration::from_millis(action.at_ms);
            clock.sleep(at.saturating_sub(clock.monotonic())).await;
            let until = started + Duration::from_millis(action.fault.until_ms);
            // What began at a node ends there, whoever is in its place by then.
            let here = || action.fault.kind.renumbered(|voter| self.cluster.current(voter));
            let kind = begun.entry(action.index).or_insert_with(here).clone();
            match kind {
                Kind::Wipe { replacement, .. } if action.begins => {
                    let voters = action.fault.kind.lost_for_good();
                    stays.extend(voters.map(|voter| Rt::spawn(self.clone().wipe(voter, replacement, until))));
                }
                Kind::DiskLie { lie, draw, replacement, .. } if action.begins => {
                    let voters = action.fault.kind.lost_for_good();
                    stays.extend(
                        voters.map(|voter| Rt::spawn(self.clone().lied_to((voter, replacement), (lie, draw), until))),
                    );
                }
                Kind::SlowReader { web, every_ms } if action.begins => {
                    let seed = Seed(plan.seed ^ (action.index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                    let (env, wear) = self.cluster.worn_client_env(seed.0);
                    let (cluster, client, every) =
                        (self.cluster.clone(), self.client.clone(), Duration::from_millis(every_ms));
                    stays.push(Rt::spawn(Slow { cluster, env, wear, client, seed, web, every }.run(until)));
                }
                Kind::Join { node } if action.begins => {
                    stays.push(Rt::spawn(self.clone().stay(node, until)));
                }
                Kind::Transfer { node } if action.begins => {
                    let client = self.client.clone();
                    // Refused where it makes no sense just then.
                    let transfer = async move { drop(client.transfer_leader(Some(node)).await) };
                    drop(Rt::spawn(transfer));
                }
                Kind::PowerLoss { nodes } if action.begins => self.lose_power(nodes).await,
                kind => self.apply(&kind, action.begins),
            }
        }
        for stay in stays {
            stay.await.map_err(|e| format!("the administrator died: {e}"))??;
        }
        Ok(())
    }

    /// Between a write and its sync, where the disk draws that; a node is dead once its disk has met it.
    async fn lose_power(&self, mut nodes: Vec<u64>) {
        nodes.iter().for_each(|&node| self.cluster.power_fails_soon(node));
        for step in 0..=POWER_FADES_MS {
            nodes.retain(|&node| {
                let gone = step == POWER_FADES_MS || self.cluster.power_is_off(node);
                if gone {
                    self.hands.act(Act::Crash { node, power: true });
                }
                !gone
            });
            if nodes.is_empty() {
                return;
            }
            self.env.clock.sleep(Duration::from_millis(1)).await;
        }
    }

    fn apply(&self, kind: &Kind, begins: bool) {
        let (cluster, hands) = (&self.cluster, &self.hands);
        match kind {
            Kind::Partition { .. } | Kind::OneWay { .. } => {
                for (from, to) in kind.cuts() {
                    hands.act(Act::Passage { from, to, open: !begins });
                }
            }
            Kind::Loss { nodes, per_mille } => {
                let per_mille = if begins { *per_mille } else { 0 };
                pairs(nodes).for_each(|(a, b)| hands.act(Act::Loss { a, b, per_mille }));
            }
            Kind::Delay { nodes, max_ms, .. } => {
                let max_ms = if begins { *max_ms } else { CALM_DELAY_MS };
                pairs(nodes).for_each(|(a, b)| hands.act(Act::Delay { a, b, max_ms }));
            }
            Kind::Crash { node } if begins => hands.act(Act::Crash { node: *node, power: false }),
            Kind::Crash { node } => hands.act(Act::Restart { node: *node }),
            Kind::PowerLoss { nodes } => nodes.iter().for_each(|&node| hands.act(Act::Restart { node })),
            Kind::Pause { node } => hands.act(Act::Pause { node: *node, still: begins }),
            Kind::SyncError { node } if begins => cluster.fail_next_sync(*node),
            Kind::SyncError { node } => {
                hands.act(Act::Crash { node: *node, power: true });
                hands.act(Act::Restart { node: *node });
            }
            Kind::DiskFull { node } => cluster.fill_disk(*node, begins),
            Kind::DiskStall { node, stall_ms } => cluster.wear(*node).stall(if begins { *stall_ms } else { 0 }),
            Kind::WorkerCrash { node, every_ms } => {
                cluster.wear(*node).kill_workers(if begins { *every_ms } else { 0 });
            }
            Kind::ClockSkew { node, offset_ms } => cluster.skew(*node, if begins { *offset_ms } else { 0 }),
            Kind::ClockDrift { node, ppm } => cluster.drift(*node, if begins { *ppm } else { 0 }),
            Kind::Rot { node, draw } if begins => cluster.rot(*node, *draw),
            Kind::MemoryFlip { node, draw } if begins => cluster.flip_bit(*node, *draw),
            Kind::Reset { node } if begins => cluster.wear(*node).reset(),
            Kind::Burst { rows } if begins => self.load.add(*rows),
            // What happens at a moment, and what `follow` does itself.
            Kind::Rot { .. } | Kind::MemoryFlip { .. } | Kind::Reset { .. } | Kind::Burst { .. } => {}
            Kind::Join { .. }
            | Kind::Wipe { .. }
            | Kind::DiskLie { .. }
            | Kind::Transfer { .. }
            | Kind::SlowReader { .. } => {}
        }
    }

    /// A newcomer is started and added, and removed at `until`.
    async fn stay(self, node: u64, until: Duration) -> Result<(), String> {
        let (clock, world) = (&self.env.clock, self.env.world());
        self.hands.act(Act::Restart { node });
        loop {
            let left = until.saturating_sub(clock.monotonic());
            let added = timeout(&*world, left, self.client.add_node(self.cluster.address(node), false)).await;
            match added {
                Some(Err(_)) => clock.sleep(PAUSE.min(left)).await,
                Some(Ok(_)) | None => break,
            }
        }
        clock.sleep(until.saturating_sub(clock.monotonic())).await;
        let deadline = clock.monotonic() + REMOVAL_LIMIT;
        while let Err(error) = self.remove(node).await {
            if clock.monotonic() > deadline {
                return Err(format!("liveness: node {node} is not removed within {REMOVAL_LIMIT:?}: {error}"));
            }
            clock.sleep(PAUSE).await;
        }
        self.hands.act(Act::Crash { node, power: false });
        Ok(())
    }

    /// Removes a node that may be a member, or become one by what is still under way.
    pub(crate) async fn remove(&self, node: u64) -> Result<(), String> {
        match self.client.remove_node(node).await {
            Err(error) if error.error().kind() != engram_client::Kind::NotFound => Err(error.to_string()),
            _ => Ok(()),
        }
    }
}

fn pairs(nodes: &[u64]) -> impl Iterator<Item = (u64, u64)> + '_ {
    nodes.iter().flat_map(move |a| nodes.iter().filter(move |b| a < *b).map(move |b| (*a, *b)))
}
