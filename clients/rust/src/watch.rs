//! Following a space: new rows as a node applies them, and what is forgotten, across broken connections.
//!
//! Invariant: rows come in log order, each once: after a break the watch goes on behind the last page that was whole, and
//! leaves out what it gave before. Leaves out: rows that were forgotten before they could be sent.

use crate::call::{read, silent, worth_another_try};
use crate::client::memory;
use crate::recall::at_least;
use crate::route::Purpose;
use crate::{Client, Error, Filter, Row};
use engram_proto::transport::{Channel, timeout};
use engram_proto::wire::v1::{WatchRequest, WatchResponse};
use engram_proto::{filter, query};
use std::time::Duration;
use tonic::Streaming;

/// What to follow.
#[derive(Clone, Debug, PartialEq)]
pub struct Watch {
    /// The space's name.
    pub space: String,
    /// From the first row after this log index on; `None`: from now on.
    pub after_log_index: Option<u64>,
    /// Only rows that it means.
    pub filter: Option<Filter>,
    /// Whether rows carry their embeddings.
    pub with_embedding: bool,
    /// How long no node may answer before the watch gives up.
    pub patience: Duration,
}

impl Watch {
    /// All that comes to a space from now on, without embeddings, patient for 60 s.
    pub fn new(space: impl Into<String>) -> Self {
        let patience = Duration::from_secs(60);
        Self { space: space.into(), after_log_index: None, filter: None, with_embedding: false, patience }
    }
}

/// What came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// In log order.
    pub rows: Vec<Row>,
    /// Numbers of forgotten rows, in that order; after a break, some may come again.
    pub forgotten: Vec<u64>,
    /// All up to here has come: where to go on, in another process too. 0 while a page is not the last of its index.
    pub log_index: u64,
}

/// A watch that is under way.
pub struct Watcher {
    client: Client,
    watch: Watch,
    stream: Option<(Channel, Streaming<WatchResponse>)>,
    /// The row after the last that was given: rows before it are repeats.
    next_row: u64,
}

impl Client {
    /// Follows a space from any node. Errors: as [`Client::recall`].
    pub async fn watch(&self, watch: Watch) -> Result<Watcher, Error> {
        query::check_space_name(&watch.space)?;
        watch.filter.as_ref().map_or(Ok(()), filter::check)?;
        let mut watcher = Watcher { client: self.clone(), watch, stream: None, next_row: 0 };
        watcher.connect().await?;
        Ok(watcher)
    }
}

impl Watcher {
    /// What comes next; with neither rows nor forgets it says how far the space has come. Goes to another node when one
    /// is lost. Errors: `NotFound` when the space is dropped; the last attempt's once patience is at its end. Cancel safe.
    pub async fn next(&mut self) -> Result<Change, Error> {
        let pool = self.client.pool.clone();
        let silence = pool.timing.silence.max(SERVER_SILENCE_MAX);
        loop {
            let (channel, stream) = match &mut self.stream {
                Some(stream) => stream,
                None => self.connect().await?,
            };
            let error = match timeout(&*pool.world, silence, stream.message()).await {
                Some(Ok(Some(page))) => return Ok(self.take(page)),
                Some(Ok(None)) => Error::in_doubt("the node ended the watch"),
                Some(Err(status)) => Error::from_status(&status),
                None => {
                    channel.reset();
                    silent(channel, silence).error
                }
            };
            self.stream = None;
            if !worth_another_try(error.kind()) {
                return Err(error);
            }
        }
    }

    fn take(&mut self, page: WatchResponse) -> Change {
        let mut rows = page.rows;
        rows.retain(|row| row.row >= self.next_row);
        self.next_row = rows.last().map_or(self.next_row, |row| row.row + 1);
        if page.log_index > 0 {
            self.watch.after_log_index = Some(page.log_index);
        }
        Change { rows, forgotten: page.forgotten, log_index: page.log_index }
    }

    async fn connect(&mut self) -> Result<&mut (Channel, Streaming<WatchResponse>), Error> {
        let request = WatchRequest {
            space: self.watch.space.clone(),
            after_log_index: self.watch.after_log_index,
            filter: self.watch.filter.clone(),
            with_embedding: self.watch.with_embedding,
            at_least: Some(at_least(self.client.token())),
        };
        let stream = read(&self.client, Purpose::Read, self.watch.patience, |channel, _| {
            let request = request.clone();
            Box::pin(async move {
                let stream = memory(&channel).watch(request).await?.into_inner();
                Ok((channel, stream))
            })
        });
        Ok(self.stream.insert(stream.await?))
    }
}

/// A server breaks its silence every 10 s.
const SERVER_SILENCE_MAX: Duration = Duration::from_secs(15);
