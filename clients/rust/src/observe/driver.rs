//! Keeps a session connected: one task per observer, which ends with it.
//!
//! A break leads to a resume, on the hinted leader or on the endpoints in turn. Only the session's end, a rival
//! or too long a standstill end the stream.

use super::link::{Link, Setting, fault_of, resumed};
use super::window::Fault;
use crate::call::{Failure, silent};
use crate::pool::Pool;
use crate::route::Route;
use crate::{Error, Event, Kind};
use engram_proto::transport::{Channel, timeout};
use engram_proto::wire::v1::{ResumeSession, SessionOpened, observe_request};
use futures_util::future::{poll_fn, select};
use std::{pin::pin, sync::Arc, time::Duration};

/// For so long a resume without an answer may still be carried out, and supersede its own successor.
const LATE_RESUME: Duration = Duration::from_secs(60);

pub(crate) struct Driver {
    pub setting: Setting,
    pub pool: Arc<Pool>,
    pub route: Route,
    pub incarnation: u64,
    /// Resumes without an answer, and when the last one was sent.
    pub doubtful: u32,
    pub doubtful_at: Duration,
    /// Since when nothing was acked or refused while rows wait, over several links.
    pub stalled_since: Option<Duration>,
}

impl Driver {
    /// Works until the owner is gone or the stream has ended.
    pub async fn run(mut self, link: Link) {
        let shared = self.setting.shared.clone();
        let ended = Ended(shared.clone());
        let closed = poll_fn(|cx| shared.poll_closed(cx));
        let work = pin!(self.work(link));
        select(closed, work).await;
        drop(ended);
    }

    async fn work(&mut self, mut link: Link) {
        loop {
            let fault = poll_fn(|cx| link.poll(cx, &self.setting)).await;
            if link.progressed {
                self.stalled_since = None;
                self.route.progressed();
            }
            // The old stream ends before the next begins.
            drop(link);
            let resumed = match self.judge(fault) {
                None => return,
                Some(error) => {
                    self.setting.shared.tell(vec![Event::Interrupted { error: error.clone() }]);
                    if error.kind() == Kind::InDoubt {
                        // Silent or broken: a later attempt at this node shall not wait for a dead connection.
                        self.pool.channel(self.route.last()).reset();
                    }
                    self.resume(error).await
                }
            };
            match resumed {
                None => return,
                Some(next) => link = next,
            }
        }
    }

    /// Resumes until it works; `None` when the stream has ended instead.
    async fn resume(&mut self, mut error: Error) -> Option<Link> {
        loop {
            let now = self.now();
            let since = *self.stalled_since.get_or_insert(now);
            if now.saturating_sub(since) >= self.pool.timing.give_up
                && !self.setting.shared.with(|s| s.window.is_empty())
            {
                self.setting.shared.stop(error);
                return None;
            }
            let wait = self.route.failed(&error);
            self.setting.world.sleep(wait).await;
            let channel = self.route.next();
            let failure = match self.handshake(&channel).await {
                Ok((link, opened)) => match self.adopt(&channel, &opened) {
                    Ok(()) => return Some(link),
                    Err(fault) => {
                        error = self.judge(fault)?;
                        continue;
                    }
                },
                Err(failure) => failure,
            };
            if failure.broken {
                channel.reset();
            }
            if !failure.undialled && !failure.error.is_rejected() {
                self.doubtful += 1;
                self.doubtful_at = self.now();
            }
            error = self.judge(fault_of(failure.error))?;
        }
    }

    async fn handshake(&self, channel: &Channel) -> Result<(Link, SessionOpened), Failure> {
        let resume = ResumeSession {
            session: self.setting.shared.session,
            incarnation: self.incarnation,
            ack_stage: self.setting.options.stage.into(),
            priority: self.setting.options.priority.into(),
            searchable_nodes: self.setting.options.searchable_nodes,
            ..ResumeSession::default()
        };
        let first = observe_request::Message::Resume(resume);
        let opening = Link::open(self.setting.world.clone(), channel.clone(), first);
        match timeout(&*self.setting.world, self.setting.silence, opening).await {
            Some(done) => done,
            None => Err(silent(channel, self.setting.silence)),
        }
    }

    /// The session goes on there: what it has is acked, the rest goes again.
    fn adopt(&mut self, channel: &Channel, opened: &SessionOpened) -> Result<(), Fault> {
        let shared = &self.setting.shared;
        if opened.session != shared.session || opened.incarnation != self.incarnation {
            let text = format!("{} answered for another session; resuming elsewhere", channel.address());
            return Err(Fault::Broken(Error::in_doubt(text)));
        }
        let events = shared.with(|state| state.window.opened(opened))?;
        if !events.is_empty() || shared.with(|state| state.window.is_empty()) {
            self.stalled_since = None;
            self.route.progressed();
        }
        self.route.prefer(&opened.leader_address);
        shared.tell(resumed(events, opened, channel.address()));
        Ok(())
    }

    /// Whether to go on, and with what on record; `None` when the stream has ended.
    fn judge(&mut self, fault: Fault) -> Option<Error> {
        let error = match fault {
            Fault::Broken(error) => return Some(error),
            Fault::Superseded(error) if self.by_ourselves() => return Some(error),
            Fault::Superseded(error) | Fault::Stop(error) => error,
        };
        let shared = &self.setting.shared;
        if error.kind() == Kind::SessionLost {
            let events = shared.with(|state| state.window.lost(error.0.last_sequence));
            shared.tell(events);
        }
        shared.stop(error);
        None
    }

    /// A resume of ours that had no answer may have been carried out late. Each can have done so once.
    fn by_ourselves(&mut self) -> bool {
        let now = self.now();
        if self.doubtful == 0 || now.saturating_sub(self.doubtful_at) > LATE_RESUME {
            self.doubtful = 0;
            return false;
        }
        self.doubtful -= 1;
        true
    }

    fn now(&self) -> Duration {
        self.setting.world.monotonic()
    }
}

/// However the task ends, nobody waits for it in vain; a stream that has ended already keeps its cause.
struct Ended(Arc<super::shared::Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.stop(Error::in_doubt("the observer's task has ended; make another client"));
    }
}
