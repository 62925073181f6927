//! Rows by number or name, their count, and forgetting.

use crate::call::{read, write};
use crate::client::memory;
use crate::recall::{count_consistency, get_consistency};
use crate::route::Purpose;
use crate::{Client, ClientError, Error, Filter, Level, Listing, ReadToken, SessionStatusResponse, Snapshot};
use engram_proto::wire::v1::{self, forget_request};
use engram_proto::{filter, query};
use std::time::Duration;

/// Rows that are named one by one, 1 to 1,000 of them.
#[derive(Clone, Debug, PartialEq)]
pub enum Named {
    /// By number.
    Rows(Vec<u64>),
    /// By the names that their clients gave them.
    Ids(Vec<String>),
}

impl Named {
    fn split(self) -> (Vec<u64>, Vec<String>) {
        match self {
            Self::Rows(rows) => (rows, Vec::new()),
            Self::Ids(ids) => (Vec::new(), ids),
        }
    }
}

impl From<Vec<u64>> for Named {
    fn from(rows: Vec<u64>) -> Self {
        Self::Rows(rows)
    }
}

impl From<Vec<String>> for Named {
    fn from(ids: Vec<String>) -> Self {
        Self::Ids(ids)
    }
}

/// Which rows to forget.
#[derive(Clone, Debug, PartialEq)]
pub enum Which {
    /// One by one.
    Named(Named),
    /// Those that a filter means, of the rows acked before.
    Filter(Filter),
    /// Those that were committed this long ago or longer, by log time, which runs while there is a leader.
    OlderThan(Duration),
}

/// What a forget did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// Rows that were there and are not any more.
    pub rows: u64,
    /// The log index from which on they are gone, and erased if that was asked for; 0 when there was nothing to do.
    pub log_index: u64,
    /// Where the space's past begins now, if this erased; else 0.
    pub floor: u64,
}

impl Client {
    /// Some rows, at one snapshot, in the order asked for; rows that are forgotten or not there are left out. Errors: as [`Client::recall`]. Cancel safe.
    pub async fn get(
        &self,
        space: &str,
        named: impl Into<Named>,
        level: Level,
        with_embedding: bool,
    ) -> Result<Listing, Error> {
        let (rows, ids) = named.into().split();
        query::check_space_name(space)?;
        query::check_named(&rows, &ids)?;
        let consistency = Some(get_consistency(level, self.token()));
        let request = v1::GetRequest { space: space.to_string(), rows, consistency, with_embedding, ids };
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
        self.forget_or_erase(space, which, false).await
    }

    /// Forgets rows and erases them, with all that was forgotten in the space before: the past in which they were can be
    /// read no more. Errors and cancellation: as [`Client::forget`].
    pub async fn erase(&self, space: &str, which: Which) -> Result<Forgotten, ClientError> {
        self.forget_or_erase(space, which, true).await
    }

    async fn forget_or_erase(&self, space: &str, which: Which, erase: bool) -> Result<Forgotten, ClientError> {
        let which = match which {
            Which::Named(named) => {
                let (rows, ids) = named.split();
                query::check_named(&rows, &ids).map_err(ClientError::Refused)?;
                match ids.is_empty() {
                    true => forget_request::Which::Rows(v1::RowNumbers { rows }),
                    false => forget_request::Which::Ids(v1::RowIds { ids }),
                }
            }
            Which::OlderThan(age) => {
                forget_request::Which::OlderThanMs(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
            }
            Which::Filter(filter) => {
                filter::check(&filter).map_err(ClientError::Refused)?;
                forget_request::Which::Filter(filter)
            }
        };
        let request = v1::ForgetRequest { space: space.to_string(), which: Some(which), erase };
        let response = write(self, self.pool.timing.deadline, |channel| {
            let request = request.clone();
            Box::pin(async move { Ok(memory(&channel).forget(request).await?.into_inner()) })
        });
        let v1::ForgetResponse { forgotten, log_index, floor } = response.await?;
        self.pool.raise(ReadToken { log_index, incarnation: 0 });
        Ok(Forgotten { rows: forgotten, log_index, floor })
    }

    /// Where a session stands: what of it is committed, and whether it may be resumed. With every row that was acked
    /// before. Errors: as [`Client::recall`]. Cancel safe.
    pub async fn session_status(&self, session: u64, incarnation: u64) -> Result<SessionStatusResponse, Error> {
        read(self, Purpose::Read, self.pool.timing.deadline, |channel, _| {
            let request = v1::SessionStatusRequest { session, incarnation };
            Box::pin(async move { Ok(memory(&channel).session_status(request).await?.into_inner()) })
        })
        .await
    }

    /// Raises the token to what an answer was computed on.
    fn seen(&self, snapshot: Option<Snapshot>) -> Snapshot {
        let snapshot = snapshot.unwrap_or_default();
        self.pool.raise(ReadToken { log_index: snapshot.applied_index, incarnation: snapshot.incarnation });
        snapshot
    }
}
