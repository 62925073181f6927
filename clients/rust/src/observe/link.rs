//! One live stream of a session: acks in, batches out, and the watch over silence. Polled in a fixed order: first
//! what came, then what goes, then time.

use super::ObserveOptions;
use super::event::Event;
use super::feed::Feed;
use super::shared::Shared;
use super::window::{Fault, Reaction, Window};
use crate::call::Failure;
use crate::client::memory;
use crate::{AckStage, Error, Kind, ReadToken};
use engram_proto::transport::{Channel, World};
use engram_proto::wire::v1::{
    FlowControl, FlowKind, ObserveRequest, ObserveResponse, SessionOpened, observe_request, observe_response,
};
use futures_util::Stream;
use futures_util::future::BoxFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tonic::Streaming;

/// Messages handled in one go before other tasks have their turn.
const MESSAGES_A_TURN: usize = 128;
/// A stream that may not send (paused, no credit), or hears no more than hints, is silent after so many times the
/// usual.
const PATIENCE: u32 = 6;

/// What a link needs to know of its surroundings.
pub(crate) struct Setting {
    pub shared: Arc<Shared>,
    pub world: Arc<dyn World>,
    pub options: ObserveOptions,
    pub silence: Duration,
}

pub(crate) struct Link {
    inbound: Streaming<ObserveResponse>,
    feed: Feed,
    /// Whether any row was acked or refused here.
    pub progressed: bool,
    /// When something was last heard, and when the window last moved; only counts while rows wait for their ack.
    heard: Duration,
    moved: Duration,
    owed: bool,
    /// The server was told to hold acks back.
    holds_acks: bool,
    unsent_since: Option<Duration>,
    hold_until: Duration,
    timer: Option<(Duration, BoxFuture<'static, ()>)>,
}

impl Link {
    /// Sends the first message and waits for `SessionOpened`. Bring your own time-out.
    pub async fn open(
        world: Arc<dyn World>,
        channel: Channel,
        first: Opening,
    ) -> Result<(Self, SessionOpened), Failure> {
        let (feed, outgoing) = Feed::new(ObserveRequest { message: Some(first) });
        let mut inbound = memory(&channel).observe_stream(outgoing).await?.into_inner();
        let message = inbound.message().await?.and_then(|response| response.message);
        let opened = match message {
            Some(observe_response::Message::Opened(opened)) => opened,
            Some(observe_response::Message::Refused(refused)) => {
                return Err(Error::from(refused.error.unwrap_or_default()).into());
            }
            _ => return Err(Error::in_doubt(format!("{} did not open the session", channel.address())).into()),
        };
        let now = world.monotonic();
        let link = Self {
            inbound,
            feed,
            progressed: false,
            heard: now,
            moved: now,
            owed: false,
            holds_acks: false,
            unsent_since: None,
            hold_until: Duration::ZERO,
            timer: None,
        };
        Ok((link, opened))
    }

    /// Works until the stream can't go on.
    pub fn poll(&mut self, cx: &mut Context<'_>, setting: &Setting) -> Poll<Fault> {
        loop {
            let now = setting.world.monotonic();
            if let Some(fault) = self.receive(cx, setting, now) {
                return Poll::Ready(fault);
            }
            let send_at = self.send(cx, setting, now);
            let silent_at = match self.silent_at(setting, now) {
                Some(at) if at <= now => {
                    let text = format!("nothing came for {:?} while rows wait; resuming", setting.silence);
                    return Poll::Ready(Fault::Broken(Error::in_doubt(text)));
                }
                at => at,
            };
            let Some(wake_at) = send_at.into_iter().chain(silent_at).min() else { return Poll::Pending };
            ready!(self.poll_timer(cx, setting, now, wake_at));
        }
    }

    fn receive(&mut self, cx: &mut Context<'_>, setting: &Setting, now: Duration) -> Option<Fault> {
        for _ in 0..MESSAGES_A_TURN {
            let response = match Pin::new(&mut self.inbound).poll_next(cx) {
                Poll::Pending => return None,
                Poll::Ready(Some(Ok(response))) => response,
                Poll::Ready(Some(Err(status))) => return Some(fault_of(Error::from_status(&status))),
                Poll::Ready(None) => {
                    return Some(Fault::Broken(Error::in_doubt("the node closed the stream; resuming")));
                }
            };
            self.heard = self.heard.max(now);
            if let Err(fault) = self.take(response, &setting.shared, now) {
                return Some(fault);
            }
        }
        cx.waker().wake_by_ref();
        None
    }

    fn take(&mut self, response: ObserveResponse, shared: &Shared, now: Duration) -> Result<(), Fault> {
        let again = || Fault::Broken(Error::in_doubt("the node opened the session twice; resuming"));
        match response.message {
            None => {} // a newer server's: nothing for us
            Some(observe_response::Message::Opened(_)) => return Err(again()),
            Some(observe_response::Message::Flow(flow)) => shared.with(|state| state.window.flow(&flow)),
            Some(observe_response::Message::Ack(ack)) => {
                let events = shared.with(|state| {
                    if ack.stage() >= AckStage::Committed {
                        let incarnation = state.incarnation;
                        state.summary.token.raise(ReadToken { log_index: ack.log_index, incarnation });
                    }
                    state.window.ack(&ack)
                })?;
                if !events.is_empty() {
                    (self.progressed, self.moved) = (true, now);
                }
                shared.tell(events);
            }
            Some(observe_response::Message::Refused(refused)) => {
                match shared.with(|state| state.window.refused(&refused))? {
                    Reaction::Nothing => {}
                    Reaction::Wait(wait) => {
                        shared.with(|state| state.summary.overloads += 1);
                        self.hold_until = now + wait;
                        (self.heard, self.moved) = (now + wait, now + wait);
                    }
                    Reaction::Tell(event) => {
                        (self.progressed, self.moved) = (true, now);
                        shared.with(|state| state.refusal_open = state.confirms_refusals);
                        shared.tell(vec![event]);
                    }
                }
            }
        }
        Ok(())
    }

    /// Sends what is due; the answer is when something will be due that is not yet.
    fn send(&mut self, cx: &mut Context<'_>, setting: &Setting, now: Duration) -> Option<Duration> {
        self.tell_hold(cx, setting, now);
        self.tell_pace(cx, setting);
        if now < self.hold_until {
            return Some(self.hold_until);
        }
        if setting.shared.with(|state| state.refusal_open) {
            return None;
        }
        loop {
            let options = &setting.options;
            let unsent = setting.shared.with(|state| state.window.unsent());
            if unsent == 0 {
                setting.shared.with(|state| state.hurry = false);
                self.unsent_since = None;
                return None;
            }
            let due_at = *self.unsent_since.get_or_insert(now) + options.linger;
            let due = setting.shared.with(|state| {
                let enough = unsent >= options.batch_rows || state.window.in_flight() == 0;
                enough || state.hurry || due_at <= now
            });
            if !due {
                return Some(due_at);
            }
            if self.feed.poll_room(cx).is_pending() {
                return None;
            }
            let batch = setting.shared.with(|state| state.window.next_batch())?;
            self.unsent_since = None;
            self.feed.send(ObserveRequest { message: Some(observe_request::Message::Batch(batch)) });
        }
    }

    /// Passes on that the owner holds acks back, or does not any more.
    fn tell_hold(&mut self, cx: &mut Context<'_>, setting: &Setting, now: Duration) {
        let wanted = setting.shared.with(|state| state.hold_acks);
        if wanted == self.holds_acks || self.feed.poll_room(cx).is_pending() {
            return;
        }
        self.holds_acks = wanted;
        // The silence that was asked for says nothing of the server.
        (self.heard, self.moved) = (self.heard.max(now), self.moved.max(now));
        let kind = if wanted { FlowKind::Pause } else { FlowKind::Resume };
        let flow = FlowControl { kind: kind.into(), ..FlowControl::default() };
        self.feed.send(ObserveRequest { message: Some(observe_request::Message::Flow(flow)) });
    }

    /// Passes on how often the owner wants the credit halved, in steps of one.
    fn tell_pace(&mut self, cx: &mut Context<'_>, setting: &Setting) {
        let wanted = setting.shared.with(|state| state.halvings);
        loop {
            let asked = setting.shared.with(|state| state.window.allowance.halvings());
            if asked == wanted || self.feed.poll_room(cx).is_pending() {
                return;
            }
            let (kind, next) =
                if asked < wanted { (FlowKind::Slower, asked + 1) } else { (FlowKind::Faster, asked - 1) };
            setting.shared.with(|state| state.window.allowance.halve(next));
            let flow = FlowControl { kind: kind.into(), ..FlowControl::default() };
            self.feed.send(ObserveRequest { message: Some(observe_request::Message::Flow(flow)) });
        }
    }

    /// When this stream is to be taken for dead, if it owes us anything. HTTP/2's pings look after a stream whose acks
    /// are held back.
    fn silent_at(&mut self, setting: &Setting, now: Duration) -> Option<Duration> {
        if self.holds_acks {
            return None;
        }
        let look = |window: &Window| (window.is_empty(), window.in_flight() > 0 && !window.is_paused());
        let (empty, moving) = setting.shared.with(|state| look(&state.window));
        if empty {
            self.owed = false;
            return None;
        }
        if !self.owed {
            // Silence before there was anything to say means nothing.
            self.owed = true;
            (self.heard, self.moved) = (self.heard.max(now), self.moved.max(now));
        }
        let patience = setting.silence * PATIENCE;
        Some(match moving {
            true => (self.heard + setting.silence).min(self.moved + patience),
            false => self.heard + patience,
        })
    }

    /// One timer serves all waits: one that rings early costs a turn, one that would ring late is replaced.
    fn poll_timer(&mut self, cx: &mut Context<'_>, setting: &Setting, now: Duration, wake_at: Duration) -> Poll<()> {
        if self.timer.as_ref().is_none_or(|(at, _)| *at > wake_at) {
            self.timer = Some((wake_at, setting.world.sleep(wake_at.saturating_sub(now))));
        }
        if let Some((_, sleep)) = &mut self.timer {
            ready!(sleep.as_mut().poll(cx));
        }
        self.timer = None;
        Poll::Ready(())
    }
}

/// The first message of a stream.
pub(crate) type Opening = observe_request::Message;

/// What an error that ends a stream means for the session.
pub(crate) fn fault_of(error: Error) -> Fault {
    match error.kind() {
        Kind::Superseded => Fault::Superseded(error),
        Kind::Invalid | Kind::SessionLost | Kind::NotFound | Kind::Exists => Fault::Stop(error),
        Kind::BelowFloor | Kind::Unsupported => Fault::Stop(error),
        Kind::NotLeader | Kind::Overloaded | Kind::InDoubt | Kind::Poisoned => Fault::Broken(error),
        Kind::Behind | Kind::Quarantined | Kind::Unspecified => Fault::Broken(error),
    }
}

/// The events of a resume, with its own at the end.
pub(crate) fn resumed(mut events: Vec<Event>, opened: &SessionOpened, endpoint: &str) -> Vec<Event> {
    let (node, last_sequence) = (opened.node, opened.last_sequence);
    events.push(Event::Resumed { node, endpoint: endpoint.to_string(), last_sequence });
    events
}
