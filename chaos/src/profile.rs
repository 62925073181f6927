//! Profiles: which kinds of fault are drawn, how often, and how long they last.
//!
//! Leaves out: when faults start and what may overlap ([`crate::generate`]).

use std::fmt;
use std::str::FromStr;

use crate::kind::Kind;
use crate::rng::Rng;

/// A mix of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Partitions, loss and delay.
    Network,
    /// Crashes and power losses.
    Crash,
    /// Everything at once.
    Combined,
}

/// One kind of fault as it is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Draw {
    Partition,
    Loss,
    Delay,
    Crash,
    PowerLoss,
    ClockSkew,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Profile; 3] = [Profile::Network, Profile::Crash, Profile::Combined];

    /// The name on the command line and in plans.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Network => "network",
            Profile::Crash => "crash",
            Profile::Combined => "combined",
        }
    }

    /// What is drawn, with weights.
    fn draws(self) -> &'static [(Draw, u64)] {
        match self {
            Profile::Network => &[(Draw::Partition, 5), (Draw::Loss, 2), (Draw::Delay, 3)],
            Profile::Crash => &[(Draw::Crash, 1), (Draw::PowerLoss, 1)],
            Profile::Combined => &[
                (Draw::Partition, 4),
                (Draw::Loss, 2),
                (Draw::Delay, 3),
                (Draw::Crash, 4),
                (Draw::PowerLoss, 4),
                (Draw::ClockSkew, 2),
            ],
        }
    }

    /// Draws a kind for a cluster of `nodes`, and how long it lasts in ms.
    pub(crate) fn draw(self, rng: &mut Rng, nodes: u64) -> (Kind, u64) {
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
        chosen.kind(rng, nodes)
    }
}

impl Draw {
    fn kind(self, rng: &mut Rng, nodes: u64) -> (Kind, u64) {
        let all = || (1..=nodes).collect::<Vec<u64>>();
        match self {
            Draw::Partition if nodes < 2 => (Kind::Crash { node: 1 }, rng.between(300, 6_000)),
            Draw::Partition => {
                let length = rng.between(500, 8_000);
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
            Draw::Loss => {
                let (length, per_mille) = (rng.between(1_000, 10_000), rng.between(1, 20) as u32);
                (Kind::Loss { nodes: all(), per_mille }, length)
            }
            Draw::Delay => {
                let (length, max_ms) = (rng.between(1_000, 10_000), rng.between(5, 100));
                let min_ms = rng.between(0, max_ms / 2);
                (Kind::Delay { nodes: all(), min_ms, max_ms }, length)
            }
            Draw::Crash => (Kind::Crash { node: rng.between(1, nodes) }, rng.between(300, 6_000)),
            Draw::PowerLoss => {
                let length = rng.between(300, 6_000);
                let blackout = rng.once_in(8);
                let count = if blackout { nodes } else { rng.between(1, (nodes.saturating_sub(1) / 2).max(1)) };
                (Kind::PowerLoss { nodes: rng.nodes(nodes, count) }, length)
            }
            Draw::ClockSkew => {
                let (length, offset) = (rng.between(1_000, 20_000), rng.between(1, 10_000) as i64);
                let offset_ms = if rng.once_in(2) { -offset } else { offset };
                (Kind::ClockSkew { node: rng.between(1, nodes), offset_ms }, length)
            }
        }
    }
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
