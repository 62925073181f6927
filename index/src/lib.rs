//! A deterministic, batched HNSW index on quantised codes: the same rows give the same bytes, on every machine, for any
//! number of threads. One [`Index`] serves one space; it needs no clock, no files, no threads and no random numbers.
//!
//! # In short
//!
//! ```
//! use engram_index::{Index, Metric, Options, Pool, Search, Snapshot};
//! use std::{num::NonZeroUsize, ops::ControlFlow};
//!
//! let index = Index::new(Options::new(4, Metric::Cosine, 7))?;
//! for i in 0..100u8 {
//!     let angle = f32::from(i) / 20.0;
//!     index.push(&[angle.cos(), angle.sin(), 0.3, 0.1])?;
//! }
//! // Build whatever batches are complete; the rest is the tail, which a search scans.
//! let pool = Pool::new(NonZeroUsize::new(2).ok_or("no threads")?);
//! index.build_all(&pool, &mut |progress| {
//!     println!("{} of {} rows, digest {:016x}", progress.epoch.rows, progress.rows, progress.epoch.digest);
//!     ControlFlow::Continue(())
//! });
//! let before = index.now();
//! index.forget(2)?;
//!
//! let cue = index.cue(&[1.0, 0.0, 0.3, 0.1])?;
//! let even = |row: u32| row % 2 == 0;
//! let rows = |at| {
//!     let found = index.search(&cue, Search { k: 3, ef: 32, at }, &even, None);
//!     assert_eq!((found.epoch.rows, found.tail_scanned), (64, 36));
//!     found.hits.iter().map(|hit| hit.row).collect::<Vec<_>>()
//! };
//! assert_eq!(rows(Snapshot::LATEST), [0, 4, 6]);
//! assert_eq!(rows(before), [0, 2, 4]);
//!
//! index.check()?;
//! let mut file = Vec::new();
//! index.save(&mut file)?;
//! assert_eq!(Index::open(&file.into())?.epoch(), index.epoch());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Rows, batches, epochs
//!
//! [`Index::push`] encodes a vector and appends it as the next **row**. Rows count from 0 and are never renumbered; the
//! originals are not kept. When enough rows stand behind the graph, [`Index::next_batch`] names the next **batch**,
//! whose bounds follow from the row number alone (64 rows at first, then an eighth of the graph, at most 8,192), and
//! [`Index::build`] adds it to the graph and publishes an **epoch**; [`Index::build_all`] does so until none is left, says
//! how far it is, and can be broken off between two batches and taken up later. A batch may also be cut shorter; then the
//! cut is part of the input.
//!
//! The graph is a pure function of ([`Options`], rows, forgets, batches). Not of the [`Workers`] that ran the jobs, of
//! their order, of the CPU's instructions, of the time between a push and a build, or of who was reading.
//! [`Epoch::digest`] says so in 64 bits: replicas that applied the same log compare it. It is kept up to date for the rows
//! that a batch touched; [`Index::check`] recomputes it and proves the rest of the graph's invariants besides.
//!
//! [`Workers`] is how a build gets its threads. [`Pool`] is one with a queue a worker and stealing; a job that panics
//! is run again, and costs nothing else.
//!
//! # Forgetting
//!
//! [`Index::forget`] takes a row out of all later **snapshots**. A [`Snapshot`] is two numbers, rows and forgets; what was
//! seen at one is seen at it for ever. The forgotten row stays in the graph as a way to others. A batch sees exactly the
//! forgets before its last row. Where many are forgotten, [`Index::reindex`] makes a new **generation** of the living
//! rows, beside the old one, and takes over what comes meanwhile; dropping the old one gives the space back.
//!
//! # Searching
//!
//! A [`Cue`] is an encoded query. [`Index::search`] walks the graph and scans the rows that are not yet in it, so that a
//! row is found from its push on. It returns only rows of the snapshot that pass the filter; rows that don't are walked
//! through, and where few pass, a scan takes the place of the walk. Readers wait for nobody: not for a push, not for a
//! build in progress. [`Index::search_many`] answers several cues at once, faster together; [`Index::nearest`] gives hits
//! one by one for as long as they are asked for. [`Index::scan`] looks at codes alone, never at the graph: one answer for
//! one input, everywhere.
//!
//! With [`Originals`], the nearest hits are rescored by the vectors themselves, and [`Hit::score`] is the metric's exact
//! value, summed in one order on all machines. Without, it is what the codes know of it.
//!
//! # Codes
//!
//! A vector is normalised and turned by a seeded randomised Hadamard rotation; then one fixed scale fits all data. Each
//! coordinate becomes a bit to walk by (cosine, 256 dimensions and more) and 7 bits to prune and rank by, or 13 bits
//! where there are at most 64 coordinates. Dot and L2 keep a length beside the code. Distances are integers; ties are by
//! row. Floats end where the codes begin, and before that have one order, so scalar and SIMD kernels agree bit for bit.
//!
//! # Reachability
//!
//! Pruning alone leaves rows that no link leads to. Here every row hangs on a spanning tree of its layer whose links are
//! never pruned: each row is reachable from each other, also when all rows are equal.
//!
//! # Saving
//!
//! [`Index::save`] writes the graph as of its epoch with the codes of its rows and the forgets that it knows.
//! [`Index::open`] reads it back from memory or a mapped file, on any machine, and goes on to the same digests; codes stay
//! where they lie. Every block has a checksum; damage is refused naming block and offset. What came after is not saved:
//! the caller does it anew.
//!
//! # What it leaves out
//!
//! Which batches were cut, in which order rows and forgets come, which snapshot a recall may see, when a generation takes
//! over and where originals live are the caller's.

mod beam;
#[doc(hidden)]
pub mod bench;
mod build;
mod check;
mod code;
mod codec;
mod codes;
mod epoch;
mod footprint;
mod forget;
mod graph;
mod hash;
mod index;
mod kernel;
mod kernel_scalar;
mod layer;
mod level;
mod nearest;
mod options;
mod pool;
mod reindex;
mod rotate;
mod scan;
mod search;
mod vector;
mod walk;
mod workers;

pub use check::Broken;
pub use codec::{FORMAT_VERSION, LoadError};
pub use epoch::Epoch;
pub use footprint::Footprint;
pub use forget::{NoSuchRow, Snapshot};
pub use index::{Index, Progress, epochs_of};
pub use kernel::Kernels;
pub use nearest::Nearest;
pub use options::{Metric, Options, OptionsError};
pub use pool::{Counters, Pool, WorkerCounters};
pub use reindex::Generation;
pub use scan::{Cue, Hit, Scan};
pub use search::{Found, Search};
pub use vector::{Originals, VectorError};
pub use workers::{Inline, Workers};
