//! Answers a query from one view.
//!
//! `recall = graph hits (rows <= epoch.last) ⊎ tail hits (rows after epoch.last, up to applied)`. The view is
//! taken at one instant under the state's read lock; everything after works on what it holds.
//! Invariants: `answer_within_snapshot`; a read changes nothing and may always be sent again.

use crate::env::Clock;
use crate::leader::{Leader, Leadership};
use crate::raft::net::{Connection, PeerCalls};
use crate::state::spaces::Space;
use engram_index::{Scan, Search};
use engram_proto::error::{Error, Kind, Result};
use engram_proto::observation::{load, vector_from_wire};
use engram_proto::query::{ReadLevel, check_recall};
use engram_proto::transport::{World, timeout};
use engram_proto::wire::peer::ReadIndexRequest;
use engram_proto::wire::v1::{self, Filter, Hit, RecallRequest, RecallResult, Snapshot};
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
/// Rows by code that a recall of the past rescores: fixed, because its answers depend on it.
const AT_INDEX_CANDIDATES: usize = 1000;
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
            forgotten: at.forgets.into(),
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
        let level = match request.at_index {
            Some(index) => ReadLevel::AtLeast { index, incarnation: 0 },
            None => level,
        };
        let mut view = self.view(&request.space, level, request.deadline_ms).await?;
        if let Some(index) = request.at_index {
            view.go_back(index)?;
        }
        let cue = vector_from_wire(&request.cue, view.space.shape, "cue")?;
        answer(view, &cue, &request)
    }
}

impl View {
    /// Makes it what a reader saw at an earlier log index.
    fn go_back(&mut self, index: u64) -> Result<()> {
        if index < self.space.id {
            let (name, id) = (&self.space.config.name, self.space.id);
            let text = format!("space {name} was made at log index {id}, after {index}; ask for that or later");
            return Err(Error::new(Kind::BelowFloor, text));
        }
        self.at = self.space.as_of(index);
        (self.snapshot.rows, self.snapshot.forgotten) = (self.at.rows.into(), self.at.forgets.into());
        self.snapshot.applied_index = index;
        Ok(())
    }

    /// Whether the view has the row and the filter means it.
    pub fn shows(&self, row: u32, filter: Option<&Filter>) -> bool {
        self.space.index.lives(row, self.at) && self.space.means(row, filter)
    }
}

fn answer(view: View, cue: &[f32], request: &RecallRequest) -> Result<Vec<RecallResult>> {
    let View { space, at, mut snapshot } = view;
    let (k, ef) = (request.k as usize, request.ef as usize);
    let code = space.index.cue(cue).map_err(|e| Error::invalid(format!("cue: {e}")))?;
    let ef = if ef == 0 { (EF_PER_K * k).max(EF_MIN) } else { ef.max(k) };
    let filter = request.filter.as_ref();
    let means = |row: u32| space.means(row, filter);
    let found = match request.at_index {
        Some(_) => {
            snapshot.tail_scanned = at.rows.into();
            (snapshot.epoch, snapshot.epoch_rows, snapshot.graph_digest) = (0, 0, 0);
            space.index.scan(&code, Scan { k, candidates: AT_INDEX_CANDIDATES, at }, &means, Some(&*space))
        }
        None => {
            let found = space.index.search(&code, Search { k, ef, at }, &means, Some(&*space));
            (snapshot.epoch, snapshot.epoch_rows) = (found.epoch.number, found.epoch.rows.into());
            (snapshot.graph_digest, snapshot.tail_scanned) = (found.epoch.digest, found.tail_scanned.into());
            found.hits
        }
    };
    let good = |hit: &engram_index::Hit| request.score_min.is_none_or(|least| hit.score >= least);
    let mut hits = Vec::with_capacity(found.len());
    for hit in found.into_iter().take_while(good) {
        assert!(space.index.lives(hit.row, at), "answer_within_snapshot: row {} at {at:?}", hit.row);
        let Some(row) = space.rows.get(hit.row) else {
            return Err(Error::new(Kind::Poisoned, format!("row {} is not in the store", hit.row)));
        };
        let with_embedding = request.with_embedding;
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
