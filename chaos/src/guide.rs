//! A sweep that is guided by probes: it varies the plans that came by the rarest marks of the code.
//!
//! Every other seed is drawn as always. The others begin from a plan that came by the mark which the fewest plans came by so
//! far, and change one thing: a fault of it is replaced by one that the seed draws; the seed draws everything else anew.
//! What is not within the budget is not tried: the drawn plan is run in its place.
//!
//! Invariant: every plan is valid and within the budget. Which plans a sweep makes depends on the order in which runs end, so
//! a plan that breaks a promise is kept as a file.
//!
//! Leaves out: what the marks are (the simulator tells them).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::budget;
use crate::generate::{Request, generate};
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::rng::Rng;

/// Plans kept for a mark: the latest, so that variations of variations come about.
const KEPT: usize = 4;
/// Changes tried for one seed.
const TRIES: usize = 8;

/// What was learned so far.
#[derive(Debug, Default)]
pub struct Guide(Mutex<BTreeMap<String, Found>>);

/// Of one mark.
#[derive(Debug, Default)]
struct Found {
    /// How many plans came by.
    plans: u64,
    /// The latest of them.
    latest: Vec<Plan>,
}

impl Guide {
    fn found(&self) -> MutexGuard<'_, BTreeMap<String, Found>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The plan of this seed.
    pub fn plan(&self, request: Request) -> Plan {
        let drawn = generate(request);
        match request.seed % 2 {
            0 => drawn,
            _ => self.vary(&drawn).unwrap_or(drawn),
        }
    }

    /// Takes note of what a plan came by.
    pub fn learn(&self, plan: &Plan, outcome: &Outcome) {
        let mut found = self.found();
        for (name, _) in outcome.probes.iter().filter(|(_, hits)| **hits > 0) {
            let found = found.entry(name.clone()).or_default();
            found.plans += 1;
            if found.latest.len() == KEPT {
                found.latest.remove(0);
            }
            found.latest.push(plan.clone());
        }
    }

    fn vary(&self, drawn: &Plan) -> Option<Plan> {
        let mut rng = Rng::stream(drawn.seed, "guide");
        let parent = {
            let found = self.found();
            let rarest = found.values().min_by_key(|found| found.plans)?;
            rarest.latest[rng.between(0, rarest.latest.len() as u64 - 1) as usize].clone()
        };
        (0..TRIES).find_map(|_| {
            let mut plan = Plan { seed: drawn.seed, ..parent.clone() };
            let one_of = |rng: &mut Rng, of: usize| (of > 0).then(|| rng.between(0, of as u64 - 1) as usize);
            if let Some(at) = one_of(&mut rng, plan.faults.len()) {
                plan.faults.remove(at);
            }
            if let Some(at) = one_of(&mut rng, drawn.faults.len()) {
                plan.faults.push(drawn.faults[at].clone());
            }
            plan.faults.sort_by_key(|fault| fault.at_ms);
            (plan.validate().is_ok() && budget::check(&plan).is_ok()).then_some(plan)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Verdict;
    use crate::profile::Profile;
    use crate::world::World;

    fn request(seed: u64) -> Request {
        Request { seed, profile: Profile::Combined, world: World::Turmoil, nodes: 3, duration_ms: 30_000 }
    }

    fn came_by(names: &[&str]) -> Outcome {
        let probes = ["common", "rare", "never"].map(|name| (name.to_string(), u64::from(names.contains(&name))));
        Outcome {
            verdict: Verdict::Ok,
            seed: 0,
            world: World::Turmoil,
            trace_hash: "0".repeat(16),
            events: 0,
            simulated_ms: 0,
            acked: 0,
            probes: probes.into(),
            violation: None,
        }
    }

    #[test]
    fn odd_seeds_vary_a_plan_that_came_by_the_rarest_mark_and_even_ones_are_drawn() {
        let guide = Guide::default();
        assert_eq!(guide.plan(request(1)), generate(request(1)), "nothing is known yet");
        guide.learn(&generate(request(10)), &came_by(&["common"]));
        guide.learn(&generate(request(12)), &came_by(&["common", "rare"]));
        let parent = generate(request(12));
        for seed in 100..200 {
            let plan = guide.plan(request(seed));
            assert_eq!((plan.seed, plan.validate()), (seed, Ok(())));
            assert_eq!(budget::check(&plan), Ok(()));
            let kept = plan.faults.iter().filter(|fault| parent.faults.contains(fault)).count();
            match seed % 2 {
                0 => assert_eq!(plan, generate(request(seed))),
                _ => assert!(kept + 1 >= parent.faults.len() || plan == generate(request(seed)), "seed {seed}"),
            }
        }
        let varied = (100..200).filter(|seed| guide.plan(request(*seed)) != generate(request(*seed))).count();
        assert!(varied > 30, "{varied} of 50");
    }
}
