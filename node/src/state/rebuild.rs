//! A state that is known to be damaged, and another that takes its place.
//!
//! Apply stands still between the wish for another state and its arrival, so that the new one is at least as far; the
//! entries that it has already are then passed over. The log goes on meanwhile: what this node acks to the leader is the
//! log's durability, which does not depend on the state.
//! Invariants: `snapshot_suffices`; applied never goes back.
//!
//! Leaves out: who finds damage, and where the other state comes from (`crate::integrity`).

use super::Machine;
use super::apply::Data;
use super::snapshot::{self, Image};
use crate::raft::types::SnapshotMeta;
use engram_probes::probe;
use std::io;
use std::sync::PoisonError;
use tokio::sync::MutexGuard;

/// While it lives nothing is applied.
pub struct Hold<'a>(#[expect(dead_code, reason = "held for its drop")] MutexGuard<'a, ()>);

impl Machine {
    /// Why this node must not answer from its state; `None` while it may.
    pub fn quarantined(&self) -> Option<String> {
        self.in_doubt(&self.read())
    }

    /// The same, of the state as of one index.
    pub fn in_doubt(&self, data: &Data) -> Option<String> {
        let node = self.0.node;
        if let Some(damage) = self.damage() {
            return Some(format!("node {node} found damage in its memory ({damage}); it is rebuilt from another node"));
        }
        let round = self.mark(data)?;
        let text = format!("node {node} differed from most voters at log index {round}");
        Some(format!("{text}; it answers again once it agrees with them"))
    }

    /// The last round in which this node differed from most voters; `None` if it has agreed since.
    pub(super) fn mark(&self, data: &Data) -> Option<u64> {
        data.integrity.quarantined.get(&self.0.node).copied()
    }

    /// Says so when this node's mark has come or gone, by the log or with another state.
    pub(super) fn tell_mark(&self, before: Option<u64>, after: Option<u64>) {
        let node = self.0.node;
        match (before, after) {
            (None, Some(round)) => {
                probe!("mark_comes");
                tracing::warn!(node, round, "marked: it differed from most voters; no reads until it agrees");
            }
            (Some(round), None) => {
                probe!("mark_goes");
                tracing::info!(node, round, "unmarked: it agrees with most voters");
            }
            _ => {}
        }
    }

    /// What was found damaged here since the last rebuild.
    pub fn damage(&self) -> Option<String> {
        self.0.damage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes damage: from now on this node answers no reads.
    pub fn set_damage(&self, damage: String) {
        *self.0.damage.lock().unwrap_or_else(PoisonError::into_inner) = Some(damage);
    }

    /// Waits for the entries that are being applied, and lets no others begin. Cancel safe.
    pub async fn hold(&self) -> Hold<'_> {
        Hold(self.0.applying.lock().await)
    }

    /// Reads another node's snapshot whole, and proves its graphs: seconds for a million rows, so not here but in the files
    /// lane. Cancel: it is read unheard.
    pub async fn decode(&self, image: &Image) -> io::Result<(Data, SnapshotMeta)> {
        let (image, records) = (image.clone(), self.records().clone());
        let read = self.in_files(move || snapshot::decode(&image.manifest, &records)).await?;
        let damaged = |e| io::Error::new(io::ErrorKind::InvalidData, format!("another node's snapshot is damaged {e}"));
        read.map_err(damaged)
    }

    /// Puts another state in the place of this one, unless this one is further; whether it did. Durable before it is shown.
    pub async fn replace(&self, _hold: &Hold<'_>, data: Data, meta: SnapshotMeta, image: Image) -> io::Result<bool> {
        let index = meta.last_log_id.map_or(0, |id| id.index);
        if index < self.watermark().applied() {
            probe!("rebuild_from_behind");
            return Ok(false);
        }
        self.save(meta, image).await?;
        let mark = self.mark(&data);
        *self.0.data.write().unwrap_or_else(PoisonError::into_inner) = data;
        *self.0.damage.lock().unwrap_or_else(PoisonError::into_inner) = None;
        probe!("snapshot_replaces_the_state");
        self.0.watermark.set_applied(index);
        self.0.watermark.set_snapshot(index);
        self.0.grown.notify_one();
        tracing::info!(node = self.0.node, index, "snapshot installed");
        self.tell_mark(None, mark);
        Ok(true)
    }
}
