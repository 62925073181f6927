//! A client for Engram: exactly-once streams of observations, recalls from any node.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use engram_client::{Client, ObserveOptions, Recall, observation};
//! # #[cfg(feature = "tcp")] {
//! let client = Client::connect(["127.0.0.1:7600", "127.0.0.1:7601", "127.0.0.1:7602"])?;
//! let observer = client.observe("notes", ObserveOptions::default()).await?;
//! observer.push(observation("the kettle is on", &[0.1, 0.9])).await?;
//! observer.finish().await?;
//! let answer = client.recall(Recall::new("notes", vec![0.1, 0.8], 10)).await?;
//! println!("{} hits at log index {}", answer.hits.len(), answer.snapshot.applied_index);
//! # }
//! # Ok(()) }
//! ```
//!
//! Place in the corridor: before the edge. The client numbers what it sends, keeps it until it is acked, and sends
//! it again under the same numbers after a break; the replicated session makes that exactly once.
//!
//! Its world (dial, clock, tasks) is a value, [`engram_proto::transport::World`], and its randomness (jitter, where
//! to start) comes from one seed: the same client runs in both simulators. The real world is `Tcp`, behind the
//! feature `tcp`.
//!
//! Invariants: `once_per_sequence` (the client's half: a number is never given to a second observation unless the
//! first one was surely not taken), `window_bounded` (what is unacked is bounded by the options and by the server's
//! credit).
//!
//! With the feature `spool` observations outlive the process on disk: `Spool`.
//!
//! Leaves out: TLS and WebSocket.
#![forbid(unsafe_code)]

mod admin;
mod agreement;
mod backup;
mod call;
mod client;
mod error;
mod list;
mod observe;
mod pool;
mod recall;
mod route;
mod rows;
mod seed;
#[cfg(feature = "spool")]
mod spool;
mod timing;
mod watch;
#[cfg(feature = "tcp")]
mod world;

pub use agreement::difference;
pub use backup::{Backup, BackupPiece};
pub use client::Client;
pub use engram_proto::wire::v1::{
    AckStage, FieldRange, FieldValues, Filter, FilterList, Hit, Metric, NodeAddress, Observation, Precision, Priority,
    Row, SessionState, SessionStatusResponse, Snapshot, SpaceConfig, SpaceInfo, StatusResponse, TimeRange, Value,
    VerifyResponse, filter, value,
};
pub use engram_proto::{Error, Kind, WriteClass};
pub use error::{ClientError, ObserveError, Stopped};
pub use list::{List, Listing, Pages};
pub use observe::{Credit, Event, ObserveOptions, Observer, Summary, observation};
pub use pool::ReadToken;
pub use recall::{Answer, Level, Recall, RecallPages};
pub use rows::{Forgotten, Named, Which};
#[cfg(feature = "spool")]
pub use spool::{Delivered, Delivery, Spool, SpoolError, Waiting};
pub use timing::Timing;
pub use watch::{Change, Watch, Watcher};
#[cfg(feature = "tcp")]
pub use world::Tcp;
