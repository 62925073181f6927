//! A backup on its way to whoever asked: its head, its manifest, then the record files that the other lacks, in pieces.

use crate::backup;
use crate::node::Node;
use crate::state::records::Hash;
use crate::state::snapshot;
use bytes::Bytes;
use engram_proto::error::{Error, Kind};
use engram_proto::wire::v1::{BackupChunk, BackupHead, BackupRequest};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::mpsc;
use tonic::Status;

/// Bytes of one piece.
const PIECE_BYTES: usize = 1 << 20;

/// Takes a backup and sends it; a client that is gone ends it.
pub async fn run(node: Arc<Node>, request: BackupRequest, out: mpsc::Sender<Result<BackupChunk, Status>>) {
    if let Err(status) = send(&node, request, &out).await {
        // The client may be gone.
        drop(out.send(Err(status)).await);
    }
}

async fn send(
    node: &Node,
    request: BackupRequest,
    out: &mpsc::Sender<Result<BackupChunk, Status>>,
) -> Result<(), Status> {
    let (head, image) = backup::take(node).await?;
    let have: BTreeSet<&[u8]> = request.have.iter().map(|hash| &hash[..]).collect();
    let (named, _) = snapshot::named(&image.manifest).map_err(|e| Error::new(Kind::Poisoned, e.to_string()))?;
    let sent: Vec<Hash> = named.iter().filter(|hash| !have.contains(&hash.0[..])).copied().collect();
    let head = BackupHead { files: named.len() as u64, files_sent: sent.len() as u64, ..head };
    let gone = |_| Status::cancelled("the client is gone");
    let first = BackupChunk { head: Some(head), ..BackupChunk::default() };
    out.send(Ok(first)).await.map_err(gone)?;
    for data in pieces(&image.manifest) {
        out.send(Ok(BackupChunk { data, ..BackupChunk::default() })).await.map_err(gone)?;
    }
    for hash in sent {
        let records = node.state.records().clone();
        let read = node.state.in_files(move || records.read(&hash)).await;
        let read = read.map_err(|e| Error::in_doubt(e.to_string()))?;
        let bytes = read.map_err(|e| Error::new(Kind::Poisoned, format!("node {}: {e}; ask another", node.id)))?;
        for data in pieces(&bytes) {
            let file = hash.to_bytes();
            out.send(Ok(BackupChunk { data, file, head: None })).await.map_err(gone)?;
        }
    }
    Ok(())
}

fn pieces(bytes: &Bytes) -> impl Iterator<Item = Bytes> {
    (0..bytes.len()).step_by(PIECE_BYTES).map(|at| bytes.slice(at..bytes.len().min(at + PIECE_BYTES)))
}
