//! A cluster of one as a process of its own, so that its memory can be measured.

use crate::common::{SPACE, config, until};
use engram_client::{Client, NodeAddress, SpaceConfig};
use std::path::Path;
use std::time::Duration;
use tokio::process::{Child, Command};

/// Killed when it is dropped.
pub struct Process {
    pub address: String,
    child: Child,
}

impl Process {
    /// With the space `notes` of two dimensions.
    pub async fn start(dir: &Path) -> Self {
        let settings = config(1, dir);
        let child = Command::new(env!("CARGO_BIN_EXE_engram"))
            .args(["serve", "--node-id", "1", "--listen", &settings.listen, "--peer-listen", &settings.peer_listen])
            .arg("--data-dir")
            .arg(&settings.data_dir)
            .kill_on_drop(true)
            .spawn()
            .expect("the command starts");
        let address = settings.listen.clone();
        let client = Client::connect([address.clone()]).expect("an endpoint");
        until("the node answers", async || client.status().await.ok()).await;
        let (client_address, peer_address) = (settings.listen, settings.peer_listen);
        client.init(vec![NodeAddress { node: 1, client_address, peer_address }]).await.expect("a cluster");
        let space = SpaceConfig { name: SPACE.into(), dim: 2, ..SpaceConfig::default() };
        until("a space", async || client.create_space(space.clone()).await.ok()).await;
        Self { address, child }
    }

    /// The kilobytes of memory that it holds.
    pub fn resident_kib(&self) -> u64 {
        let process = self.child.id().expect("it runs");
        let text = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
        let line = text.lines().find(|line| line.starts_with("VmRSS")).expect("stated");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    }

    /// The most that it holds beyond `before` within two seconds.
    pub async fn grown_kib(&self, before: u64) -> u64 {
        let mut most = 0;
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            most = most.max(self.resident_kib().saturating_sub(before));
        }
        most
    }
}
