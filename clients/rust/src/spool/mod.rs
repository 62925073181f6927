//! An offline spool: observations are on disk before they are sent, and stay until they are acked, so that each is in
//! the space exactly once though the client's own process dies at any point.
//!
//! ```no_run
//! # async fn example(client: engram_client::Client) -> Result<(), Box<dyn std::error::Error>> {
//! use engram_client::{ObserveOptions, Spool, observation};
//! let spool = Spool::open("spool", "notes", Spool::MAX_BYTES)?;
//! spool.put(&[observation("the kettle is on", &[0.1, 0.9])])?;
//! spool.finish();
//! let delivered = spool.deliver(&client, ObserveOptions::default(), |news| println!("{news:?}")).await?;
//! # Ok(()) }
//! ```
//!
//! The session's id is on disk before the first row is sent to it, so a later process resumes it: what the session has
//! leaves the spool, the rest is sent under the same numbers. A session that expired tells how far it came, and the rest
//! goes to a new one; where nobody knows that any more, [`Spool::deliver`] says so and guesses nothing.
//!
//! Invariants: `once_per_sequence`, over restarts too: a number goes to another row only after the refused row's leaving
//! is durable; and those of `store`.
//! Leaves out: several spaces in one spool, and several processes on one: the second is refused.

mod deliver;
mod error;
mod store;

pub use deliver::{Delivered, Delivery};
pub use error::SpoolError;

use crate::Observation;
use std::future::poll_fn;
use std::path::Path;
use store::Store;

/// A directory of rows on their way into one space. All methods take `&self`: one task may put rows while another
/// delivers them.
pub struct Spool {
    store: Store,
}

/// What waits in a spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Rows without an ack.
    pub rows: u64,
    /// Their bytes, encoded.
    pub bytes: u64,
    /// The session that they go to, if there is one.
    pub session: Option<u64>,
}

impl Spool {
    /// Bytes of rows that may wait unless the owner says otherwise: 1 GiB.
    pub const MAX_BYTES: u64 = 1 << 30;

    /// Opens the spool in `dir`, or makes it, for one space. Blocks for the disk. Errors: `Busy`, `Foreign`, `Disk`.
    pub fn open(dir: impl AsRef<Path>, space: &str, max_bytes: u64) -> Result<Self, SpoolError> {
        engram_proto::query::check_space_name(space).map_err(SpoolError::Refused)?;
        Ok(Self { store: Store::open(dir.as_ref(), space, max_bytes)? })
    }

    /// Takes rows: when this returns they are durable, all of them; after an error other than `Disk`, none. Blocks for
    /// the disk: many rows at a time cost about as much as one. Errors: `Full`, `Refused` (over 1 MiB), `Disk`.
    pub fn put(&self, rows: &[Observation]) -> Result<(), SpoolError> {
        rows.iter().try_for_each(store::check)?;
        self.store.put(rows, None)
    }

    /// The same, with a note that becomes durable together with the rows: how far its owner has read the source that
    /// they are from. After a crash [`Spool::note`] says where to go on.
    pub fn put_noting(&self, rows: &[Observation], source: &str, note: &[u8]) -> Result<(), SpoolError> {
        rows.iter().try_for_each(store::check)?;
        self.store.put(rows, Some((source, note)))
    }

    /// The last note about a source.
    pub fn note(&self, source: &str) -> Result<Option<Vec<u8>>, SpoolError> {
        self.store.note(source)
    }

    /// Forgets the note about a source: it was read to its end, and a new reading begins at its start.
    pub fn clear_note(&self, source: &str) -> Result<(), SpoolError> {
        self.store.clear_note(source)
    }

    /// No more rows will be put: [`Spool::deliver`] ends when none waits.
    pub fn finish(&self) {
        self.store.set(|state| state.finished = true);
    }

    /// Whether [`Spool::deliver`] runs.
    pub fn is_delivering(&self) -> bool {
        self.store.with(|state| state.delivering)
    }

    /// What waits now.
    pub fn waiting(&self) -> Waiting {
        self.store.with(|state| Waiting {
            rows: state.rows,
            bytes: state.bytes,
            session: state.stream.map(|stream| stream.session),
        })
    }

    /// Ends when rows have left since it was called, or at once when nobody delivers. Cancel safe.
    pub async fn room(&self) {
        let mut seen = None;
        poll_fn(|cx| self.store.poll_change(cx, &mut seen)).await;
    }
}
