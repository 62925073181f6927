//! What an observer tells its owner, and a bounded buffer of it.

use crate::{AckStage, Error, Stopped};
use std::collections::VecDeque;
use std::ops::RangeInclusive;

/// News of a stream. A *ticket* is the client's own count of what was pushed, from 1; a *sequence* is the number in
/// the session. They part when a row is refused: it keeps its ticket and uses up no sequence.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// These rows are in the log.
    Acked {
        /// First and last ticket; as many as sequences.
        tickets: RangeInclusive<u64>,
        /// First and last sequence.
        sequences: RangeInclusive<u64>,
        /// Where in the log; for a `repeat` told by a resume an upper bound; 0: not known, or not committed yet.
        log_index: u64,
        /// What the ack promises.
        stage: AckStage,
        /// They were committed before this stream sent them, or before it was told so.
        repeat: bool,
    },
    /// This row was not taken, and never will be; the rows after it move up to its number.
    Refused {
        /// The row.
        ticket: u64,
        /// The number it would have had.
        sequence: u64,
        /// Why.
        error: Error,
    },
    /// Only for [`AckStage::Received`]: these were acked as received and then lost with their node.
    Lost {
        /// First and last sequence, as acked before; the numbers are used again.
        sequences: RangeInclusive<u64>,
    },
    /// The connection broke; the observer resumes by itself.
    Interrupted {
        /// Why.
        error: Error,
    },
    /// The session goes on.
    Resumed {
        /// The node that took it over.
        node: u64,
        /// Its address.
        endpoint: String,
        /// Everything up to here is committed.
        last_sequence: u64,
    },
    /// The end of the stream; nothing follows.
    Stopped(Box<Stopped>),
}

/// Events waiting for their reader, at most `max`: when they are not read, acks are merged, then the oldest dropped.
#[derive(Debug)]
pub(crate) struct Events {
    queue: VecDeque<Event>,
    max: usize,
    /// Events that were dropped unread.
    pub dropped: u64,
}

impl Events {
    pub fn new(max: usize) -> Self {
        Self { queue: VecDeque::new(), max: max.max(1), dropped: 0 }
    }

    pub fn push(&mut self, event: Event) {
        if self.queue.len() >= self.max {
            if let Some(last) = self.queue.back_mut()
                && merge(last, &event)
            {
                return;
            }
            self.queue.pop_front();
            self.dropped += 1;
        }
        self.queue.push_back(event);
    }

    pub fn pop(&mut self) -> Option<Event> {
        self.queue.pop_front()
    }
}

/// Widens an ack by the one that follows it; the log index becomes an upper bound.
fn merge(last: &mut Event, next: &Event) -> bool {
    let (
        Event::Acked { tickets, sequences, log_index, stage, repeat },
        Event::Acked { tickets: next_tickets, sequences: next_sequences, log_index: index, stage: s, repeat: r },
    ) = (last, next)
    else {
        return false;
    };
    let follows = tickets.end() + 1 == *next_tickets.start() && sequences.end() + 1 == *next_sequences.start();
    if !follows || stage != s || repeat != r {
        return false;
    }
    *tickets = *tickets.start()..=*next_tickets.end();
    *sequences = *sequences.start()..=*next_sequences.end();
    *log_index = (*log_index).max(*index);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acked(ticket: u64, log_index: u64) -> Event {
        let range = ticket..=ticket;
        let (tickets, sequences) = (range.clone(), range);
        Event::Acked { tickets, sequences, log_index, stage: AckStage::Committed, repeat: false }
    }

    #[test]
    fn a_full_buffer_merges_acks_and_drops_nothing() {
        let mut events = Events::new(1);
        (1..=5).for_each(|ticket| events.push(acked(ticket, ticket * 10)));
        let Some(Event::Acked { tickets, log_index, .. }) = events.pop() else { panic!("no ack") };
        assert_eq!((tickets, log_index, events.dropped), (1..=5, 50, 0));
    }

    #[test]
    fn a_full_buffer_drops_the_oldest_of_what_cannot_merge() {
        let mut events = Events::new(2);
        events.push(acked(1, 1));
        events.push(Event::Lost { sequences: 3..=3 });
        events.push(Event::Lost { sequences: 4..=4 });
        assert_eq!(events.dropped, 1);
        assert_eq!(events.pop(), Some(Event::Lost { sequences: 3..=3 }));
    }
}
