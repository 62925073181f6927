//! The rows that are pushed and not acked yet, as a machine without I/O: numbering, credit, acks, refusals, resumes.
//!
//! A row's number is its place: the front of the window is `acked + 1`. Dropping a refused row therefore moves the
//! later ones up, which is what the server expects: it took none of them.
//!
//! Invariants: `once_per_sequence` (a number goes to another observation only after a refusal that names it as the
//! expected one, so that nothing at or after it was taken); `one_attempt_pending` (a row is sent again on the same
//! stream only after its earlier attempt was refused, so a refusal always speaks of the row that now has the
//! number); `window_bounded`.

use super::event::Event;
use super::flow::{Allowance, Credit};
use crate::{AckStage, Error, Kind, Observation, WriteClass, timing::RETRY_AFTER_MAX};
use engram_proto::wire::v1::{Ack, FlowControl, FlowKind, ObserveBatch, Refused, SessionOpened};
use prost::Message;
use std::{collections::VecDeque, ops::RangeInclusive, time::Duration};

/// What the owner allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Rows and bytes kept unacked.
    pub rows: usize,
    pub bytes: usize,
    /// Rows and bytes of one batch; a single row may be over.
    pub batch_rows: usize,
    pub batch_bytes: usize,
}

/// Why the stream can't go on as it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// Drop the connection and resume: the server then says what it has.
    Broken(Error),
    /// Another connection has the session now.
    Superseded(Error),
    /// The session is over.
    Stop(Error),
}

/// What a refusal asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reaction {
    Tell(Event),
    Wait(Duration),
    Nothing,
}

#[derive(Debug)]
struct Slot {
    ticket: u64,
    bytes: usize,
    observation: Observation,
}

#[derive(Debug)]
pub(crate) struct Window {
    limits: Limits,
    stage: AckStage,
    rows: VecDeque<Slot>,
    bytes: usize,
    /// The front row's sequence, less one.
    acked: u64,
    /// `rows[..sent]` are in flight on this stream, with so many bytes.
    sent: usize,
    sent_bytes: usize,
    /// Highest ticket that was ever in flight: what is above surely was not taken.
    sent_ticket: u64,
    last_ticket: u64,
    /// Rows acked at the stage asked for, less those lost since.
    settled: u64,
    /// What the server allows in flight, and what we do when it says "slower".
    pub allowance: Allowance,
    pace_rows: usize,
    paused: bool,
}

impl Window {
    pub fn new(limits: Limits, stage: AckStage) -> Self {
        Self {
            limits,
            stage,
            rows: VecDeque::new(),
            bytes: 0,
            acked: 0,
            sent: 0,
            sent_bytes: 0,
            sent_ticket: 0,
            last_ticket: 0,
            settled: 0,
            allowance: Allowance::new(Credit { rows: limits.rows, bytes: limits.bytes }),
            pace_rows: limits.rows,
            paused: false,
        }
    }

    /// The session has this much from before: the first row pushed here comes after it.
    pub fn begin_after(&mut self, last_sequence: u64) {
        self.acked = last_sequence;
    }

    /// Room for one more row; an empty window takes a row of any size.
    pub fn has_room(&self) -> bool {
        self.rows.is_empty() || (self.rows.len() < self.limits.rows && self.bytes < self.limits.bytes)
    }

    /// Takes a row and gives it its ticket. The caller has seen [`Window::has_room`].
    pub fn push(&mut self, observation: Observation) -> u64 {
        self.last_ticket += 1;
        let bytes = observation.encoded_len();
        self.bytes += bytes;
        self.rows.push_back(Slot { ticket: self.last_ticket, bytes, observation });
        self.last_ticket
    }

    pub fn acked(&self) -> u64 {
        self.acked
    }

    /// Rows acked at the stage asked for.
    pub fn settled(&self) -> u64 {
        self.settled
    }

    /// The highest ticket below which everything is acked or refused.
    pub fn settled_through(&self) -> u64 {
        self.rows.front().map_or(self.last_ticket, |slot| slot.ticket - 1)
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn in_flight(&self) -> usize {
        self.sent
    }

    pub fn unsent(&self) -> usize {
        self.rows.len() - self.sent
    }

    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// The next rows to send: as many as batch, credit and pace allow. Under any credit but none, one row may go.
    pub fn next_batch(&mut self) -> Option<ObserveBatch> {
        let credit = self.allowance.now();
        if self.paused || credit.rows == 0 {
            return None;
        }
        let first = self.sent;
        let mut batch_bytes = 0;
        while let Some(slot) = self.rows.get(self.sent) {
            let count = self.sent - first;
            let full = count >= self.limits.batch_rows || batch_bytes + slot.bytes > self.limits.batch_bytes;
            let over = self.sent >= credit.rows.min(self.pace_rows)
                || self.sent_bytes + slot.bytes > credit.bytes.min(self.limits.bytes);
            if (count > 0 && full) || (self.sent > 0 && over) {
                break;
            }
            batch_bytes += slot.bytes;
            self.sent_bytes += slot.bytes;
            self.sent_ticket = self.sent_ticket.max(slot.ticket);
            self.sent += 1;
        }
        let observations: Vec<_> = self.rows.range(first..self.sent).map(|slot| slot.observation.clone()).collect();
        (!observations.is_empty()).then(|| ObserveBatch { first_sequence: self.sequence(first), observations })
    }

    /// A stream was opened or resumed: `last_sequence` is the truth about everything sent before.
    pub fn opened(&mut self, opened: &SessionOpened) -> Result<Vec<Event>, Fault> {
        (self.sent, self.sent_bytes) = (0, 0);
        (self.paused, self.pace_rows) = (false, self.limits.rows);
        let credit = opened.credit.as_ref().map_or(self.allowance.now(), credit);
        self.allowance = Allowance::new(credit);
        let last = opened.last_sequence;
        if last > self.sequence(self.ever_sent()).saturating_sub(1) {
            let text = format!("session {} stands at {last}, which this client never sent", opened.session);
            return Err(Fault::Stop(Error::in_doubt(format!("{text}; another one writes to it"))));
        }
        if last >= self.acked {
            return Ok(self.settle(last, opened.last_log_index, AckStage::Committed, true));
        }
        let sequences = last + 1..=self.acked;
        if self.stage != AckStage::Received {
            let text = format!("rows {} to {} were acked as committed and are gone", sequences.start(), self.acked);
            return Err(Fault::Stop(Error::in_doubt(format!("{text}; call the operator"))));
        }
        self.settled -= (self.acked - last).min(self.settled);
        self.acked = last;
        Ok(vec![Event::Lost { sequences }])
    }

    /// The server acked rows that are in flight; anything else breaks the stream.
    pub fn ack(&mut self, ack: &Ack) -> Result<Vec<Event>, Fault> {
        let sent_through = self.acked + self.sent as u64;
        if ack.first_sequence > ack.last_sequence || ack.last_sequence > sent_through {
            let (first, last) = (ack.first_sequence, ack.last_sequence);
            let text = format!("an ack for {first} to {last}, but only {sent_through} was sent; resuming");
            return Err(Fault::Broken(Error::in_doubt(text)));
        }
        if ack.first_sequence > self.acked + 1 && ack.stage() >= self.stage {
            let text = format!("an ack for {}, but {} has none; resuming", ack.first_sequence, self.acked + 1);
            return Err(Fault::Broken(Error::in_doubt(text)));
        }
        if ack.stage() >= self.stage {
            return Ok(self.settle(ack.last_sequence, ack.log_index, ack.stage(), ack.repeat));
        }
        let first = ack.first_sequence.max(self.acked + 1);
        Ok(self.acked_events(first..=ack.last_sequence, ack.log_index, ack.stage(), ack.repeat))
    }

    /// The server refused a row; it drops what follows until the expected number comes again.
    pub fn refused(&mut self, refused: &Refused) -> Result<Reaction, Fault> {
        let error = Error::from(refused.error.clone().unwrap_or_default());
        let Refused { sequence, expected, .. } = *refused;
        match error.kind() {
            Kind::Superseded => return Err(Fault::Superseded(error)),
            Kind::SessionLost | Kind::NotFound | Kind::Unsupported => return Err(Fault::Stop(error)),
            Kind::Invalid | Kind::Overloaded if error.0.class() != WriteClass::Unknown => {}
            _ => return Err(Fault::Broken(error)),
        }
        if sequence > expected {
            // A row after a refused one, which was told before: it goes again with that one.
            return Ok(Reaction::Nothing);
        }
        if sequence < expected {
            let text = format!("{sequence} is in the session with another payload ({error}); another one writes to it");
            return Err(Fault::Stop(Error::in_doubt(text)));
        }
        let place = expected.checked_sub(self.acked + 1).and_then(|place| usize::try_from(place).ok());
        let pending = place.filter(|place| *place < self.sent);
        let invalid = error.kind() == Kind::Invalid;
        if !invalid {
            self.slow_down();
        }
        let Some(place) = pending else {
            if !invalid {
                return Ok(Reaction::Wait(retry_after(&error)));
            }
            let text = format!("a refusal of {sequence}, which is not in flight ({error}); resuming");
            return Err(Fault::Broken(Error::in_doubt(text)));
        };
        self.rewind(place);
        if !invalid {
            return Ok(Reaction::Wait(retry_after(&error)));
        }
        let Some(slot) = self.rows.remove(place) else { return Ok(Reaction::Nothing) };
        self.bytes -= slot.bytes;
        Ok(Reaction::Tell(Event::Refused { ticket: slot.ticket, sequence, error }))
    }

    /// Credit is a limit on what is in flight, not an increment. Unknown kinds are ignored.
    pub fn flow(&mut self, flow: &FlowControl) {
        match flow.kind() {
            FlowKind::Credit => self.allowance.tell(credit(flow)),
            FlowKind::Pause => self.paused = true,
            FlowKind::Resume => self.paused = false,
            FlowKind::Slower => self.slow_down(),
            FlowKind::Faster => self.pace_rows = self.pace_rows.saturating_mul(2).min(self.limits.rows),
            FlowKind::Unspecified => {}
        }
        if flow.kind() != FlowKind::Credit && flow.credit_rows > 0 {
            self.allowance.tell(credit(flow));
        }
    }

    /// The session is over, and stood at `last_sequence` if that is known.
    pub fn lost(&mut self, last_sequence: Option<u64>) -> Vec<Event> {
        let sent_through = self.sequence(self.ever_sent()).saturating_sub(1);
        let last = last_sequence.unwrap_or(0).min(sent_through);
        self.settle(last, 0, AckStage::Committed, true)
    }

    /// What has no ack: tickets in doubt, tickets never sent.
    pub fn outstanding(&self) -> (Option<RangeInclusive<u64>>, Option<RangeInclusive<u64>>) {
        let ever_sent = self.ever_sent();
        let range = |from: usize, to: usize| {
            let (first, last) = (self.rows.get(from)?, self.rows.get(to.checked_sub(1)?)?);
            (from < to).then_some(first.ticket..=last.ticket)
        };
        (range(0, ever_sent), range(ever_sent, self.rows.len()))
    }

    /// Rows at the front that were in flight at some time.
    fn ever_sent(&self) -> usize {
        self.rows.partition_point(|slot| slot.ticket <= self.sent_ticket)
    }

    fn sequence(&self, place: usize) -> u64 {
        self.acked + 1 + place as u64
    }

    /// Takes the rows through `last` out; the caller has checked that they are there.
    fn settle(&mut self, last: u64, log_index: u64, stage: AckStage, repeat: bool) -> Vec<Event> {
        if last <= self.acked {
            return Vec::new();
        }
        let events = self.acked_events(self.acked + 1..=last, log_index, stage, repeat);
        for _ in self.acked..last {
            let Some(slot) = self.rows.pop_front() else { break };
            self.settled += 1;
            self.bytes -= slot.bytes;
            if self.sent > 0 {
                self.sent -= 1;
                self.sent_bytes -= slot.bytes;
            }
        }
        // A pace that was halved recovers even if the server never says "faster".
        let taken = usize::try_from(last - self.acked).unwrap_or(usize::MAX);
        self.pace_rows = self.pace_rows.saturating_add(taken).min(self.limits.rows);
        self.acked = last;
        events
    }

    /// One event for each run of tickets without a hole.
    fn acked_events(&self, all: RangeInclusive<u64>, log_index: u64, stage: AckStage, repeat: bool) -> Vec<Event> {
        let mut events: Vec<Event> = Vec::new();
        for sequence in all {
            let Some(slot) = self.rows.get((sequence - self.acked - 1) as usize) else { break };
            if let Some(Event::Acked { tickets, sequences, .. }) = events.last_mut()
                && *tickets.end() + 1 == slot.ticket
            {
                *tickets = *tickets.start()..=slot.ticket;
                *sequences = *sequences.start()..=sequence;
                continue;
            }
            let (tickets, sequences) = (slot.ticket..=slot.ticket, sequence..=sequence);
            events.push(Event::Acked { tickets, sequences, log_index, stage, repeat });
        }
        events
    }

    /// Half of what is in flight now.
    fn slow_down(&mut self) {
        self.pace_rows = (self.pace_rows.min(self.sent) / 2).max(1);
    }

    /// The rows from `place` on are to be sent again.
    fn rewind(&mut self, place: usize) {
        let back: usize = self.rows.range(place..self.sent).map(|slot| slot.bytes).sum();
        self.sent_bytes -= back;
        self.sent = place;
    }
}

fn credit(flow: &FlowControl) -> Credit {
    let bytes = usize::try_from(flow.credit_bytes).unwrap_or(usize::MAX);
    Credit { rows: flow.credit_rows as usize, bytes }
}

fn retry_after(error: &Error) -> Duration {
    Duration::from_millis(error.0.retry_after_ms.max(1).into()).min(RETRY_AFTER_MAX)
}
