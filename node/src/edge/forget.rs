//! Forgetting, whatever was named: rows by number, or those that a filter means.
//!
//! A filter is resolved to row numbers here, at a read index that a quorum confirmed, so that every row acked before the
//! request is looked at; then the rows go through the log in commands of bounded size, and apply forgets each once.
//! Invariant `once_forgotten`: sent again, a request finds the same rows forgotten and counts none twice.
//! Leaves out: taking bytes off the disk; a forgotten row stays in log and snapshots.

use crate::node::Node;
use engram_proto::error::{Error, Result};
use engram_proto::filter;
use engram_proto::limits::ROWS_NAMED_MAX;
use engram_proto::query::{ReadLevel, check_rows, check_space_name};
use engram_proto::wire::log::{ForgetRows, command, outcome};
use engram_proto::wire::v1::{ForgetRequest, ForgetResponse, forget_request::Which};

/// Forgets rows; the answer comes once this node has applied it. An error after the first of several commands leaves the
/// outcome in doubt; the request may be sent again.
pub async fn forget(node: &Node, request: ForgetRequest) -> Result<ForgetResponse> {
    check_space_name(&request.space)?;
    let (space, rows) = match request.which {
        None => return Err(Error::invalid("nothing is named; give rows or a filter")),
        Some(Which::Rows(rows)) => {
            let rows = check_rows(&rows.rows)?;
            (node.recall.view(&request.space, ReadLevel::Eventual, 0).await?.space.id, rows)
        }
        Some(Which::Filter(filter)) => {
            filter::check(&filter)?;
            let view = node.recall.view(&request.space, ReadLevel::Linearizable, 0).await?;
            let rows = (0..view.at.rows).filter(|&row| view.shows(row, Some(&filter))).collect();
            (view.space.id, rows)
        }
    };
    let mut response = ForgetResponse::default();
    for (part, rows) in rows.chunks(ROWS_NAMED_MAX).enumerate() {
        let forget = command::Kind::Forget(ForgetRows { space, rows: rows.to_vec() });
        let (log_index, outcome) = node.proposer.command(forget).await.map_err(|error| match part {
            0 => error,
            _ => Error::in_doubt(format!("{} rows are forgotten, then: {error}; send it again", response.forgotten)),
        })?;
        if let Some(outcome::Kind::Forget(outcome)) = outcome.kind {
            response.forgotten += u64::from(outcome.forgotten);
        }
        response.log_index = log_index;
    }
    if response.log_index > 0 {
        node.settle(response.log_index).await?;
    }
    Ok(response)
}
