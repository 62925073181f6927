//! Record files that are damaged or gone here, fetched from other members: a file is the same on every node that has it.
//!
//! Place: before the state of a node is read, and behind the scrub of files (`crate::integrity`).
//! Leaves out: the manifest of a snapshot and the log, which are this node's own; damage to them is refused.

use crate::env::{Clock, Pool};
use crate::env::{Lane, run_on};
use crate::raft::net::Network;
use crate::raft::types::Member;
use crate::state::Lost;
use crate::state::records::{Hash, Records};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

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
            for hash in lost.files.missing() {
                match self.fetch(&records, hash, &lost.members).await {
                    Ok(from) => tracing::warn!(node = self.node, from, %hash, "a lost record file was fetched"),
                    Err(errors) => said = errors,
                }
            }
            let missing = lost.files.missing().len();
            if missing == 0 {
                tracing::info!(node = self.node, "the record files are whole again");
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
        let (damage, missing) = (&lost.damage.detail, lost.files.missing().len());
        let remedy = "start it again once the others run; or remove this node from the cluster and add it under a new id \
                      with an empty directory; or restore a backup";
        Err(format!("{damage}; {missing} record files are lost, and nobody gave them ({said}); {remedy}"))
    }

    /// Fetches one file from whoever has it; from whom. The error says what each said. Cancel: what came stays.
    pub async fn fetch(&self, records: &Records, hash: Hash, members: &BTreeMap<u64, Member>) -> Result<u64, String> {
        let mut errors = Vec::new();
        for (from, member) in members.iter().filter(|(id, _)| **id != self.node) {
            let answer = self.network.connect(*from, member).fetch_file(hash.0.to_vec().into()).await;
            let taken = match answer {
                Ok(data) => {
                    let records = records.clone();
                    let take = move || records.take(&hash, &data).and_then(|()| records.sync());
                    let taken = run_on(&*self.pool, Lane::Files, take).await;
                    taken.unwrap_or_else(|| Err(io::Error::other("the lane stopped"))).map_err(|e| e.to_string())
                }
                Err(status) => Err(status.message().to_string()),
            };
            match taken {
                Ok(()) => return Ok(*from),
                Err(error) => errors.push(format!("node {from}: {error}")),
            }
        }
        match errors.is_empty() {
            true => Err("there is no other member".into()),
            false => Err(errors.join("; ")),
        }
    }
}
