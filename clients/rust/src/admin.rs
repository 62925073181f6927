//! Spaces and cluster administration. Writes are sent again only when they surely had no effect.

use crate::call::{read, write};
use crate::route::Purpose;
use crate::{
    Client, ClientError, Error, NodeAddress, ReadToken, SpaceConfig, SpaceInfo, StatusResponse, VerifyResponse,
};
use engram_proto::transport::Channel;
use engram_proto::wire::v1::{self, cluster_client::ClusterClient, spaces_client::SpacesClient};
use engram_proto::{limits, query};
use std::time::Duration;

/// A node that is added first catches up with the log.
const ADD_NODE_DEADLINE: Duration = Duration::from_secs(300);

impl Client {
    /// Makes a space. The configuration is checked here first. Errors: `Refused` with `Invalid` or `Exists`;
    /// `Unknown` when the outcome is in doubt: look with [`Client::list_spaces`]. Cancelled: the same doubt.
    pub async fn create_space(&self, config: SpaceConfig) -> Result<SpaceInfo, ClientError> {
        query::complete_space(config.clone()).map_err(ClientError::Refused)?;
        let request = v1::CreateSpaceRequest { config: Some(config) };
        let response = write(self, self.pool.timing.deadline, |channel| {
            let request = request.clone();
            Box::pin(async move { Ok(spaces(&channel).create_space(request).await?.into_inner()) })
        })
        .await?;
        self.wrote(response.log_index);
        let missing = || ClientError::Unknown(Error::in_doubt("the node's answer names no space; list the spaces"));
        response.space.ok_or_else(missing)
    }

    /// All spaces, as the node that answers has them applied. Cancel safe.
    pub async fn list_spaces(&self) -> Result<Vec<SpaceInfo>, Error> {
        let response = read(self, Purpose::Read, self.pool.timing.deadline, |channel, _| {
            let request = v1::ListSpacesRequest {};
            Box::pin(async move { Ok(spaces(&channel).list_spaces(request).await?.into_inner()) })
        })
        .await?;
        Ok(response.spaces)
    }

    /// Drops a space with all its rows; the answer is the log index. Errors: `Refused` with `NotFound`; `Unknown`
    /// when the outcome is in doubt. Cancelled: the same doubt.
    pub async fn drop_space(&self, name: &str) -> Result<u64, ClientError> {
        let response = write(self, self.pool.timing.deadline, |channel| {
            let request = v1::DropSpaceRequest { name: name.to_string() };
            Box::pin(async move { Ok(spaces(&channel).drop_space(request).await?.into_inner()) })
        })
        .await?;
        self.wrote(response.log_index);
        Ok(response.log_index)
    }

    /// The state of one node: the pinned one, or any. Cancel safe.
    pub async fn status(&self) -> Result<StatusResponse, Error> {
        read(self, Purpose::Read, self.pool.timing.deadline, |channel, _| {
            let request = v1::StatusRequest {};
            Box::pin(async move { Ok(cluster(&channel).status(request).await?.into_inner()) })
        })
        .await
    }

    /// Proves the graphs of one node, the pinned one, or any: of one space, or of all if `space` is empty. Takes some
    /// microseconds a row. Cancel safe.
    pub async fn verify(&self, space: &str) -> Result<VerifyResponse, Error> {
        read(self, Purpose::Read, self.pool.timing.deadline, |channel, _| {
            let request = v1::VerifyRequest { space: space.to_string() };
            Box::pin(async move { Ok(cluster(&channel).verify(request).await?.into_inner()) })
        })
        .await
    }

    /// Makes a cluster of blank nodes; the answer is its id. Errors: `Refused` by a node that is already in one.
    pub async fn init(&self, nodes: Vec<NodeAddress>) -> Result<Vec<u8>, ClientError> {
        let response = write(self, self.pool.timing.deadline, |channel| {
            let request = v1::InitRequest { nodes: nodes.clone() };
            Box::pin(async move { Ok(cluster(&channel).init(request).await?.into_inner()) })
        })
        .await?;
        Ok(response.cluster_id.to_vec())
    }

    /// Adds a blank node, as a voter once it has caught up, or for good as a learner; waits up to 300 s. The answer
    /// is the log index of the membership. Cancelled: in doubt.
    pub async fn add_node(&self, node: NodeAddress, learner: bool) -> Result<u64, ClientError> {
        let response = write(self, ADD_NODE_DEADLINE, |channel| {
            let request = v1::AddNodeRequest { node: Some(node.clone()), learner };
            Box::pin(async move { Ok(cluster(&channel).add_node(request).await?.into_inner()) })
        })
        .await?;
        Ok(response.log_index)
    }

    /// Says where a member is now; it must answer there. The answer is the log index. Errors: `Refused` with `Invalid` for a
    /// node that does not answer there, or has another disk than the one that joined. Cancelled: in doubt.
    pub async fn update_node(&self, node: NodeAddress) -> Result<u64, ClientError> {
        let response = write(self, self.pool.timing.deadline, |channel| {
            let request = v1::UpdateNodeRequest { node: Some(node.clone()) };
            Box::pin(async move { Ok(cluster(&channel).update_node(request).await?.into_inner()) })
        })
        .await?;
        Ok(response.log_index)
    }

    /// Removes a node; its id is never used again. The answer is the log index. Cancelled: in doubt.
    pub async fn remove_node(&self, node: u64) -> Result<u64, ClientError> {
        let response = write(self, self.pool.timing.deadline, |channel| {
            let request = v1::RemoveNodeRequest { node };
            Box::pin(async move { Ok(cluster(&channel).remove_node(request).await?.into_inner()) })
        })
        .await?;
        Ok(response.log_index)
    }

    /// Lets another voter lead, the one whose log is furthest if none is named; which leads now. Errors: `Refused` with
    /// `Invalid` for a node that has no vote; `Unknown` when it does not lead in time. Cancelled: in doubt.
    pub async fn transfer_leader(&self, to: Option<u64>) -> Result<u64, ClientError> {
        let response = write(self, self.pool.timing.deadline, |channel| {
            let request = v1::TransferLeaderRequest { node: to.unwrap_or_default() };
            Box::pin(async move { Ok(cluster(&channel).transfer_leader(request).await?.into_inner()) })
        })
        .await?;
        Ok(response.leader)
    }

    fn wrote(&self, log_index: u64) {
        self.pool.raise(ReadToken { log_index, incarnation: 0 });
    }
}

fn spaces(channel: &Channel) -> SpacesClient<Channel> {
    let origin = channel.origin();
    SpacesClient::with_origin(channel.clone(), origin).max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
}

fn cluster(channel: &Channel) -> ClusterClient<Channel> {
    let origin = channel.origin();
    ClusterClient::with_origin(channel.clone(), origin).max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
}
