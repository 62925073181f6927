//! A backup on its way to whoever asked: its head, then its bytes in pieces.

use crate::backup;
use crate::node::Node;
use engram_proto::wire::v1::BackupChunk;
use std::sync::Arc;
use tokio::sync::mpsc;
use tonic::Status;

/// Bytes of one piece.
const PIECE_BYTES: usize = 1 << 20;

/// Takes a backup and sends it; a client that is gone ends it.
pub async fn run(node: Arc<Node>, out: mpsc::Sender<Result<BackupChunk, Status>>) {
    let (head, bytes) = match backup::take(&node).await {
        Ok(taken) => taken,
        Err(error) => return drop(out.send(Err(error.into())).await),
    };
    let first = BackupChunk { head: Some(head), ..BackupChunk::default() };
    let pieces = (0..bytes.len()).step_by(PIECE_BYTES);
    let pieces = pieces.map(|at| bytes.slice(at..bytes.len().min(at + PIECE_BYTES)));
    for chunk in std::iter::once(first).chain(pieces.map(|data| BackupChunk { head: None, data })) {
        if out.send(Ok(chunk)).await.is_err() {
            return;
        }
    }
}
