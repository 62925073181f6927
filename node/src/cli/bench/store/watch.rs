//! Ends a bench whose subject hangs.
//!
//! sled 0.34.7 can wait for itself for ever: it waits, its segments locked, for a file to be cut by threads that all wait for
//! that lock (mended on its main branch alone: github.com/spacejam/sled/pull/1269). It then blocks the thread that
//! appends, so that nothing but the end of the process helps. Invariant: no files are left behind.

use super::subject::{Kind, World};
use crate::cli::exit::Code;
use crate::cli::out;
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinSet;

/// For opening, closing and what is under way when the time is up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends the process when `time` and more is over, unless what it answers is dropped before; removes `dir`.
#[must_use]
pub fn watch(kind: Kind, world: &World, time: Duration, dir: &Path) -> JoinSet<()> {
    let (late, dir) = (world.clock.sleep(time + PATIENCE), dir.to_path_buf());
    let mut waiting = JoinSet::new();
    waiting.spawn(async move {
        late.await;
        drop(std::fs::remove_dir_all(&dir));
        let (name, seconds) = (kind.name(), PATIENCE.as_secs());
        out::note(format_args!("bench store: {name} hangs, {seconds} s after its time was up; run it again"));
        std::process::exit(Code::Failed as i32);
    });
    waiting
}
