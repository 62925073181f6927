//! This node's state, for a member whose own is damaged.

use crate::backup;
use crate::node::Node;
use crate::raft::ship;
use engram_proto::wire::peer::SnapshotChunk;
use futures_util::future::{Either, select};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::Status;

/// While the snapshot is written the member hears this often that somebody is there.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// How long its record files are held for a member that does not let go.
const HELD: Duration = Duration::from_secs(600);

/// Takes a snapshot and sends its manifest; a member that is gone ends it.
pub async fn run(node: Arc<Node>, out: mpsc::Sender<Result<SnapshotChunk, Status>>) {
    let mut fresh = pin!(backup::fresh(&node));
    let snapshot = loop {
        match select(fresh.as_mut(), node.env.clock.sleep(SIGN_OF_LIFE)).await {
            Either::Left((Ok(snapshot), _)) => break snapshot,
            Either::Left((Err(error), _)) => return drop(out.send(Err(error.into())).await),
            Either::Right(_) if out.send(Ok(SnapshotChunk::default())).await.is_err() => return,
            Either::Right(_) => {}
        }
    };
    for piece in ship::pieces(None, None, &snapshot.meta, snapshot.snapshot.manifest.clone()) {
        if out.send(Ok(piece)).await.is_err() {
            return;
        }
    }
    // The snapshot's files are held for as long as the member fetches them.
    let held = node.env.clock.sleep(HELD);
    select(pin!(out.closed()), held).await;
    drop(snapshot);
}
