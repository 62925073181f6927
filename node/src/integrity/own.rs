//! What is this node's own on its disk, read through while it runs: the manifest, and closed segments of the log.
//!
//! No other node has these files, but what they say is in this one's memory, which is compared with the others'. So another
//! snapshot is written: it has a manifest of its own, and takes the place of the entries of a damaged segment, which is purged.
//! A node that is started before that refuses.
//!
//! Leaves out: the segment that is written to, and the durable mark, which a start looks at (`crate::raft::log`).

use super::{FILE_READ_MAX, MEND_PAUSE, SCRUB_SHARE, STEP, Task};
use crate::raft::log::Position;
use engram_mutants::mutant;
use engram_probes::probe;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How far it has come.
#[derive(Default)]
pub(super) struct Own {
    /// When it is time again.
    next: Duration,
    /// Where in the log; at its beginning it is the manifest's turn too.
    at: Position,
    /// The manifest is damaged, and there is no other yet.
    damaged: bool,
    /// A segment is, and is not gone yet.
    rotten: Option<u64>,
}

impl Task {
    /// Reads the manifest or a piece of the log, if it is time; sees to it that what is damaged goes.
    pub(super) async fn scrub_own(&mut self) -> Result<(), String> {
        let clock = self.node.env.clock.clone();
        let begun = clock.monotonic();
        if begun < self.own.next || mutant!("files_not_scrubbed") {
            return Ok(());
        }
        let known = self.own.damaged || self.own.rotten.is_some();
        if self.own.damaged || self.own.at == Position::default() {
            self.read_manifest().await?;
        }
        match self.own.rotten {
            Some(segment) => self.give_up(segment).await?,
            None => self.read_log().await?,
        }
        let now = clock.monotonic();
        let took = now.saturating_sub(begun).min(FILE_READ_MAX);
        self.own.next = now + if known { MEND_PAUSE } else { STEP.max(took * SCRUB_SHARE) };
        Ok(())
    }

    async fn read_manifest(&mut self) -> Result<(), String> {
        let read = self.node.state.read_manifest().await.map_err(|e| e.to_string())?;
        match read {
            Ok(()) => self.own.damaged = false,
            Err(damage) => {
                if !std::mem::replace(&mut self.own.damaged, true) {
                    probe!("manifest_is_damaged");
                    self.found(&damage, "another snapshot is written");
                }
                self.node.state.want_snapshot();
            }
        }
        Ok(())
    }

    async fn read_log(&mut self) -> Result<(), String> {
        match self.node.log.scrub(self.own.at).await.map_err(|e| e.to_string())? {
            Ok(at) => self.own.at = at,
            Err(rot) => {
                probe!("closed_segment_is_damaged");
                self.found(&rot.detail, "a snapshot takes the place of its entries, then it is removed");
                self.own.rotten = Some(rot.segment);
            }
        }
        Ok(())
    }

    fn found(&self, damage: &str, remedy: &str) {
        self.node.meters.own_files_damaged.fetch_add(1, Ordering::Relaxed);
        tracing::error!(node = self.node.id, damage, remedy, "a file of this node is damaged");
    }

    /// Has a segment purged once a snapshot has all of it; another snapshot may be wanted for that.
    async fn give_up(&mut self, segment: u64) -> Result<(), String> {
        let node = &self.node;
        match node.log.give_up(segment).await.map_err(|e| e.to_string())? {
            None => {
                probe!("damaged_segment_is_removed");
                tracing::info!(node = node.id, segment, "the damaged segment of the log is removed");
                self.own.rotten = None;
            }
            // Stopped: the task ends with the node.
            Some(upto) if upto <= node.state.watermark().snapshot() => {
                drop(node.leadership.raft().trigger().purge_log(upto).await);
            }
            Some(_) => node.state.want_snapshot(),
        }
        Ok(())
    }
}
