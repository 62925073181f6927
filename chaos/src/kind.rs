//! What can go wrong, as pure data.
//!
//! Nodes are numbered from 1. A fault holds from its `at_ms` until its `until_ms`; what stops then is said at each
//! kind. Clients reach every node that is up, whatever the partitions say.
//!
//! Invariant: a kind holds no time but lengths inside its own window, so that shortening the window keeps it valid.
//!
//! Leaves out: which world can do what ([`crate::world`]) and what may overlap ([`crate::plan`], [`crate::budget`]).

use serde::{Deserialize, Serialize};

/// How a disk lies, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lie {
    /// A sync of the log reports success; what it should have made durable is lost with the next power loss.
    LostSync,
    /// A write of the log lands elsewhere: at another place of its file, or in another file.
    MisdirectedWrite,
    /// A read gives bytes of another place.
    MisdirectedRead,
    /// A bit of a closed segment of the log flips.
    LogRot,
    /// A bit of a snapshot's manifest flips.
    ManifestRot,
}

impl Lie {
    /// Every lie.
    pub const ALL: [Lie; 5] =
        [Lie::LostSync, Lie::MisdirectedWrite, Lie::MisdirectedRead, Lie::LogRot, Lie::ManifestRot];

    /// In words.
    pub fn describe(self) -> &'static str {
        match self {
            Lie::LostSync => "a sync of the log is lost",
            Lie::MisdirectedWrite => "a write of the log lands elsewhere",
            Lie::MisdirectedRead => "a read gives bytes of another place",
            Lie::LogRot => "a bit of the log flips",
            Lie::ManifestRot => "a bit of a manifest flips",
        }
    }
}

/// A kind of fault and its settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Kind {
    /// No message passes between `a` and `b`, either way. Nodes in neither set reach both: a partial partition.
    Partition {
        /// One side.
        a: Vec<u64>,
        /// The other side.
        b: Vec<u64>,
    },
    /// No message passes from `from` to `to`; the other way is open.
    OneWay {
        /// Whose messages are lost.
        from: Vec<u64>,
        /// Who does not hear them.
        to: Vec<u64>,
    },
    /// Each message on a link between two of `nodes` is lost with this probability.
    Loss {
        /// The nodes whose links among each other are bad.
        nodes: Vec<u64>,
        /// Of a thousand messages, how many are lost.
        per_mille: u32,
    },
    /// Each message on a link between two of `nodes` takes between `min_ms` and `max_ms`.
    Delay {
        /// The nodes whose links among each other are slow.
        nodes: Vec<u64>,
        /// The shortest delay.
        min_ms: u64,
        /// The longest delay.
        max_ms: u64,
    },
    /// The process is killed; what the operating system held is still written. It is started again at the end.
    Crash {
        /// Who.
        node: u64,
    },
    /// Power fails at these nodes at once: what was not synced may be lost or torn. They start again at the end.
    PowerLoss {
        /// Who; all nodes make a blackout.
        nodes: Vec<u64>,
    },
    /// The process stands still (SIGSTOP) and goes on at the end.
    Pause {
        /// Who.
        node: u64,
    },
    /// A worker of the pool dies every `every_ms`.
    WorkerCrash {
        /// Whose.
        node: u64,
        /// How often.
        every_ms: u64,
    },
    /// Every disk operation takes at least `stall_ms`.
    DiskStall {
        /// Whose.
        node: u64,
        /// How long.
        stall_ms: u64,
    },
    /// The disk takes no more bytes.
    DiskFull {
        /// Whose.
        node: u64,
    },
    /// The next sync of a file fails, and what it should have made durable never is. At the end power fails, and the node
    /// starts again.
    SyncError {
        /// Whose.
        node: u64,
    },
    /// A bit of a record file flips. The end is when it must be found and mended.
    Rot {
        /// Whose.
        node: u64,
        /// Which file and bit, by a draw.
        draw: u64,
    },
    /// Every open connection of the node breaks, in the middle of what is being written.
    Reset {
        /// Whose.
        node: u64,
    },
    /// The wall clock is off by this much; the monotonic clock is not.
    ClockSkew {
        /// Whose.
        node: u64,
        /// How far ahead; behind if negative.
        offset_ms: i64,
    },
    /// The monotonic clock runs fast.
    ClockDrift {
        /// Whose.
        node: u64,
        /// Parts in a million; slow if negative.
        ppm: i64,
    },
    /// The disk of a node is lost for good, and the process with it. It starts blank under its old id, and must be refused; then
    /// it is removed, and the machine added under a new id, as a learner and then as a voter. The end is when that should be
    /// done; from then on faults at the node are faults at its replacement.
    Wipe {
        /// Whose.
        node: u64,
        /// Its new id, beyond the voters'.
        replacement: u64,
    },
    /// The disk of a node lies once. Soon after that power fails there, and the node starts again: if it refuses, its disk is
    /// lost for good, and it is replaced as a wiped one is. The node counts as lost all the while.
    DiskLie {
        /// Whose.
        node: u64,
        /// How.
        lie: Lie,
        /// Where, by a draw.
        draw: u64,
        /// Its new id, beyond the voters', should it be replaced.
        replacement: u64,
    },
    /// A node beyond the voters, with an id of its own, is added as one, and removed at the end.
    Join {
        /// Its id: the voters' number and more.
        node: u64,
    },
    /// Leadership is handed to this node at the start.
    Transfer {
        /// To whom.
        node: u64,
    },
    /// A bit of a graph in memory flips at the start: another row is linked than was chosen. The end is when it must be
    /// found and mended.
    MemoryFlip {
        /// Whose.
        node: u64,
        /// Which space, row and bit, by a draw.
        draw: u64,
    },
    /// A client that has much to hear stops reading its stream, or reads it slowly; at the end it goes on.
    SlowReader {
        /// By a WebSocket; else by gRPC.
        web: bool,
        /// It reads a message so often; none if 0.
        every_ms: u64,
    },
    /// Clients offer this many rows at once, spread over the window.
    Burst {
        /// How many.
        rows: u64,
    },
}

impl Kind {
    /// The name in a plan.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Partition { .. } => "partition",
            Kind::OneWay { .. } => "one_way",
            Kind::Loss { .. } => "loss",
            Kind::Delay { .. } => "delay",
            Kind::Crash { .. } => "crash",
            Kind::PowerLoss { .. } => "power_loss",
            Kind::Pause { .. } => "pause",
            Kind::WorkerCrash { .. } => "worker_crash",
            Kind::DiskStall { .. } => "disk_stall",
            Kind::DiskFull { .. } => "disk_full",
            Kind::ClockSkew { .. } => "clock_skew",
            Kind::SyncError { .. } => "sync_error",
            Kind::Rot { .. } => "rot",
            Kind::Reset { .. } => "reset",
            Kind::ClockDrift { .. } => "clock_drift",
            Kind::Wipe { .. } => "wipe",
            Kind::DiskLie { .. } => "disk_lie",
            Kind::Join { .. } => "join",
            Kind::Transfer { .. } => "transfer",
            Kind::MemoryFlip { .. } => "memory_flip",
            Kind::SlowReader { .. } => "slow_reader",
            Kind::Burst { .. } => "burst",
        }
    }

    /// The lists of voters that it names, each with its field's name.
    pub fn node_lists(&self) -> Vec<(&'static str, Vec<u64>)> {
        let mut kind = self.clone();
        let lists = kind.voters_mut().into_iter();
        lists.map(|(field, voters)| (field, voters.into_iter().map(|voter| *voter).collect())).collect()
    }

    /// The same fault at the voters that `current` says for those that it names.
    pub fn renumbered(&self, current: impl Fn(u64) -> u64) -> Kind {
        let mut kind = self.clone();
        kind.voters_mut().into_iter().flat_map(|(_, voters)| voters).for_each(|voter| *voter = current(*voter));
        kind
    }

    fn voters_mut(&mut self) -> Vec<(&'static str, Vec<&mut u64>)> {
        match self {
            Kind::Partition { a, b } => vec![("a", a.iter_mut().collect()), ("b", b.iter_mut().collect())],
            Kind::OneWay { from, to } => vec![("from", from.iter_mut().collect()), ("to", to.iter_mut().collect())],
            Kind::Loss { nodes, .. } | Kind::Delay { nodes, .. } | Kind::PowerLoss { nodes } => {
                vec![("nodes", nodes.iter_mut().collect())]
            }
            Kind::Crash { node }
            | Kind::Pause { node }
            | Kind::WorkerCrash { node, .. }
            | Kind::DiskStall { node, .. }
            | Kind::DiskFull { node }
            | Kind::SyncError { node }
            | Kind::Rot { node, .. }
            | Kind::Wipe { node, .. }
            | Kind::DiskLie { node, .. }
            | Kind::Reset { node }
            | Kind::ClockDrift { node, .. }
            | Kind::Transfer { node }
            | Kind::MemoryFlip { node, .. }
            | Kind::ClockSkew { node, .. } => vec![("node", vec![node])],
            Kind::Join { .. } | Kind::SlowReader { .. } | Kind::Burst { .. } => Vec::new(),
        }
    }

    /// The id beyond the voters' that it uses; no id is used twice.
    pub fn newcomer(&self) -> Option<u64> {
        match self {
            Kind::Join { node } | Kind::Wipe { replacement: node, .. } | Kind::DiskLie { replacement: node, .. } => {
                Some(*node)
            }
            _ => None,
        }
    }

    /// The node whose disk is lost for good by it.
    pub fn lost_for_good(&self) -> Option<u64> {
        match self {
            Kind::Wipe { node, .. } | Kind::DiskLie { node, .. } => Some(*node),
            _ => None,
        }
    }

    /// The directed links on which no message passes.
    pub fn cuts(&self) -> Vec<(u64, u64)> {
        let (from, to, both) = match self {
            Kind::Partition { a, b } => (a, b, true),
            Kind::OneWay { from, to } => (from, to, false),
            _ => return Vec::new(),
        };
        let pairs = from.iter().flat_map(|one| to.iter().map(move |two| (*one, *two)));
        pairs.flat_map(|(one, two)| [Some((one, two)), both.then_some((two, one))]).flatten().collect()
    }

    /// The nodes that it takes from every quorum while it holds.
    pub fn down(&self) -> Vec<u64> {
        match self {
            Kind::Crash { node }
            | Kind::Pause { node }
            | Kind::SyncError { node }
            | Kind::Wipe { node, .. }
            | Kind::DiskLie { node, .. }
            | Kind::DiskStall { node, .. }
            | Kind::DiskFull { node } => vec![*node],
            Kind::PowerLoss { nodes } => nodes.clone(),
            _ => Vec::new(),
        }
    }
}
