//! Backups while faults go on, by the command that operators use, into one directory; in the end the last one is restored.
//!
//! A backup that a fault interrupts is begun anew the next time, as the command says. What the last whole one must hold:
//! every row that was acked before it began. It is proved offline (`engram admin verify`), restored into a cluster of one
//! node, and its rows are listed there.

use crate::drive::child;
use crate::drive::faults::Diary;
use crate::drive::record::{Recorder, SPACE};
use crate::drive::{Broken, nodes};
use engram_client::{Client, Level, List};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Between two backups.
const PAUSE: Duration = Duration::from_secs(15);
/// For one of them.
const LIMIT: Duration = Duration::from_secs(30);
/// For the restored node to answer.
const START_LIMIT: Duration = Duration::from_secs(30);

/// What was saved.
#[derive(Debug, Default)]
pub struct Saved {
    /// Backups that were whole.
    pub whole: u64,
    /// Backups that a fault interrupted.
    pub interrupted: u64,
    /// How many rows were acked before the last whole one began.
    pub acked_before: usize,
}

/// Makes backups.
#[derive(Clone)]
pub struct Backups {
    /// The command.
    pub binary: PathBuf,
    /// The run's directory.
    pub dir: PathBuf,
    /// Where clients reach the nodes.
    pub endpoints: Vec<String>,
    /// For the time, and for what was acked.
    pub recorder: Recorder,
    /// What was done.
    pub diary: Diary,
}

impl Backups {
    fn target(&self) -> PathBuf {
        self.dir.join("backup")
    }

    /// Makes one after the other until `until`.
    pub async fn make(&self, until: Duration) -> Saved {
        let mut saved = Saved::default();
        loop {
            sleep(PAUSE).await;
            if self.recorder.now() >= until {
                return saved;
            }
            let (deed, before) =
                (self.diary.begin("backup", String::new(), self.recorder.now()), self.recorder.acked_count());
            let target = self.target();
            let endpoints = self.endpoints.join(",");
            let arguments = ["backup", "--timeout", "20", "--endpoints", &endpoints];
            let note = match self.engram(&arguments, &[&target]).await {
                Ok(()) => {
                    (saved.whole, saved.acked_before) = (saved.whole + 1, before);
                    String::new()
                }
                Err(error) => {
                    saved.interrupted += 1;
                    error
                }
            };
            self.diary.end(deed, self.recorder.now(), note);
        }
    }

    /// Restores the last whole one and looks for every row that was acked before it.
    pub async fn check(&self, saved: &Saved) -> Result<usize, Broken> {
        let (target, data) = (self.target(), self.dir.join("restored"));
        let broken = |why: String| format!("backup_is_whole: {why}");
        self.engram(&["admin", "verify"], &[&target]).await.map_err(broken)?;
        let mut ports = nodes::free_ports();
        let mut port = || ports.next().ok_or_else(|| "driver: no free port".to_string());
        let (client, peer) = (port()?, port()?);
        let node = format!("1={client},{peer}");
        let data_dir = data.display().to_string();
        self.engram(&["restore", "--data-dir", &data_dir, "--node", &node], &[&target]).await.map_err(broken)?;
        let failed = |error: std::io::Error| format!("driver: {error}");
        let mut serve = child::command(&self.binary).map_err(failed)?;
        let log = std::fs::File::create(self.dir.join("restored.log")).map_err(failed)?;
        let (client, peer) = (client.to_string(), peer.to_string());
        serve.args(["serve", "--node-id", "1", "--data-dir", &data_dir, "--listen", &client, "--peer-listen", &peer]);
        let mut serving = serve.stdout(std::process::Stdio::null()).stderr(log).spawn().map_err(failed)?;
        let listed = self.listed(&client).await.map_err(broken);
        let _ = serving.kill().await; // whatever it answered, it has done its work
        let there = listed?;
        let missing = self.recorder.acked(Some(saved.acked_before)).into_iter().find(|row| !there.contains(row));
        match missing {
            Some(row) => Err(format!("backup_is_whole: {row:?} was acked before the backup began, and is not in it")),
            None => Ok(there.len()),
        }
    }

    /// The rows of a node that has just been started.
    async fn listed(&self, address: &str) -> Result<BTreeSet<String>, String> {
        let client = Client::connect([address.to_string()]).map_err(|e| e.to_string())?;
        let list = List { level: Level::Linearizable, deadline: START_LIMIT, ..List::new(SPACE) };
        let deadline = self.recorder.now() + START_LIMIT;
        loop {
            match client.list_all(list.clone()).await {
                Ok(listing) => {
                    let texts = listing.rows.into_iter().filter_map(|row| Some(row.observation?.text));
                    return Ok(texts.collect());
                }
                Err(error) if self.recorder.now() > deadline => {
                    return Err(format!("restored, it does not answer: {error}"));
                }
                Err(_) => sleep(Duration::from_millis(300)).await,
            }
        }
    }

    /// Runs the command to its end; the error is what it said last.
    async fn engram(&self, arguments: &[&str], paths: &[&Path]) -> Result<(), String> {
        let mut command = child::command(&self.binary).map_err(|e| e.to_string())?;
        command.args(arguments).args(paths);
        let said = match timeout(LIMIT, command.output()).await {
            Err(_) => return Err(format!("not done within {LIMIT:?}")),
            Ok(done) => done.map_err(|e| e.to_string())?,
        };
        let text = String::from_utf8_lossy(&said.stderr);
        let last = text.lines().last().unwrap_or("without a word");
        if said.status.success() { Ok(()) } else { Err(format!("{}: {}: {last}", arguments.join(" "), said.status)) }
    }
}
