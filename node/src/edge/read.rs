//! Recalls, gets and counts, whatever carried them.

use super::{status, unreadable};
use crate::node::Node;
use crate::recall::{self, wire_row};
use crate::spans::Context;
use engram_proto::error::{Error, Result};
use engram_proto::filter;
use engram_proto::limits::MESSAGE_BYTES_MAX;
use engram_proto::query::{ReadLevel, check_named, check_space_name};
use engram_proto::wire::v1::{
    CountRequest, CountResponse, GetRequest, GetResponse, RecallRequest, RecallResponse, recall_response,
};
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;
use tonic::Status;

/// Answers recalls, in order, until the stream ends or a message cannot be read.
pub async fn recalls<S>(
    node: &Node,
    caller: Option<Context>,
    mut requests: S,
    out: mpsc::Sender<std::result::Result<RecallResponse, Status>>,
) where
    S: Stream<Item = std::result::Result<RecallRequest, Status>> + Send + Unpin,
{
    while let Some(request) = requests.next().await {
        let going_on = match request {
            Ok(request) if request.own_observations => {
                let error = Error::invalid("own_observations is for a MemoryStream; this stream observes nothing");
                refuse(request.request_id, error, &out, |response| response).await
            }
            Ok(request) => recall(node, caller, request, 0, &out, |response| response).await,
            Err(broken) => {
                if let Some(error) = unreadable(&broken) {
                    drop(out.send(Err(status(error))).await);
                }
                false
            }
        };
        if !going_on {
            return;
        }
    }
}

/// Answers one recall: its pages, or its error, under its id; with what is applied at log index `own`. False when the
/// client is gone.
pub async fn recall<T>(
    node: &Node,
    caller: Option<Context>,
    request: RecallRequest,
    own: u64,
    out: &mpsc::Sender<std::result::Result<T, Status>>,
    wrap: impl Fn(RecallResponse) -> T,
) -> bool {
    let request_id = request.request_id;
    let send = async |outcome| {
        let response = RecallResponse { request_id, outcome: Some(outcome) };
        out.send(Ok(wrap(response))).await.is_ok()
    };
    let (level, past, begun) =
        (ReadLevel::from(request.consistency), request.at_index.is_some(), node.env.clock.monotonic());
    let mut span = node.spans.begin("recall", node.spans.of_message(&request.traceparent, caller));
    if let Some(span) = &mut span {
        span.note("engram.space", request.space.as_str());
        span.note("engram.k", u64::from(request.k));
    }
    let answer = recall::recall(&node.gate, request, own).await;
    if let Some(span) = &mut span {
        for snapshot in answer.iter().flatten().take(1).filter_map(|page| page.snapshot.as_ref()) {
            span.note("engram.applied_index", snapshot.applied_index);
            span.note("engram.tail_scanned", snapshot.tail_scanned);
        }
        span.told(answer.as_ref().err().map(ToString::to_string));
    }
    node.meters.recalled(level, past, node.env.clock.monotonic().saturating_sub(begun), answer.is_ok());
    match answer {
        Ok(pages) => {
            for page in pages {
                if !send(recall_response::Outcome::Result(page)).await {
                    return false;
                }
            }
            true
        }
        Err(error) => refuse(request_id, error, out, &wrap).await,
    }
}

/// Answers a recall with an error. False when the client is gone.
pub async fn refuse<T>(
    request_id: u64,
    error: Error,
    out: &mpsc::Sender<std::result::Result<T, Status>>,
    wrap: impl Fn(RecallResponse) -> T,
) -> bool {
    let outcome = Some(recall_response::Outcome::Error(error.into()));
    out.send(Ok(wrap(RecallResponse { request_id, outcome }))).await.is_ok()
}

/// Some rows by number or by name.
pub async fn get(node: &Node, request: GetRequest) -> Result<GetResponse> {
    check_space_name(&request.space)?;
    let numbers = check_named(&request.rows, &request.ids)?;
    let view = node.gate.view(&request.space, ReadLevel::from(request.consistency), 0).await?;
    let (mut rows, mut bytes) = (Vec::new(), 0);
    let named = request.ids.iter().filter_map(|id| view.space.named(id, view.at));
    for number in numbers.into_iter().filter(|&row| view.shows(row, None)).chain(named) {
        let Some(row) = wire_row(&view.space, number, request.with_embedding) else { continue };
        bytes += prost::Message::encoded_len(&row);
        if bytes > MESSAGE_BYTES_MAX / 2 {
            return Err(Error::invalid("these rows are too large for one answer; name fewer"));
        }
        rows.push(row);
    }
    Ok(GetResponse { snapshot: Some(view.snapshot), rows })
}

/// Rows that a filter means.
pub async fn count(node: &Node, request: CountRequest) -> Result<CountResponse> {
    check_space_name(&request.space)?;
    let filter = request.filter.as_ref();
    filter.map_or(Ok(()), filter::check)?;
    let view = node.gate.view(&request.space, ReadLevel::from(request.consistency), 0).await?;
    let count = match filter {
        None => u64::from(view.at.rows - view.at.forgets),
        Some(_) => (0..view.at.rows).filter(|&row| view.shows(row, filter)).count() as u64,
    };
    Ok(CountResponse { snapshot: Some(view.snapshot), count })
}
