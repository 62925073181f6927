// Every wire bound, with its unit: the server's own. What is over is refused here, before anything is sent.

/** Bytes of a text, UTF-8. */
export const TEXT_BYTES_MAX = 64 * 1024;
/** Dimensions of an embedding, at least. */
export const DIM_MIN = 2;
/** Dimensions of an embedding, at most. */
export const DIM_MAX = 4096;
/** Entries of one observation's metadata. */
export const METADATA_ENTRIES_MAX = 64;
/** Bytes of all keys and values of one observation's metadata. */
export const METADATA_BYTES_MAX = 16 * 1024;
/** Bytes of an observation's id. */
export const ID_BYTES_MAX = 256;
/** Bytes of a space's name. */
export const SPACE_NAME_BYTES_MAX = 128;
/** Rows of one batch. */
export const BATCH_ROWS_MAX = 1000;
/** Bytes of one message. */
export const MESSAGE_BYTES_MAX = 16 * 1024 * 1024;
/** Hits of one recall. */
export const K_MAX = 1000;
/** Width of one graph search. */
export const EF_MAX = 10_000;
/** Filters inside filters. */
export const FILTER_DEPTH_MAX = 8;
/** Parts and values of one filter. */
export const FILTER_PARTS_MAX = 256;
/** Rows named by one get or forget, by number and by id together. */
export const ROWS_NAMED_MAX = 1000;
/** Milliseconds that a node may wait for a read's snapshot. */
export const DEADLINE_MS_MAX = 60_000;
/** Milliseconds that a bounded answer may be stale by. */
export const STALENESS_MS_MAX = 24 * 60 * 60 * 1000;
/** Milliseconds after which a space forgets, at least. */
export const TTL_MS_MIN = 1000;
