//! One call with its attempts: reads go on until their deadline, writes only while an attempt surely had no effect.

use crate::{ClientError, client::Client, route::Purpose};
use engram_proto::transport::{Channel, timeout};
use engram_proto::{Error, Kind};
use futures_util::future::BoxFuture;
use std::{io, time::Duration};
use tonic::Status;

/// Why an attempt failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub error: Error,
    /// The request surely never left: there was no connection.
    pub undialled: bool,
    /// The status came from a library, so the connection is suspect.
    pub broken: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, undialled: false, broken: false }
    }
}

impl From<Status> for Failure {
    /// A bare I/O error can only come from [`Channel`]'s dial: anything later is wrapped by hyper.
    fn from(status: Status) -> Self {
        let source = std::error::Error::source(&status);
        let undialled = source.is_some_and(|source| source.is::<io::Error>());
        let broken = status.details().is_empty();
        Self { error: Error::from_status(&status), undialled, broken }
    }
}

/// One attempt: what to do on a channel, and for how long it may wait.
pub(crate) type Attempt<T> = BoxFuture<'static, Result<T, Failure>>;

/// Whether another node, or the same one later, may answer better.
pub(crate) fn worth_another_try(kind: Kind) -> bool {
    match kind {
        Kind::NotLeader | Kind::Overloaded | Kind::InDoubt | Kind::Poisoned => true,
        Kind::Behind | Kind::Quarantined | Kind::Unspecified => true,
        Kind::Invalid | Kind::SessionLost | Kind::NotFound | Kind::Exists => false,
        Kind::Superseded | Kind::BelowFloor | Kind::Unsupported => false,
    }
}

/// Calls something that may be repeated until an answer comes, the request proves wrong, or `limit` has passed; the
/// error is the last attempt's.
pub(crate) async fn read<T>(
    client: &Client,
    purpose: Purpose,
    limit: Duration,
    mut attempt: impl FnMut(Channel, Duration) -> Attempt<T>,
) -> Result<T, Error> {
    let world = client.pool.world.clone();
    let until = world.monotonic() + limit;
    let mut route = client.route(purpose);
    loop {
        let budget = until.saturating_sub(world.monotonic()).min(client.pool.timing.silence);
        let channel = route.next();
        let failure = match timeout(&*world, budget, attempt(channel.clone(), budget)).await {
            Some(Ok(value)) => return Ok(value),
            Some(Err(failure)) => failure,
            None => silent(&channel, budget),
        };
        if failure.broken {
            channel.reset();
        }
        let wait = route.failed(&failure.error);
        if !worth_another_try(failure.error.kind()) || world.monotonic() + wait >= until {
            return Err(failure.error);
        }
        world.sleep(wait).await;
    }
}

/// Writes once; goes on to another attempt only when the last one surely had no effect.
pub(crate) async fn write<T>(
    client: &Client,
    limit: Duration,
    mut attempt: impl FnMut(Channel) -> Attempt<T>,
) -> Result<T, ClientError> {
    let world = client.pool.world.clone();
    let until = world.monotonic() + limit;
    let mut route = client.route(Purpose::Write);
    loop {
        let budget = until.saturating_sub(world.monotonic());
        let channel = route.next();
        let failure = match timeout(&*world, budget, attempt(channel.clone())).await {
            Some(Ok(value)) => return Ok(value),
            Some(Err(failure)) => failure,
            None => silent(&channel, budget),
        };
        if failure.broken {
            channel.reset();
        }
        let wait = route.failed(&failure.error);
        let late = world.monotonic() + wait >= until;
        match failure {
            Failure { undialled: true, error, .. } if late => {
                let text = format!("no connection, last to {}: {error}; check the endpoints", route.last());
                return Err(ClientError::Refused(Error::new(Kind::NotLeader, text)));
            }
            Failure { undialled: true, .. } => {}
            Failure { error, .. } if !error.is_rejected() => return Err(ClientError::Unknown(error)),
            Failure { error, .. } if late || !worth_another_try(error.kind()) => {
                return Err(ClientError::Refused(error));
            }
            Failure { .. } => {}
        }
        world.sleep(wait).await;
    }
}

/// Nothing came in time; the connection is to be forgotten.
pub(crate) fn silent(channel: &Channel, after: Duration) -> Failure {
    let error = Error::in_doubt(format!("{} did not answer within {after:?}", channel.address()));
    Failure { error, undialled: false, broken: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_dial_is_told_from_a_broken_connection() {
        let dial: Box<dyn std::error::Error + Send + Sync> = io::Error::other("connection refused").into();
        assert!(Failure::from(Status::from_error(dial)).undialled);
        assert!(!Failure::from(Status::unavailable("from a proxy")).undialled);
    }
}
