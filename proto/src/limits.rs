//! Every wire bound, with its unit. A server refuses what is over; a client may check before it sends.

/// Bytes of a text, UTF-8.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Dimensions of an embedding.
pub const DIM_MIN: usize = 2;
/// Dimensions of an embedding.
pub const DIM_MAX: usize = 4096;
/// Entries of one observation's metadata.
pub const METADATA_ENTRIES_MAX: usize = 64;
/// Bytes of all keys and values of one observation's metadata.
pub const METADATA_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a client's own name for an observation.
pub const ID_BYTES_MAX: usize = 256;
/// Bytes of a space's name.
pub const SPACE_NAME_BYTES_MAX: usize = 128;
/// Observations of one `ObserveBatch`.
pub const BATCH_ROWS_MAX: usize = 1000;
/// Rows that a stream may have in flight however often its client asked for less, if it was granted as many.
pub const CREDIT_ROWS_MIN: usize = 64;
/// The same in bytes: any row, and any part of a batch that goes to the log at once, fits.
pub const CREDIT_BYTES_MIN: usize = 1024 * 1024;
/// Batches in a row that a stream may send over its credit, with no row taken between them.
pub const OVERRUNS_MAX: u32 = 16;
/// Bytes of one gRPC message from a client.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of one gRPC message between nodes.
pub const PEER_MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Hits of one recall.
pub const K_MAX: u32 = 1000;
/// Width of one graph search.
pub const EF_MAX: u32 = 10_000;
/// Filters inside filters.
pub const FILTER_DEPTH_MAX: usize = 8;
/// Parts and values of one filter.
pub const FILTER_PARTS_MAX: usize = 256;
/// Rows named by one get or forget, by number and by name together.
pub const ROWS_NAMED_MAX: usize = 1000;
/// Watches of one memory stream.
pub const WATCHES_MAX: usize = 16;
/// Calls of one memory stream that have no answer yet.
pub const CALLS_MAX: usize = 16;
/// Links a row makes.
pub const M_MAX: u32 = 64;
/// Width of the search that finds a new row's links.
pub const EF_CONSTRUCTION_MAX: u32 = 1_024;
/// Milliseconds that a read may wait for its snapshot.
pub const DEADLINE_MS_MAX: u32 = 60_000;
/// Milliseconds that a bounded answer may be stale by.
pub const STALENESS_MS_MAX: u32 = 24 * 60 * 60 * 1000;
/// Milliseconds after which a space forgets, at least: log time is coarse.
pub const TTL_MS_MIN: u64 = 1000;
/// One side of a stream's credit, halved so often, but not below the least; a credit below that stays what it is.
pub fn halved(credit: usize, least: usize, times: u32) -> usize {
    (credit >> times).max(credit.min(least))
}

/// How long a space keeps what is forgotten for reads of the past, unless it says otherwise.
pub const HISTORY_MS_DEFAULT: u64 = 3_600_000;
/// Version of the node-to-node protocol.
pub const PEER_VERSION: u32 = 1;
