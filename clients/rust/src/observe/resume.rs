//! Opening a stream, and taking up a session that an earlier process opened and stored.

use super::shared::Shared;
use super::{ObserveOptions, Observer, driver, link};
use crate::call::read;
use crate::route::Purpose;
use crate::{Client, Error};
use engram_proto::query;
use engram_proto::wire::v1::{OpenSession, ResumeSession, SessionOpened, observe_request};
use std::{sync::Arc, time::Duration};

struct Opened {
    link: link::Link,
    opened: SessionOpened,
    endpoint: String,
    /// Attempts before that had no answer, or whose answer was lost.
    doubtful: u32,
}

impl Client {
    /// Opens a session in a space. An attempt without an answer is followed by another: a session that was opened
    /// and not used expires. Errors: `Invalid`, `NotFound` at once; others as the last attempt's when the deadline
    /// has passed. Nothing was observed yet, so nothing is in doubt. Cancel safe.
    pub async fn observe(&self, space: &str, options: ObserveOptions) -> Result<Observer, Error> {
        query::check_space_name(space)?;
        let options = options.complete();
        let open = OpenSession {
            space: space.to_string(),
            ack_stage: options.stage.into(),
            priority: options.priority.into(),
            searchable_nodes: options.searchable_nodes,
            ..OpenSession::default()
        };
        let begun = self.begin(observe_request::Message::Open(open)).await?;
        // An earlier attempt opened another session, if any.
        self.drive(options, 0, Opened { doubtful: 0, ..begun })
    }

    /// Takes up a session that was opened before, by another connection or by an earlier process that stored its
    /// [`Observer::session`] and [`Observer::incarnation`]. [`Observer::last_sequence`] then says how far it is
    /// committed: push what comes after that, in the old order. Whoever had the session is superseded.
    ///
    /// Errors: as [`Client::observe`]; `SessionLost` when the session is gone, with its last sequence if the cluster
    /// still knows it. Cancel safe.
    pub async fn resume(&self, session: u64, incarnation: u64, options: ObserveOptions) -> Result<Observer, Error> {
        let options = options.complete();
        let resume = ResumeSession {
            session,
            incarnation,
            ack_stage: options.stage.into(),
            priority: options.priority.into(),
            searchable_nodes: options.searchable_nodes,
            ..ResumeSession::default()
        };
        let begun = self.begin(observe_request::Message::Resume(resume)).await?;
        if (begun.opened.session, begun.opened.incarnation) != (session, incarnation) {
            return Err(Error::in_doubt(format!("{} answered for another session; resume again", begun.endpoint)));
        }
        self.drive(options, begun.opened.last_sequence, begun)
    }

    async fn begin(&self, first: observe_request::Message) -> Result<Opened, Error> {
        let mut attempts = 0;
        let (link, opened, endpoint) = read(self, Purpose::Write, self.pool.timing.deadline, |channel, _| {
            attempts += 1;
            let (world, first) = (self.pool.world.clone(), first.clone());
            Box::pin(async move {
                let endpoint = channel.address().to_string();
                let (link, opened) = link::Link::open(world, channel, first).await?;
                Ok((link, opened, endpoint))
            })
        })
        .await?;
        Ok(Opened { link, opened, endpoint, doubtful: attempts - 1 })
    }

    /// `last_sequence` is where the window begins: what the session is known to have.
    fn drive(&self, options: ObserveOptions, last_sequence: u64, begun: Opened) -> Result<Observer, Error> {
        let Opened { link, opened, endpoint, doubtful } = begun;
        let shared = Shared::new(self.pool.clone(), options.limits(), options.stage, options.events, opened.session);
        shared.with(|state| {
            state.incarnation = opened.incarnation;
            state.window.begin_after(last_sequence);
            state.window.opened(&opened).map_err(|_| {
                let text =
                    format!("the new session {} stands at {}; open another", opened.session, opened.last_sequence);
                Error::in_doubt(text)
            })
        })?;
        let shared = Arc::new(shared);
        let mut route = self.route(Purpose::Write);
        route.connected(&endpoint);
        route.prefer(&opened.leader_address);
        let world = self.pool.world.clone();
        let doubtful_at = if doubtful > 0 { world.monotonic() } else { Duration::ZERO };
        let driver = driver::Driver {
            setting: link::Setting {
                shared: shared.clone(),
                world: world.clone(),
                options,
                silence: self.pool.timing.silence,
            },
            pool: self.pool.clone(),
            route,
            incarnation: opened.incarnation,
            doubtful,
            doubtful_at,
            stalled_since: None,
        };
        world.spawn("engram-observer", Box::pin(driver.run(link)));
        Ok(Observer { shared, opened, batch_rows: options.batch_rows })
    }
}
