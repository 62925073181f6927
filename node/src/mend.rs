//! Record files that are damaged or gone here, fetched from other members: a file is the same on every node that has it.
//!
//! Place: before the state of a node is read, and behind the scrub of files (`crate::integrity`).
//! Leaves out: the manifest of a snapshot and the log, which are this node's own; damage to them is refused.

use crate::env::{Clock, Lane, Pool, run_on};
use crate::raft::net::{Connection, Network};
use crate::raft::types::Member;
use crate::state::Lost;
use crate::state::records::{Hash, Records};
use engram_probes::probe;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Code, Status};

/// Looks at all members, and the pause between them: the others may be starting too.
const LOOKS: u32 = 10;
const PAUSE: Duration = Duration::from_secs(2);

/// From whom, and with what.
pub struct Mender {
    /// This node.
    pub node: u64,
    /// To the others.
    pub network: Network,
    /// For file writes.
    pub pool: Arc<dyn Pool>,
    /// For pauses.
    pub clock: Arc<dyn Clock>,
}

impl Mender {
    /// Fetches all that a snapshot of this node lacks before the node starts. The error says which file is damaged where, and
    /// why nobody gave it. Cancel: what came stays.
    pub async fn before_start(&self, lost: Lost) -> Result<(), String> {
        let records = lost.files.records().clone();
        let mut said = "there is no other member".to_string();
        for look in 0..LOOKS {
            for (from, member) in lost.members.iter().filter(|(id, _)| **id != self.node) {
                let connection = self.network.connect(*from, member);
                for hash in lost.files.missing() {
                    let Err(status) = self.take(&connection, &records, hash).await else { continue };
                    said = format!("node {from}: {}", status.message());
                    if status.code() != Code::NotFound {
                        // Nor will it give the others now.
                        break;
                    }
                }
            }
            let missing = lost.files.missing().len();
            if missing == 0 {
                probe!("record_files_fetched_before_the_start");
                tracing::warn!(
                    node = self.node,
                    "lost record files were fetched from other members; all are there again"
                );
                return Ok(());
            }
            tracing::warn!(node = self.node, missing, said, "record files are lost; the other members are asked");
            if lost.members.len() <= 1 {
                break;
            }
            if look + 1 < LOOKS {
                self.clock.sleep(PAUSE).await;
            }
        }
        Err(nobody_gave(&lost.damage.detail, lost.files.missing().len(), &said))
    }

    /// Fetches one file from whoever has it; from whom. The error says what each said. Cancel: what came stays.
    pub async fn fetch(&self, records: &Records, hash: Hash, members: &BTreeMap<u64, Member>) -> Result<u64, String> {
        let mut errors = Vec::new();
        for (from, member) in members.iter().filter(|(id, _)| **id != self.node) {
            match self.take(&self.network.connect(*from, member), records, hash).await {
                Ok(()) => return Ok(*from),
                Err(status) => errors.push(format!("node {from}: {}", status.message())),
            }
        }
        match errors.is_empty() {
            true => Err("there is no other member".into()),
            false => Err(errors.join("; ")),
        }
    }

    /// Takes one file from a member, durably.
    async fn take(&self, from: &Connection, records: &Records, hash: Hash) -> Result<(), Status> {
        let data = from.fetch_file(hash.to_bytes()).await?;
        let records = records.clone();
        let take = move || records.take(&hash, &data).and_then(|()| records.sync());
        let taken = run_on(&*self.pool, Lane::Files, take).await;
        let taken = taken.unwrap_or_else(|| Err(io::Error::other("the files lane has stopped")));
        taken.map_err(|e| Status::internal(e.to_string()))
    }
}

/// Why a node does not start.
pub(crate) fn nobody_gave(damage: &str, missing: usize, said: &str) -> String {
    let remedy = "start it again once the others run; or remove this node from the cluster and add it under a new id \
                  with an empty directory; or restore a backup";
    format!("{damage}; {missing} record files are lost, and nobody gave them ({said}); {remedy}")
}
