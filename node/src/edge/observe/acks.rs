//! Outcomes on their way to the client: in order, each told once its rows have the stage that the stream asked for.
//!
//! Only the oldest is waited for. Committed rows that follow it are applied by then or soon after, and the stream goes on
//! meanwhile: it takes rows, hears the node's stop, and bounds by its credit what waits here.

use super::open::Terms;
use crate::node::Node;
use crate::session::Settled;
use engram_mutants::mutant;
use engram_proto::error::{Error, Kind, Result, WriteClass};
use engram_proto::transport::timeout;
use engram_proto::wire::v1::AckStage;
use futures_util::future::BoxFuture;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How long a session's opening, or rows acked as searchable, may take to be applied where they must be.
pub const APPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// The outcomes of one stream that are not told yet.
pub struct Acks {
    node: Arc<Node>,
    terms: Terms,
    waiting: VecDeque<Settled>,
    /// Until the oldest may be told; kept while the stream does other things.
    wait: Option<BoxFuture<'static, Result<()>>>,
}

impl Acks {
    /// Of a stream on these terms.
    pub fn new(node: Arc<Node>, terms: Terms) -> Self {
        Self { node, terms, waiting: VecDeque::new(), wait: None }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes the next outcome. An error ends the stream at once: what is in doubt, or a session that is gone, does not wait
    /// for the acks before it, or a client would learn late that another one has its session.
    pub fn push(&mut self, settled: Settled) -> Result<()> {
        match ends(&settled) {
            Some(error) if self.is_empty() => Err(error),
            Some(error) => Err(error.with_class(WriteClass::Unknown)),
            None => {
                self.waiting.push_back(settled);
                Ok(())
            }
        }
    }

    /// The oldest outcome, once it may be told; there must be one. Cancel safe.
    pub async fn next(&mut self) -> Result<Settled> {
        let oldest = self.waiting.front().expect("the caller has looked");
        if self.terms.stage == AckStage::Searchable
            && let Some(index) = last_index(oldest)
        {
            let (node, nodes) = (&self.node, self.terms.nodes);
            let wait = self.wait.get_or_insert_with(|| {
                let node = node.clone();
                Box::pin(async move { until_searchable(&node, index, nodes, APPLY_TIMEOUT).await })
            });
            let reached = if mutant!("searchable_is_committed") { Ok(()) } else { wait.await };
            self.wait = None;
            reached?;
            if self.terms.nodes > 1 {
                let (node, nodes) = (self.node.id, self.terms.nodes);
                tracing::debug!(node, index, nodes, "acked as searchable");
            }
        }
        Ok(self.waiting.pop_front().expect("looked at above"))
    }
}

/// The last log index that has a row of this outcome.
pub fn last_index(settled: &Settled) -> Option<u64> {
    settled.result.as_ref().ok()?.runs.iter().map(|run| run.log_index).max()
}

/// The error that ends the stream, of an outcome without a row to ack.
fn ends(settled: &Settled) -> Option<Error> {
    match &settled.result {
        Err(error) => (!error.is_rejected() || is_end(error)).then(|| error.clone()),
        Ok(verdict) if !verdict.runs.is_empty() => None,
        Ok(verdict) => verdict.refused.clone().and_then(|refused| refused.error).map(Error::from).filter(is_end),
    }
}

/// Whether the session is over for this connection.
pub fn is_end(error: &Error) -> bool {
    matches!(error.kind(), Kind::Superseded | Kind::SessionLost | Kind::NotFound)
}

/// Ends once recalls find a log index on so many nodes, this one among them; in doubt when that takes too long.
pub async fn until_searchable(node: &Node, index: u64, nodes: u32, limit: Duration) -> Result<()> {
    timeout(&*node.world, limit, node.searchable(index, nodes)).await.ok_or_else(|| {
        let text = match nodes {
            0 | 1 => format!("node {} has not applied log index {index}; resume elsewhere", node.id),
            _ => format!("log index {index} is not searchable on {nodes} nodes after {limit:?}; resume"),
        };
        Error::in_doubt(text)
    })
}
