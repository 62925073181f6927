//! What one stream may have in flight: the credit that it was told, halved and doubled as its client asks.
//!
//! Pure logic. Invariant `credit_conserved`: a row is taken only if rows and bytes in flight then stay within the credit of
//! that moment, and gives back what it took once. A credit that is halved under what is in flight takes nothing until
//! enough of that has settled.
//! Leaves out: the admission's own caps, which all streams share.

use engram_proto::error::{Error, Result};
use engram_proto::limits::{CREDIT_BYTES_MIN, CREDIT_ROWS_MIN, OVERRUNS_MAX, halved};

/// When to try again: acks take about as long.
const RETRY_MS: u32 = 50;

/// Rows and their bytes, as stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub rows: usize,
    /// How large together.
    pub bytes: usize,
}

impl Amount {
    /// Halved so often, but not below the least.
    fn halved(self, times: u32) -> Self {
        Self { rows: halved(self.rows, CREDIT_ROWS_MIN, times), bytes: halved(self.bytes, CREDIT_BYTES_MIN, times) }
    }
}

/// One stream's account.
pub struct Credit {
    full: Amount,
    halvings: u32,
    in_flight: Amount,
    /// Refusals over the credit since a row was taken.
    overruns: u32,
    /// Rows dropped without a word since the last refusal.
    dropped: usize,
}

impl Credit {
    /// Nothing in flight, of so much.
    pub fn new(full: Amount) -> Self {
        Self { full, halvings: 0, in_flight: Amount::default(), overruns: 0, dropped: 0 }
    }

    /// What may be in flight now.
    pub fn granted(&self) -> Amount {
        self.full.halved(self.halvings)
    }

    /// What is.
    pub fn in_flight(&self) -> Amount {
        self.in_flight
    }

    /// Halves the credit, down to the least.
    pub fn slower(&mut self) {
        if self.full.halved(self.halvings + 1) != self.granted() {
            self.halvings += 1;
        }
    }

    /// Doubles it, up to the whole.
    pub fn faster(&mut self) {
        self.halvings = self.halvings.saturating_sub(1);
    }

    /// Whether so much more may be in flight. Errors: `Overloaded`, to be told.
    pub fn check(&self, more: Amount) -> Result<()> {
        let granted = self.granted();
        if self.in_flight.rows + more.rows > granted.rows {
            let text = format!("{} rows over the stream's credit of {}; wait for acks", more.rows, granted.rows);
            return Err(Error::overloaded(text, RETRY_MS));
        }
        if self.in_flight.bytes + more.bytes > granted.bytes {
            let text = format!("over the stream's credit of {} bytes; wait for acks", granted.bytes);
            return Err(Error::overloaded(text, RETRY_MS));
        }
        Ok(())
    }

    /// These rows are in flight; they were checked.
    pub fn take(&mut self, rows: Amount) {
        self.in_flight.rows += rows.rows;
        self.in_flight.bytes += rows.bytes;
        self.overruns = 0;
        let granted = self.granted();
        assert!(self.in_flight.rows <= granted.rows, "credit_conserved: rows over the credit were taken");
        assert!(self.in_flight.bytes <= granted.bytes, "credit_conserved: bytes over the credit were taken");
    }

    /// These are acked or refused.
    pub fn give_back(&mut self, rows: Amount) {
        assert!(rows.rows <= self.in_flight.rows, "credit_conserved: more rows came back than were taken");
        assert!(rows.bytes <= self.in_flight.bytes, "credit_conserved: more bytes came back than were taken");
        self.in_flight.rows -= rows.rows;
        self.in_flight.bytes -= rows.bytes;
    }

    /// A batch is refused because of [`Credit::check`]. The error is that of a client that takes no notice.
    pub fn overrun(&mut self) -> Result<()> {
        self.overruns += 1;
        if self.overruns > OVERRUNS_MAX { Err(self.ignored()) } else { Ok(()) }
    }

    /// The client was told which number is expected.
    pub fn told(&mut self) {
        self.dropped = 0;
    }

    /// So many rows came before the number that is expected. As many as the credit may have been under way when the client
    /// was told; more are those of a client that takes no notice.
    pub fn dropped(&mut self, rows: usize) -> Result<()> {
        self.dropped += rows;
        if self.dropped > self.full.rows { Err(self.ignored()) } else { Ok(()) }
    }

    fn ignored(&self) -> Error {
        let Amount { rows, bytes } = self.granted();
        let text = format!("rows keep coming over the stream's credit of {rows} rows and {bytes} bytes");
        let remedy = "resume, go on from the expected number, and count what has no ack yet";
        Error::overloaded(format!("{text}, or beside the expected number; {remedy}"), RETRY_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    const FULL: Amount = Amount { rows: 4096, bytes: 16 << 20 };

    #[test]
    fn the_credit_is_halved_to_its_least_and_doubled_to_the_whole() {
        let mut credit = Credit::new(FULL);
        let rows = |credit: &mut Credit| {
            credit.slower();
            credit.granted().rows
        };
        let halved: Vec<usize> = (0..8).map(|_| rows(&mut credit)).collect();
        assert_eq!(halved, [2048, 1024, 512, 256, 128, 64, 64, 64]);
        assert_eq!(credit.granted().bytes, 1 << 20);
        credit.faster();
        assert_eq!(credit.granted(), Amount { rows: 128, bytes: 1 << 20 });
        (0..9).for_each(|_| credit.faster());
        assert_eq!(credit.granted(), FULL);
    }

    #[test]
    fn a_credit_below_the_least_stays_what_it_is() {
        let small = Amount { rows: 10, bytes: 1 << 20 };
        let mut credit = Credit::new(small);
        credit.slower();
        assert_eq!(credit.granted(), small);
    }

    #[test]
    fn only_overruns_with_nothing_taken_between_them_end_a_stream() {
        let mut credit = Credit::new(FULL);
        for _ in 0..3 {
            (0..OVERRUNS_MAX).for_each(|_| credit.overrun().expect("told"));
            credit.take(Amount { rows: 1, bytes: 10 });
        }
        (0..OVERRUNS_MAX).for_each(|_| credit.overrun().expect("told"));
        assert!(credit.overrun().expect_err("ends").to_string().contains("4096 rows"));
    }

    #[test]
    fn rows_that_were_under_way_are_dropped_and_more_end_the_stream() {
        let mut credit = Credit::new(FULL);
        credit.dropped(4096).expect("they were under way");
        credit.told();
        credit.dropped(4096).expect("and those behind the next refusal");
        assert!(credit.dropped(1).is_err());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Batch { rows: usize, bytes: usize },
        Settle,
        Slower,
        Faster,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..1500usize, 0..(3usize << 20)).prop_map(|(rows, bytes)| Step::Batch { rows, bytes }),
            4 => Just(Step::Settle),
            1 => Just(Step::Slower),
            1 => Just(Step::Faster),
        ]
    }

    proptest! {
        #[test]
        fn what_is_in_flight_never_grows_past_the_credit_of_the_moment(steps in prop::collection::vec(step(), 0..200)) {
            let mut credit = Credit::new(FULL);
            let mut taken = VecDeque::new();
            for step in steps {
                match step {
                    Step::Batch { rows, bytes } => {
                        let batch = Amount { rows, bytes };
                        let (before, granted) = (credit.in_flight(), credit.granted());
                        let fits = before.rows + rows <= granted.rows && before.bytes + bytes <= granted.bytes;
                        prop_assert_eq!(credit.check(batch).is_ok(), fits);
                        if fits {
                            credit.take(batch);
                            taken.push_back(batch);
                            prop_assert!(credit.in_flight().rows <= granted.rows);
                            prop_assert!(credit.in_flight().bytes <= granted.bytes);
                        }
                    }
                    Step::Settle => taken.pop_front().into_iter().for_each(|rows| credit.give_back(rows)),
                    Step::Slower => credit.slower(),
                    Step::Faster => credit.faster(),
                }
                let sum = |amount: fn(&Amount) -> usize| taken.iter().map(amount).sum::<usize>();
                prop_assert_eq!(credit.in_flight(), Amount { rows: sum(|a| a.rows), bytes: sum(|a| a.bytes) });
                prop_assert!(credit.in_flight().rows <= FULL.rows && credit.in_flight().bytes <= FULL.bytes);
                prop_assert!(credit.granted().rows >= CREDIT_ROWS_MIN && credit.granted().bytes >= CREDIT_BYTES_MIN);
            }
        }
    }
}
