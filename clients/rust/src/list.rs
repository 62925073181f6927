//! Listing: the rows of a space in log order, at one snapshot, page by page.

use crate::call::{Failure, read, silent, worth_another_try};
use crate::client::memory;
use crate::recall::list_consistency;
use crate::route::Purpose;
use crate::{Client, Error, Filter, Level, ReadToken, Row, Snapshot};
use engram_proto::transport::{Channel, World, timeout};
use engram_proto::wire::v1::{ListRequest, ListResponse};
use engram_proto::{filter, query};
use std::{sync::Arc, time::Duration};
use tonic::Streaming;

/// What to list.
#[derive(Clone, Debug, PartialEq)]
pub struct List {
    /// The space's name.
    pub space: String,
    /// The first row wanted; rows are numbered by their place in the log.
    pub from_row: u64,
    /// At most so many rows; 0: all.
    pub limit: u64,
    /// Only rows that it means.
    pub filter: Option<Filter>,
    /// How fresh.
    pub level: Level,
    /// The state as of a log index in place of a level: the same rows from every node at any time.
    pub at_index: Option<u64>,
    /// Whether rows carry their embeddings.
    pub with_embedding: bool,
    /// For the first page, or for the whole of [`Client::list_all`], all attempts included.
    pub deadline: Duration,
}

impl List {
    /// All rows of a space, session level, without embeddings, within 30 s.
    pub fn new(space: impl Into<String>) -> Self {
        Self {
            space: space.into(),
            from_row: 0,
            limit: 0,
            filter: None,
            level: Level::default(),
            at_index: None,
            with_embedding: false,
            deadline: Duration::from_secs(30),
        }
    }
}

/// All that was asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// The one snapshot of all rows.
    pub snapshot: Snapshot,
    /// In log order.
    pub rows: Vec<Row>,
}

/// Pages of rows from one node at one snapshot. It can't move to another node: on an error, list again.
pub struct Pages {
    world: Arc<dyn World>,
    channel: Channel,
    silence: Duration,
    snapshot: Snapshot,
    first: Option<Vec<Row>>,
    stream: Streaming<ListResponse>,
}

impl Pages {
    /// The one snapshot of all pages.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The next rows in log order, never an empty page; `None` at the end. Cancel safe.
    /// Errors: `InDoubt` when the connection broke or fell silent.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Row>>, Error> {
        if let Some(rows) = self.first.take().filter(|rows| !rows.is_empty()) {
            return Ok(Some(rows));
        }
        loop {
            let page = match timeout(&*self.world, self.silence, self.stream.message()).await {
                Some(page) => page.map_err(|status| Error::from_status(&status))?,
                None => {
                    self.channel.reset();
                    return Err(silent(&self.channel, self.silence).error);
                }
            };
            match page {
                None => return Ok(None),
                Some(page) if page.rows.is_empty() => {}
                Some(page) => return Ok(Some(page.rows)),
            }
        }
    }
}

impl Client {
    /// Starts a listing. Other endpoints are tried until the first page has come or the deadline has passed.
    /// Errors: as [`Client::recall`]. Cancel safe.
    pub async fn list(&self, list: List) -> Result<Pages, Error> {
        query::check_space_name(&list.space)?;
        list.filter.as_ref().map_or(Ok(()), filter::check)?;
        let pages = read(self, Purpose::Read, list.deadline, |channel, _| {
            Box::pin(start(self.clone(), channel, self.request(&list)))
        });
        let pages = pages.await?;
        let Snapshot { applied_index: log_index, incarnation, .. } = pages.snapshot;
        self.pool.raise(ReadToken { log_index, incarnation });
        Ok(pages)
    }

    /// Lists into memory, starting again elsewhere when a node fails midway. Cancel safe.
    pub async fn list_all(&self, list: List) -> Result<Listing, Error> {
        let until = self.pool.world.monotonic() + list.deadline;
        loop {
            let left = until.saturating_sub(self.pool.world.monotonic());
            let error = match self.collect(List { deadline: left, ..list.clone() }).await {
                Ok(listing) => return Ok(listing),
                Err(error) => error,
            };
            let pause = self.pool.timing.backoff_min;
            if !worth_another_try(error.kind()) || self.pool.world.monotonic() + pause >= until {
                return Err(error);
            }
            self.pool.world.sleep(pause).await;
        }
    }

    async fn collect(&self, list: List) -> Result<Listing, Error> {
        let mut pages = self.list(list).await?;
        let mut listing = Listing { snapshot: pages.snapshot, rows: Vec::new() };
        while let Some(rows) = pages.next_page().await? {
            listing.rows.extend(rows);
        }
        Ok(listing)
    }

    fn request(&self, list: &List) -> ListRequest {
        ListRequest {
            space: list.space.clone(),
            from_row: list.from_row,
            limit: list.limit,
            with_embedding: list.with_embedding,
            consistency: list.at_index.is_none().then(|| list_consistency(list.level, self.token())),
            filter: list.filter.clone(),
            at_index: list.at_index,
        }
    }
}

async fn start(client: Client, channel: Channel, request: ListRequest) -> Result<Pages, Failure> {
    let mut stream = memory(&channel).list(request).await?.into_inner();
    let first = stream.message().await?;
    // An empty space may answer with no page at all.
    let ListResponse { snapshot, rows, .. } = first.unwrap_or_default();
    Ok(Pages {
        world: client.pool.world.clone(),
        channel,
        silence: client.pool.timing.silence,
        snapshot: snapshot.unwrap_or_default(),
        first: Some(rows),
        stream,
    })
}
