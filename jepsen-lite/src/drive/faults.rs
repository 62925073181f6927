//! Executes a plan's timeline on processes, links, disks, members and load, and keeps the nemesis' diary.
//!
//! Crash and power loss: SIGKILL, and a start at the end. Pause: SIGSTOP and SIGCONT. Partitions, delay, loss and resets:
//! the proxies; where nodes have namespaces, partitions and loss are the kernel's (`wires`). A full disk: a file that fills the node's own small filesystem. Clocks: `clock`. A join: a blank node is started, added as
//! a voter, and removed at the end; it is killed once it is surely no member, which may be after the faults ([`Faults::
//! dismiss`]): an addition of unknown outcome may still happen. What cannot be injected is in the diary as such.

use crate::drive::Broken;
use crate::drive::link::Links;
use crate::drive::nodes::Nodes;
use crate::drive::proxy::Proxies;
use crate::drive::record::Recorder;
use crate::drive::schedule::{Can, not_injected};
use crate::drive::wires::Wires;
use crate::drive::workload::Load;
use engram_chaos::{Fault, Kind, Plan};
use engram_client::{Client, Kind as ErrorKind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Between two attempts to change the members.
const PAUSE: Duration = Duration::from_millis(300);
/// How long a newcomer's removal is tried while faults go on, and how long it may take after them.
const REMOVAL_TRY: Duration = Duration::from_secs(10);
const REMOVAL_LIMIT: Duration = Duration::from_secs(60);

/// Something that was done to the cluster.
#[derive(Clone, Debug)]
pub struct Deed {
    /// What, as the page and the lines name it.
    pub name: String,
    /// Whom or how.
    pub detail: String,
    /// From when, on the recorder's time.
    pub from: Duration,
    /// Until when.
    pub until: Duration,
    /// Why it was not done after all, or what came of it.
    pub note: String,
    /// Whether it was done.
    pub injected: bool,
}

/// What was done, in the order of beginnings; cheap to clone.
#[derive(Clone, Default)]
pub struct Diary(Arc<Mutex<Vec<Deed>>>);

impl Diary {
    /// A deed begins; the answer is its number.
    pub fn begin(&self, name: &str, detail: String, now: Duration) -> usize {
        let mut deeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = name.to_string();
        deeds.push(Deed { name, detail, from: now, until: now, note: String::new(), injected: true });
        deeds.len() - 1
    }

    /// It ends, with a note if there is something to say.
    pub fn end(&self, deed: usize, now: Duration, note: impl Into<String>) {
        let mut deeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (deeds[deed].until, deeds[deed].note) = (now, note.into());
    }

    /// It was not done.
    fn skip(&self, deed: usize, why: &str) {
        let mut deeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (deeds[deed].injected, deeds[deed].note) = (false, why.into());
    }

    /// All of it.
    pub fn deeds(&self) -> Vec<Deed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The hands of a run's plan.
#[derive(Clone)]
pub struct Faults {
    /// Processes.
    pub nodes: Arc<Nodes>,
    /// Links.
    pub proxies: Arc<Proxies>,
    /// Where the kernel drops packets.
    pub wires: Option<Arc<Wires>>,
    /// An administrator's.
    pub client: Client,
    /// For the time.
    pub recorder: Recorder,
    /// The writers' load.
    pub load: Load,
    /// What was done.
    pub diary: Diary,
    /// What can be done here.
    pub can: Can,
}

impl Faults {
    /// Executes the plan, its time counted from `started`; newcomers are gone when it returns.
    pub async fn follow(&self, plan: &Plan, started: Duration) -> Result<(), Broken> {
        let mut numbers = vec![None; plan.faults.len()];
        let mut stays = JoinSet::new();
        for action in plan.actions() {
            let at = started + Duration::from_millis(action.at_ms);
            sleep(at.saturating_sub(self.recorder.now())).await;
            let kind = &action.fault.kind;
            let now = self.recorder.now();
            let skipped = not_injected(kind, self.can);
            if action.begins {
                let deed = self.diary.begin(kind.name(), detail(kind), now);
                numbers[action.index] = Some(deed);
                if let Some(why) = skipped {
                    self.diary.skip(deed, why);
                }
            }
            let Some(deed) = numbers[action.index] else { continue };
            match kind {
                _ if skipped.is_some() => self.diary.end(deed, now, skipped.unwrap_or_default()),
                Kind::Join { node } if action.begins => {
                    let until = started + Duration::from_millis(action.fault.until_ms);
                    stays.spawn(self.clone().stay(*node, until, deed));
                }
                Kind::Transfer { node } if action.begins => {
                    stays.spawn(self.clone().transfer(*node, deed));
                }
                Kind::Join { .. } | Kind::Transfer { .. } => {}
                _ => self.apply(action.fault, action.begins, deed).await,
            }
        }
        while let Some(stay) = stays.join_next().await {
            stay.map_err(|e| format!("driver: the administrator died: {e}"))??;
        }
        Ok(())
    }

    async fn apply(&self, fault: &Fault, begins: bool, deed: usize) {
        let nodes = &self.nodes;
        let mut note = String::new();
        match (&self.wires, &fault.kind) {
            (Some(wires), Kind::Partition { .. } | Kind::OneWay { .. } | Kind::Loss { .. }) => {
                set_links(&wires.packets, &fault.kind, begins);
                note = started(wires.settle().await);
            }
            _ => set_links(&self.proxies.links, &fault.kind, begins),
        }
        match &fault.kind {
            Kind::Crash { node } if begins => nodes.kill(*node, "the plan").await,
            Kind::PowerLoss { nodes: off } if begins => {
                futures_util::future::join_all(off.iter().map(|node| nodes.kill(*node, "the plan"))).await;
            }
            Kind::Crash { node } => note = started(nodes.start(*node, "the plan").await),
            Kind::PowerLoss { nodes: off } => {
                for node in off {
                    note += &started(nodes.start(*node, "the plan").await);
                }
            }
            Kind::Pause { node } => nodes.pause(*node, begins).await,
            Kind::ClockSkew { node, offset_ms } => {
                note = started(nodes.set_clock(*node, if begins { *offset_ms } else { 0 }));
            }
            Kind::DiskFull { node } => note = started(nodes.fill_disk(*node, begins)),
            Kind::Burst { rows } if begins => self.load.add(*rows),
            _ => {}
        }
        if !begins || !note.is_empty() {
            self.diary.end(deed, self.recorder.now(), note);
        }
    }

    async fn transfer(self, node: u64, deed: usize) -> Result<(), Broken> {
        // Refused where it makes no sense just then.
        let done = match self.client.transfer_leader(Some(node)).await {
            Ok(leader) => format!("node {leader} leads"),
            Err(error) => error.to_string(),
        };
        self.diary.end(deed, self.recorder.now(), done);
        Ok(())
    }

    /// A newcomer is started and added, and removed at `until`.
    async fn stay(self, node: u64, until: Duration, deed: usize) -> Result<(), Broken> {
        let left = || until.saturating_sub(self.recorder.now());
        let mut note = started(self.nodes.start(node, "not started").await);
        while !left().is_zero() {
            match timeout(left(), self.client.add_node(self.nodes.address(node), false)).await {
                Ok(Ok(index)) => {
                    note = format!("a voter at log index {index}");
                    break;
                }
                Ok(Err(error)) => note = error.to_string(),
                Err(_) => note = "not added in time".into(),
            }
            sleep(PAUSE.min(left())).await;
        }
        sleep(left()).await;
        let deadline = self.recorder.now() + REMOVAL_TRY;
        let mut removed = false;
        while !removed && self.recorder.now() < deadline {
            removed = match timeout(REMOVAL_TRY, self.client.remove_node(node)).await {
                Ok(Ok(_)) => true,
                // It is no member, but the addition may be under way.
                Ok(Err(error)) if error.error().kind() == ErrorKind::NotFound => break,
                Ok(Err(_)) | Err(_) => false,
            };
            sleep(PAUSE).await;
        }
        if removed {
            self.nodes.kill(node, "removed").await;
        }
        self.diary.end(deed, self.recorder.now(), note);
        Ok(())
    }

    /// After the faults: removes every newcomer that is a member after all, and kills it. Nothing is under way any more
    /// once all voters have applied the same.
    pub async fn dismiss(&self) -> Result<(), Broken> {
        for node in self.nodes.spares() {
            let deadline = self.recorder.now() + REMOVAL_LIMIT;
            loop {
                match timeout(REMOVAL_LIMIT, self.client.remove_node(node)).await {
                    Ok(Ok(_)) => break,
                    Ok(Err(error)) if error.error().kind() == ErrorKind::NotFound => break,
                    Ok(Err(error)) if self.recorder.now() > deadline => {
                        return Err(format!("liveness: node {node} is not removed within {REMOVAL_LIMIT:?}: {error}"));
                    }
                    Err(_) => return Err(format!("liveness: node {node} is not removed within {REMOVAL_LIMIT:?}")),
                    Ok(Err(_)) => sleep(PAUSE).await,
                }
            }
            self.nodes.kill(node, "removed").await;
        }
        Ok(())
    }
}

/// What a fault of the network sets on the ways between nodes, and takes back.
fn set_links(links: &Links, kind: &Kind, begins: bool) {
    match kind {
        Kind::Partition { .. } | Kind::OneWay { .. } => {
            kind.cuts().iter().for_each(|(from, to)| links.set(*from, *to, |way| way.closed = begins));
        }
        Kind::Loss { nodes, per_mille } => {
            let per_mille = if begins { *per_mille } else { 0 };
            ways(nodes).for_each(|(from, to)| links.set(from, to, |way| way.lost_per_mille = per_mille));
        }
        Kind::Delay { nodes, min_ms, max_ms } => {
            let delay = if begins { (*min_ms, *max_ms) } else { (0, 0) };
            ways(nodes).for_each(|(from, to)| links.set(from, to, |way| way.delay_ms = delay));
        }
        Kind::Reset { node } if begins => links.reset(*node),
        _ => {}
    }
}

fn started(done: std::io::Result<()>) -> String {
    done.err().map_or(String::new(), |error| error.to_string())
}

/// Both ways of every pair.
fn ways(nodes: &[u64]) -> impl Iterator<Item = (u64, u64)> + '_ {
    nodes.iter().flat_map(move |a| nodes.iter().filter(move |b| a != *b).map(move |b| (*a, *b)))
}

/// Whom or how.
fn detail(kind: &Kind) -> String {
    let list = |nodes: &[u64]| nodes.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
    match kind {
        Kind::Partition { a, b } => format!("{} | {}", list(a), list(b)),
        Kind::OneWay { from, to } => format!("{} → {}", list(from), list(to)),
        Kind::Loss { per_mille, .. } => format!("{per_mille} of a thousand"),
        Kind::Delay { min_ms, max_ms, .. } => format!("{min_ms}–{max_ms} ms"),
        Kind::PowerLoss { nodes } => format!("nodes {}", list(nodes)),
        Kind::Burst { rows } => format!("{rows} rows"),
        Kind::Join { node } => format!("node {node}"),
        Kind::ClockSkew { node, offset_ms } => format!("node {node} by {offset_ms} ms"),
        other => other.node_lists().first().map_or(String::new(), |(_, nodes)| format!("node {}", list(nodes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::link::Setting;

    fn set(links: &Links) -> Vec<(u64, u64, Setting)> {
        let all = ways(&[1, 2, 3]).map(|(from, to)| (from, to, *links.way(from, to).borrow()));
        all.filter(|(_, _, setting)| *setting != Setting::default()).collect()
    }

    #[test]
    fn each_fault_of_the_network_sets_its_ways_and_takes_back_its_own_alone() {
        let links = Links::default();
        let one_way = Kind::OneWay { from: vec![1], to: vec![2] };
        let split = Kind::Partition { a: vec![3], b: vec![1, 2] };
        let slow = Kind::Delay { nodes: vec![1, 2, 3], min_ms: 5, max_ms: 100 };
        let lossy = Kind::Loss { nodes: vec![1, 2], per_mille: 10 };
        set_links(&links, &one_way, true);
        assert_eq!(set(&links), [(1, 2, Setting { closed: true, ..Setting::default() })]);
        [&split, &slow, &lossy].into_iter().for_each(|kind| set_links(&links, kind, true));
        assert_eq!(*links.way(2, 1).borrow(), Setting { closed: false, delay_ms: (5, 100), lost_per_mille: 10 });
        assert_eq!(*links.way(2, 3).borrow(), Setting { closed: true, delay_ms: (5, 100), lost_per_mille: 0 });
        [&one_way, &slow, &lossy].into_iter().for_each(|kind| set_links(&links, kind, false));
        let cut: Vec<(u64, u64)> = set(&links).into_iter().map(|(from, to, _)| (from, to)).collect();
        assert_eq!(cut, [(1, 3), (2, 3), (3, 1), (3, 2)]);
        set_links(&links, &split, false);
        assert_eq!(set(&links), []);
    }

    #[test]
    fn a_reset_is_heard_by_its_node_alone() {
        let links = Links::default();
        let (one, two) = (links.resets(1), links.resets(2));
        set_links(&links, &Kind::Reset { node: 2 }, true);
        set_links(&links, &Kind::Reset { node: 2 }, false);
        assert_eq!((one.has_changed().ok(), two.has_changed().ok()), (Some(false), Some(true)));
    }
}
