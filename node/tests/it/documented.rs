//! What docs/operations says that the program prints is what the program prints.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All sources, with strings that go over a line's end put together.
fn sources(dir: &Path, all: &mut String) {
    for entry in fs::read_dir(dir).expect("readable") {
        let path = entry.expect("named").path();
        match path.is_dir() {
            true => sources(&path, all),
            false if path.extension().is_some_and(|end| end == "rs") => {
                let text = fs::read_to_string(&path).expect("text");
                let mut lines = text.lines().map(str::trim);
                lines.by_ref().for_each(|line| match line.strip_suffix('\\') {
                    Some(begun) => all.push_str(begun),
                    None => all.extend([line, "\n"]),
                });
            }
            false => {}
        }
    }
}

/// What stands for something else in a message.
fn is_placeholder(word: &str) -> bool {
    const NAMES: [&str; 6] = ["N", "M", "A", "B", "FILE.snap", "backup.json"];
    let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
    let capitals = bare.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    NAMES.contains(&bare) || capitals || word.contains(|c: char| "…\"/".contains(c) || c.is_ascii_digit())
}

/// The runs of words that stand in the program as they are.
fn fixed(message: &str) -> Vec<String> {
    // Messages are put together of parts at a colon.
    let parts = message.split(": ").map(|part| part.split(' ').collect::<Vec<_>>());
    let runs =
        parts.flat_map(|words| words.split(|word| is_placeholder(word)).map(|run| run.join(" ")).collect::<Vec<_>>());
    runs.map(|run| run.trim_end_matches([';', ':', ',', '.']).to_string()).filter(|run| run.len() >= 8).collect()
}

#[test]
fn every_message_that_operators_are_told_of_is_one_that_the_program_prints() {
    let mut all = String::new();
    for part in ["node/src", "clients/rust/src", "proto/src"] {
        sources(&root().join(part), &mut all);
    }
    let mut looked = 0;
    for page in ["docs/operations/recovery.md", "docs/operations/backup.md"] {
        let text = fs::read_to_string(root().join(page)).expect("there");
        for row in text.lines().filter(|line| line.starts_with("| `")) {
            let said = row.split('|').nth(1).expect("a first column");
            for message in said.split('`').skip(1).step_by(2) {
                for run in fixed(message) {
                    looked += 1;
                    assert!(all.contains(&run), "{page} quotes {message:?}; {run:?} is nowhere in the program");
                }
            }
        }
    }
    assert!(looked > 40, "{looked}");
}
