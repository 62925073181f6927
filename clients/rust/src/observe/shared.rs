//! What an observer and its driver share: the window, the events, who waits for whom.

use super::event::{Event, Events};
use super::window::{Limits, Window};
use crate::pool::{Pool, hold};
use crate::{AckStage, Error, ReadToken, Stopped};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// Counts of one stream so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Observations that got a ticket.
    pub pushed: u64,
    /// Of these, acked at the stage asked for, or told as committed by a resume.
    pub acked: u64,
    /// Of these, surely not taken.
    pub refused: u64,
    /// Acked as received and then lost; only with that stage.
    pub lost: u64,
    /// Times the session was resumed.
    pub resumes: u64,
    /// Times the server had no room.
    pub overloads: u64,
    /// Events that nobody read in time.
    pub events_dropped: u64,
    /// What a read must reach to see all that was acked.
    pub token: ReadToken,
}

pub(crate) struct State {
    pub window: Window,
    pub events: Events,
    pub summary: Summary,
    pub incarnation: u64,
    pub stopped: Option<Box<Stopped>>,
    /// Somebody waits for acks or room: half a batch is better than none.
    pub hurry: bool,
    /// The owner wants acks held back.
    pub hold_acks: bool,
    /// How often the owner wants the credit halved.
    pub halvings: u32,
    /// A refusal stops the sending until the owner has noted it; and one has.
    pub confirms_refusals: bool,
    pub refusal_open: bool,
    closed: bool,
    driver: Option<Waker>,
    owners: Vec<Waker>,
}

pub(crate) struct Shared {
    pub session: u64,
    pool: Arc<Pool>,
    state: Mutex<State>,
}

impl Shared {
    pub fn new(pool: Arc<Pool>, limits: Limits, stage: AckStage, events_max: usize, session: u64) -> Self {
        let state = State {
            window: Window::new(limits, stage),
            events: Events::new(events_max),
            summary: Summary::default(),
            incarnation: 0,
            stopped: None,
            hurry: false,
            hold_acks: false,
            halvings: 0,
            confirms_refusals: false,
            refusal_open: false,
            closed: false,
            driver: None,
            owners: Vec::new(),
        };
        Self { session, pool, state: Mutex::new(state) }
    }

    /// Looks or changes without waking anybody.
    pub fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut hold(&self.state))
    }

    /// The owner's change: wakes the driver.
    pub fn nudge<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let (value, waker) = {
            let mut state = hold(&self.state);
            (change(&mut state), state.driver.take())
        };
        waker.into_iter().for_each(Waker::wake);
        value
    }

    /// The driver's change: wakes whoever waits.
    pub fn report<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let (value, wakers) = {
            let mut state = hold(&self.state);
            (change(&mut state), std::mem::take(&mut state.owners))
        };
        wakers.into_iter().for_each(Waker::wake);
        value
    }

    /// Counts and queues events, and carries their log indices to the client's token.
    pub fn tell(&self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let token = self.report(|state| {
            for event in events {
                state.count(&event);
                state.events.push(event);
            }
            state.summary.token
        });
        self.pool.raise(token);
    }

    /// Ends the stream for good; the first cause counts.
    pub fn stop(&self, error: Error) {
        self.report(|state| {
            if state.stopped.is_none() {
                let (unknown, unsent) = state.window.outstanding();
                let stopped = Box::new(Stopped { error, unknown, unsent });
                state.events.push(Event::Stopped(stopped.clone()));
                state.stopped = Some(stopped);
            }
        });
    }

    /// The owner is gone: the driver ends.
    pub fn close(&self) {
        self.nudge(|state| state.closed = true);
    }

    /// Ready once the owner is gone. Registers the driver, which is woken by every nudge.
    pub fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.with(|state| {
            state.driver = Some(cx.waker().clone());
            if state.closed { Poll::Ready(()) } else { Poll::Pending }
        })
    }
}

impl State {
    /// Registers an owner's task to be woken by the next report.
    pub fn wait(&mut self, cx: &Context<'_>) {
        if !self.owners.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.owners.push(cx.waker().clone());
        }
    }

    pub fn summary(&self) -> Summary {
        Summary { acked: self.window.settled(), events_dropped: self.events.dropped, ..self.summary }
    }

    fn count(&mut self, event: &Event) {
        match event {
            Event::Acked { log_index, .. } => {
                self.summary.token.raise(ReadToken { log_index: *log_index, incarnation: self.incarnation });
            }
            Event::Refused { .. } => self.summary.refused += 1,
            Event::Lost { sequences } => {
                self.summary.lost += sequences.end() - sequences.start() + 1;
            }
            Event::Resumed { .. } => self.summary.resumes += 1,
            Event::Interrupted { .. } | Event::Stopped(_) => {}
        }
    }
}
