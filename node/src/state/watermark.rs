//! How far this node has come, and that the marks are in order.
//!
//! Invariant `watermark_order`: `purged <= snapshot <= min(applied, flushed)`, `applied <= committed <=
//! submitted`, `flushed <= submitted`. `applied` may pass this node's `flushed`: the quorum may do without it.
//! Only this module moves `applied` and `snapshot`.

use tokio::sync::watch;

/// All marks at one moment, as log indexes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Log up to here is gone.
    pub purged: u64,
    /// Covered by a snapshot.
    pub snapshot: u64,
    /// Folded into the state.
    pub applied: u64,
    /// Durable here.
    pub flushed: u64,
    /// Durable on a quorum.
    pub committed: u64,
    /// Handed to the log.
    pub submitted: u64,
}

impl Marks {
    /// The first rule that does not hold. Marks are read one after the other while the node runs, so the
    /// caller reads them in the order purged, snapshot, applied, flushed, committed, submitted.
    pub fn broken(&self) -> Option<&'static str> {
        let rules = [
            (self.purged <= self.snapshot, "purged <= snapshot"),
            (self.snapshot <= self.applied, "snapshot <= applied"),
            (self.applied <= self.committed, "applied <= committed"),
            (self.committed <= self.submitted, "committed <= submitted"),
            (self.flushed <= self.submitted, "flushed <= submitted"),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map(|(_, rule)| rule)
    }
}

/// The marks that the state moves, with those who wait for them.
pub struct Watermark {
    applied: watch::Sender<u64>,
    snapshot: watch::Sender<u64>,
}

impl Default for Watermark {
    fn default() -> Self {
        Self { applied: watch::Sender::new(0), snapshot: watch::Sender::new(0) }
    }
}

impl Watermark {
    /// The last applied log index.
    pub fn applied(&self) -> u64 {
        *self.applied.borrow()
    }

    /// The log index that the last snapshot covers.
    pub fn snapshot(&self) -> u64 {
        *self.snapshot.borrow()
    }

    /// Apply moved on by one, or a snapshot was installed.
    pub(super) fn set_applied(&self, index: u64) {
        let before = self.applied.send_replace(index);
        assert!(before <= index, "watermark_order: applied went back from {before} to {index}");
    }

    /// A snapshot is durable.
    pub(super) fn set_snapshot(&self, index: u64) {
        assert!(index <= self.applied(), "watermark_order: snapshot {index} passed applied {}", self.applied());
        self.snapshot.send_if_modified(|mark| {
            let risen = index > *mark;
            *mark = index.max(*mark);
            risen
        });
    }

    /// Wakes at each rise of `applied`.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// Ends once `index` is applied. Cancel safe.
    pub async fn wait_applied(&self, index: u64) {
        // The sender lives in self: the wait cannot fail.
        drop(self.applied.subscribe().wait_for(|applied| *applied >= index).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_in_order_pass_and_others_are_named() {
        let good = Marks { purged: 1, snapshot: 2, applied: 5, flushed: 4, committed: 6, submitted: 7 };
        assert_eq!(good.broken(), None);
        assert_eq!(Marks { purged: 3, ..good }.broken(), Some("purged <= snapshot"));
        assert_eq!(Marks { applied: 7, ..good }.broken(), Some("applied <= committed"));
        assert_eq!(Marks { flushed: 8, ..good }.broken(), Some("flushed <= submitted"));
    }

    #[test]
    #[should_panic(expected = "watermark_order")]
    fn applied_never_goes_back() {
        let watermark = Watermark::default();
        watermark.set_applied(5);
        watermark.set_applied(4);
    }
}
