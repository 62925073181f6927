//! A backup as it comes from a node.

use crate::call::read;
use crate::route::Purpose;
use crate::{Client, Error};
use bytes::Bytes;
use engram_proto::wire::v1::{BackupChunk, BackupHead, BackupRequest, cluster_client::ClusterClient};
use tonic::Streaming;

/// What it is, and then its bytes.
pub struct Backup {
    /// Of which cluster, up to where, how long, and with which checksum.
    pub head: BackupHead,
    pieces: Streaming<BackupChunk>,
}

/// Some of its bytes.
pub struct BackupPiece {
    /// The record file that they are of, by its BLAKE3 hash; empty: the manifest, all of which comes first.
    pub file: Bytes,
    /// In their order; 1 MiB at most.
    pub data: Bytes,
}

impl Backup {
    /// The next bytes; `None` after the last. Cancel safe. An error ends it: begin anew, with the files that came.
    pub async fn next(&mut self) -> Result<Option<BackupPiece>, Error> {
        let piece = self.pieces.message().await.map_err(|status| Error::from_status(&status))?;
        Ok(piece.map(|BackupChunk { data, file, .. }| BackupPiece { file, data }))
    }
}

impl Client {
    /// Asks one node, the pinned one, or any, for a snapshot of everything acked before the call, without the record files
    /// that the caller has. Waits as long as the node needs to write it. Cancel safe.
    pub async fn backup(&self, have: Vec<Bytes>) -> Result<Backup, Error> {
        let mut pieces = read(self, Purpose::Read, self.pool.timing.deadline, |channel, _| {
            let request = BackupRequest { have: have.clone() };
            Box::pin(async move {
                let mut client = ClusterClient::with_origin(channel.clone(), channel.origin());
                Ok(client.backup(request).await?.into_inner())
            })
        })
        .await?;
        let first = pieces.message().await.map_err(|status| Error::from_status(&status))?;
        let head = first.and_then(|first| first.head);
        let head = head.ok_or_else(|| Error::in_doubt("the node's answer does not say what it is"))?;
        Ok(Backup { head, pieces })
    }
}
