//! Engram's wire: message types and stubs, their bounds, their errors, and HTTP/2 over any byte stream.
//!
//! Both ends of every connection use this crate: the server, its peers, the clients. It holds no policy.
//!
//! Leaves out: sockets, clocks and runtimes, which come in as values ([`transport::World`]).
#![forbid(unsafe_code)]

pub mod error;
pub mod filter;
pub mod limits;
pub mod observation;
pub mod query;
pub mod transport;
pub mod wire;

pub use error::{Error, Kind, WriteClass};
