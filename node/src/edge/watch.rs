//! Follows a space: what this node applies, as it applies it. A call of its own, or one of a memory stream's watches.
//!
//! Each page is of one view, so a row and the forget of the one it replaces come together or not at all. A reader that
//! is slow holds back its own pages and nothing else: nothing is queued for it but the page at hand.
//! Invariant: rows come in log order, each once. Leaves out: what is not applied here; another node may be ahead.

use super::status;
use crate::gate::View;
use crate::node::Node;
use crate::recall::wire_row;
use engram_mutants::mutant;
use engram_proto::error::{Error, Kind, Result};
use engram_proto::filter;
use engram_proto::query::{ReadLevel, check_space_name};
use engram_proto::transport::timeout;
use engram_proto::wire::v1::{WatchRequest, WatchResponse};
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::Status;

/// How long a watcher hears nothing at most.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Rows of a page, and its bytes at about which it is full.
const PAGE_ROWS: usize = 256;
const PAGE_BYTES: usize = 1 << 20;
/// Numbers of forgotten rows of a page.
const PAGE_FORGOTTEN: usize = 4096;

type Out<T> = mpsc::Sender<std::result::Result<T, Status>>;

/// Runs a watch to its end; the client learns of an error as the stream's status.
pub async fn run(node: Arc<Node>, request: WatchRequest, out: Out<WatchResponse>) {
    if let Err(error) = follow(&node, &request, &out, |page| page).await {
        // A client that is gone hears nothing.
        drop(out.send(Err(status(error))).await);
    }
}

/// Sends pages, wrapped for the stream that they go by, until that stream is gone. Errors: as for a recall, `NotFound`
/// when the space is dropped, `InDoubt` when the node stops. Cancel safe: a page is sent whole or not at all.
pub async fn follow<T>(
    node: &Node,
    request: &WatchRequest,
    out: &Out<T>,
    wrap: impl Fn(WatchResponse) -> T,
) -> Result<()> {
    check_space_name(&request.space)?;
    request.filter.as_ref().map_or(Ok(()), filter::check)?;
    let mut stopping = node.stopping.clone();
    let token = request.at_least.unwrap_or_default();
    let index = token.log_index.max(request.after_log_index.unwrap_or(0));
    let level = ReadLevel::AtLeast { index, incarnation: token.incarnation };
    let mut view = node.gate.view(&request.space, level, 0).await?;
    let id = view.space.id;
    let after = request.after_log_index.unwrap_or(view.snapshot.applied_index);
    let mut sent = view.space.as_of(after + u64::from(mutant!("watch_begins_late")));
    loop {
        if !pages(&view, request, sent, out, &wrap).await {
            return Ok(());
        }
        sent = view.at;
        let next = node.state.watermark().wait_applied(view.snapshot.applied_index + 1);
        tokio::select! {
            biased; // a stopping node says so
            _ = stopping.wait_for(|stop| *stop) => {
                return Err(Error::in_doubt(format!("node {} is stopping; watch on another", node.id)));
            }
            () = out.closed() => return Ok(()),
            // Silence is broken by an empty page.
            _ = timeout(&*node.world, SILENCE_MAX, next) => {}
        }
        view = node.gate.view(&request.space, ReadLevel::Eventual, 0).await?;
        if view.space.id != id {
            return Err(Error::new(Kind::NotFound, format!("space {} was dropped and made again", request.space)));
        }
    }
}

/// Sends what the view has beyond `sent`, and a last page that says how far it goes. False when the client is gone.
async fn pages<T>(
    view: &View,
    request: &WatchRequest,
    sent: engram_index::Snapshot,
    out: &Out<T>,
    wrap: &impl Fn(WatchResponse) -> T,
) -> bool {
    let filter = request.filter.as_ref();
    let empty = || WatchResponse { incarnation: view.snapshot.incarnation, ..WatchResponse::default() };
    let send = async |page| out.send(Ok(wrap(page))).await.is_ok();
    let mut page = empty();
    let mut bytes = 0;
    for number in (sent.rows..view.at.rows).filter(|&row| view.shows(row, filter)) {
        if page.rows.len() == PAGE_ROWS || bytes >= PAGE_BYTES {
            bytes = 0;
            if !send(std::mem::replace(&mut page, empty())).await {
                return false;
            }
        }
        let Some(row) = wire_row(&view.space, number, request.with_embedding) else { continue };
        bytes += row.encoded_len();
        page.rows.push(row);
    }
    for row in view.space.index.forgotten(sent, view.at) {
        if page.forgotten.len() == PAGE_FORGOTTEN && !send(std::mem::replace(&mut page, empty())).await {
            return false;
        }
        page.forgotten.push(row.into());
    }
    page.log_index = view.snapshot.applied_index;
    send(page).await
}
