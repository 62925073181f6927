//! A watcher beside the workload: what it was given, through all faults, must be what is there in the end.

use crate::workload::SPACE;
use engram_client::{Client, Level, List, Watch, Watcher};
use engram_node::env::Clock;
use std::sync::Arc;
use std::time::Duration;

/// A watch with the rows that it gave.
pub struct Follower {
    watcher: Watcher,
    rows: Vec<u64>,
    /// All up to here has come.
    reached: u64,
}

impl Follower {
    /// Follows the space until `until`, from its first row on.
    pub async fn run(client: Client, clock: Arc<dyn Clock>, until: Duration) -> Result<Self, String> {
        let patience = Duration::from_secs(600);
        let watch = Watch { after_log_index: Some(0), patience, ..Watch::new(SPACE) };
        // Its token then says that the space is made, to a node that is behind.
        while client.count(SPACE, None, Level::Linearizable).await.is_err() && clock.monotonic() < until {}
        let watcher = client.watch(watch).await.map_err(|e| format!("no watch: {e}"))?;
        let mut follower = Self { watcher, rows: Vec::new(), reached: 0 };
        while clock.monotonic() < until {
            follower.step().await?;
        }
        Ok(follower)
    }

    async fn step(&mut self) -> Result<(), String> {
        let change = self.watcher.next().await.map_err(|e| format!("the watch ended: {e}"))?;
        self.rows.extend(change.rows.iter().map(|row| row.row));
        self.reached = self.reached.max(change.log_index);
        Ok(())
    }

    /// Catches up with what is there now, and compares.
    pub async fn check(mut self, client: &Client) -> Result<(), String> {
        let list = List { level: Level::Linearizable, ..List::new(SPACE) };
        let listing = client.list_all(list).await.map_err(|e| format!("no list for the watcher: {e}"))?;
        while self.reached < listing.snapshot.applied_index {
            self.step().await?;
        }
        let there: Vec<u64> = listing.rows.iter().map(|row| row.row).collect();
        let given: Vec<u64> = self.rows.into_iter().take(there.len()).collect();
        match given == there {
            true => Ok(()),
            false => Err(format!("watched_once: a watcher was given other rows than the {} listed", there.len())),
        }
    }
}
