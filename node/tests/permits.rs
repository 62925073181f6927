//! The orders in which threads may run through a lane and a budget, and the values that a weak memory may show them.
//!
//! Place: the files of `engram_node::admission` themselves, on a model checker's atomics (loom). Queues are taken to be
//! right: a lock stands for them. Leaves out: what is built of them, which `admission::tests` has.

#[path = "../src/admission/budget.rs"]
mod budget;
#[path = "../src/admission/turns.rs"]
mod turns;

mod sync {
    use std::collections::VecDeque;

    pub use loom::sync::Arc;
    pub use loom::sync::atomic::{AtomicUsize, Ordering};

    pub struct Queue<T>(loom::sync::Mutex<VecDeque<T>>);

    impl<T> Queue<T> {
        pub fn new() -> Self {
            Self(loom::sync::Mutex::new(VecDeque::new()))
        }

        pub fn push(&self, item: T) {
            self.0.lock().expect("no panic holds it").push_back(item);
        }

        pub fn pop(&self) -> Option<T> {
            self.0.lock().expect("no panic holds it").pop_front()
        }
    }
}

use budget::{Budget, Share};
use loom::thread;
use std::ops::ControlFlow;
use sync::Arc;
use turns::{Source, Turns};

/// Threads are stopped in favour of others so often at most in one run: nearly all mistakes need no more, and all orders
/// at once would take hours.
const PREEMPTIONS_MAX: usize = 3;

fn each_order(run: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(PREEMPTIONS_MAX);
    model.check(run);
}

/// Takes until it has `count`.
fn take(turns: &Turns<usize>, count: usize, each_turn: usize) -> Vec<usize> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let mut left = each_turn;
        let took = turns.turn(|item| {
            taken.push(item);
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if !took {
            thread::yield_now();
        }
    }
    taken
}

#[test]
fn a_source_that_puts_beside_its_own_turns_loses_nothing() {
    for each_turn in [1, 3] {
        each_order(move || {
            let turns = Arc::new(Turns::default());
            let putting = {
                let turns = turns.clone();
                thread::spawn(move || {
                    let source = Arc::new(Source::default());
                    (0..3).for_each(|at| turns.put(&source, at));
                })
            };
            assert_eq!(take(&turns, 3, each_turn), [0, 1, 2]);
            putting.join().expect("puts");
            assert!(!turns.turn(|_| ControlFlow::Break(())), "nothing is left, and nobody waits");
        });
    }
}

#[test]
fn two_sources_have_their_turns() {
    each_order(|| {
        let turns = Arc::new(Turns::default());
        let put = |from: usize| {
            let turns = turns.clone();
            thread::spawn(move || {
                let source = Arc::new(Source::default());
                (0..2).for_each(|at| turns.put(&source, from + at));
            })
        };
        let putting = [put(0), put(10)];
        let taken = take(&turns, 4, 1);
        for from in [0, 10] {
            let of_one: Vec<usize> = taken.iter().copied().filter(|item| item / 10 == from / 10).collect();
            assert_eq!(of_one, [from, from + 1], "order_in_session");
        }
        putting.into_iter().for_each(|thread| thread.join().expect("puts"));
    });
}

#[test]
fn two_takers_share_without_a_loss() {
    each_order(|| {
        let (turns, source) = (Arc::new(Turns::default()), Arc::new(Source::default()));
        turns.put(&source, 0);
        let other = {
            let turns = turns.clone();
            thread::spawn(move || {
                let mut taken = Vec::new();
                turns.turn(|item| {
                    taken.push(item);
                    ControlFlow::Break(())
                });
                taken
            })
        };
        turns.put(&source, 1);
        let mut taken = Vec::new();
        turns.turn(|item| {
            taken.push(item);
            ControlFlow::Break(())
        });
        taken.extend(other.join().expect("takes"));
        while turns.turn(|item| {
            taken.push(item);
            ControlFlow::Continue(())
        }) {}
        taken.sort_unstable();
        assert_eq!(taken, [0, 1]);
    });
}

#[test]
fn a_budget_is_never_passed_and_comes_home() {
    each_order(|| {
        let budget = Arc::new(Budget::new(4));
        let use_some = |amount: usize| {
            let budget = budget.clone();
            move || {
                let share = Share::default();
                for _ in 0..2 {
                    if budget.take_for(&share, amount).is_ok() {
                        assert!((amount..=4).contains(&budget.used()), "queue_within_cap");
                        budget.give_back_for(&share, amount);
                    }
                }
            }
        };
        let threads = [thread::spawn(use_some(3)), thread::spawn(use_some(2))];
        threads.into_iter().for_each(|thread| thread.join().expect("gives back"));
        assert_eq!(budget.used(), 0, "credit_conserved");
    });
}
