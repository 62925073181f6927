//! Flow control as an observer's owner sees it: acks held back and let go, rows in flight, the server's credit.
//!
//! Invariant `credit_conserved`: what this side sends fits into the credit that the server has when it comes. A halving
//! holds for the rows after it, so it counts here from the moment that it is sent, whatever is heard until the answer.

use super::Observer;
use engram_proto::limits::{CREDIT_BYTES_MIN, CREDIT_ROWS_MIN, halved};

/// What a server allows in flight on one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    /// Rows sent and not yet acked or refused.
    pub rows: usize,
    /// Their bytes.
    pub bytes: usize,
}

impl Credit {
    /// As the server halves it.
    fn halved(self, times: u32) -> Self {
        Self { rows: halved(self.rows, CREDIT_ROWS_MIN, times), bytes: halved(self.bytes, CREDIT_BYTES_MIN, times) }
    }
}

/// The credit of one stream: what was granted and told, and how often this side has halved it.
#[derive(Debug)]
pub(crate) struct Allowance {
    full: Credit,
    told: Credit,
    halvings: u32,
}

impl Allowance {
    pub fn new(full: Credit) -> Self {
        Self { full, told: full, halvings: 0 }
    }

    /// What the server said last.
    pub fn tell(&mut self, told: Credit) {
        self.told = told;
    }

    /// What may be in flight now.
    pub fn now(&self) -> Credit {
        if self.halvings == 0 {
            return self.told;
        }
        let asked = self.full.halved(self.halvings);
        Credit { rows: asked.rows.min(self.told.rows), bytes: asked.bytes.min(self.told.bytes) }
    }

    /// How often it is halved, as the server was asked.
    pub fn halvings(&self) -> u32 {
        self.halvings
    }

    /// The server is asked for so many halvings: from now on they hold.
    pub fn halve(&mut self, times: u32) {
        self.halvings = times;
    }

    /// Whether one more halving makes a difference.
    pub fn can_halve(&self, times: u32) -> bool {
        self.full.halved(times + 1) != self.full.halved(times)
    }
}

impl Observer {
    /// Asks the server to halve what may be in flight, down to 64 rows: an owner that falls behind its acks has fewer of
    /// them under way at once. Holds over resumes. Beside this the observer slows down by itself while a server is full.
    pub fn slower(&self) {
        self.shared.nudge(|state| {
            if state.window.allowance.can_halve(state.halvings) {
                state.halvings += 1;
            }
        });
    }

    /// Takes one [`Observer::slower`] back.
    pub fn faster(&self) {
        self.shared.nudge(|state| state.halvings = state.halvings.saturating_sub(1));
    }

    /// Asks the server to hold acks back. Rows are sent and committed all the same, until those in flight reach
    /// [`Observer::credit`]; then `push` fills the window and waits. Holds over resumes, though a resume itself tells
    /// what is committed.
    pub fn pause_acks(&self) {
        self.shared.nudge(|state| state.hold_acks = true);
    }

    /// Lets the acks go that were held back, and those to come. Ending an observer does so too.
    pub fn resume_acks(&self) {
        self.shared.nudge(|state| state.hold_acks = false);
    }

    /// Rows sent and not yet acked or refused.
    pub fn in_flight(&self) -> usize {
        self.shared.with(|state| state.window.in_flight())
    }

    /// What the server allows in flight.
    pub fn credit(&self) -> Credit {
        self.shared.with(|state| state.window.allowance.now())
    }

    /// After a refusal nothing more is sent until [`Observer::refusal_noted`]: the refused row's number goes to no other
    /// row before.
    #[cfg(feature = "spool")]
    pub(crate) fn confirm_refusals(&self) {
        self.shared.with(|state| state.confirms_refusals = true);
    }

    /// The refusal that was heard is on disk.
    #[cfg(feature = "spool")]
    pub(crate) fn refusal_noted(&self) {
        self.shared.nudge(|state| state.refusal_open = false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    const FULL: Credit = Credit { rows: 1000, bytes: 16 << 20 };

    #[derive(Clone, Debug)]
    enum Step {
        /// The client wishes for so many halvings; sends rows; the server takes a message; the client hears one.
        Wish(u32),
        Rows(usize),
        Take,
        Hear,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            1 => (0..6u32).prop_map(Step::Wish),
            4 => (1..300usize).prop_map(Step::Rows),
            4 => Just(Step::Take),
            4 => Just(Step::Hear),
        ]
    }

    enum Up {
        Slower,
        Faster,
        Rows(usize),
    }

    enum Down {
        Credit(usize),
        Ack(usize),
    }

    proptest! {
        #[test]
        fn what_is_sent_fits_into_the_credit_that_the_server_has_when_it_comes(
            steps in prop::collection::vec(step(), 0..300),
        ) {
            let (mut allowance, mut sent) = (Allowance::new(FULL), 0);
            let (mut halvings, mut taken) = (0, 0);
            let (mut up, mut down) = (VecDeque::new(), VecDeque::new());
            for step in steps {
                match step {
                    Step::Wish(times) => {
                        while allowance.halvings() != times {
                            let slower = allowance.halvings() < times;
                            if slower && !allowance.can_halve(allowance.halvings()) {
                                break;
                            }
                            up.push_back(if slower { Up::Slower } else { Up::Faster });
                            let next = if slower { allowance.halvings() + 1 } else { allowance.halvings() - 1 };
                            allowance.halve(next);
                        }
                    }
                    Step::Rows(rows) if sent + rows <= allowance.now().rows => {
                        sent += rows;
                        up.push_back(Up::Rows(rows));
                    }
                    Step::Rows(_) => {}
                    Step::Take => match up.pop_front() {
                        Some(Up::Rows(rows)) => {
                            taken += rows;
                            prop_assert!(taken <= FULL.halved(halvings).rows, "{taken} rows at {halvings} halvings");
                            down.push_back(Down::Ack(rows));
                        }
                        Some(Up::Slower) => {
                            halvings += 1;
                            down.push_back(Down::Credit(FULL.halved(halvings).rows));
                        }
                        Some(Up::Faster) => {
                            halvings -= 1;
                            down.push_back(Down::Credit(FULL.halved(halvings).rows));
                        }
                        None => {}
                    },
                    Step::Hear => match down.pop_front() {
                        // The server gave it back when it sent the ack; later is the harder case for nobody.
                        Some(Down::Ack(rows)) => (sent, taken) = (sent - rows, taken - rows),
                        Some(Down::Credit(rows)) => allowance.tell(Credit { rows, ..FULL }),
                        None => {}
                    },
                }
            }
        }
    }
}
