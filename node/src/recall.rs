//! Answers a query from one view.
//!
//! `recall = graph hits (rows <= epoch.last) ⊎ tail hits (rows after epoch.last, up to applied)`. The view is
//! taken at one instant under the state's read lock; everything after works on what it holds.
//! Invariants: `answer_within_snapshot`; a read changes nothing and may always be sent again.

use crate::env::Clock;
use crate::leader::{Leader, Leadership};
use crate::raft::net::{Connection, PeerCalls};
use crate::state::spaces::Space;
use engram_index::Search;
use engram_proto::error::{Error, Kind, Result};
use engram_proto::observation::{load, vector_from_wire};
use engram_proto::query::{ReadLevel, check_recall};
use engram_proto::transport::{World, timeout};
use engram_proto::wire::peer::ReadIndexRequest;
use engram_proto::wire::v1::{self, Hit, RecallRequest, RecallResult, Snapshot};
use openraft::raft::ReadPolicy;
use prost::Message;
use std::sync::Arc;
use std::time::Duration;

/// Hits of one page of an answer, and its bytes at about which it is full: pages wait for slow readers.
const PAGE_HITS: usize = 100;
const PAGE_BYTES: usize = 1 << 20;
/// Width of the search, unless the request says otherwise: this many times k, and not under the minimum.
const EF_PER_K: usize = 4;
const EF_MIN: usize = 64;
/// How long the leader may take for a read index, and between two questions.
const READ_INDEX_TIMEOUT: Duration = Duration::from_secs(1);
const READ_INDEX_PAUSE: Duration = Duration::from_millis(50);

/// Reads of this node.
#[derive(Clone)]
pub struct Recall {
    leadership: Leadership,
    world: Arc<dyn World>,
    clock: Arc<dyn Clock>,
    incarnation: Arc<dyn Fn() -> u64 + Send + Sync>,
    deadline: Duration,
}

/// A space as of one applied index.
pub struct View {
    /// The space.
    pub space: Arc<Space>,
    /// Rows applied, and those of them forgotten, at that index.
    pub at: engram_index::Snapshot,
    /// What the answer states.
    pub snapshot: Snapshot,
}

impl Recall {
    /// `deadline` is how long a read waits for its snapshot unless it says otherwise.
    pub fn new(
        leadership: Leadership,
        world: Arc<dyn World>,
        clock: Arc<dyn Clock>,
        incarnation: Arc<dyn Fn() -> u64 + Send + Sync>,
        deadline: Duration,
    ) -> Self {
        Self { leadership, world, clock, incarnation, deadline }
    }

    /// Waits until this node may answer at `level`, then takes a view of the space.
    pub async fn view(&self, name: &str, level: ReadLevel, deadline_ms: u32) -> Result<View> {
        let deadline = match deadline_ms {
            0 => self.deadline,
            ms => Duration::from_millis(ms.into()),
        };
        let read_index = match level {
            ReadLevel::Eventual => None,
            ReadLevel::AtLeast { index, incarnation } => {
                let mine = (self.incarnation)();
                if incarnation != 0 && incarnation != mine {
                    let text = format!("the token is of incarnation {incarnation}, the cluster is in {mine}");
                    return Err(Error::invalid(format!("{text}: it was restored; drop the token")));
                }
                self.wait(index, deadline).await?;
                None
            }
            ReadLevel::Linearizable => {
                let started = self.clock.monotonic();
                let index = timeout(&*self.world, deadline, self.read_index()).await.ok_or_else(|| {
                    let node = self.leadership.node();
                    self.behind(format!("node {node}: no quorum confirmed a read index within {deadline:?}"), 0)
                })?;
                self.wait(index, deadline.saturating_sub(self.clock.monotonic().saturating_sub(started))).await?;
                Some(index)
            }
        };
        self.take(name, read_index)
    }

    fn take(&self, name: &str, read_index: Option<u64>) -> Result<View> {
        let data = self.leadership.state().read();
        let space = data.space(name)?.clone();
        let (at, applied_index) = (space.index.now(), data.applied.map_or(0, |id| id.index));
        drop(data);
        let epoch = space.index.epoch();
        let snapshot = Snapshot {
            node: self.leadership.node(),
            incarnation: (self.incarnation)(),
            applied_index,
            rows: at.rows.into(),
            epoch: epoch.number,
            epoch_rows: epoch.rows.into(),
            graph_digest: epoch.digest,
            tail_scanned: 0,
            read_index,
        };
        Ok(View { space, at, snapshot })
    }

    fn behind(&self, text: String, need: u64) -> Error {
        let have = self.leadership.state().watermark().applied();
        Error::behind(format!("{text}; applied is {have}; wait or ask another node"), need, have)
    }

    async fn wait(&self, index: u64, limit: Duration) -> Result<()> {
        let state = self.leadership.state();
        if state.watermark().applied() >= index {
            return Ok(());
        }
        timeout(&*self.world, limit, state.watermark().wait_applied(index)).await.ok_or_else(|| {
            let node = self.leadership.node();
            self.behind(format!("node {node} did not reach log index {index} within {limit:?}"), index)
        })
    }

    /// A read index that a quorum confirmed, from the leader: never a lease. Asks again until the caller's time is up:
    /// a read is never in doubt.
    pub async fn read_index(&self) -> u64 {
        loop {
            let answer = match self.leadership.leader() {
                Leader::Here { .. } => self.read_index_here().await,
                Leader::There(connection) => self.read_index_there(&connection).await,
                Leader::Unknown => Err(self.behind("no leader is known".into(), 0)),
            };
            match answer {
                Ok(index) => return index,
                Err(error) => tracing::debug!(node = self.leadership.node(), %error, "no read index yet"),
            }
            self.clock.sleep(READ_INDEX_PAUSE).await;
        }
    }

    async fn read_index_there(&self, connection: &Connection) -> Result<u64> {
        let request = ReadIndexRequest { header: connection.header() };
        let ask = |mut client: PeerCalls| async move { client.read_index(request).await };
        match connection.answer(READ_INDEX_TIMEOUT, ask).await {
            Ok(answer) => Ok(answer.log_index),
            Err(status) => Err(self.behind(format!("no read index from the leader: {}", status.message()), 0)),
        }
    }

    /// The same, on the leader itself.
    pub async fn read_index_here(&self) -> Result<u64> {
        match self.leadership.raft().get_read_log_id(ReadPolicy::ReadIndex).await {
            Ok((read, _)) => Ok(read.index()),
            Err(e) => Err(self.behind(format!("node {}: {e}", self.leadership.node()), 0)),
        }
    }

    /// One recall, in pages, best first.
    pub async fn recall(&self, request: RecallRequest) -> Result<Vec<RecallResult>> {
        check_recall(&request)?;
        let level = ReadLevel::from(request.consistency);
        let view = self.view(&request.space, level, request.deadline_ms).await?;
        let cue = vector_from_wire(&request.cue, view.space.shape, "cue")?;
        answer(view, &cue, request.k as usize, request.ef as usize, request.with_embedding)
    }
}

fn answer(view: View, cue: &[f32], k: usize, ef: usize, with_embedding: bool) -> Result<Vec<RecallResult>> {
    let View { space, at, mut snapshot } = view;
    let code = space.index.cue(cue).map_err(|e| Error::invalid(format!("cue: {e}")))?;
    let ef = if ef == 0 { (EF_PER_K * k).max(EF_MIN) } else { ef.max(k) };
    let found = space.index.search(&code, Search { k, ef, at }, &|_| true, Some(&*space));
    (snapshot.epoch, snapshot.epoch_rows) = (found.epoch.number, found.epoch.rows.into());
    (snapshot.graph_digest, snapshot.tail_scanned) = (found.epoch.digest, found.tail_scanned.into());
    let mut hits = Vec::with_capacity(found.hits.len());
    for hit in found.hits {
        assert!(space.index.lives(hit.row, at), "answer_within_snapshot: row {} at {at:?}", hit.row);
        let Some(row) = space.rows.get(hit.row) else {
            return Err(Error::new(Kind::Poisoned, format!("row {} is not in the store", hit.row)));
        };
        hits.push(Hit {
            row: hit.row.into(),
            log_index: row.log_index,
            score: hit.score,
            text: row.record.text.clone(),
            time_ms: row.record.time_ms,
            metadata: row.record.metadata.clone(),
            embedding: if with_embedding { wire_embedding(&space, &row.record.embedding) } else { bytes::Bytes::new() },
        });
    }
    Ok(pages(snapshot, hits))
}

fn pages(snapshot: Snapshot, hits: Vec<Hit>) -> Vec<RecallResult> {
    let page = |hits| RecallResult { snapshot: Some(snapshot), hits, last: false };
    let (mut pages, mut full, mut bytes) = (Vec::new(), Vec::new(), 0);
    for hit in hits {
        if full.len() == PAGE_HITS || bytes >= PAGE_BYTES {
            pages.push(page(std::mem::take(&mut full)));
            bytes = 0;
        }
        bytes += hit.encoded_len();
        full.push(hit);
    }
    // An empty answer has a page too: it states the snapshot.
    pages.push(RecallResult { last: true, ..page(full) });
    pages
}

/// A stored embedding as little-endian f32.
pub fn wire_embedding(space: &Space, stored: &[u8]) -> bytes::Bytes {
    let mut vector = vec![0.0f32; space.shape.dim];
    match load(stored, space.shape.precision, &mut vector) {
        true => vector.iter().flat_map(|v| v.to_le_bytes()).collect(),
        false => bytes::Bytes::new(),
    }
}

/// A stored row as a message.
pub fn wire_row(space: &Space, number: u32, with_embedding: bool) -> Option<v1::Row> {
    let row = space.rows.get(number)?;
    let embedding = if with_embedding { wire_embedding(space, &row.record.embedding) } else { bytes::Bytes::new() };
    Some(v1::Row {
        row: number.into(),
        log_index: row.log_index,
        session: row.session,
        sequence: row.sequence,
        observation: Some(v1::Observation {
            text: row.record.text.clone(),
            embedding,
            time_ms: row.record.time_ms,
            metadata: row.record.metadata.clone(),
        }),
        payload_hash: row.payload_hash,
    })
}
