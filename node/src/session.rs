//! The door that orders sequences: one per stream, pure logic.
//!
//! Place in the corridor: `Observation → Sequenced`. A row that is refused uses up no number; what comes after
//! it is dropped until its number comes again, so order holds. The check that counts is made at apply; this
//! one gives quick answers and keeps gaps out of the log.
//! Invariant `order_in_session`: chunks leave in sequence order without gaps.

use crate::spans::Span;
use engram_mutants::mutant;
use engram_probes::probe;
use engram_proto::error::{Error, Result};
use engram_proto::observation::{self, Shape};
use engram_proto::wire::log::{Record, Verdict};
use engram_proto::wire::v1::{ObserveBatch, Refused};
use prost::Message;
use tokio::sync::mpsc;

/// Rows of one chunk, so that entries of 10, 100 and 500 rows can be made of them.
pub const CHUNK_ROWS_MAX: usize = 100;
/// Bytes of one chunk: an entry of several is at most about 1 MiB.
pub const CHUNK_BYTES_MAX: usize = 512 * 1024;

/// What became of a chunk: the stream that sent it is told.
pub struct Settled {
    /// The number of its first row.
    pub first_sequence: u64,
    /// Rows of the chunk, to give back credit.
    pub rows: usize,
    /// Bytes of the chunk.
    pub bytes: usize,
    /// The stream's attempt that the chunk was of.
    pub attempt: u64,
    /// Apply's verdict, or why there is none.
    pub result: Result<Verdict>,
    /// Where somebody traces it.
    pub span: Option<Span>,
}

impl Settled {
    /// Tells its span what became of the rows.
    pub fn trace(&mut self) {
        let Some(span) = &mut self.span else { return };
        span.note("engram.first_sequence", self.first_sequence);
        span.note("engram.rows", self.rows as u64);
        let error = match &self.result {
            Ok(Verdict { refused: Some(refused), .. }) => refused.error.as_ref().map(|error| error.message.clone()),
            Ok(verdict) => {
                verdict.runs.last().into_iter().for_each(|run| span.note("engram.log_index", run.log_index));
                None
            }
            Err(error) => Some(error.to_string()),
        };
        span.told(error);
    }
}

/// Consecutive rows of one session that passed the door: only [`Door`] makes one.
pub struct Sequenced {
    session: u64,
    connection: u64,
    first_sequence: u64,
    records: Vec<Record>,
    bytes: usize,
    attempt: u64,
    reply: mpsc::Sender<Settled>,
    /// Where somebody traces it.
    pub span: Option<Span>,
}

impl Sequenced {
    /// The session.
    pub fn session(&self) -> u64 {
        self.session
    }

    /// The log index of the open or resume that the rows came under.
    pub fn connection(&self) -> u64 {
        self.connection
    }

    /// The number of the first row.
    pub fn first_sequence(&self) -> u64 {
        self.first_sequence
    }

    /// The rows.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Takes the rows out, for the log.
    pub fn take_records(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.records)
    }

    /// Encoded size of the rows.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Tells the stream. `rows` as they were before [`Self::take_records`]. A stream that is gone is not told.
    pub fn settle(self, rows: usize, result: Result<Verdict>) {
        // Room for each chunk in flight is made before it is admitted: the channel is never full.
        let Self { first_sequence, bytes, attempt, reply, span, .. } = self;
        drop(reply.try_send(Settled { first_sequence, rows, bytes, attempt, result, span }));
    }
}

/// One stream's state at the door.
pub struct Door {
    session: u64,
    connection: u64,
    shape: Shape,
    /// The number that is taken next.
    next: u64,
    /// After a refusal: numbers above are dropped in silence until `next` comes.
    waiting: bool,
    /// Counts the refusals of rows that had left: what left before the last of them was refused with it.
    attempt: u64,
    reply: mpsc::Sender<Settled>,
}

impl Door {
    /// The door of a stream that opened or resumed a session after `last_sequence`.
    pub fn new(session: u64, connection: u64, last_sequence: u64, shape: Shape, reply: mpsc::Sender<Settled>) -> Self {
        Self { session, connection, shape, next: last_sequence + 1, waiting: false, attempt: 0, reply }
    }

    /// Cuts a batch into chunks that may be admitted, in order, up to the first row that must be refused.
    pub fn sequence(&mut self, batch: ObserveBatch) -> (Vec<Sequenced>, Option<Refused>) {
        let mut chunks = Vec::new();
        let mut current: Option<Sequenced> = None;
        let mut refused = None;
        // No session comes so far: whatever is beyond is a gap, and counting on from it cannot overflow.
        let batch = ObserveBatch { first_sequence: batch.first_sequence.min(u64::MAX / 2), ..batch };
        for (sequence, observation) in (batch.first_sequence..).zip(batch.observations) {
            if sequence > self.next {
                if !self.waiting {
                    let text = format!("sequence {sequence} leaves a gap; send {} first", self.next);
                    refused = Some(self.refuse(sequence, Error::invalid(text)));
                }
                break;
            }
            let record = match observation::admit(observation, self.shape) {
                Ok(record) if sequence > 0 => record,
                Ok(_) => {
                    let error = Error::invalid("sequences start at 1");
                    refused = Some(self.refuse(sequence, error));
                    break;
                }
                Err(error) => {
                    refused = Some(self.refuse(sequence, error));
                    break;
                }
            };
            if sequence == self.next {
                self.next += 1;
                self.waiting = false;
            }
            let bytes = record.encoded_len();
            let full =
                |chunk: &Sequenced| chunk.records.len() >= CHUNK_ROWS_MAX || chunk.bytes + bytes > CHUNK_BYTES_MAX;
            if current.as_ref().is_some_and(full) {
                chunks.extend(current.take());
            }
            let chunk = current.get_or_insert_with(|| Sequenced {
                session: self.session,
                connection: self.connection,
                first_sequence: sequence,
                records: Vec::new(),
                bytes: 0,
                attempt: self.attempt,
                reply: self.reply.clone(),
                span: None,
            });
            chunk.bytes += bytes;
            chunk.records.push(record);
        }
        chunks.extend(current);
        (chunks, refused)
    }

    /// Whether rows from this number on are dropped in silence: after a refusal, until the expected number comes.
    pub fn drops(&self, sequence: u64) -> bool {
        self.waiting && sequence > self.next
    }

    fn refuse(&mut self, sequence: u64, error: Error) -> Refused {
        self.waiting = true;
        Refused { sequence, expected: self.next, error: Some(error.into()) }
    }

    /// Admission refused a chunk that left this door: its numbers are expected again.
    pub fn turn_back(&mut self, first_sequence: u64, error: Error) -> Refused {
        probe!("rows_turned_back_at_the_door");
        if !mutant!("turned_back_numbers_are_gone") {
            self.next = self.next.min(first_sequence);
        }
        self.refuse(first_sequence, error)
    }

    /// Apply refused a row of a chunk of this attempt. `None` when the stream was told of this expectation already: then
    /// its number may have come again since, and must not be expected once more.
    pub fn refused_at_apply(&mut self, refused: Refused, attempt: u64) -> Option<Refused> {
        if refused.expected == 0 {
            return Some(refused);
        }
        if attempt < self.attempt {
            probe!("older_refusal_at_apply");
            // A number with another payload is news at any time, and nothing comes after it.
            return (refused.sequence < refused.expected).then_some(refused);
        }
        if self.waiting && self.next <= refused.expected {
            return None;
        }
        self.next = refused.expected;
        self.waiting = true;
        self.attempt += 1;
        Some(refused)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use engram_proto::wire::v1::{Metric, Observation, Precision};

    const SHAPE: Shape = Shape { dim: 2, precision: Precision::F16, metric: Metric::Cosine };

    /// A chunk of `rows` rows whose stream is gone.
    pub fn chunk(rows: usize) -> Sequenced {
        let (reply, _) = mpsc::channel(1);
        let records = vec![Record::default(); rows];
        Sequenced {
            session: 1,
            connection: 1,
            first_sequence: 1,
            records,
            bytes: rows * 10,
            attempt: 0,
            reply,
            span: None,
        }
    }

    fn batch(first_sequence: u64, values: &[f32]) -> ObserveBatch {
        let observation = |value: &f32| Observation {
            text: "memory".into(),
            embedding: [*value, 1.0].iter().flat_map(|v| v.to_le_bytes()).collect(),
            ..Observation::default()
        };
        ObserveBatch { first_sequence, observations: values.iter().map(observation).collect() }
    }

    fn door() -> Door {
        Door::new(1, 1, 0, SHAPE, mpsc::channel(1).0)
    }

    #[test]
    fn rows_in_order_pass_in_chunks() {
        let mut door = door();
        let (chunks, refused) = door.sequence(batch(1, &[1.0; 250]));
        assert!(refused.is_none());
        let sizes: Vec<_> = chunks.iter().map(|chunk| (chunk.first_sequence, chunk.records.len())).collect();
        assert_eq!(sizes, [(1, 100), (101, 100), (201, 50)]);
    }

    #[test]
    fn a_bad_row_uses_up_no_number_and_later_ones_are_dropped_until_it_comes_again() {
        let mut door = door();
        let (chunks, refused) = door.sequence(batch(1, &[1.0, f32::NAN, 3.0]));
        assert_eq!(chunks[0].records.len(), 1);
        let refused = refused.expect("NaN");
        assert_eq!((refused.sequence, refused.expected), (2, 2));
        assert!(door.drops(4) && !door.drops(2));
        let (chunks, refused) = door.sequence(batch(4, &[4.0]));
        assert!(chunks.is_empty() && refused.is_none(), "dropped in silence");
        let (chunks, refused) = door.sequence(batch(2, &[2.0, 3.0]));
        assert!(refused.is_none());
        assert_eq!((chunks[0].first_sequence, chunks[0].records.len()), (2, 2));
    }

    #[test]
    fn a_gap_is_refused_with_the_expected_number() {
        let mut door = door();
        let (chunks, refused) = door.sequence(batch(3, &[1.0]));
        assert!(chunks.is_empty());
        assert_eq!(refused.expect("gap").expected, 1);
    }

    #[test]
    fn the_largest_number_is_a_gap_like_any_other() {
        let (chunks, refused) = door().sequence(batch(u64::MAX, &[1.0, 2.0]));
        assert!(chunks.is_empty());
        assert_eq!(refused.expect("gap").expected, 1);
    }

    #[test]
    fn a_repeat_goes_to_the_log_again() {
        let mut door = Door::new(1, 1, 10, SHAPE, mpsc::channel(1).0);
        let (chunks, refused) = door.sequence(batch(9, &[1.0, 2.0, 3.0]));
        assert!(refused.is_none());
        assert_eq!((chunks[0].first_sequence, chunks[0].records.len()), (9, 3));
    }

    #[test]
    fn refusals_at_apply_are_told_once() {
        let mut door = door();
        door.sequence(batch(1, &[1.0; 30]));
        let at = |sequence, expected| Refused { sequence, expected, error: None };
        assert!(door.refused_at_apply(at(11, 11), 0).is_some());
        assert!(door.refused_at_apply(at(21, 11), 0).is_none());
        assert!(door.refused_at_apply(at(21, 21), 0).is_none(), "a later chunk was turned back too");
        let (chunks, _) = door.sequence(batch(11, &[1.0]));
        assert_eq!(chunks.len(), 1);
    }

    #[test]
    fn a_late_refusal_of_an_earlier_attempt_turns_nothing_back() {
        let mut door = door();
        door.sequence(batch(1, &[1.0; 20]));
        let at = |sequence, expected| Refused { sequence, expected, error: None };
        assert!(door.refused_at_apply(at(1, 1), 0).is_some());
        let (again, _) = door.sequence(batch(1, &[1.0; 20]));
        assert_eq!(again[0].attempt, 1);
        // What left after the refused row comes back as a gap, when all of it is under way again.
        assert!(door.refused_at_apply(at(11, 1), 0).is_none());
        let (chunks, refused) = door.sequence(batch(21, &[1.0]));
        assert!(refused.is_none() && chunks.len() == 1, "dropped in silence for ever");
        assert!(door.refused_at_apply(at(3, 21), 0).is_some(), "another payload under a number that is taken");
        assert!(door.refused_at_apply(at(1, 1), 1).is_some(), "the second attempt failed too");
    }

    proptest::proptest! {
        #[test]
        fn what_leaves_has_no_gap(batches in proptest::collection::vec((0u64..30, 1usize..8, 0usize..10), 1..60)) {
            let mut door = door();
            let mut highest = 0;
            for (first, rows, bad) in batches {
                let values: Vec<f32> = (0..rows).map(|at| if at == bad { f32::NAN } else { 1.0 }).collect();
                let (chunks, _) = door.sequence(batch(first, &values));
                for chunk in chunks {
                    proptest::prop_assert!(chunk.first_sequence >= 1 && chunk.first_sequence <= highest + 1);
                    highest = highest.max(chunk.first_sequence + chunk.records.len() as u64 - 1);
                }
            }
        }
    }
}
