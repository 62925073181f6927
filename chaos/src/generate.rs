//! From a seed to a plan.
//!
//! Invariants: `equal_seed_equal_plan` (the same request gives the same plan on every machine, and in every later version
//! in which the profile's mix is the same; a golden test holds this); `quorum_can_recover` and `one_setting` (a draw that breaks one is drawn
//! again); only kinds that the world executes.
//!
//! Leaves out: weights and lengths ([`crate::profile`]).

use crate::budget;
use crate::plan::{Fault, Plan, SPARES_MAX, VERSION};
use crate::profile::Profile;
use crate::rng::Rng;
use crate::world::World;

/// How long the cluster is left alone at the start, to elect its first leader.
const WARM_UP_MS: u64 = 1_500;
/// Draws for one start before it is given up.
const TRIES: usize = 8;

/// What a plan is drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The seed.
    pub seed: u64,
    /// The mix of faults.
    pub profile: Profile,
    /// The world that will run it.
    pub world: World,
    /// How many nodes, 1 to 9.
    pub nodes: u64,
    /// How long faults may happen.
    pub duration_ms: u64,
}

/// Draws the plan of this request.
pub fn generate(request: Request) -> Plan {
    let Request { seed, profile, world, nodes, duration_ms } = request;
    let profile_name = profile.name().to_string();
    let mut plan =
        Plan { version: VERSION, seed, profile: profile_name, duration_ms, nodes, faults: Vec::new(), origin: None };
    let mut rng = Rng::stream(seed, profile.name());
    let mut at_ms = WARM_UP_MS.min(duration_ms / 4) + rng.between(0, 1_000.min(duration_ms / 4));
    while at_ms < duration_ms {
        let joined = plan.faults.iter().filter_map(|fault| fault.kind.newcomer()).count() as u64;
        for _ in 0..TRIES {
            let (kind, length_ms) = profile.draw(&mut rng, nodes, nodes + joined + 1);
            let fault = Fault { at_ms, until_ms: (at_ms + length_ms).min(duration_ms), kind };
            let spared = fault.kind.newcomer().is_some() && joined == SPARES_MAX;
            if !spared && world.supports(&fault.kind) && fits(&plan, &fault) {
                plan.faults.push(fault);
                break;
            }
        }
        at_ms += rng.between(200, 3_000);
    }
    plan
}

fn fits(plan: &Plan, fault: &Fault) -> bool {
    let mine = fault.kind.settings();
    let clash = |other: &Fault| {
        other.until_ms > fault.at_ms && other.kind.settings().iter().any(|setting| mine.contains(setting))
    };
    !plan.faults.iter().any(clash) && budget::check_with(plan, fault).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::NODES_MAX;

    fn request(seed: u64, profile: Profile) -> Request {
        Request { seed, profile, world: World::Turmoil, nodes: 3, duration_ms: 60_000 }
    }

    #[test]
    fn every_drawn_plan_is_valid_within_the_budget_and_executable() {
        for seed in 0..600 {
            for profile in Profile::ALL {
                let (nodes, duration_ms) = (1 + seed % NODES_MAX, 500 + seed * 97);
                for world in World::ALL {
                    let plan = generate(Request { seed, profile, world, nodes, duration_ms });
                    assert_eq!(plan.validate(), Ok(()), "seed {seed} {profile}");
                    assert_eq!(budget::check(&plan), Ok(()), "seed {seed} {profile}");
                    assert_eq!(world.lacks(&plan), None);
                    assert_eq!(Plan::from_json(&plan.to_json()), Ok(plan));
                }
            }
        }
    }

    #[test]
    fn every_kind_of_a_profile_is_drawn() {
        let kinds = |profile| {
            let plans = (0..50).map(move |seed| generate(request(seed, profile)));
            let names = plans.flat_map(|plan| plan.faults.into_iter().map(|fault| fault.kind.name()));
            names.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(kinds(Profile::Network), "delay loss one_way partition reset slow_reader");
        assert_eq!(kinds(Profile::Crash), "crash power_loss");
        assert_eq!(kinds(Profile::Disk), "disk_full disk_lie disk_stall power_loss rot sync_error wipe");
        assert_eq!(kinds(Profile::Clock), "clock_drift clock_skew crash partition");
        assert_eq!(kinds(Profile::Membership), "crash join partition power_loss transfer wipe");
        assert_eq!(kinds(Profile::Overload), "burst delay disk_stall slow_reader transfer worker_crash");
        assert_eq!(kinds(Profile::Combined).split(' ').count(), 21, "all but the pauses, which turmoil cannot do");
    }

    #[test]
    fn faults_overlap_and_fill_the_time() {
        let plan = generate(request(1, Profile::Combined));
        assert!(plan.faults.len() > 15, "{} faults in a minute", plan.faults.len());
        assert!(plan.faults.windows(2).any(|pair| pair[1].at_ms < pair[0].until_ms));
    }

    #[test]
    fn equal_seeds_give_equal_plans_forever() {
        let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        let hash = |profile| generate(request(42, profile)).to_json().bytes().fold(0xcbf2_9ce4_8422_2325, fold);
        // If this fails by accident, every seed means another plan now: change the generator some other way.
        assert_eq!(
            Profile::ALL.map(hash),
            [
                8_316_160_299_860_534_825,
                15_708_940_815_379_803_390,
                17_283_963_798_731_596_815,
                16_792_114_591_240_532_958,
                7_789_924_231_013_902_956,
                8_985_278_412_241_325_800,
                14_942_910_479_563_863_220
            ]
        );
    }
}
