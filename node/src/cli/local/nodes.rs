//! Nodes as child processes of this binary: started, killed, stopped, and gone with their owner.
//!
//! Invariant `no_child_left`: dropping [`Nodes`] kills what still runs, on return, error, panic and Ctrl-C; and a
//! node's stdin is a pipe from here, so that even SIGKILL to the command stops its nodes. Only [`Nodes::release`] lets go.
#![expect(clippy::disallowed_methods, reason = "a command keeps files and processes of the real world")]

use crate::cli::exit::Failure;
use engram_client::NodeAddress;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than a node may take to drain.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// Lines of a node's log that a failure shows.
const TAIL_LINES: usize = 25;

struct One {
    address: NodeAddress,
    child: Option<Child>,
}

/// The nodes, from 1 on.
pub struct Nodes {
    program: PathBuf,
    dir: PathBuf,
    tied: bool,
    all: Vec<One>,
}

fn failed(what: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> Failure {
    move |e| Failure::failed(format!("{what}: {e}"))
}

impl Nodes {
    /// Writes configurations of `count` nodes; `settings` is TOML that each gets. `tied`: they stop when this process
    /// is gone.
    pub fn create(dir: &Path, count: u64, settings: &str, tied: bool) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(failed("this program's own path"))?;
        // All ports are held until all are known, so that none is given twice.
        let bind = |_| TcpListener::bind("127.0.0.1:0").map_err(failed("a free port on 127.0.0.1"));
        let held: Vec<TcpListener> = (0..2 * count).map(bind).collect::<Result<_, _>>()?;
        let address = |listener: &TcpListener| listener.local_addr().map_err(failed("a bound port"));
        let mut all = Vec::new();
        for (node, pair) in (1..=count).zip(held.chunks(2)) {
            let (client, peer) = (address(&pair[0])?.to_string(), address(&pair[1])?.to_string());
            let place = config_file(dir, node);
            let text = config_text(node, &dir.join(format!("node-{node}")), &client, &peer, settings);
            std::fs::write(&place, text).map_err(failed(place.display()))?;
            let address = NodeAddress { node, client_address: client, peer_address: peer };
            all.push(One { address, child: None });
        }
        Ok(Self { program, dir: dir.to_path_buf(), tied, all })
    }

    /// Their addresses.
    pub fn addresses(&self) -> Vec<NodeAddress> {
        self.all.iter().map(|one| one.address.clone()).collect()
    }

    /// Their process ids, of those that run.
    pub fn processes(&self) -> Vec<u32> {
        self.all.iter().filter_map(|one| one.child.as_ref()).map(Child::id).collect()
    }

    /// Starts all.
    pub fn start_all(&mut self) -> Result<(), Failure> {
        (1..=self.all.len() as u64).try_for_each(|node| self.start(node))
    }

    fn one(&mut self, node: u64) -> &mut One {
        &mut self.all[node as usize - 1]
    }

    /// Starts a node; its log goes on in the same file.
    pub fn start(&mut self, node: u64) -> Result<(), Failure> {
        let place = log_file(&self.dir, node);
        let log = OpenOptions::new().create(true).append(true).open(&place).map_err(failed(place.display()))?;
        let mut command = Command::new(&self.program);
        command.arg("serve").arg("--config").arg(config_file(&self.dir, node));
        // The command's own settings, not whatever this shell has for another node.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ENGRAM_")) {
            if name != "ENGRAM_LOG" {
                command.env_remove(name);
            }
        }
        // Ctrl-C at the terminal is for the command, which then ends its nodes; kept ones live on.
        command.process_group(0).stdout(Stdio::null()).stderr(log);
        match self.tied {
            true => command.arg("--stop-with-stdin").stdin(Stdio::piped()),
            false => command.stdin(Stdio::null()),
        };
        let child = command.spawn().map_err(failed(format_args!("node {node} does not start")))?;
        self.one(node).child = Some(child);
        Ok(())
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(&mut self, node: u64) -> Result<(), Failure> {
        if let Some(mut child) = self.one(node).child.take() {
            child.kill().map_err(failed(format_args!("node {node} cannot be killed")))?;
            child.wait().map_err(failed(format_args!("node {node} cannot be waited for")))?;
        }
        Ok(())
    }

    /// SIGTERM to all, and waits; each must end by itself with code 0.
    pub async fn stop(&mut self) -> Result<(), Failure> {
        for one in &self.all {
            if let Some(pid) = one.child.as_ref().and_then(|child| Pid::from_raw(child.id() as i32)) {
                // One that is gone is told below.
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        let until = Instant::now() + STOP_TIMEOUT;
        for one in &mut self.all {
            let node = one.address.node;
            while let Some(child) = &mut one.child {
                match child.try_wait().map_err(failed(format_args!("node {node} cannot be waited for")))? {
                    Some(status) if status.success() => one.child = None,
                    Some(status) => {
                        return Err(Failure::failed(format!("node {node} did not stop well on SIGTERM: {status}")));
                    }
                    None if Instant::now() >= until => {
                        let text = format!("node {node} did not stop within {STOP_TIMEOUT:?} of SIGTERM");
                        return Err(Failure::failed(text));
                    }
                    None => tokio::time::sleep(POLL).await,
                }
            }
        }
        Ok(())
    }

    /// An error if a node that should run has ended.
    pub fn check(&mut self) -> Result<(), Failure> {
        for one in &mut self.all {
            let node = one.address.node;
            if let Some(child) = &mut one.child
                && let Some(status) = child.try_wait().map_err(failed(format_args!("node {node}")))?
            {
                one.child = None;
                return Err(Failure::failed(format!("node {node} ended by itself: {status}")));
            }
        }
        Ok(())
    }

    /// Lets them run on without this process; their process ids.
    pub fn release(&mut self) -> Vec<u32> {
        // A dropped `Child` neither kills nor waits.
        self.all.iter_mut().filter_map(|one| one.child.take()).map(|child| child.id()).collect()
    }

    /// The last lines of each node's log.
    pub fn tails(&self) -> String {
        let tail = |one: &One| {
            let place = log_file(&self.dir, one.address.node);
            let text = read_end(&place).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
            format!("--- {}\n{}\n", place.display(), last.join("\n"))
        };
        self.all.iter().map(tail).collect()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for mut child in self.all.iter_mut().filter_map(|one| one.child.take()) {
            // Gone already is as good.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn config_file(dir: &Path, node: u64) -> PathBuf {
    dir.join(format!("node-{node}.toml"))
}

fn log_file(dir: &Path, node: u64) -> PathBuf {
    dir.join(format!("node-{node}.log"))
}

fn config_text(node: u64, data: &Path, client: &str, peer: &str, settings: &str) -> String {
    // JSON's strings are TOML's basic strings.
    let data = serde_json::Value::from(data.to_string_lossy().into_owned());
    format!(
        "# Written by `engram`.\nnode_id = {node}\ncluster = \"engram-local\"\ndata_dir = {data}\n\
         listen = \"{client}\"\npeer_listen = \"{peer}\"\n\n{settings}"
    )
}

fn read_end(place: &Path) -> std::io::Result<String> {
    use std::io::{Read, Seek, SeekFrom};
    const BYTES: u64 = 16 * 1024;
    let mut file = File::open(place)?;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(BYTES)))?;
    let mut bytes = Vec::new();
    file.take(BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
