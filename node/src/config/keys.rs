//! Every key of the configuration, declared once: name, what may stand there, meaning.
//!
//! Ranges are checked from here, and docs/operations/configuration.md and ops/engram.toml are made from it.

/// What may stand at a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// A whole number, from and to.
    Number(u64, u64),
    /// What is checked by the key's own rule.
    Words(&'static str),
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// With its section: `raft.heartbeat_ms`.
    pub name: &'static str,
    /// What may stand there.
    pub range: Range,
    /// The flag of `engram serve`, if there is one.
    pub flag: Option<&'static str>,
    /// One line; the unit is in the name, or here.
    pub what: &'static str,
}

impl Key {
    /// The variable that sets it.
    pub fn variable(&self) -> String {
        format!("ENGRAM_{}", self.name.replace('.', "__").to_ascii_uppercase())
    }

    /// Section and name in it.
    pub fn parts(&self) -> (Option<&'static str>, &'static str) {
        self.name.split_once('.').map_or((None, self.name), |(section, name)| (Some(section), name))
    }
}

const fn word(name: &'static str, may: &'static str, flag: &'static str, what: &'static str) -> Key {
    Key { name, range: Range::Words(may), flag: Some(flag), what }
}

const fn number(name: &'static str, min: u64, max: u64, what: &'static str) -> Key {
    Key { name, range: Range::Number(min, max), flag: None, what }
}

const fn flagged(key: Key, flag: &'static str) -> Key {
    Key { flag: Some(flag), ..key }
}

const ROWS_MAX: u64 = 10_000_000;
const DAY_S: u64 = 86_400;

/// By section, in the order of the file.
pub const KEYS: &[Key] = &[
    flagged(number("node_id", 1, u64::MAX, "Unique in the cluster, never reused. No default."), "--node-id"),
    word("data_dir", "a path", "--data-dir", "Where everything durable is. No default."),
    word("cluster", "1 to 128 bytes", "--cluster", "A data directory of another cluster is refused."),
    word(
        "listen",
        "host:port",
        "--listen",
        "For clients: gRPC, WebSockets at /v1/stream, and HTTP for /livez, /readyz and /metrics.",
    ),
    word("peer_listen", "host:port", "--peer-listen", "For other nodes."),
    word(
        "insecure_listen",
        "true or false",
        "--insecure-listen",
        "Both may be addresses of this machine alone, unless this is true: nothing is encrypted or authenticated.",
    ),
    word(
        "allowed_origins",
        "scheme://host[:port], …",
        "--allowed-origins",
        "Origins whose pages may open a WebSocket, as \"https://app.example\"; pages of this host always may. The variable and the flag take them with commas.",
    ),
    flagged(number("index_workers", 0, 256, "Threads of an index batch; 0: one a core."), "--index-workers"),
    number(
        "reindex_rows",
        1,
        1 << 30,
        "Erased rows of a space's index, at least, for which it is made anew of the rest; they must be half of it, too.",
    ),
    number(
        "raft.heartbeat_ms",
        10,
        10_000,
        "Milliseconds between heartbeats; also the time-out of an append, which has a second more for each 4 MiB of entries.",
    ),
    number(
        "raft.election_min_ms",
        20,
        60_000,
        "Milliseconds of silence after which a follower may stand for election, at least; twice the heartbeat or more.",
    ),
    number("raft.election_max_ms", 21, 120_000, "And at most; more than the least."),
    number(
        "raft.snapshot_bytes",
        1024,
        1 << 40,
        "Applied bytes since the last snapshot that cause the next, at least: with a larger snapshot without its record files it is half of that.",
    ),
    number(
        "raft.keep_entries",
        0,
        u64::MAX,
        "Entries kept in the log behind a snapshot, for followers that are a little late.",
    ),
    number(
        "raft.erase_s",
        1,
        DAY_S,
        "Seconds between two times that what was erased is removed from this node's files: each takes a snapshot, and lets go of the log behind it.",
    ),
    number("wal.segment_bytes", 64 << 10, 4 << 30, "Bytes of one segment file."),
    number("wal.cache_bytes", 0, 1 << 40, "Bytes of recent entries that are kept in memory for followers."),
    number("admission.high_rows", 1, ROWS_MAX, "Rows of high-priority streams between the edge and apply."),
    number("admission.normal_rows", 1, ROWS_MAX, "Rows of normal streams."),
    number("admission.low_rows", 1, ROWS_MAX, "Rows of low-priority streams."),
    number("admission.bytes", 1 << 20, 1 << 40, "Bytes of all of them."),
    number("admission.unbuilt_rows", 1, 100_000_000, "Rows of complete batches that the index has not built yet."),
    number("stream.credit_rows", 1, 1_000_000, "Rows that one stream may have in flight."),
    number("stream.credit_bytes", 1 << 20, 1 << 34, "Bytes that one stream may have in flight."),
    number("stream.session_idle_s", 120, DAY_S, "Seconds without a connection after which a session expires."),
    number(
        "stream.read_deadline_ms",
        1,
        60_000,
        "Milliseconds that a read waits for its snapshot unless it says otherwise.",
    ),
    number("stream.drain_s", 0, 600, "Seconds that a stopping node gives admitted rows to commit."),
    number(
        "integrity.round_s",
        1,
        DAY_S,
        "Seconds from one comparison of the members' digests to the next. A member that differs from most voters answers no reads until it was rebuilt from one of them and agrees again.",
    ),
    word(
        "telemetry.otlp_endpoint",
        "host:port, or empty",
        "--otlp-endpoint",
        "A collector of OpenTelemetry, by OTLP over gRPC: it is sent the spans of calls whose traceparent says sampled. Empty: none.",
    ),
];

/// The key of that name.
pub fn key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use crate::documents::hold;

    fn defaults() -> Config {
        Config::new(1, "/var/lib/engram")
    }

    fn may(range: Range) -> String {
        match range {
            Range::Number(min, u64::MAX) => format!("{min} or more"),
            Range::Number(min, max) => format!("{min} to {max}"),
            Range::Words(words) => words.to_string(),
        }
    }

    fn page() -> String {
        let mut page = String::from(
            "# Configuration\n\nDefaults, then the file of `--config`, then the environment, then flags: the later wins. An \
             unknown key or a value\nout of its range stops the start, and is named. `ops/engram.toml` is a file with \
             every key at its default.\n\n\
             ```sh\nengram config check --config engram.toml          # exit code 2 and what is wrong, or 0\n\
             engram config show --origin --config engram.toml  # every value, and where it comes from\n```\n\n\
             This page and that file are made from `node/src/config/keys.rs`; a test holds them together, and\n\
             `WRITE_DOCS=1 cargo test -p engram-node --lib keys` writes them anew.\n\n\
             | key | default | what may stand there | variable | flag | what it says |\n|---|---|---|---|---|---|\n",
        );
        for key in KEYS {
            let default = match key.what.ends_with("No default.") {
                true => String::new(),
                false => format!("`{}`", defaults().value(key.name)),
            };
            let flag = key.flag.map(|flag| format!("`{flag}`")).unwrap_or_default();
            let (name, variable) = (key.name, key.variable());
            page += &format!("| `{name}` | {default} | {} | `{variable}` | {flag} | {} |\n", may(key.range), key.what);
        }
        page
    }

    fn file() -> String {
        let mut file = String::from(
            "# A node's configuration, with every key at its default: `engram serve --config engram.toml`.\n\
             # The environment wins over this file (ENGRAM_LISTEN, ENGRAM_RAFT__HEARTBEAT_MS), flags win over both.\n\
             # An unknown key, or a value out of its range, stops the start.\n\n",
        );
        let mut section = None;
        for key in KEYS {
            let (of, name) = key.parts();
            if of != section {
                file += &format!("\n[{}]\n", of.expect("keys without a section come first"));
                section = of;
            }
            file += &format!("# {}\n{name} = {}\n", key.what, defaults().value(key.name));
        }
        file
    }

    #[test]
    fn the_page_and_the_example_are_the_keys() {
        hold("docs/operations/configuration.md", &page());
        hold("ops/engram.toml", &file());
    }

    #[test]
    fn every_key_of_the_configuration_is_declared_and_no_other() {
        fn names(prefix: &str, value: &serde_json::Value, into: &mut Vec<String>) {
            match value {
                serde_json::Value::Object(fields) => {
                    fields.iter().for_each(|(name, value)| names(&format!("{prefix}{name}."), value, into));
                }
                _ => into.push(prefix.trim_end_matches('.').to_string()),
            }
        }
        let mut found = Vec::new();
        names("", &serde_json::to_value(defaults()).expect("plain data"), &mut found);
        let mut declared: Vec<String> = KEYS.iter().map(|key| key.name.to_string()).collect();
        found.sort();
        declared.sort();
        assert_eq!(found, declared);
    }
}
