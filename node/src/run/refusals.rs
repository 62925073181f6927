//! Every refusal to open or check a data directory has its row in docs/operations/recovery.md.
//!
//! Messages are made by what makes them in earnest. The list is complete where a `match` says so; a pattern of the page is what is in
//! a row's first cell between backticks, with `…` and words in capitals for what differs.
//! Leaves out: refusals of backups (docs/operations/backup.md).

#![expect(clippy::disallowed_methods, reason = "the test damages files and reads the tree itself")]

use super::RunError;
use crate::env::{Env, OsDisk, Seed};
use crate::identity::Identity;
use crate::mend::nobody_gave;
use crate::raft::log::OpenError;
use crate::state::records::{Hash, Records};
use crate::state::{Machine, Unreadable};
use crate::verify;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The patterns of the page: of each, the parts that stay the same.
fn patterns() -> Vec<Vec<String>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations/recovery.md");
    let page = fs::read_to_string(page).expect("the page");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.filter_map(|row| row[2..].split(" | ").next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(parts).collect()
}

fn parts(pattern: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for word in pattern.replace('…', " N ").split_inclusive([' ', '.', ',', ':', '/', '"', ';']) {
        let bare = word.trim_end_matches([' ', '.', ',', ':', '/', '"', ';']);
        match !bare.is_empty() && bare.chars().all(|letter| letter.is_ascii_uppercase()) {
            true => parts.push(word[bare.len()..].into()),
            false => parts.last_mut().expect("one").push_str(word),
        }
    }
    parts.into_iter().map(|part| part.trim().into()).filter(|part: &String| !part.is_empty()).collect()
}

fn fits(message: &str, parts: &[String]) -> bool {
    let mut rest = message;
    let long = parts.iter().map(String::len).sum::<usize>() >= 9;
    // The row of what the operating system says has all of it.
    let by_system = matches!(parts, [one] if one == "write-ahead log:" || one == "record file");
    long && (!by_system || message.contains("os error"))
        && parts.iter().all(|part| rest.split_once(&**part).map(|(_, after)| rest = after).is_some())
}

fn log() -> Vec<String> {
    let file = || PathBuf::from("/data/wal/0000000000000001.wal");
    let errors = [
        OpenError::rot(file(), 4096, "zeros where records were"),
        OpenError::Version { file: file(), found: 9 },
        OpenError::OtherDisk { file: file(), found: [1; 16], expected: [2; 16] },
        OpenError::Io(std::io::Error::from_raw_os_error(5)),
    ];
    let text = |error: OpenError| match error {
        // Another kind of refusal is another row.
        OpenError::Rot { .. } | OpenError::Version { .. } | OpenError::OtherDisk { .. } | OpenError::Io(_) => {
            RunError::Data(error.to_string()).to_string()
        }
    };
    errors.map(text).into()
}

fn identity() -> Vec<String> {
    let dir = tempfile::tempdir().expect("temporary");
    let open = |node, cluster: &str| {
        let opened =
            Identity::open(Arc::new(OsDisk), dir.path().into(), node, cluster, &mut Seed(1).stream("identity"));
        opened.map(drop).map_err(|e| e.to_string())
    };
    open(1, "a").expect("made");
    let mut said = vec![open(2, "a"), open(1, "b")];
    let path = dir.path().join("identity");
    let good = fs::read_to_string(&path).expect("text");
    let json = good.rsplit_once("\ncrc32c").expect("two parts").0;
    let summed = |json: String| format!("{json}\ncrc32c {:08x}\n", crc32c::crc32c(json.as_bytes())).into_bytes();
    let other = |from: &str, to: &str| summed(json.replacen(from, to, 1));
    let contents = [
        vec![0xff],
        json.into(),
        good.replacen("node_id", "node_ix", 1).into(),
        other("node_id", "node_ix"),
        other("\"format\": 1", "\"format\": 2"),
        other("\"disk_id\": \"", "\"disk_id\": \"x"),
        vec![b' '; 1 << 20],
    ];
    for content in contents {
        fs::write(&path, content).expect("written");
        said.push(open(1, "a"));
    }
    said.into_iter().map(|said| said.expect_err("refused")).collect()
}

fn state() -> Vec<String> {
    let dir = tempfile::tempdir().expect("temporary");
    let snapshots = dir.path().join("snapshots");
    fs::create_dir(&snapshots).expect("made");
    let mut said = Vec::new();
    for manifest in [&b"ENGSNAP\x09"[..], b"ENGSNAP\x03 cut", b"ENGSNAP\x03\x09\0\0\0\0\0\0\0\x27\x21\x8a\x1c"] {
        fs::write(snapshots.join("0000000000000005.snap"), manifest).expect("written");
        let opened = Machine::open(Env::os(NonZeroUsize::MIN).expect("threads"), 1, dir.path());
        match opened.err().expect("refused") {
            Unreadable::Refused(error) => said.push(error.to_string()),
            Unreadable::Lost(lost) => said.push(lost.damage.detail),
        }
    }
    let records = Records::open(Arc::new(OsDisk), dir.path().join("records")).expect("opens");
    let hash = records.hold().put(b"a file").expect("written");
    fs::write(records.path(&hash), b"another").expect("written");
    for lost in [hash, Hash::of(b"none")] {
        let damage = records.read(&lost).expect_err("rotten, or not there").detail;
        said.push(nobody_gave(&damage, 1, "there is no other member"));
    }
    said
}

fn checked() -> Vec<String> {
    let dir = tempfile::tempdir().expect("temporary");
    Identity::open(Arc::new(OsDisk), dir.path().into(), 1, "a", &mut Seed(1).stream("identity")).expect("made");
    let prove = || verify::prove(Arc::new(OsDisk), dir.path()).err().expect("refused");
    let mut said = vec![prove()];
    let lock = crate::env::Disk::lock(&OsDisk, &dir.path().join("lock")).expect("locked");
    said.push(prove());
    drop(lock);
    said
}

#[test]
fn every_refusal_has_its_row() {
    let patterns = patterns();
    let said = [log(), identity(), state(), checked()].concat();
    assert!(said.len() >= 18, "{said:#?}");
    for message in said {
        assert!(patterns.iter().any(|parts| fits(&message, parts)), "no row of recovery.md has: {message}");
    }
    assert!(!patterns.iter().any(|parts| fits("the moon is in the wrong place", parts)));
}
