//! Each knob with unit, default and range. Read by the command line from file, environment and flags.
//!
//! Invariant: a value out of range is refused at start, by name; nothing is silently bent.

pub mod keys;

use crate::spans::export;
use keys::{KEYS, Range};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A node's configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Unique in the cluster, never reused; 1 or more.
    pub node_id: u64,
    /// Name of the cluster: a data directory of another one is refused.
    #[serde(default = "default_cluster")]
    pub cluster: String,
    /// Where everything durable is.
    pub data_dir: PathBuf,
    /// `host:port` for clients: gRPC, and HTTP for probes and metrics.
    #[serde(default = "default_listen")]
    pub listen: String,
    /// `host:port` for other nodes.
    #[serde(default = "default_peer_listen")]
    pub peer_listen: String,
    /// Whether the two may be addresses that other machines reach, though nothing here is encrypted or authenticated.
    #[serde(default)]
    pub insecure_listen: bool,
    /// Origins whose pages may open a WebSocket here, as `https://app.example`; pages of this host always may.
    #[serde(default, deserialize_with = "origins")]
    pub allowed_origins: Vec<String>,
    /// Worker threads of an index batch; 0: one a core.
    #[serde(default)]
    pub index_workers: usize,
    /// Erased rows of a space's index, at least, for which it is made anew of the rest; they must be half of it, too.
    #[serde(default = "default_reindex_rows")]
    pub reindex_rows: u32,
    /// Consensus.
    #[serde(default)]
    pub raft: RaftConfig,
    /// The write-ahead log.
    #[serde(default)]
    pub wal: WalConfig,
    /// What may be in flight.
    #[serde(default)]
    pub admission: AdmissionConfig,
    /// Streams.
    #[serde(default)]
    pub stream: StreamConfig,
    /// Whether the members have the same.
    #[serde(default)]
    pub integrity: IntegrityConfig,
    /// What is told to others about this node.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

/// Consensus timing and snapshots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RaftConfig {
    /// Milliseconds between heartbeats; also the time-out of an append, which has a second more for each 4 MiB of entries.
    pub heartbeat_ms: u64,
    /// Milliseconds of silence after which a follower may stand for election, at least.
    pub election_min_ms: u64,
    /// And at most.
    pub election_max_ms: u64,
    /// Applied bytes since the last snapshot that cause the next, at least: with a larger snapshot without its record files it is half of that.
    pub snapshot_bytes: u64,
    /// Entries kept in the log behind a snapshot, for followers that are a little late.
    pub keep_entries: u64,
    /// Seconds between two times that what was erased is removed from this node's files: each takes a snapshot, and lets
    /// go of the log behind it.
    pub erase_s: u64,
}

/// The write-ahead log's files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WalConfig {
    /// Bytes of one segment file.
    pub segment_bytes: u64,
    /// Bytes of recent entries that are kept in memory for followers.
    pub cache_bytes: usize,
}

/// Admission: rows and bytes between the edge and apply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdmissionConfig {
    /// Rows of high-priority streams.
    pub high_rows: usize,
    /// Rows of normal streams.
    pub normal_rows: usize,
    /// Rows of low-priority streams.
    pub low_rows: usize,
    /// Bytes of all lanes.
    pub bytes: usize,
    /// Rows of complete batches that the indexer has not built yet.
    pub unbuilt_rows: usize,
}

/// Limits of one stream, and of sessions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StreamConfig {
    /// Rows that a stream may have in flight.
    pub credit_rows: u32,
    /// Bytes that a stream may have in flight.
    pub credit_bytes: u64,
    /// Seconds without a connection after which a session expires.
    pub session_idle_s: u64,
    /// Milliseconds that a read waits for its snapshot unless it says otherwise.
    pub read_deadline_ms: u32,
    /// Seconds that a stopping node gives admitted rows to commit.
    pub drain_s: u64,
}

/// Comparison of the members' digests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IntegrityConfig {
    /// Seconds from one comparison to the next.
    pub round_s: u64,
}

/// Spans for OpenTelemetry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// `host:port` of a collector's OTLP over gRPC; empty: no spans.
    pub otlp_endpoint: String,
}

impl Default for IntegrityConfig {
    fn default() -> Self {
        Self { round_s: 30 }
    }
}

impl Default for RaftConfig {
    fn default() -> Self {
        Self {
            heartbeat_ms: 200,
            election_min_ms: 500,
            election_max_ms: 900,
            snapshot_bytes: 64 << 20,
            keep_entries: 1000,
            erase_s: 60,
        }
    }
}

impl Default for WalConfig {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, cache_bytes: 64 << 20 }
    }
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self { high_rows: 10_000, normal_rows: 100_000, low_rows: 50_000, bytes: 256 << 20, unbuilt_rows: 200_000 }
    }
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self { credit_rows: 4096, credit_bytes: 16 << 20, session_idle_s: 300, read_deadline_ms: 5000, drain_s: 5 }
    }
}

/// A list, or one text with commas, as an environment variable is.
fn origins<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        List(Vec<String>),
        Text(String),
    }
    let trimmed = |text: &str| text.split(',').map(str::trim).filter(|one| !one.is_empty()).map(String::from).collect();
    Ok(match Given::deserialize(from)? {
        Given::List(list) => list,
        Given::Text(text) => trimmed(&text),
    })
}

/// `scheme://host` or `scheme://host:port`, as browsers send it.
fn is_origin(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.contains('@') && rest.parse::<http::uri::Authority>().is_ok())
}

/// Whether it is `host:port`.
pub(crate) fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// Whether only this machine can reach `host:port`. Names but `localhost` may mean anything, and are not looked up.
fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn default_cluster() -> String {
    "engram".into()
}
fn default_reindex_rows() -> u32 {
    1000
}
fn default_listen() -> String {
    "127.0.0.1:7600".into()
}
fn default_peer_listen() -> String {
    "127.0.0.1:7700".into()
}

impl Config {
    /// A node with defaults.
    pub fn new(node_id: u64, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            node_id,
            cluster: default_cluster(),
            data_dir: data_dir.into(),
            listen: default_listen(),
            peer_listen: default_peer_listen(),
            insecure_listen: false,
            allowed_origins: Vec::new(),
            index_workers: 0,
            reindex_rows: default_reindex_rows(),
            raft: RaftConfig::default(),
            wal: WalConfig::default(),
            admission: AdmissionConfig::default(),
            stream: StreamConfig::default(),
            integrity: IntegrityConfig::default(),
            telemetry: TelemetryConfig::default(),
        }
    }

    /// Checks ranges; the error names the key, its value and what may stand there.
    pub fn validate(&self) -> Result<(), String> {
        let all = serde_json::to_value(self).map_err(|e| format!("{e}: give every path in UTF-8"))?;
        for key in KEYS {
            let Range::Number(min, max) = key.range else { continue };
            let value = at(&all, key.name).as_u64().unwrap_or(0);
            if !(min..=max).contains(&value) {
                return Err(format!("{} is {value}; {min} to {max} may stand there", key.name));
            }
        }
        let (heartbeat, least, most) = (self.raft.heartbeat_ms, self.raft.election_min_ms, self.raft.election_max_ms);
        if least < 2 * heartbeat {
            return Err(format!(
                "raft.election_min_ms is {least}; {} or more may stand there: twice the heartbeat",
                2 * heartbeat
            ));
        }
        if most <= least {
            return Err(format!(
                "raft.election_max_ms is {most}; more than raft.election_min_ms, {least}, may stand there"
            ));
        }
        if self.cluster.is_empty() || self.cluster.len() > 128 {
            return Err("cluster is empty or over 128 bytes; give the cluster a short name".into());
        }
        for (key, address) in [("listen", &self.listen), ("peer_listen", &self.peer_listen)] {
            if !is_address(address) {
                return Err(format!("{key} is {address:?}; write host:port, as 127.0.0.1:7600"));
            }
            if !self.insecure_listen && !is_loopback(address) {
                return Err(format!(
                    "{key} is {address:?}, which other machines may reach, and this node has neither TLS nor \
                     authentication; listen on 127.0.0.1 or [::1] behind something that has them, or allow it with \
                     insecure_listen (--insecure-listen) in a network that you trust"
                ));
            }
        }
        if !self.telemetry.otlp_endpoint.is_empty() {
            export::address(&self.telemetry.otlp_endpoint)?;
        }
        if let Some(bad) = self.allowed_origins.iter().find(|origin| !is_origin(origin)) {
            return Err(format!("allowed_origins holds {bad:?}; write scheme://host[:port], as https://app.example"));
        }
        Ok(())
    }

    /// The value at a key of [`KEYS`]: a number, a text, a truth, or a list of texts.
    pub fn value(&self, key: &str) -> serde_json::Value {
        // A path that is no UTF-8 cannot be written; `validate` refuses it.
        serde_json::to_value(self).map(|all| at(&all, key).clone()).unwrap_or_default()
    }
}

fn at<'v>(all: &'v serde_json::Value, key: &str) -> &'v serde_json::Value {
    key.split('.').fold(all, |value, part| &value[part])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_bad_values_are_named() {
        let good = Config::new(1, "data");
        assert_eq!(good.validate(), Ok(()));
        let says = |config: Config, key: &str| {
            let error = config.validate().expect_err("out of range");
            assert!(error.starts_with(key), "{error}");
        };
        says(Config { node_id: 0, ..good.clone() }, "node_id");
        says(Config { listen: "7600".into(), ..good.clone() }, "listen");
        says(Config { peer_listen: "host:99999".into(), ..good.clone() }, "peer_listen");
        for open in
            ["0.0.0.0:7600", "[::]:7600", "10.0.0.1:7600", "node-1:7600", "localhost.example:7600", "128.0.0.1:1"]
        {
            let open = Config { listen: open.into(), ..good.clone() };
            says(open.clone(), "listen");
            says(
                Config { listen: good.listen.clone(), peer_listen: open.listen.clone(), ..good.clone() },
                "peer_listen",
            );
            assert_eq!(Config { insecure_listen: true, ..open }.validate(), Ok(()));
        }
        for closed in ["127.0.0.1:0", "127.9.9.9:7600", "[::1]:7600", "localhost:7600"] {
            assert_eq!(Config { listen: closed.into(), ..good.clone() }.validate(), Ok(()));
        }
        for bad in ["*", "app.example", "https://app.example/", "ftp://app.example", "https://"] {
            says(Config { allowed_origins: vec![bad.into()], ..good.clone() }, "allowed_origins");
        }
        let raft = RaftConfig { election_min_ms: 100, ..RaftConfig::default() };
        says(Config { raft, ..good }, "raft.election_min_ms");
    }
}
