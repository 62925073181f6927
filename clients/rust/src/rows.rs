//! Rows by number, their count, and forgetting.

use crate::call::{read, write};
use crate::client::memory;
use crate::recall::{count_consistency, get_consistency};
use crate::route::Purpose;
use crate::{Client, ClientError, Error, Filter, Level, Listing, ReadToken, Snapshot};
use engram_proto::wire::v1::{self, forget_request};
use engram_proto::{filter, query};

/// Which rows to forget.
#[derive(Clone, Debug, PartialEq)]
pub enum Which {
    /// By number, 1 to 1,000 of them.
    Rows(Vec<u64>),
    /// Those that a filter means, of the rows acked before.
    Filter(Filter),
}

/// What a forget did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// Rows that were there and are not any more.
    pub rows: u64,
    /// The log index from which on they are gone; 0 when there was nothing to forget.
    pub log_index: u64,
}

impl Client {
    /// Some rows by number (1 to 1,000), at one snapshot, in the order asked for; rows that are forgotten or not there
    /// are left out. Errors: as [`Client::recall`]. Cancel safe.
    pub async fn get(&self, space: &str, rows: Vec<u64>, level: Level, with_embedding: bool) -> Result<Listing, Error> {
        query::check_space_name(space)?;
        query::check_rows(&rows)?;
        let consistency = Some(get_consistency(level, self.token()));
        let request = v1::GetRequest { space: space.to_string(), rows, consistency, with_embedding };
        let response = read(self, Purpose::Read, self.pool.timing.deadline, |channel, _| {
            let request = request.clone();
            Box::pin(async move { Ok(memory(&channel).get(request).await?.into_inner()) })
        });
        let v1::GetResponse { snapshot, rows } = response.await?;
        Ok(Listing { snapshot: self.seen(snapshot), rows })
    }

    /// How many rows a space has, or how many of them a filter means, and the snapshot. Errors: as
    /// [`Client::recall`]. Cancel safe.
    pub async fn count(&self, space: &str, filter: Option<Filter>, level: Level) -> Result<(u64, Snapshot), Error> {
        query::check_space_name(space)?;
        filter.as_ref().map_or(Ok(()), filter::check)?;
        let consistency = Some(count_consistency(level, self.token()));
        let request = v1::CountRequest { space: space.to_string(), filter, consistency };
        let response = read(self, Purpose::Read, self.pool.timing.deadline, |channel, _| {
            let request = request.clone();
            Box::pin(async move { Ok(memory(&channel).count(request).await?.into_inner()) })
        });
        let response = response.await?;
        Ok((response.count, self.seen(response.snapshot)))
    }

    /// Forgets rows: no later snapshot has them. Errors: `Refused` with `Invalid` or `NotFound`; `Unknown` when the
    /// outcome is in doubt: call again, a row is forgotten once. Cancelled: the same doubt.
    pub async fn forget(&self, space: &str, which: Which) -> Result<Forgotten, ClientError> {
        let which = match which {
            Which::Rows(rows) => {
                query::check_rows(&rows).map_err(ClientError::Refused)?;
                forget_request::Which::Rows(v1::RowNumbers { rows })
            }
            Which::Filter(filter) => {
                filter::check(&filter).map_err(ClientError::Refused)?;
                forget_request::Which::Filter(filter)
            }
        };
        let request = v1::ForgetRequest { space: space.to_string(), which: Some(which) };
        let response = write(self, self.pool.timing.deadline, |channel| {
            let request = request.clone();
            Box::pin(async move { Ok(memory(&channel).forget(request).await?.into_inner()) })
        });
        let v1::ForgetResponse { forgotten, log_index } = response.await?;
        self.pool.raise(ReadToken { log_index, incarnation: 0 });
        Ok(Forgotten { rows: forgotten, log_index })
    }

    /// Raises the token to what an answer was computed on.
    fn seen(&self, snapshot: Option<Snapshot>) -> Snapshot {
        let snapshot = snapshot.unwrap_or_default();
        self.pool.raise(ReadToken { log_index: snapshot.applied_index, incarnation: snapshot.incarnation });
        snapshot
    }
}
