//! A node's configuration: defaults, file, environment, flags; the later wins.
//!
//! Invariant: an unknown key or a bad value stops the start, and the error names where it stands and its key.

use super::exit::Failure;
use super::serve::ServeArgs;
use crate::Config;
use crate::config::keys::{KEYS, Key, key};
use figment::Figment;
use figment::error::Kind;
use figment::providers::{Env, Format, Serialized, Toml};
use std::collections::BTreeMap;
use std::path::Path;

const PREFIX: &str = "ENGRAM_";
/// Variables with this prefix that are no configuration of a node.
const OTHER: [&str; 2] = ["log", "endpoints"];

/// What a node is started with.
#[derive(Debug)]
pub struct Settings {
    /// Checked.
    pub config: Config,
    /// Where values come from that are not defaults, by key.
    pub origins: BTreeMap<&'static str, String>,
}

/// Reads and checks everything.
pub fn load(args: &ServeArgs) -> Result<Settings, Failure> {
    let mut figment = Figment::new();
    if let Some(path) = &args.config {
        let text = std::fs::read_to_string(path)
            .map_err(|e| Failure::input(format!("configuration {}: {e}; name a readable file", path.display())))?;
        figment = figment.merge(Toml::string(&text));
    }
    let env = Env::prefixed(PREFIX).filter(|key| !OTHER.contains(&key.as_str().to_ascii_lowercase().as_str()));
    figment = figment.merge(env.split("__"));
    let mut origins = origins(&figment, args.config.as_deref());
    let config = flags(figment, args, &mut origins).extract::<Config>();
    let config = config.map_err(|e| Failure::input(explain(&e, args.config.as_deref())))?;
    config.validate().map_err(|e| Failure::input(format!("configuration: {e}")))?;
    Ok(Settings { config, origins })
}

/// Of file and environment.
fn origins(figment: &Figment, file: Option<&Path>) -> BTreeMap<&'static str, String> {
    let origin = |key: &'static Key| {
        let metadata = figment.find_metadata(key.name)?;
        let origin = match (metadata.name.contains("environment"), file) {
            (false, Some(file)) => file.display().to_string(),
            _ => key.variable(),
        };
        Some((key.name, origin))
    };
    KEYS.iter().filter_map(origin).collect()
}

fn flags(mut figment: Figment, args: &ServeArgs, origins: &mut BTreeMap<&'static str, String>) -> Figment {
    let mut set = |name: &'static str, value: Option<figment::value::Value>| {
        if let Some(value) = value {
            origins.extend(key(name).and_then(|key| Some((key.name, key.flag?.to_string()))));
            figment = std::mem::take(&mut figment).merge(Serialized::default(name, value));
        }
    };
    set("node_id", args.node_id.map(Into::into));
    set("cluster", args.cluster.clone().map(Into::into));
    set("data_dir", args.data_dir.as_ref().map(|dir| dir.to_string_lossy().into_owned().into()));
    set("listen", args.listen.clone().map(Into::into));
    set("peer_listen", args.peer_listen.clone().map(Into::into));
    set("insecure_listen", args.insecure_listen.then(|| true.into()));
    set("allowed_origins", args.allowed_origins.clone().map(Into::into));
    set("telemetry.otlp_endpoint", args.otlp_endpoint.clone().map(Into::into));
    set("index_workers", args.index_workers.map(Into::into));
    figment
}

/// Every fault that figment found, each with its place and key.
fn explain(error: &figment::Error, file: Option<&Path>) -> String {
    let one = |error: figment::Error| {
        let name = error.metadata.as_ref().map(|metadata| metadata.name.to_string()).unwrap_or_default();
        let from_env = name.contains("environment");
        let place = match (from_env, file) {
            (true, _) => "environment".to_string(),
            (false, Some(file)) => file.display().to_string(),
            (false, None) => "flags and defaults".to_string(),
        };
        let key = |last: Option<&str>| {
            let path = error.path.iter().map(String::as_str);
            // figment's path of an unknown key has it already, or not, by where it was found.
            let last = last.filter(|last| error.path.last().is_none_or(|found| found != last));
            let parts: Vec<&str> = path.chain(last).collect();
            match from_env {
                true => format!("{PREFIX}{}", parts.join("__").to_ascii_uppercase()),
                false => parts.join("."),
            }
        };
        match &error.kind {
            Kind::UnknownField(field, known) => {
                let nearest = known.iter().max_by(|a, b| strsim::jaro(a, field).total_cmp(&strsim::jaro(b, field)));
                let nearest = nearest.filter(|known| strsim::jaro(known, field) > 0.7);
                let meant = nearest.map(|known| format!(" (did you mean {known}?)")).unwrap_or_default();
                format!("{place}: unknown key {}{meant}; known here: {}", key(Some(field)), known.join(", "))
            }
            Kind::MissingField(field) => {
                format!("{place}: {} is missing; set it in the file, as a variable or as a flag", key(Some(field)))
            }
            kind if error.path.is_empty() => format!("{place}: {kind}"),
            kind => format!("{place}: {}: {kind}", key(None)),
        }
    };
    let all: Vec<String> = error.clone().into_iter().map(one).collect();
    format!("configuration {}", all.join("; "))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write files")]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("temporary");
        let path = dir.path().join("engram.toml");
        std::fs::write(&path, text).expect("written");
        (dir, path)
    }

    fn says(text: &str, words: &[&str]) {
        let (_dir, path) = file(text);
        let failure = load(&ServeArgs { config: Some(path), ..ServeArgs::default() }).expect_err("refused");
        for word in words {
            assert!(failure.message.contains(word), "{word:?} not in {failure}");
        }
    }

    #[test]
    fn flags_win_over_the_file() {
        let (_dir, path) = file("node_id = 1\ndata_dir = \"a\"\n[raft]\nheartbeat_ms = 100\n");
        let args = ServeArgs { config: Some(path), node_id: Some(7), ..ServeArgs::default() };
        let config = load(&args).expect("valid").config;
        assert_eq!((config.node_id, config.raft.heartbeat_ms), (7, 100));
        assert_eq!(config.data_dir, PathBuf::from("a"));
    }

    #[test]
    fn faults_name_file_and_key() {
        says(
            "node_id = 1\ndata_dir = \"a\"\nlissten = \"x\"\n",
            &["engram.toml", "unknown key lissten (did you mean listen?)", "peer_listen"],
        );
        says("node_id = 1\ndata_dir = \"a\"\n[raft]\nbeat = 1\n", &["engram.toml", "unknown key raft.beat;"]);
        says("node_id = \"one\"\ndata_dir = \"a\"\n", &["engram.toml", "node_id"]);
        says("data_dir = \"a\"\n", &["node_id is missing"]);
        says("node_id = = 1\n", &["engram.toml"]);
        says("node_id = 0\ndata_dir = \"a\"\n", &["node_id is 0"]);
        let origins = "node_id = 1\ndata_dir = \"a\"\nallowed_origins = \"https://a.example,*\"\n";
        says(origins, &["allowed_origins holds \"*\"", "scheme://host"]);
    }

    #[test]
    fn origins_are_a_list_or_a_text_with_commas() {
        let both = ["\"https://a.example, http://b:8\"", "[\"https://a.example\", \"http://b:8\"]"];
        for origins in both {
            let (_dir, path) = file(&format!("node_id = 1\ndata_dir = \"a\"\nallowed_origins = {origins}\n"));
            let config = load(&ServeArgs { config: Some(path), ..ServeArgs::default() }).expect("valid").config;
            assert_eq!(config.allowed_origins, ["https://a.example", "http://b:8"]);
        }
    }

    #[test]
    fn the_example_in_ops_says_the_defaults() {
        let (_dir, path) = file(include_str!("../../../ops/engram.toml"));
        let config = load(&ServeArgs { config: Some(path), ..ServeArgs::default() }).expect("valid").config;
        assert_eq!(config, Config::new(1, "/var/lib/engram"));
    }

    #[test]
    fn an_unreadable_file_is_named() {
        let args = ServeArgs { config: Some("/nowhere/engram.toml".into()), ..ServeArgs::default() };
        let failure = load(&args).expect_err("refused");
        assert!(failure.message.contains("/nowhere/engram.toml"), "{failure}");
    }
}
