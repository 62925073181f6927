//! What docs/protocol.md tells clients of errors and limits, held to what the code does.

use super::FIRST_MESSAGE_TIMEOUT;
use super::ws::close::Close;
use crate::config::Config;
use crate::state::{sessions, spaces};
use engram_proto::error::{Error, Kind};
use engram_proto::{limits, transport};
use std::collections::BTreeMap;

const PROTOCOL: &str = include_str!("../../../docs/protocol.md");
/// Known to nodes alone, or without a place in a client's table.
const UNTOLD: [&str; 2] = ["PEER_MESSAGE_BYTES_MAX", "PEER_VERSION"];

/// The cells of a section's table rows, without backticks.
fn table(section: &str) -> Vec<Vec<String>> {
    let text = PROTOCOL.split(&format!("\n## {section}\n")).nth(1).expect("the section is there");
    let text = text.split("\n## ").next().expect("split gives one");
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_string()).collect();
    text.lines().filter(|line| line.starts_with("| ")).map(cells).collect()
}

#[test]
fn each_kind_has_its_row_with_the_status_and_the_close_code_of_the_code() {
    let rows: BTreeMap<String, Vec<String>> = table("Errors")
        .into_iter()
        .filter(|row| row.len() == 6 && row[0].starts_with('`'))
        .map(|row| (row[0].trim_matches('`').to_string(), row))
        .collect();
    let kinds = (1..).map_while(|number| Kind::try_from(number).ok());
    let mut told = 0;
    for kind in kinds {
        let name = kind.as_str_name().trim_start_matches("ERROR_KIND_");
        let row = rows.get(name).unwrap_or_else(|| panic!("{name} is not in the table"));
        let error = Error::new(kind, "x");
        let code = error.code();
        // gRPC's name of the code: InvalidArgument is INVALID_ARGUMENT.
        let mut status = String::new();
        for letter in format!("{code:?}").chars() {
            if letter.is_uppercase() && !status.is_empty() {
                status.push('_');
            }
            status.push(letter.to_ascii_uppercase());
        }
        assert_eq!(row[1], format!("{} `{status}`", code as i32), "{name}");
        let close = Close::of(&error.into(), None).frame().code;
        assert_eq!(row[2], u16::from(close).to_string(), "{name}");
        assert!(row[3..].iter().all(|cell| !cell.is_empty()), "{name}: {row:?}");
        told += 1;
    }
    assert_eq!(rows.len(), told, "the table has kinds that the code has not");
}

/// A number as the table writes it.
fn written(name: &str, value: u64) -> String {
    let bytes = name.contains("BYTES") || name.ends_with("bytes");
    match value {
        value if bytes && value >= 1 << 20 => format!("{} MiB", value >> 20),
        value if bytes && value >= 1 << 10 => format!("{} KiB", value >> 10),
        value => {
            let digits = value.to_string();
            let groups = digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group));
            groups.collect::<Vec<_>>().join(",")
        }
    }
}

#[test]
fn each_limit_has_its_row_with_the_number_of_the_code() {
    let source = include_str!("../../../proto/src/limits.rs");
    let config = Config::new(1, "data");
    let (admission, stream) = (config.admission, config.stream);
    let named: [(&str, u64); 37] = [
        ("TEXT_BYTES_MAX", limits::TEXT_BYTES_MAX as u64),
        ("DIM_MIN", limits::DIM_MIN as u64),
        ("DIM_MAX", limits::DIM_MAX as u64),
        ("METADATA_ENTRIES_MAX", limits::METADATA_ENTRIES_MAX as u64),
        ("METADATA_BYTES_MAX", limits::METADATA_BYTES_MAX as u64),
        ("ID_BYTES_MAX", limits::ID_BYTES_MAX as u64),
        ("SPACE_NAME_BYTES_MAX", limits::SPACE_NAME_BYTES_MAX as u64),
        ("BATCH_ROWS_MAX", limits::BATCH_ROWS_MAX as u64),
        ("CREDIT_ROWS_MIN", limits::CREDIT_ROWS_MIN as u64),
        ("CREDIT_BYTES_MIN", limits::CREDIT_BYTES_MIN as u64),
        ("OVERRUNS_MAX", limits::OVERRUNS_MAX.into()),
        ("MESSAGE_BYTES_MAX", limits::MESSAGE_BYTES_MAX as u64),
        ("K_MAX", limits::K_MAX.into()),
        ("EF_MAX", limits::EF_MAX.into()),
        ("FILTER_DEPTH_MAX", limits::FILTER_DEPTH_MAX as u64),
        ("FILTER_PARTS_MAX", limits::FILTER_PARTS_MAX as u64),
        ("ROWS_NAMED_MAX", limits::ROWS_NAMED_MAX as u64),
        ("WATCHES_MAX", limits::WATCHES_MAX as u64),
        ("CALLS_MAX", limits::CALLS_MAX as u64),
        ("M_MAX", limits::M_MAX.into()),
        ("EF_CONSTRUCTION_MAX", limits::EF_CONSTRUCTION_MAX.into()),
        ("DEADLINE_MS_MAX", limits::DEADLINE_MS_MAX.into()),
        ("STALENESS_MS_MAX", limits::STALENESS_MS_MAX.into()),
        ("TTL_MS_MIN", limits::TTL_MS_MIN),
        ("HISTORY_MS_DEFAULT", limits::HISTORY_MS_DEFAULT),
        ("SPACES_MAX", spaces::SPACES_MAX as u64),
        ("SESSIONS_MAX", sessions::SESSIONS_MAX as u64),
        ("TOMBSTONES_MAX", sessions::TOMBSTONES_MAX as u64),
        ("CONNECTIONS_MAX", crate::run::CONNECTIONS_MAX as u64),
        ("STREAMS_MAX", transport::STREAMS_MAX.into()),
        ("HEADER_READ_TIMEOUT", transport::HEADER_READ_TIMEOUT.as_secs()),
        ("FIRST_MESSAGE_TIMEOUT", FIRST_MESSAGE_TIMEOUT.as_secs()),
        ("stream.credit_rows", stream.credit_rows.into()),
        ("stream.credit_bytes", stream.credit_bytes),
        ("admission.normal_rows", admission.normal_rows as u64),
        ("admission.bytes", admission.bytes as u64),
        ("admission.unbuilt_rows", admission.unbuilt_rows as u64),
    ];
    let constants = source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next());
    for constant in constants {
        let checked = named.iter().any(|(name, _)| *name == constant);
        assert!(checked || UNTOLD.contains(&constant), "{constant} is neither in the table nor untold");
    }
    let rows = table("Limits");
    for (name, value) in named
        .into_iter()
        .chain([("admission.high_rows", admission.high_rows as u64), ("admission.low_rows", admission.low_rows as u64)])
    {
        let row = rows.iter().find(|row| row[0].contains(&format!("`{name}`")));
        let row = row.unwrap_or_else(|| panic!("{name} is not in the table"));
        let number = written(name, value);
        let numbers = row[1].replace(|letter: char| !(letter.is_ascii_alphanumeric() || letter == ','), " ");
        let numbers = format!(" {} ", numbers.replace(", ", " "));
        assert!(numbers.contains(&format!(" {number} ")), "{name} is {number}, not {:?}", row[1]);
    }
}
