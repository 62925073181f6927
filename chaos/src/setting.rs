//! What a fault sets, so that no two set the same at the same time.
//!
//! Leaves out: which of two faults gives way ([`crate::generate`]; [`crate::plan`] refuses both).

use crate::kind::Kind;

/// Something that can have one value at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Setting {
    /// Whether messages pass from one node to another.
    Passage(u64, u64),
    /// The share of messages lost between two nodes, the smaller first.
    Loss(u64, u64),
    /// The delay between two nodes, the smaller first.
    Delay(u64, u64),
    /// Whether the node runs.
    Process(u64),
    /// The node's pool.
    Pool(u64),
    /// The node's disk.
    Disk(u64),
    /// Whether somebody's memory is damaged: one node at a time, so that a majority is not.
    Memory,
    /// The node's wall clock.
    Clock(u64),
    /// Whether somebody's record files are damaged: one node at a time, so that another has them whole.
    Rot,
    /// How fast its monotonic clock runs.
    Drift(u64),
    /// Its connections.
    Connections(u64),
    /// Whether it is a member.
    Member(u64),
    /// Who leads.
    Leader,
    /// The client that is slow, by a WebSocket or not.
    Reader(bool),
    /// The clients' load.
    Load,
}

impl Kind {
    /// What it sets; two faults may not set the same at the same time.
    pub fn settings(&self) -> Vec<Setting> {
        match self {
            Kind::Partition { .. } | Kind::OneWay { .. } => {
                self.cuts().into_iter().map(|(from, to)| Setting::Passage(from, to)).collect()
            }
            Kind::Loss { nodes, .. } => links(nodes).map(|(one, two)| Setting::Loss(one, two)).collect(),
            Kind::Delay { nodes, .. } => links(nodes).map(|(one, two)| Setting::Delay(one, two)).collect(),
            Kind::Crash { node } | Kind::Pause { node } => vec![Setting::Process(*node)],
            Kind::PowerLoss { nodes } => nodes.iter().map(|node| Setting::Process(*node)).collect(),
            Kind::WorkerCrash { node, .. } => vec![Setting::Pool(*node)],
            Kind::DiskStall { node, .. } | Kind::DiskFull { node } => vec![Setting::Disk(*node)],
            Kind::SyncError { node } => vec![Setting::Process(*node), Setting::Disk(*node)],
            // As with rot, and record files may be damaged too.
            Kind::DiskLie { node, replacement, .. } => {
                vec![Setting::Process(*node), Setting::Disk(*node), Setting::Rot, Setting::Member(*replacement)]
            }
            Kind::Wipe { node, replacement } => {
                vec![Setting::Process(*node), Setting::Disk(*node), Setting::Member(*replacement)]
            }
            // Whoever starts on a damaged file that nobody else has is refused, as it should be.
            Kind::Rot { node, .. } => vec![Setting::Process(*node), Setting::Rot],
            Kind::Reset { node } => vec![Setting::Connections(*node)],
            Kind::ClockDrift { node, .. } => vec![Setting::Drift(*node)],
            Kind::Join { node } => vec![Setting::Member(*node)],
            Kind::Transfer { .. } => vec![Setting::Leader],
            Kind::MemoryFlip { .. } => vec![Setting::Memory],
            Kind::ClockSkew { node, .. } => vec![Setting::Clock(*node)],
            Kind::SlowReader { web, .. } => vec![Setting::Reader(*web)],
            Kind::Burst { .. } => vec![Setting::Load],
        }
    }
}

fn links(nodes: &[u64]) -> impl Iterator<Item = (u64, u64)> + '_ {
    nodes.iter().flat_map(move |one| nodes.iter().filter(move |two| one < *two).map(move |two| (*one, *two)))
}
