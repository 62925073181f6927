//! A snapshot on its way from node to node: cut into pieces, put together again, its checksums verified.
//!
//! Leaves out: whether it may replace a state; Raft, or `crate::integrity`, decides.

use super::types::{Snapshot, SnapshotMeta, Vote};
use super::wire::{Malformed, meta_from_wire, meta_to_wire, vote_to_wire};
use crate::state::{SNAPSHOT_BYTES_MAX, snapshot};
use bytes::{Bytes, BytesMut};
use engram_proto::error::Error;
use engram_proto::wire::peer::{Header, SnapshotChunk};
use futures_util::{Stream, TryStreamExt};
use tonic::Status;

/// Bytes of one piece.
const PIECE_BYTES: usize = 1 << 20;

/// The pieces of a snapshot; the first says what it is and has no bytes.
pub fn pieces(
    header: Option<Header>,
    vote: Option<Vote>,
    Snapshot { meta, snapshot }: Snapshot,
) -> impl Iterator<Item = SnapshotChunk> + Send {
    let first = SnapshotChunk {
        header,
        vote: vote.map(vote_to_wire),
        meta: Some(meta_to_wire(&meta)),
        total_bytes: snapshot.len() as u64,
        data: Bytes::new(),
    };
    let rest = (0..snapshot.len()).step_by(PIECE_BYTES).map(move |at| SnapshotChunk {
        data: snapshot.slice(at..snapshot.len().min(at + PIECE_BYTES)),
        ..SnapshotChunk::default()
    });
    std::iter::once(first).chain(rest)
}

/// Puts one together from its first piece and the rest. Damaged bytes are refused.
pub async fn collect(
    first: SnapshotChunk,
    mut rest: impl Stream<Item = Result<SnapshotChunk, Status>> + Send + Unpin,
) -> Result<Snapshot, Status> {
    let meta: SnapshotMeta = meta_from_wire(first.meta).map_err(malformed)?;
    if first.total_bytes > SNAPSHOT_BYTES_MAX {
        let text = format!("a snapshot of {} bytes; at most {SNAPSHOT_BYTES_MAX}", first.total_bytes);
        return Err(Error::invalid(text).into());
    }
    let mut bytes = BytesMut::from(&first.data[..]);
    while let Some(chunk) = rest.try_next().await? {
        if (bytes.len() + chunk.data.len()) as u64 > first.total_bytes {
            return Err(malformed(Malformed("snapshot: more bytes than announced")));
        }
        bytes.extend_from_slice(&chunk.data);
    }
    if bytes.len() as u64 != first.total_bytes {
        return Err(malformed(Malformed("snapshot: fewer bytes than announced")));
    }
    // Verified before anybody hears of it: damaged bytes must not replace a good state.
    let bytes = bytes.freeze();
    snapshot::verify(&bytes).map_err(|e| Status::from(Error::invalid(format!("snapshot {e}"))))?;
    Ok(Snapshot { meta, snapshot: bytes })
}

/// What a peer sent makes no sense.
pub fn malformed(error: Malformed) -> Status {
    Error::invalid(error.to_string()).into()
}
