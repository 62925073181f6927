//! Delivery: the spool's session is resumed or opened, rows go out in order, and leave the spool as they are acked.

use super::store::Stream;
use super::{Spool, SpoolError};
use crate::pool::hold;
use crate::{AckStage, Client, Error, Event, Kind, Observation, ObserveError, ObserveOptions, Observer, ReadToken};
use futures_util::future::{Either, select};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Mutex;

/// Takeovers in a row without a row acked, which a late resume of an earlier life can explain.
const TAKEOVERS_MAX: u32 = 3;

/// News of a delivery.
#[derive(Clone, Debug, PartialEq)]
pub enum Delivery {
    /// The rows go to this session, which has everything up to `last_sequence`.
    Session {
        /// Its id.
        session: u64,
        /// 0: it is new.
        last_sequence: u64,
    },
    /// So many more rows are in the space, and left the spool.
    Acked {
        /// How many.
        rows: u64,
        /// Where in the log; 0: not known.
        log_index: u64,
    },
    /// This row was not taken, and leaves the spool: correct it and put it again. After a crash it may be told twice.
    Refused {
        /// The row.
        row: Box<Observation>,
        /// Why.
        error: Error,
    },
    /// The connection broke; the delivery resumes by itself.
    Interrupted {
        /// Why.
        error: Error,
    },
    /// The session goes on.
    Resumed {
        /// At this address.
        endpoint: String,
    },
}

/// What a delivery did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Rows that left the spool because they are in the space.
    pub acked: u64,
    /// Rows that were not taken.
    pub refused: u64,
    /// Times a session was resumed.
    pub resumes: u64,
    /// What a read must reach to see all that was acked.
    pub token: ReadToken,
}

/// Marks the one delivery that may run.
struct Turn<'a>(&'a Spool);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store.set(|state| state.delivering = false);
    }
}

impl Spool {
    /// Delivers what waits, and what is put meanwhile, until [`Spool::finish`] was said and nothing waits. Each row is
    /// in the space once, whatever breaks, this process included. Acks are of the committed stage at least.
    ///
    /// Errors leave the rest in the spool, for another call: `Session` and `Stopped` when the cluster can't be reached
    /// or refuses; `Doubt` when only a person can tell (then [`Spool::settle_lost`]); `Busy` while another call runs.
    /// Cancel safe: a dropped delivery is a crash, which the spool is made for.
    pub async fn deliver(
        &self,
        client: &Client,
        options: ObserveOptions,
        mut heard: impl FnMut(Delivery),
    ) -> Result<Delivered, SpoolError> {
        if options.stage == AckStage::Received {
            let text = "a spool needs rows acked as committed: received ones may still be lost";
            return Err(SpoolError::Refused(Error::invalid(text)));
        }
        if self.store.set(|state| std::mem::replace(&mut state.delivering, true)) {
            return Err(SpoolError::Busy(self.store.dir.clone()));
        }
        let _turn = Turn(self);
        let (mut delivered, mut takeovers) = (Delivered::default(), 0);
        loop {
            let before = delivered.acked;
            let observer = self.connect(client, options, &mut delivered, &mut heard).await?;
            let streamed = self.stream(&observer, &mut delivered, &mut heard).await;
            delivered.resumes += observer.summary().resumes;
            delivered.token.raise(observer.token());
            let stopped = match streamed {
                Err(SpoolError::Stopped(stopped)) => stopped,
                done => return done.map(|()| delivered),
            };
            match stopped.error.kind() {
                // Nothing of what waits was sent on the session's last connection: nothing is in doubt.
                Kind::SessionLost => self.lost(stopped.error.0.last_sequence, stopped.unknown.is_some())?,
                // The directory's lock says that there is no rival; a resume of an earlier life was carried out late.
                Kind::Superseded if takeovers < TAKEOVERS_MAX || delivered.acked > before => {
                    takeovers = if delivered.acked > before { 1 } else { takeovers + 1 };
                }
                _ => return Err(SpoolError::Stopped(stopped)),
            }
        }
    }

    /// After `Doubt`: a person has looked, and states the largest sequence of the lost session that is in the space.
    /// Rows up to it leave the spool; the rest goes to a new session.
    pub fn settle_lost(&self, last_sequence: u64) -> Result<(), SpoolError> {
        self.lost(Some(last_sequence), true)
    }

    async fn connect(
        &self,
        client: &Client,
        options: ObserveOptions,
        delivered: &mut Delivered,
        heard: &mut impl FnMut(Delivery),
    ) -> Result<Observer, SpoolError> {
        if let Some(stream) = self.store.with(|state| state.stream) {
            match client.resume(stream.session, stream.incarnation, options).await {
                Ok(observer) => {
                    let last_sequence = observer.last_sequence();
                    let rows = self.told(stream, last_sequence, Some(Stream { acked: last_sequence, ..stream }))?;
                    heard(Delivery::Session { session: stream.session, last_sequence });
                    delivered.resumes += 1;
                    delivered.acked += rows;
                    if rows > 0 {
                        heard(Delivery::Acked { rows, log_index: 0 });
                    }
                    return Ok(observer);
                }
                Err(error) if error.kind() == Kind::SessionLost => self.lost(error.0.last_sequence, true)?,
                Err(error) => return Err(SpoolError::Session(error)),
            }
        }
        let observer = client.observe(&self.store.space, options).await.map_err(SpoolError::Session)?;
        let (session, incarnation) = (observer.session(), observer.incarnation());
        // Before a row is sent: a later life must know where it went.
        self.store.begin(Stream { session, incarnation, acked: 0 })?;
        heard(Delivery::Session { session, last_sequence: 0 });
        Ok(observer)
    }

    /// The session has everything up to `last_sequence`: those rows leave. How many they were.
    fn told(&self, stream: Stream, last_sequence: u64, next: Option<Stream>) -> Result<u64, SpoolError> {
        let through = stream.acked + self.store.with(|state| state.rows);
        if !(stream.acked..=through).contains(&last_sequence) {
            let Stream { session, acked, .. } = stream;
            let dir = self.store.dir.clone();
            return Err(SpoolError::Contradiction { dir, session, last_sequence, acked, through });
        }
        let rows = last_sequence - stream.acked;
        self.store.leave(rows, next)?;
        Ok(rows)
    }

    /// The session is gone. `doubt`: rows that wait may have been sent to it.
    fn lost(&self, last_sequence: Option<u64>, doubt: bool) -> Result<(), SpoolError> {
        let (stream, rows) = self.store.with(|state| (state.stream, state.rows));
        let Some(stream) = stream else { return Ok(()) };
        match last_sequence {
            Some(last) => self.told(stream, last, None).map(drop),
            None if rows == 0 || !doubt => self.store.leave(0, None),
            None => {
                let Stream { session, acked, .. } = stream;
                Err(SpoolError::Doubt { dir: self.store.dir.clone(), session, acked, rows })
            }
        }
    }

    /// Streams until everything is acked or the stream stops.
    async fn stream(
        &self,
        observer: &Observer,
        delivered: &mut Delivered,
        heard: &mut impl FnMut(Delivery),
    ) -> Result<(), SpoolError> {
        observer.confirm_refusals();
        // The positions of the rows in the window, by ticket.
        let pushed = Mutex::new(VecDeque::new());
        let sending = async {
            let mut from = 0;
            while let Some((position, row)) = poll_fn(|cx| self.store.poll_row(cx, from)).await? {
                let ticket = observer.push(row).await?;
                hold(&pushed).push_back((ticket, position));
                from = position + 1;
            }
            observer.flush().await?;
            Ok(())
        };
        let mut sending = pin!(sending);
        let sent = loop {
            match select(pin!(observer.next_event()), &mut sending).await {
                Either::Left((Some(Event::Stopped(stopped)), _)) => break Err(SpoolError::Stopped(stopped)),
                Either::Left((Some(event), _)) => self.hear(event, observer, &pushed, delivered, heard)?,
                // Told before: the sending half says it too.
                Either::Left((None, sending)) => break sending.await,
                Either::Right((sent, _)) => break sent,
            }
        };
        while let Some(event) = observer.try_event() {
            self.hear(event, observer, &pushed, delivered, heard)?;
        }
        sent
    }

    fn hear(
        &self,
        event: Event,
        observer: &Observer,
        pushed: &Mutex<VecDeque<(u64, u64)>>,
        delivered: &mut Delivered,
        heard: &mut impl FnMut(Delivery),
    ) -> Result<(), SpoolError> {
        let stream = self.store.with(|state| state.stream);
        match event {
            Event::Acked { tickets, sequences, log_index, .. } => {
                let mut left = Vec::new();
                let mut pushed = hold(pushed);
                while let Some((ticket, position)) = pushed.front().copied()
                    && ticket <= *tickets.end()
                {
                    pushed.pop_front();
                    left.push(position);
                }
                let rows = left.len() as u64;
                let stream = stream.map(|stream| Stream { acked: *sequences.end(), ..stream });
                // Not flushed: after a crash the session tells the same again.
                self.store.leave_at(left, stream, false)?;
                delivered.acked += rows;
                heard(Delivery::Acked { rows, log_index });
            }
            Event::Refused { ticket, error, .. } => {
                let place = hold(pushed).iter().position(|(pushed, _)| *pushed == ticket);
                let Some((_, position)) = place.and_then(|place| hold(pushed).remove(place)) else { return Ok(()) };
                if let Some(row) = self.store.row(position)? {
                    heard(Delivery::Refused { row: Box::new(row), error });
                }
                // Durable before its number goes to the next row: a later life would count wrongly.
                self.store.leave_at([position], stream, true)?;
                delivered.refused += 1;
                observer.refusal_noted();
            }
            Event::Interrupted { error } => heard(Delivery::Interrupted { error }),
            Event::Resumed { endpoint, .. } => heard(Delivery::Resumed { endpoint }),
            // Stopped is told by the caller; nothing is lost that was acked as committed.
            Event::Stopped(_) | Event::Lost { .. } => {}
        }
        Ok(())
    }
}

impl From<ObserveError> for SpoolError {
    fn from(error: ObserveError) -> Self {
        match error {
            ObserveError::Refused(error) => Self::Refused(error),
            ObserveError::Stopped(stopped) => Self::Stopped(stopped),
        }
    }
}
