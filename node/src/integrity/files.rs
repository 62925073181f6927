//! Record files, read through while the node runs. One that is damaged is fetched from another member, or written anew from memory.
//!
//! Leaves out: what is this node's own (`super::own`), and starts (`crate::mend`).

use super::{FILE_READ_MAX, MEND_PAUSE, SCRUB_SHARE, STEP, Task};
use crate::mend::Mender;
use crate::state::records::Hash;
use engram_mutants::mutant;
use engram_probes::probe;
use std::time::Duration;

/// How long a record file stays that nobody holds.
const UNHELD_MAX: Duration = Duration::from_secs(10);

/// How far it has come.
#[derive(Default)]
pub(super) struct Files {
    /// The file that was read last.
    scrubbed: Option<Hash>,
    /// When it is time again.
    next: Duration,
    /// Since when there are files that nobody holds.
    unheld_since: Option<Duration>,
}

impl Task {
    /// Looks after the record files, if it is time: one that is lost is fetched; else the next is read through.
    pub(super) async fn scrub_file(&mut self) -> Result<(), String> {
        let node = &self.node;
        if node.env.clock.monotonic() < self.files.next {
            return Ok(());
        }
        let lost = node.state.lost().first().copied();
        let took = match lost {
            Some(_) => Duration::ZERO,
            None => self.read_file().await?,
        };
        self.files.next = self.node.env.clock.monotonic() + STEP.max(took * SCRUB_SHARE);
        // Found by this look, or by whoever read it before.
        let Some(hash) = lost.or_else(|| self.node.state.lost().first().copied()) else { return Ok(()) };
        if !self.mend_file(hash).await {
            self.files.next = self.node.env.clock.monotonic() + MEND_PAUSE;
        }
        Ok(())
    }

    /// Removes record files that a transfer still held when the snapshot that named them went. One that has broken off may
    /// be taken up again: what it has fetched stays a while.
    pub(super) async fn sweep_files(&mut self) -> Result<(), String> {
        let (state, now) = (&self.node.state, self.node.env.clock.monotonic());
        if !state.records().unheld() {
            self.files.unheld_since = None;
            return Ok(());
        }
        if now.saturating_sub(*self.files.unheld_since.get_or_insert(now)) < UNHELD_MAX {
            return Ok(());
        }
        self.files.unheld_since = None;
        probe!("files_swept_between_snapshots");
        let records = state.records().clone();
        match state.in_files(move || records.sweep()).await.map_err(|e| e.to_string())? {
            Ok(files) => tracing::info!(node = self.node.id, files, "record files that nobody holds are removed"),
            // The next look tries again.
            Err(error) => tracing::warn!(node = self.node.id, %error, "record files that nobody holds are not removed"),
        }
        Ok(())
    }

    /// Reads the next record file through; how long the reading took. Others in the lane may keep it waiting for long: that
    /// is not paced by.
    async fn read_file(&mut self) -> Result<Duration, String> {
        let (state, records) = (&self.node.state, self.node.state.records().clone());
        // After the last, the first again.
        self.files.scrubbed = records.held_after(self.files.scrubbed);
        let Some(hash) = self.files.scrubbed.filter(|_| !mutant!("files_not_scrubbed")) else {
            return Ok(Duration::ZERO);
        };
        let clock = self.node.env.clock.clone();
        let read = move || {
            let begun = clock.monotonic();
            (records.read(&hash), clock.monotonic().saturating_sub(begun).min(FILE_READ_MAX))
        };
        let (read, took) = state.in_files(read).await.map_err(|e| e.to_string())?;
        if let Err(damage) = read {
            tracing::error!(node = self.node.id, damage = damage.detail, "a record file is damaged");
        }
        Ok(took)
    }

    /// Fetches a record file, or has it written anew; whether it is there.
    async fn mend_file(&self, hash: Hash) -> bool {
        let node = &self.node;
        let (network, pool, clock) = (node.admin.network.clone(), node.env.pool.clone(), node.env.clock.clone());
        let mender = Mender { node: node.id, network, pool, clock };
        match mender.fetch(node.state.records(), hash, &node.leadership.members()).await {
            Ok(from) => {
                probe!("record_file_fetched");
                tracing::info!(node = node.id, from, %hash, "the record file was fetched from another node");
                true
            }
            Err(said) => {
                probe!("record_file_written_anew");
                tracing::warn!(node = node.id, said, %hash, "no other node has it; it is written anew from memory");
                node.state.want_snapshot();
                false
            }
        }
    }
}
