//! What may be taken at once, by all and by one: lock-free counts.
//!
//! Place: behind every permit. Invariant `queue_within_cap`: what is in use never passes the limit, whoever takes beside
//! whom. The share of one is only fairness: two that take at the same time may pass it by what they take.

use super::sync::{AtomicUsize, Ordering};

/// How many times what is still free a single holder may have. With n holders that want all they can get, 1 / (8 n + 1)
/// of the limit stays free, so that a newcomer always finds some (the dynamic threshold of shared packet buffers:
/// Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998).
const SHARE: usize = 8;

/// A limit that many share.
pub struct Budget {
    used: AtomicUsize,
    limit: usize,
}

/// What one holder has of a budget.
#[derive(Default)]
pub struct Share(AtomicUsize);

/// Why nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The budget is in use.
    All,
    /// The holder has its share of it; so much.
    Share(usize),
}

impl Budget {
    /// Nothing in use.
    pub fn new(limit: usize) -> Self {
        Self { used: AtomicUsize::new(0), limit }
    }

    /// In use now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    /// Takes all of `amount` or nothing.
    pub fn take(&self, amount: usize) -> Result<(), Full> {
        let update = |used: usize| used.checked_add(amount).filter(|&after| after <= self.limit);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, update).map(drop).map_err(|_| Full::All)
    }

    /// The same for a holder, which may not have too much beside the others. Its first `amount` needs no share.
    pub fn take_for(&self, share: &Share, amount: usize) -> Result<(), Full> {
        let held = share.0.load(Ordering::Acquire);
        let free = self.limit.saturating_sub(self.used());
        if held > 0 && held.saturating_add(amount) > free.saturating_mul(SHARE) {
            return Err(if amount > free { Full::All } else { Full::Share(held) });
        }
        self.take(amount)?;
        share.0.fetch_add(amount, Ordering::AcqRel);
        Ok(())
    }

    /// Gives back what was taken, once.
    pub fn give_back(&self, amount: usize) {
        let before = self.used.fetch_sub(amount, Ordering::AcqRel);
        assert!(before >= amount, "credit_conserved: more came back than was taken");
    }

    /// The same for a holder.
    pub fn give_back_for(&self, share: &Share, amount: usize) {
        let before = share.0.fetch_sub(amount, Ordering::AcqRel);
        assert!(before >= amount, "credit_conserved: a holder gives back no more than it has");
        self.give_back(amount);
    }
}
