//! Recalls: the nearest memories, from any node, at a snapshot that the answer states.

use crate::call::{Failure, read, silent};
use crate::client::memory;
use crate::route::Purpose;
use crate::{Client, Error, Filter, Hit, ReadToken, Snapshot};
use engram_proto::transport::{Channel, World, timeout};
use engram_proto::wire::v1::{self, RecallResponse, recall_response};
use engram_proto::{limits, query};
use std::{sync::Arc, time::Duration};
use tonic::Streaming;

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// What the node has.
    Eventual,
    /// All that was acked to this client, and never back in time: at least [`Client::token`].
    #[default]
    Session,
    /// At least a given point.
    AtLeast(ReadToken),
    /// All that was acked to anybody earlier than this before the read began; whole milliseconds, at most a day.
    Bounded(Duration),
    /// Every write that was acked to anybody before the read began.
    Linearizable,
}

/// A question.
#[derive(Clone, Debug, PartialEq)]
pub struct Recall {
    /// The space's name.
    pub space: String,
    /// `[f32; dim]`.
    pub cue: Vec<f32>,
    /// How many hits, 1 to 1000.
    pub k: u32,
    /// Width of the graph search; 0: the server's default for k.
    pub ef: u32,
    /// How fresh.
    pub level: Level,
    /// For the answer, all attempts included.
    pub deadline: Duration,
    /// Whether hits carry their embeddings.
    pub with_embedding: bool,
    /// Only rows that it means.
    pub filter: Option<Filter>,
    /// Only hits with this score or a better one.
    pub score_min: Option<f32>,
    /// The state as of a log index in place of a level: the same answer from every node at any time.
    pub at_index: Option<u64>,
    /// One node only, as `host:port`: no other endpoint is tried.
    pub node: Option<String>,
}

impl Recall {
    /// The k nearest to a cue, session level, within 10 s, from any node.
    pub fn new(space: impl Into<String>, cue: Vec<f32>, k: u32) -> Self {
        Self {
            space: space.into(),
            cue,
            k,
            ef: 0,
            level: Level::default(),
            deadline: Duration::from_secs(10),
            with_embedding: false,
            filter: None,
            score_min: None,
            at_index: None,
            node: None,
        }
    }
}

/// An answer and the one snapshot it was computed on.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Applied index, graph, rows scanned.
    pub snapshot: Snapshot,
    /// Best first.
    pub hits: Vec<Hit>,
}

/// An answer page by page, from one node at one snapshot. It can't move to another node: on an error, ask again.
pub struct RecallPages {
    world: Arc<dyn World>,
    channel: Channel,
    silence: Duration,
    request_id: u64,
    snapshot: Snapshot,
    /// Hits that may still come.
    left: usize,
    first: Option<Vec<Hit>>,
    ended: bool,
    stream: Streaming<RecallResponse>,
}

impl RecallPages {
    /// The one snapshot of all pages.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The next hits, best first, never an empty page; `None` at the end. Cancel safe.
    /// Errors: `InDoubt` when the connection broke or fell silent.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Hit>>, Error> {
        if let Some(hits) = self.first.take().filter(|hits| !hits.is_empty()) {
            return Ok(Some(hits));
        }
        while !self.ended {
            let hits = match timeout(&*self.world.clone(), self.silence, self.receive()).await {
                Some(hits) => hits.map_err(|failure| failure.error)?,
                None => {
                    self.channel.reset();
                    return Err(silent(&self.channel, self.silence).error);
                }
            };
            if !hits.is_empty() {
                return Ok(Some(hits));
            }
        }
        Ok(None)
    }

    /// One page off the stream: at most k hits in all, whatever the server sends.
    async fn receive(&mut self) -> Result<Vec<Hit>, Failure> {
        let Some(response) = self.stream.message().await? else {
            return Err(Error::in_doubt("the node closed the stream before the last page; ask again").into());
        };
        let page = match response.outcome {
            Some(recall_response::Outcome::Result(page)) if response.request_id == self.request_id => page,
            Some(recall_response::Outcome::Error(error)) => return Err(Error::from(error).into()),
            _ => return Err(Error::in_doubt("the node answered another question; ask again").into()),
        };
        self.snapshot = page.snapshot.unwrap_or(self.snapshot);
        self.ended = page.last;
        let more = || Error::in_doubt("the node sent more hits than were asked for; ask again");
        self.left = self.left.checked_sub(page.hits.len()).ok_or_else(more)?;
        Ok(page.hits)
    }
}

impl Client {
    /// Recalls the nearest memories. Goes on to other endpoints until the deadline. Errors: `Invalid`, `NotFound`
    /// at once; `Behind`, `Quarantined`, `InDoubt` and others as the last attempt's. Cancel safe.
    pub async fn recall(&self, recall: Recall) -> Result<Answer, Error> {
        if let Some(node) = &recall.node {
            let pinned = self.on(node);
            return Box::pin(pinned.recall(Recall { node: None, ..recall })).await;
        }
        let (deadline, request) = (recall.deadline, self.question(recall)?);
        let answer = read(self, Purpose::Read, deadline, |channel, budget| {
            let (client, request) = (self.clone(), within(&request, budget));
            Box::pin(async move {
                let mut pages = ask(&client, channel, request).await?;
                let mut hits = pages.first.take().unwrap_or_default();
                while !pages.ended {
                    hits.extend(pages.receive().await?);
                }
                Ok(Answer { snapshot: pages.snapshot, hits })
            })
        });
        let answer = answer.await?;
        self.answered(answer.snapshot);
        Ok(answer)
    }

    /// The same, page by page: the first is there before the others are read, and one at a time is in memory. Other
    /// endpoints are tried until the first page has come or the deadline has passed. Errors: as [`Client::recall`].
    /// Cancel safe.
    pub async fn recall_pages(&self, recall: Recall) -> Result<RecallPages, Error> {
        if let Some(node) = &recall.node {
            let pinned = self.on(node);
            return Box::pin(pinned.recall_pages(Recall { node: None, ..recall })).await;
        }
        let (deadline, request) = (recall.deadline, self.question(recall)?);
        let pages = read(self, Purpose::Read, deadline, |channel, budget| {
            let (client, request) = (self.clone(), within(&request, budget));
            Box::pin(async move { ask(&client, channel, request).await })
        });
        let pages = pages.await?;
        self.answered(pages.snapshot);
        Ok(pages)
    }

    fn question(&self, recall: Recall) -> Result<v1::RecallRequest, Error> {
        let request = v1::RecallRequest {
            request_id: self.pool.operation().0,
            space: recall.space,
            cue: recall.cue.iter().flat_map(|v| v.to_le_bytes()).collect(),
            k: recall.k,
            ef: recall.ef,
            consistency: recall.at_index.is_none().then(|| consistency(recall.level, self.token())),
            with_embedding: recall.with_embedding,
            filter: recall.filter,
            score_min: recall.score_min,
            at_index: recall.at_index,
            ..v1::RecallRequest::default()
        };
        query::check_recall(&request)?;
        Ok(request)
    }

    /// An answer about the past says nothing of now, but its index was reached: the token never falls.
    fn answered(&self, snapshot: Snapshot) {
        let Snapshot { applied_index: log_index, incarnation, .. } = snapshot;
        self.pool.raise(ReadToken { log_index, incarnation });
    }
}

/// Sends one question on its own stream and waits for the first page.
async fn ask(client: &Client, channel: Channel, request: v1::RecallRequest) -> Result<RecallPages, Failure> {
    let (request_id, left) = (request.request_id, request.k as usize);
    let questions = futures_util::stream::iter([request]);
    let stream = memory(&channel).recall_stream(questions).await?.into_inner();
    let mut pages = RecallPages {
        world: client.pool.world.clone(),
        channel,
        silence: client.pool.timing.silence,
        request_id,
        snapshot: Snapshot::default(),
        left,
        first: None,
        ended: false,
        stream,
    };
    pages.first = Some(pages.receive().await?);
    Ok(pages)
}

fn within(request: &v1::RecallRequest, budget: Duration) -> v1::RecallRequest {
    v1::RecallRequest { deadline_ms: server_wait_ms(budget), ..request.clone() }
}

/// The server's wait ends a little before ours, so that it can still say how far behind it is.
fn server_wait_ms(budget: Duration) -> u32 {
    let ms = (budget - budget / 5).as_millis().max(1);
    u32::try_from(ms).unwrap_or(u32::MAX).min(limits::DEADLINE_MS_MAX)
}

macro_rules! consistency {
    ($($name:ident: $request:ident)*) => {$(
        pub(crate) fn $name(level: Level, session: ReadToken) -> v1::$request::Consistency {
            use v1::$request::Consistency;
            match level {
                Level::Eventual => Consistency::Eventual(v1::Eventual {}),
                Level::Session => Consistency::AtLeast(at_least(session)),
                Level::AtLeast(token) => Consistency::AtLeast(at_least(token)),
                Level::Bounded(bound) => Consistency::Bounded(v1::Bounded {
                    staleness_ms: u32::try_from(bound.as_millis()).unwrap_or(u32::MAX),
                }),
                Level::Linearizable => Consistency::Linearizable(v1::Linearizable {}),
            }
        }
    )*};
}
consistency! {
    consistency: recall_request
    list_consistency: list_request
    get_consistency: get_request
    count_consistency: count_request
}

pub(crate) fn at_least(token: ReadToken) -> v1::AtLeast {
    v1::AtLeast { log_index: token.log_index, incarnation: token.incarnation }
}
