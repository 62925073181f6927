//! The house rules that no lint sees: crate arrows, headers, unsafe code, biased selects, lengths.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Lines of the longest file, and functions over seventy lines: these numbers only fall.
const FILE_LINES_MAX: usize = 400;
const LONG_FUNCTIONS_MAX: usize = 6;

/// Which crates of the workspace a crate may depend on.
const ARROWS: [(&str, &[&str]); 7] = [
    ("proto", &[]),
    ("index", &["engram-mutants", "engram-probes"]),
    ("chaos", &[]),
    ("clients/rust", &["engram-proto"]),
    ("node", &["engram-proto", "engram-index", "engram-client", "engram-mutants", "engram-probes"]),
    ("jepsen-lite", &["engram-client", "engram-proto", "engram-chaos"]),
    (
        "sim",
        &[
            "engram-node",
            "engram-client",
            "engram-proto",
            "engram-index",
            "engram-chaos",
            "engram-jepsen-lite",
            "engram-mutants",
            "engram-probes",
            "std-clock",
            "tokio-seed",
        ],
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("sim is in the workspace").to_path_buf()
}

fn sources() -> BTreeMap<String, String> {
    fn walk(dir: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).expect("readable") {
            let path = entry.expect("readable").path();
            let name = path.file_name().expect("named").to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with("target") && name != "node_modules" {
                walk(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                into.push(path);
            }
        }
    }
    let root = root();
    let mut paths = Vec::new();
    for (folder, _) in ARROWS {
        walk(&root.join(folder), &mut paths);
    }
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&root).expect("inside").display().to_string();
        (name, std::fs::read_to_string(&path).expect("readable"))
    };
    paths.into_iter().map(read).collect()
}

#[test]
fn crates_depend_only_where_an_arrow_leads() {
    for (folder, allowed) in ARROWS {
        let manifest = std::fs::read_to_string(root().join(folder).join("Cargo.toml")).expect("readable");
        for line in manifest.lines() {
            let Some(name) = line.split(['.', ' ', '=']).next().filter(|name| name.starts_with("engram-")) else {
                continue;
            };
            assert!(allowed.contains(&name), "{folder} may not depend on {name}");
        }
    }
    for (name, text) in sources() {
        let server = name.starts_with("node/src/") && !name.starts_with("node/src/cli/") && name != "node/src/main.rs";
        assert!(!(server && text.contains("engram_client")), "{name}: only the command line knows the client");
    }
}

#[test]
fn every_file_opens_with_a_header() {
    for (name, text) in sources() {
        assert!(text.trim_start().starts_with("//!"), "{name} has no //! header");
    }
}

#[test]
fn unsafe_code_lives_in_the_kernels_and_at_the_door_of_the_clock_alone() {
    for (name, text) in sources() {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let found = code.filter(|line| line.contains("unsafe ") && !line.contains('"')).count();
        let allowed = ["index/src/kernel", "sim/std-clock/"].iter().any(|place| name.starts_with(place));
        assert!(found == 0 || allowed, "{name} has unsafe code");
    }
}

#[test]
fn cfg_madsim_stands_in_the_seam_and_the_worlds_alone() {
    for (name, text) in sources() {
        let allowed =
            name.starts_with("node/src/env/") || name.starts_with("sim/src/world") || name.starts_with("sim/tests/");
        let found = text.lines().any(|line| line.contains("cfg(madsim)") && !line.trim_start().starts_with("//"));
        assert!(allowed || !found, "{name} says cfg(madsim)");
    }
}

#[test]
fn selects_are_biased() {
    for (name, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if code.contains("select! {") && !name.ends_with("house.rs") {
                let next = lines.get(at + 1).copied().unwrap_or_default();
                assert!(next.trim_start().starts_with("biased;"), "{name}:{} draws the branch by chance", at + 1);
            }
        }
    }
}

#[test]
fn files_are_short_and_long_functions_only_get_fewer() {
    let mut long = Vec::new();
    for (name, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() <= FILE_LINES_MAX, "{name} has {} lines", lines.len());
        let mut start = None;
        for (at, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            let indent = line.len() - code.len();
            if ["fn ", "pub fn ", "async fn ", "pub async fn ", "pub(crate) fn ", "pub(super) fn "]
                .iter()
                .any(|head| code.starts_with(head))
            {
                start = Some((at, indent));
            }
            if code == "}"
                && let Some((from, depth)) = start
                && depth == indent
            {
                if at - from > 70 {
                    long.push(format!("{name}:{} ({} lines)", from + 1, at - from));
                }
                start = None;
            }
        }
    }
    assert!(long.len() <= LONG_FUNCTIONS_MAX, "{} functions over 70 lines: {long:#?}", long.len());
}

#[test]
fn every_planted_bug_has_a_name_that_is_known_and_one_place_at_least() {
    let mut planted: Vec<String> = Vec::new();
    for (name, text) in sources() {
        if name.starts_with("node/src/") || name.starts_with("index/src/") {
            let names = text.split("mutant!(\"").skip(1).filter_map(|rest| rest.split('"').next());
            planted.extend(names.map(str::to_string));
        }
    }
    planted.sort();
    planted.dedup();
    assert_eq!(planted, engram_mutants::NAMES);
}

#[test]
fn every_mark_of_the_code_stands_in_one_place() {
    let mut marks: Vec<String> = Vec::new();
    for (name, text) in sources() {
        if name.starts_with("node/src/") || name.starts_with("index/src/") {
            let names = text.split("probe!(\"").skip(1).filter_map(|rest| rest.split('"').next());
            marks.extend(names.map(str::to_string));
        }
    }
    marks.sort();
    assert_eq!(marks, engram_probes::NAMES);
}
