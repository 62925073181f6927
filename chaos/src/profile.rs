//! Profiles: which kinds of fault are drawn, how often, and how long they last.
//!
//! Leaves out: when faults start and what may overlap ([`crate::generate`]).

use std::fmt;
use std::str::FromStr;

use crate::kind::{Kind, Lie};
use crate::plan::DRIFT_PPM_MAX;
use crate::rng::Rng;

/// A mix of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Partitions, whole, partial and one-way, broken connections, loss and delay, clients that read slowly.
    Network,
    /// Crashes, power losses and pauses.
    Crash,
    /// Slow and full disks, syncs that fail, rot, disks that lie or are lost, power losses.
    Disk,
    /// Wall clocks that jump, monotonic ones that drift, pauses.
    Clock,
    /// Nodes that come and go, or are replaced, leadership that is handed over, crashes meanwhile.
    Membership,
    /// Bursts, workers that die, slow disks, clients that read slowly.
    Overload,
    /// Everything at once.
    Combined,
}

/// One kind of fault as it is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Draw {
    Partition,
    OneWay,
    Reset,
    Loss,
    Delay,
    Crash,
    PowerLoss,
    Pause,
    DiskStall,
    DiskFull,
    SyncError,
    Rot,
    Wipe,
    DiskLie,
    MemoryFlip,
    ClockSkew,
    ClockDrift,
    Join,
    Transfer,
    WorkerCrash,
    SlowReader,
    Burst,
}

/// Every kind; partitions, crashes and power losses break most.
const COMBINED: &[(Draw, u64)] = &[
    (Draw::Partition, 4),
    (Draw::OneWay, 2),
    (Draw::Reset, 2),
    (Draw::Loss, 2),
    (Draw::Delay, 3),
    (Draw::Crash, 4),
    (Draw::PowerLoss, 4),
    (Draw::Pause, 2),
    (Draw::DiskStall, 2),
    (Draw::DiskFull, 2),
    (Draw::SyncError, 2),
    (Draw::Rot, 2),
    (Draw::Wipe, 2),
    (Draw::DiskLie, 2),
    (Draw::MemoryFlip, 2),
    (Draw::ClockSkew, 2),
    (Draw::ClockDrift, 1),
    (Draw::Join, 2),
    (Draw::Transfer, 2),
    (Draw::WorkerCrash, 2),
    (Draw::SlowReader, 2),
    (Draw::Burst, 1),
];

impl Profile {
    /// Every profile.
    pub const ALL: [Profile; 7] = [
        Profile::Network,
        Profile::Crash,
        Profile::Disk,
        Profile::Clock,
        Profile::Membership,
        Profile::Overload,
        Profile::Combined,
    ];

    /// The name on the command line and in plans.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Network => "network",
            Profile::Crash => "crash",
            Profile::Disk => "disk",
            Profile::Clock => "clock",
            Profile::Membership => "membership",
            Profile::Overload => "overload",
            Profile::Combined => "combined",
        }
    }

    /// What is drawn, with weights.
    fn draws(self) -> &'static [(Draw, u64)] {
        use Draw::*;
        match self {
            Profile::Network => &[(Partition, 5), (OneWay, 3), (Reset, 3), (Loss, 2), (Delay, 3), (SlowReader, 2)],
            Profile::Crash => &[(Crash, 3), (PowerLoss, 3), (Pause, 2)],
            Profile::Disk => {
                &[(DiskStall, 3), (DiskFull, 3), (SyncError, 3), (Rot, 2), (Wipe, 1), (DiskLie, 3), (PowerLoss, 3)]
            }
            Profile::Clock => &[(ClockSkew, 3), (ClockDrift, 3), (Pause, 2), (Crash, 1), (Partition, 1)],
            Profile::Membership => &[(Join, 4), (Wipe, 2), (Transfer, 4), (Crash, 2), (PowerLoss, 1), (Partition, 2)],
            Profile::Overload => {
                &[(Burst, 4), (WorkerCrash, 2), (SlowReader, 2), (DiskStall, 1), (Transfer, 1), (Delay, 1)]
            }
            Profile::Combined => COMBINED,
        }
    }

    /// Draws a kind for a cluster of `nodes`, and how long it lasts in ms. `spare` is the next id that was never used.
    pub(crate) fn draw(self, rng: &mut Rng, nodes: u64, spare: u64) -> (Kind, u64) {
        let draws = self.draws();
        let total: u64 = draws.iter().map(|(_, weight)| weight).sum();
        let mut roll = rng.between(1, total);
        let mut chosen = draws[0].0;
        for (draw, weight) in draws {
            chosen = *draw;
            if roll <= *weight {
                break;
            }
            roll -= weight;
        }
        chosen.kind(rng, nodes, spare)
    }
}

impl Draw {
    fn kind(self, rng: &mut Rng, nodes: u64, spare: u64) -> (Kind, u64) {
        match self {
            Draw::Partition if nodes < 2 => (Kind::Crash { node: 1 }, rng.between(300, 6_000)),
            Draw::OneWay | Draw::Partition | Draw::Loss | Draw::Delay | Draw::Reset => self.of_network(rng, nodes),
            Draw::Crash | Draw::PowerLoss | Draw::Pause | Draw::Join | Draw::Transfer | Draw::Wipe | Draw::DiskLie => {
                self.of_process(rng, nodes, spare)
            }
            Draw::DiskStall | Draw::DiskFull | Draw::SyncError | Draw::Rot => self.of_disk(rng, nodes),
            Draw::MemoryFlip => {
                (Kind::MemoryFlip { node: rng.between(1, nodes), draw: rng.draw() }, rng.between(12_000, 25_000))
            }
            Draw::ClockSkew => {
                let (length, offset_ms) = (rng.between(1_000, 20_000), either_way(rng, 10_000));
                (Kind::ClockSkew { node: rng.between(1, nodes), offset_ms }, length)
            }
            Draw::ClockDrift => {
                let (length, ppm) = (rng.between(2_000, 20_000), either_way(rng, DRIFT_PPM_MAX));
                (Kind::ClockDrift { node: rng.between(1, nodes), ppm }, length)
            }
            Draw::WorkerCrash => {
                let (length, every_ms) = (rng.between(1_000, 15_000), rng.between(1, 500));
                (Kind::WorkerCrash { node: rng.between(1, nodes), every_ms }, length)
            }
            Draw::SlowReader => {
                let every_ms = if rng.once_in(2) { 0 } else { rng.between(20, 1_000) };
                (Kind::SlowReader { web: rng.once_in(2), every_ms }, rng.between(1_000, 20_000))
            }
            Draw::Burst => (Kind::Burst { rows: rng.between(500, 3_000) }, rng.between(500, 3_000)),
        }
    }

    fn of_network(self, rng: &mut Rng, nodes: u64) -> (Kind, u64) {
        let all = || (1..=nodes).collect::<Vec<u64>>();
        match self {
            Draw::OneWay if nodes > 1 => {
                let pair = rng.nodes(nodes, 2);
                let (from, to) = if rng.once_in(2) { (pair[0], pair[1]) } else { (pair[1], pair[0]) };
                (Kind::OneWay { from: vec![from], to: vec![to] }, rng.between(300, 6_000))
            }
            Draw::OneWay | Draw::Reset => (Kind::Reset { node: rng.between(1, nodes) }, rng.between(1, 100)),
            Draw::Loss => {
                let (length, per_mille) = (rng.between(1_000, 10_000), rng.between(1, 20) as u32);
                (Kind::Loss { nodes: all(), per_mille }, length)
            }
            Draw::Delay => {
                let (length, max_ms) = (rng.between(1_000, 10_000), rng.between(5, 100));
                let min_ms = rng.between(0, max_ms / 2);
                (Kind::Delay { nodes: all(), min_ms, max_ms }, length)
            }
            _ => {
                // A link that flaps is one that is cut often, and not for long.
                let length = if rng.once_in(3) { rng.between(50, 500) } else { rng.between(500, 8_000) };
                if nodes > 2 && rng.once_in(4) {
                    // Two nodes don't hear each other, and all the others hear both.
                    let pair = rng.nodes(nodes, 2);
                    return (Kind::Partition { a: vec![pair[0]], b: vec![pair[1]] }, length);
                }
                let count = rng.between(1, (nodes / 2).max(1));
                let a = rng.nodes(nodes, count);
                let b = all().into_iter().filter(|node| !a.contains(node)).collect();
                (Kind::Partition { a, b }, length)
            }
        }
    }

    fn of_process(self, rng: &mut Rng, nodes: u64, spare: u64) -> (Kind, u64) {
        match self {
            Draw::Pause => (Kind::Pause { node: rng.between(1, nodes) }, rng.between(200, 6_000)),
            Draw::Join => (Kind::Join { node: spare }, rng.between(2_000, 15_000)),
            Draw::DiskLie => {
                let (node, lie) = (rng.between(1, nodes), Lie::ALL[rng.between(0, Lie::ALL.len() as u64 - 1) as usize]);
                (Kind::DiskLie { node, lie, draw: rng.draw(), replacement: spare }, rng.between(5_000, 12_000))
            }
            Draw::Wipe => (Kind::Wipe { node: rng.between(1, nodes), replacement: spare }, rng.between(4_000, 10_000)),
            Draw::Transfer => (Kind::Transfer { node: rng.between(1, nodes) }, rng.between(100, 500)),
            Draw::PowerLoss => {
                let length = rng.between(300, 6_000);
                let blackout = rng.once_in(8);
                let count = if blackout { nodes } else { rng.between(1, (nodes.saturating_sub(1) / 2).max(1)) };
                (Kind::PowerLoss { nodes: rng.nodes(nodes, count) }, length)
            }
            _ => (Kind::Crash { node: rng.between(1, nodes) }, rng.between(300, 6_000)),
        }
    }

    fn of_disk(self, rng: &mut Rng, nodes: u64) -> (Kind, u64) {
        let node = rng.between(1, nodes);
        match self {
            Draw::DiskStall => (Kind::DiskStall { node, stall_ms: rng.between(5, 300) }, rng.between(500, 6_000)),
            Draw::DiskFull => (Kind::DiskFull { node }, rng.between(500, 8_000)),
            Draw::SyncError => (Kind::SyncError { node }, rng.between(1_000, 6_000)),
            _ => (Kind::Rot { node, draw: rng.draw() }, rng.between(12_000, 25_000)),
        }
    }
}

/// Up to `most`, ahead or behind.
fn either_way(rng: &mut Rng, most: u64) -> i64 {
    let offset = rng.between(1, most) as i64;
    if rng.once_in(2) { -offset } else { offset }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Profile::ALL.map(Profile::name).join(", ");
        Profile::ALL.into_iter().find(|profile| profile.name() == text).ok_or(format!("there are {names}"))
    }
}
