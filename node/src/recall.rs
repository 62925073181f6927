//! Answers a query from one view.
//!
//! `recall = graph hits (rows <= epoch.last) ⊎ tail hits (rows after epoch.last, up to applied)`. The view is taken at
//! one instant by the gate; everything after works on what it holds.
//! Invariants: `answer_within_snapshot`; a read changes nothing and may always be sent again.

use crate::gate::{Gate, View};
use crate::state::spaces::Space;
use engram_index::{Scan, Search};
use engram_proto::error::{Error, Kind, Result};
use engram_proto::observation::{load, vector_from_wire};
use engram_proto::query::{ReadLevel, check_recall};
use engram_proto::wire::v1::{self, Hit, RecallRequest, RecallResult, Snapshot};
use prost::Message;

/// Hits of one page of an answer, and its bytes at about which it is full: pages wait for slow readers.
const PAGE_HITS: usize = 100;
const PAGE_BYTES: usize = 1 << 20;
/// Width of the search, unless the request says otherwise: this many times k, and not under the minimum.
const EF_PER_K: usize = 4;
const EF_MIN: usize = 64;
/// Rows by code that a recall of the past rescores: fixed, because its answers depend on it.
const AT_INDEX_CANDIDATES: usize = 1000;

/// One recall, in pages, best first. `own` is the log index that the caller's own rows are in. Cancel safe.
pub async fn recall(gate: &Gate, request: RecallRequest, own: u64) -> Result<Vec<RecallResult>> {
    check_recall(&request)?;
    gate.wait(own, gate.deadline(request.deadline_ms)).await?;
    let level = match request.at_index {
        Some(index) => ReadLevel::AtLeast { index, incarnation: 0 },
        None => ReadLevel::from(request.consistency),
    };
    let mut view = gate.view(&request.space, level, request.deadline_ms).await?;
    if let Some(index) = request.at_index {
        view.go_back(index)?;
    }
    let cue = vector_from_wire(&request.cue, view.space.shape, "cue")?;
    answer(view, &cue, &request)
}

fn answer(view: View, cue: &[f32], request: &RecallRequest) -> Result<Vec<RecallResult>> {
    let View { ref space, at, mut snapshot } = view;
    let (k, ef) = (request.k as usize, request.ef as usize);
    let code = space.index.cue(cue).map_err(|e| Error::invalid(format!("cue: {e}")))?;
    let ef = if ef == 0 { (EF_PER_K * k).max(EF_MIN) } else { ef.max(k) };
    let filter = request.filter.as_ref();
    let means = |row: u32| space.means(row, filter);
    let found = match request.at_index {
        Some(_) => {
            snapshot.tail_scanned = at.rows.into();
            (snapshot.epoch, snapshot.epoch_rows, snapshot.graph_digest) = (0, 0, 0);
            space.index.scan(&code, Scan { k, candidates: AT_INDEX_CANDIDATES, at }, &means, &**space)
        }
        None => {
            let found = space.index.search(&code, Search { k, ef, at }, &means, &**space);
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
        // Not there: erased since the view was taken, and left out.
        hits.extend(row.with(|record| Hit {
            row: hit.row.into(),
            log_index: row.log_index,
            score: hit.score,
            text: record.text.clone(),
            time_ms: record.time_ms,
            metadata: record.metadata.clone(),
            id: record.id.clone(),
            embedding: if with_embedding { wire_embedding(space, &record.embedding) } else { bytes::Bytes::new() },
        }));
    }
    // One past has one answer, and it may be gone by now.
    request.at_index.map_or(Ok(()), |index| view.reaches(index))?;
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

/// A stored row as a message; `None` once it is erased.
pub fn wire_row(space: &Space, number: u32, with_embedding: bool) -> Option<v1::Row> {
    let row = space.rows.get(number)?;
    let observation = row.with(|record| v1::Observation {
        text: record.text.clone(),
        embedding: if with_embedding { wire_embedding(space, &record.embedding) } else { bytes::Bytes::new() },
        time_ms: record.time_ms,
        metadata: record.metadata.clone(),
        id: record.id.clone(),
    });
    Some(v1::Row {
        row: number.into(),
        log_index: row.log_index,
        session: row.session,
        sequence: row.sequence,
        observation: Some(observation?),
        payload_hash: row.payload_hash,
    })
}
