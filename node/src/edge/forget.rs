//! Forgetting, whatever was named: rows by number, by their clients' names, by age, or those that a filter means.
//!
//! Numbers and names go into the log as they are; apply knows which row has a name. A filter and an age are resolved to
//! row numbers here, at a read index that a quorum confirmed, so that every row acked before the request is looked at;
//! then they go through the log in commands of bounded size, and apply forgets each once.
//! Invariant `once_forgotten`: sent again, a request finds the same rows forgotten and counts none twice.
//! Leaves out: taking bytes off the disk; what is erased stays in the log until that is purged, and in older snapshots.

use crate::aging::AGED_ROWS_MAX;
use crate::node::Node;
use engram_proto::error::{Error, Result};
use engram_proto::filter;
use engram_proto::limits::ROWS_NAMED_MAX;
use engram_proto::query::{ReadLevel, check_named, check_space_name};
use engram_proto::wire::log::{ForgetRows, RaiseFloor, command, outcome};
use engram_proto::wire::v1::{ForgetRequest, ForgetResponse, forget_request::Which};

/// Forgets rows; the answer comes once this node has applied it. An error after the first of several commands leaves the
/// outcome in doubt; the request may be sent again.
pub async fn forget(node: &Node, request: ForgetRequest) -> Result<ForgetResponse> {
    check_space_name(&request.space)?;
    let mut response = ForgetResponse::default();
    let erase = request.erase;
    let (space, commands) = commands(node, request).await?;
    for (part, forget) in commands.into_iter().enumerate() {
        let command = command::Kind::Forget(forget);
        let (log_index, outcome) = node.proposer.command(command).await.map_err(|error| match part {
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
    if erase {
        (response.log_index, response.floor) = raise_floor(node, space).await.map_err(|error| {
            let text = format!("{} rows are forgotten, but perhaps not erased: {error}", response.forgotten);
            Error::in_doubt(format!("{text}; send it again"))
        })?;
    }
    Ok(response)
}

/// Erases what is forgotten in a space by now; the log index from which on it is so, and the new floor.
async fn raise_floor(node: &Node, space: u64) -> Result<(u64, u64)> {
    let raise = RaiseFloor { space, log_index: node.state.watermark().applied() };
    let (log_index, outcome) = node.proposer.command(command::Kind::RaiseFloor(raise)).await?;
    node.settle(log_index).await?;
    match outcome.kind {
        Some(outcome::Kind::Floor(outcome)) => Ok((log_index, outcome.floor)),
        _ => Err(Error::in_doubt("the outcome is not of a floor")),
    }
}

/// The space's id, and what to say to the log.
async fn commands(node: &Node, request: ForgetRequest) -> Result<(u64, Vec<ForgetRows>)> {
    let name = &request.space;
    let view = async |level| node.gate.view(name, level, 0).await;
    let (space, commands) = match request.which {
        None => return Err(Error::invalid("nothing is named; give rows, ids, a filter or an age")),
        Some(Which::Rows(rows)) => {
            let rows = check_named(&rows.rows, &[])?;
            let space = view(ReadLevel::Eventual).await?.space.id;
            (space, vec![ForgetRows { space, rows, ..ForgetRows::default() }])
        }
        Some(Which::Ids(named)) => {
            check_named(&[], &named.ids)?;
            let space = view(ReadLevel::Eventual).await?.space.id;
            (space, vec![ForgetRows { space, ids: named.ids, ..ForgetRows::default() }])
        }
        Some(Which::Filter(filter)) => {
            filter::check(&filter)?;
            let view = view(ReadLevel::Linearizable).await?;
            let rows: Vec<u32> = (0..view.at.rows).filter(|&row| view.shows(row, Some(&filter))).collect();
            let part = |rows: &[u32]| ForgetRows { space: view.space.id, rows: rows.to_vec(), ..ForgetRows::default() };
            (view.space.id, rows.chunks(ROWS_NAMED_MAX).map(part).collect())
        }
        Some(Which::OlderThanMs(age_ms)) => {
            let mark = node.gate.confirmed().await?;
            let view = view(ReadLevel::Eventual).await?;
            let until = mark.stamp_ms.checked_sub(age_ms).map_or(0, |stamp_ms| view.space.until(stamp_ms));
            let starts = (0..until).step_by(AGED_ROWS_MAX as usize);
            let ranges = starts.map(|from| from..until.min(from.saturating_add(AGED_ROWS_MAX)));
            let part = |range: std::ops::Range<u32>| {
                let space = view.space.id;
                ForgetRows { space, from: range.start, until: range.end, ..ForgetRows::default() }
            };
            // Where all of a range is forgotten already, there is nothing to say.
            let ranges = ranges.filter(|range| range.clone().any(|row| view.shows(row, None)));
            (view.space.id, ranges.map(part).collect())
        }
    };
    Ok((space, commands))
}
