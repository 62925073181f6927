//! A snapshot on its way from node to node: its manifest cut into pieces, put together again, its checksums verified, and
//! then the record files that the receiver lacks, each verified and durable, a few of them asked for ahead. That is its
//! pace: no more than those are on their way, so heartbeats find room; and a transfer that broke off goes on with what
//! has not come. While some files are synced, others come and are written: the disk and the rest wait for each other
//! seldom.
//!
//! Leaves out: whether it may replace a state; Raft, or `crate::integrity`, decides.

use super::net::Connection;
use super::types::{SnapshotMeta, Vote};
use super::wire::{Malformed, meta_from_wire, meta_to_wire, vote_to_wire};
use crate::state::records::{Arrival, Hash};
use crate::state::snapshot::{self, Image};
use crate::state::{Machine, SNAPSHOT_BYTES_MAX};
use bytes::{Bytes, BytesMut};
use engram_proto::error::Error;
use engram_proto::wire::peer::{Header, SnapshotChunk};
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt, TryStreamExt};
use std::io;
use tonic::Status;

/// Bytes of one piece.
const PIECE_BYTES: usize = 1 << 20;
/// Record files that are asked for at once.
const FILES_AHEAD: usize = 3;
/// And synced at once,
const FILES_A_SYNC: usize = 8;
/// while so many more are written.
const SYNCS_AHEAD: usize = 2;

/// The pieces of a snapshot's manifest; the first says what it is and has no bytes.
pub fn pieces(
    header: Option<Header>,
    vote: Option<Vote>,
    meta: &SnapshotMeta,
    manifest: Bytes,
) -> impl Iterator<Item = SnapshotChunk> + Send + use<> {
    let first = SnapshotChunk {
        header,
        vote: vote.map(vote_to_wire),
        meta: Some(meta_to_wire(meta)),
        total_bytes: manifest.len() as u64,
        data: Bytes::new(),
    };
    let rest = (0..manifest.len()).step_by(PIECE_BYTES).map(move |at| SnapshotChunk {
        data: manifest.slice(at..manifest.len().min(at + PIECE_BYTES)),
        ..SnapshotChunk::default()
    });
    std::iter::once(first).chain(rest)
}

/// Puts a manifest together from its first piece and the rest, of which nothing is read beyond the last byte. Damaged
/// bytes are refused.
pub async fn collect(
    first: SnapshotChunk,
    mut rest: impl Stream<Item = Result<SnapshotChunk, Status>> + Send + Unpin,
) -> Result<(SnapshotMeta, Bytes), Status> {
    let meta: SnapshotMeta = meta_from_wire(first.meta).map_err(malformed)?;
    if first.total_bytes > SNAPSHOT_BYTES_MAX {
        let text = format!("a snapshot of {} bytes; at most {SNAPSHOT_BYTES_MAX}", first.total_bytes);
        return Err(Error::invalid(text).into());
    }
    let mut bytes = BytesMut::from(&first.data[..]);
    while (bytes.len() as u64) < first.total_bytes {
        let chunk = rest.try_next().await?;
        let chunk = chunk.ok_or_else(|| malformed(Malformed("snapshot: fewer bytes than announced")))?;
        bytes.extend_from_slice(&chunk.data);
    }
    if bytes.len() as u64 != first.total_bytes {
        return Err(malformed(Malformed("snapshot: more bytes than announced")));
    }
    // Verified before anybody hears of it: damaged bytes must not replace a good state.
    let bytes = bytes.freeze();
    snapshot::verify(&bytes).map_err(|e| Status::from(Error::invalid(format!("snapshot {e}"))))?;
    Ok((meta, bytes))
}

/// Fetches the record files that a snapshot names and that are not here, or damaged, from a member that has them all.
/// Cancel: what came stays while the image lives.
pub async fn pull(state: &Machine, from: &Connection, image: &Image) -> Result<(), Status> {
    let mut wanted = Vec::new();
    for hash in image.files.hashes().iter().copied() {
        let records = state.records().clone();
        // One job each: others use the lane as well.
        if !state.in_files(move || records.read(&hash).is_ok()).await.map_err(broken)? {
            wanted.push(hash);
        }
    }
    let mut coming = arrivals(state.clone(), from.clone(), wanted);
    while coming.try_next().await?.is_some() {}
    Ok(())
}

/// Fetches files and makes them durable; each item is some of them.
fn arrivals(state: Machine, from: Connection, wanted: Vec<Hash>) -> BoxStream<'static, Result<(), Status>> {
    let writing = state.clone();
    let fetched = stream::iter(wanted).map(move |hash| fetch(from.clone(), hash)).buffered(FILES_AHEAD);
    let written = fetched.and_then(move |(hash, data)| write(writing.clone(), hash, data));
    let together = written.try_chunks(FILES_A_SYNC).map_err(|broken_off| broken_off.1);
    together.map_ok(move |arrivals| name(state.clone(), arrivals)).try_buffered(SYNCS_AHEAD).boxed()
}

fn broken(error: io::Error) -> Status {
    Error::in_doubt(error.to_string()).into()
}

async fn fetch(from: Connection, hash: Hash) -> Result<(Hash, Bytes), Status> {
    Ok((hash, from.fetch_file(hash.to_bytes()).await?))
}

async fn write(state: Machine, hash: Hash, data: Bytes) -> Result<Arrival, Status> {
    let records = state.records().clone();
    let written = state.in_files(move || records.arrive(&hash, &data)).await.and_then(|written| written);
    written.map_err(|e| Error::in_doubt(format!("record file {hash}: {e}")).into())
}

async fn name(state: Machine, arrivals: Vec<Arrival>) -> Result<(), Status> {
    let records = state.records().clone();
    state.in_arrivals(move || records.name(arrivals)).await.and_then(|named| named).map_err(broken)
}

/// What a peer sent makes no sense.
pub fn malformed(error: Malformed) -> Status {
    Error::invalid(error.to_string()).into()
}
