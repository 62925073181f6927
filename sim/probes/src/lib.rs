//! Marks at rare branches of the real code: `probe!("name")` counts that a run came by.
//!
//! A promise that holds in a thousand runs says little of branches that none of them took. `chaos sweep` tells how many seeds
//! came by each mark, and which marks nobody did; `--guide probes` varies the plans that came by the rarest.
//! A count is of the process: a simulated run is one process. Elsewhere it costs an addition where hardly anybody comes by.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts that this branch was taken. A name that is not in [`NAMES`] does not compile.
#[macro_export]
macro_rules! probe {
    ($name:literal) => {{
        const PLACE: usize = $crate::place($name);
        $crate::hit(PLACE)
    }};
}

/// Every mark, once in the code each.
pub const NAMES: &[&str] = &[
    "asked_in_no_cluster",
    "chunk_run_again",
    "closed_segment_is_damaged",
    "damaged_segment_is_removed",
    "entry_already_in_the_state",
    "files_swept_between_snapshots",
    "forward_stream_broke_with_entries",
    "forward_took_too_long",
    "forwarded_entry_waited_too_long",
    "gap_at_apply",
    "leader_refuses_the_message",
    "leader_replaced_with_entries_on_their_way",
    "log_ends_in_a_torn_group",
    "log_has_later_segments_than_its_end",
    "log_is_full",
    "log_is_poisoned",
    "log_loses_a_suffix",
    "log_removes_a_segment",
    "manifest_is_damaged",
    "mark_comes",
    "mark_goes",
    "mark_of_a_former_life",
    "membership_change_in_doubt",
    "older_refusal_at_apply",
    "proposal_in_doubt",
    "proposal_not_by_the_leader",
    "quarantined_leader_hands_over",
    "read_index_not_confirmed",
    "read_is_behind",
    "read_while_in_quarantine",
    "rebuild_failed",
    "rebuild_from_behind",
    "rebuild_waits_for_the_log",
    "record_file_fetched",
    "record_file_written_anew",
    "record_files_fetched_before_the_start",
    "reindex",
    "reindex_passed_over",
    "repeat_acked",
    "repeat_with_another_payload",
    "rows_turned_back_at_the_door",
    "session_expires",
    "session_is_lost",
    "session_superseded",
    "slower_asked_for",
    "snapshot_not_taken_in_quarantine",
    "snapshot_older_than_the_last",
    "snapshot_replaces_the_state",
    "snapshot_waits_for_room",
    "snapshot_without_room",
    "stream_stops_with_rows_on_their_way",
    "transfer_in_doubt",
    "vote_counted_before",
    "vote_too_late",
    "websocket_is_not_read",
];

static HITS: [AtomicU64; NAMES.len()] = [const { AtomicU64::new(0) }; NAMES.len()];

/// See [`probe`].
pub const fn place(name: &str) -> usize {
    let mut at = 0;
    while at < NAMES.len() {
        if equal(NAMES[at].as_bytes(), name.as_bytes()) {
            return at;
        }
        at += 1;
    }
    panic!("no mark has this name: add it to NAMES")
}

const fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// See [`probe`].
pub fn hit(place: usize) {
    HITS[place].fetch_add(1, Ordering::Relaxed);
}

/// How often this process came by each mark.
pub fn hits() -> impl Iterator<Item = (&'static str, u64)> {
    NAMES.iter().zip(&HITS).map(|(name, hits)| (*name, hits.load(Ordering::Relaxed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_counts_for_itself() {
        probe!("log_is_full");
        probe!("log_is_full");
        let counted: Vec<_> = hits().filter(|(_, hits)| *hits > 0).collect();
        assert_eq!(counted, [("log_is_full", 2)]);
        assert!(NAMES.is_sorted_by(|one, next| one < next), "sorted, and each once");
    }
}
