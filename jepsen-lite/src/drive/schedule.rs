//! From a seed to a plan for real processes, and what is done beside a plan.
//!
//! Plans are those of the simulators (`engram_chaos::plan`), so a file runs in both. A seed without a profile draws from
//! the mix below: only what processes can suffer here, with the strengths that are promised about (delay up to 100 ms,
//! loss of one percent, bursts of 10,000). Faults come in rounds of a minute that begin and end calm, so that figures outside of
//! faults exist. A profile draws what the simulator would be given, and what cannot be injected is named.
//!
//! Invariants: `equal_seed_equal_plan`; plans are valid, and within the budget of `engram_chaos::budget`, but for the
//! ring of majorities: there every node hears a majority and no two the same one, so progress is not promised while
//! it lasts.

use engram_chaos::budget;
use engram_chaos::plan::{SPARES_MAX, VERSION};
use engram_chaos::profile::Profile;
use engram_chaos::rng::Rng;
use engram_chaos::{Fault, Kind, Plan, World, generate};

/// A round, and how long it is calm at its beginning and at its end.
const ROUND_MS: u64 = 60_000;
const CALM_FIRST_MS: u64 = 4_000;
const CALM_LAST_MS: u64 = 6_000;
/// A newcomer has gone for so long before the next comes.
const ALONE_MS: u64 = 5_000;
/// Draws for one start before it is given up.
const TRIES: usize = 8;

/// What a plan is drawn from.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// The seed.
    pub seed: u64,
    /// The simulator's mix, in place of the driver's own.
    pub profile: Option<Profile>,
    /// Voters.
    pub nodes: u64,
    /// How long.
    pub duration_ms: u64,
}

/// Draws the plan.
pub fn draw(request: Request) -> Plan {
    let Request { seed, profile, nodes, duration_ms } = request;
    if let Some(profile) = profile {
        // madsim's plans have every kind.
        return generate::generate(generate::Request { seed, profile, world: World::Madsim, nodes, duration_ms });
    }
    let profile = "processes".to_string();
    let mut plan = Plan { version: VERSION, seed, profile, duration_ms, nodes, faults: Vec::new(), origin: None };
    let mut rng = Rng::stream(seed, "processes");
    let rounds = duration_ms.div_ceil(ROUND_MS);
    for round in 0..rounds {
        let begin = round * duration_ms / rounds;
        let end = (round + 1) * duration_ms / rounds;
        let calm = (end - begin).min(ROUND_MS);
        let (first, last) = (begin + CALM_FIRST_MS * calm / ROUND_MS, end - CALM_LAST_MS * calm / ROUND_MS);
        let mut at_ms = first + rng.between(0, 1_000);
        while at_ms < last {
            start_one(&mut plan, &mut rng, at_ms, last);
            at_ms += rng.between(300, 3_000);
        }
    }
    plan
}

fn start_one(plan: &mut Plan, rng: &mut Rng, at_ms: u64, last_ms: u64) {
    let joined = plan.faults.iter().filter(|fault| matches!(fault.kind, Kind::Join { .. })).count() as u64;
    for _ in 0..TRIES {
        let (kinds, length_ms) = draw_kinds(rng, plan.nodes, plan.nodes + joined + 1);
        let until_ms = (at_ms + length_ms).min(last_ms);
        let faults: Vec<Fault> = kinds.into_iter().map(|kind| Fault { at_ms, until_ms, kind }).collect();
        let ring = faults.len() > 1;
        let spared = matches!(faults[0].kind, Kind::Join { .. }) && joined == SPARES_MAX;
        let mut with = plan.clone();
        with.faults.extend(faults.iter().cloned());
        // Members are changed one at a time.
        let joins = |fault: &Fault| matches!(fault.kind, Kind::Join { .. });
        let spared = spared
            || joins(&faults[0]) && plan.faults.iter().any(|fault| joins(fault) && fault.until_ms + ALONE_MS > at_ms);
        let affordable = ring || budget::check_with(plan, &faults[0]).is_ok();
        if until_ms > at_ms && !spared && affordable && with.validate().is_ok() {
            *plan = with;
            return;
        }
    }
}

/// One fault, or the cuts of a ring of majorities; and how long it lasts.
fn draw_kinds(rng: &mut Rng, nodes: u64, spare: u64) -> (Vec<Kind>, u64) {
    let all = || (1..=nodes).collect::<Vec<u64>>();
    let node = rng.between(1, nodes);
    let pair = rng.nodes(nodes, 2.min(nodes));
    let both = pair.len() == 2;
    let (kind, length) = match rng.between(1, 22) {
        1..=3 if both => {
            let count = rng.between(1, (nodes / 2).max(1));
            let a = rng.nodes(nodes, count);
            let b = all().into_iter().filter(|node| !a.contains(node)).collect();
            (Kind::Partition { a, b }, rng.between(500, 8_000))
        }
        4..=5 if both => {
            let (from, to) = if rng.once_in(2) { (pair[0], pair[1]) } else { (pair[1], pair[0]) };
            (Kind::OneWay { from: vec![from], to: vec![to] }, rng.between(500, 6_000))
        }
        6 if nodes >= 5 => return (ring(nodes), rng.between(2_000, 6_000)),
        6 if both => (Kind::Partition { a: vec![pair[0]], b: vec![pair[1]] }, rng.between(500, 6_000)),
        7..=8 => (Kind::Loss { nodes: all(), per_mille: 10 }, rng.between(3_000, 12_000)),
        9..=10 => (Kind::Delay { nodes: all(), min_ms: 0, max_ms: 100 }, rng.between(3_000, 12_000)),
        11..=14 => (Kind::Crash { node }, rng.between(300, 6_000)),
        15..=16 => (Kind::Pause { node }, rng.between(300, 6_000)),
        17 => (Kind::Reset { node }, rng.between(10, 100)),
        18 => (Kind::Transfer { node }, rng.between(100, 500)),
        19 => (Kind::Join { node: spare }, rng.between(4_000, 15_000)),
        20 => (Kind::DiskFull { node }, rng.between(1_000, 5_000)),
        21 => (Kind::Burst { rows: 10_000 }, rng.between(1_000, 3_000)),
        _ if rng.once_in(4) => (Kind::PowerLoss { nodes: all() }, rng.between(500, 3_000)),
        _ => (Kind::Crash { node }, rng.between(300, 3_000)),
    };
    (vec![kind], length)
}

/// Every node hears itself and its neighbours in a ring, as many as make a majority, and nobody else.
fn ring(nodes: u64) -> Vec<Kind> {
    let reach = (nodes / 2).div_ceil(2);
    let apart = |a: u64, b: u64| (b - a).min(nodes - (b - a)) > reach;
    let pairs = (1..=nodes).flat_map(|a| (a + 1..=nodes).map(move |b| (a, b)));
    pairs.filter(|(a, b)| apart(*a, *b)).map(|(a, b)| Kind::Partition { a: vec![a], b: vec![b] }).collect()
}

/// What the machine lets the driver do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Can {
    /// Fill disks.
    pub disks: bool,
    /// Set wall clocks.
    pub clocks: bool,
}

/// Why a kind is not injected into real processes; `None`: it is.
pub fn not_injected(kind: &Kind, can: Can) -> Option<&'static str> {
    match kind {
        Kind::WorkerCrash { .. } => Some("a worker is a thread of the process"),
        Kind::DiskStall { .. } => Some("needs a block device of the driver's"),
        Kind::DiskFull { .. } if !can.disks => Some("needs a filesystem for each node: no right to mount here"),
        Kind::SyncError { .. } => Some("needs a block device of the driver's"),
        Kind::Rot { .. }
        | Kind::MemoryFlip { .. }
        | Kind::Wipe { .. }
        | Kind::DiskLie { .. }
        | Kind::SlowReader { .. } => Some("the simulators have it"),
        Kind::ClockSkew { .. } if !can.clocks => Some("needs libfaketime, which is not here (Debian: faketime)"),
        Kind::ClockDrift { .. } => Some("processes share the machine's monotonic clock"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(seed: u64, nodes: u64) -> Request {
        Request { seed, profile: None, nodes, duration_ms: 120_000 }
    }

    #[test]
    fn drawn_plans_are_valid_equal_for_equal_seeds_and_can_be_injected() {
        let can = Can { disks: true, clocks: false };
        for seed in 0..40 {
            for nodes in [3, 5] {
                let plan = draw(request(seed, nodes));
                assert_eq!(plan.validate(), Ok(()), "seed {seed}");
                assert_eq!(plan, draw(request(seed, nodes)));
                assert!(plan.faults.iter().all(|fault| not_injected(&fault.kind, can).is_none()));
                assert!(plan.faults.len() > 20, "{} faults in two minutes", plan.faults.len());
                let calm = |ms: u64| plan.faults.iter().all(|fault| fault.until_ms <= ms || ms < fault.at_ms);
                assert!([1_000, 56_000, 61_000, 116_000].into_iter().all(calm), "seed {seed} has no calm");
            }
        }
    }

    #[test]
    fn what_the_machine_lacks_is_not_injected_and_why_is_said() {
        let (full, skew) = (Kind::DiskFull { node: 1 }, Kind::ClockSkew { node: 1, offset_ms: -5 });
        for (kind, word) in [(&full, "filesystem"), (&skew, "libfaketime")] {
            assert!(not_injected(kind, Can::default()).is_some_and(|why| why.contains(word)));
            assert_eq!(not_injected(kind, Can { disks: true, clocks: true }), None);
        }
    }

    #[test]
    fn every_kind_of_the_mix_is_drawn() {
        let kinds = |nodes| {
            let plans = (0..40).map(move |seed| draw(request(seed, nodes)));
            let names = plans.flat_map(|plan| plan.faults.into_iter().map(|fault| fault.kind.name()));
            names.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" ")
        };
        let all = "burst crash delay disk_full join loss one_way partition pause power_loss reset transfer";
        assert_eq!([kinds(3), kinds(5)], [all, all]);
    }

    #[test]
    fn in_a_ring_of_five_everybody_hears_three_and_no_two_the_same() {
        let cuts = ring(5);
        let hears = |node: u64| {
            let deaf = cuts.iter().flat_map(Kind::cuts).filter(move |cut| cut.0 == node).map(|cut| cut.1);
            let deaf: Vec<u64> = deaf.collect();
            (1..=5).filter(|other| !deaf.contains(other)).collect::<Vec<u64>>()
        };
        let all: std::collections::BTreeSet<Vec<u64>> = (1..=5).map(hears).collect();
        assert_eq!(all.len(), 5);
        assert!(all.iter().all(|heard| heard.len() == 3), "{all:?}");
    }
}
