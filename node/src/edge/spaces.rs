//! Spaces made, listed and dropped by clients. The log decides; an answer comes once this node has applied it.

use crate::node::Node;
use engram_proto::error::{Error, Result};
use engram_proto::query::{check_space_name, complete_space};
use engram_proto::wire::log::{DropSpace, command};
use engram_proto::wire::v1::{
    CreateSpaceRequest, CreateSpaceResponse, DropSpaceRequest, DropSpaceResponse, ListSpacesResponse, SpaceInfo,
};

/// Makes a space. Errors: `Exists` if there is one of that name.
pub async fn create(node: &Node, request: CreateSpaceRequest) -> Result<CreateSpaceResponse> {
    let config = complete_space(request.config.ok_or_else(|| Error::invalid("config is missing"))?)?;
    let (log_index, _) = node.proposer.command(command::Kind::CreateSpace(config.clone())).await?;
    // Answered once this node knows it, so that the next call here finds it.
    node.settle(log_index).await?;
    let info = SpaceInfo { config: Some(config), id: log_index, ..SpaceInfo::default() };
    Ok(CreateSpaceResponse { space: Some(info), log_index })
}

/// All spaces, as this node has them. A node in no cluster has none, and does not know that there are any.
pub fn list(node: &Node) -> Result<ListSpacesResponse> {
    if node.incarnation() == 0 {
        return Err(node.leadership.in_no_cluster());
    }
    let (spaces, applied_index) = node.spaces();
    Ok(ListSpacesResponse { spaces, applied_index })
}

/// Drops a space with its rows. Errors: `NotFound`.
pub async fn drop(node: &Node, request: DropSpaceRequest) -> Result<DropSpaceResponse> {
    check_space_name(&request.name)?;
    let dropped = command::Kind::DropSpace(DropSpace { name: request.name });
    let (log_index, _) = node.proposer.command(dropped).await?;
    node.settle(log_index).await?;
    Ok(DropSpaceResponse { log_index })
}
