//! Bugs planted in the real code: `mutant!("name")` is a constant false, but in a build with `--cfg mutants` for the one name
//! that was chosen at start.
//!
//! They measure the harness: one that looks for broken promises must find each of them without knowing the list.
#![forbid(unsafe_code)]

/// Whether the planted bug of this name is chosen.
#[macro_export]
macro_rules! mutant {
    ($name:literal) => {
        $crate::is_chosen($name)
    };
}

/// Every planted bug.
pub const NAMES: &[&str] = &[
    "ack_before_flush",
    "applied_overstated",
    "batch_cut_by_time",
    "batch_sees_later_forgets",
    "bound_ignored",
    "digest_without_links",
    "failed_sync_ignored",
    "files_not_scrubbed",
    "first_forget_skipped",
    "floor_not_looked_at",
    "floor_not_raised",
    "forget_missed_in_the_graph",
    "forget_missed_in_the_tail",
    "forget_not_in_the_past",
    "forgotten_row_shown",
    "gap_taken",
    "last_forget_not_seen",
    "list_ends_early",
    "live_session_expires",
    "lost_chunk_is_the_last",
    "majority_quarantined",
    "memory_not_scrubbed",
    "named_before_synced",
    "past_is_the_present",
    "past_sees_the_future",
    "permit_not_returned",
    "purge_not_written",
    "quarantined_answers",
    "read_index_not_waited_for",
    "read_index_skipped",
    "read_index_without_quorum",
    "record_names_not_synced",
    "reindex_drops_a_living_row",
    "repeat_appended",
    "replaced_name_not_synced",
    "replaced_row_stays",
    "rot_read_as_sound",
    "searchable_here_is_enough",
    "searchable_is_committed",
    "segment_name_not_synced",
    "snapshot_without_digest",
    "snapshot_without_first_run",
    "snapshot_without_floor",
    "snapshot_without_last_forget",
    "snapshot_without_sessions",
    "staleness_understated",
    "tail_not_scanned",
    "token_not_waited_for",
    "tree_link_pruned",
    "turned_back_numbers_are_gone",
    "verdicts_in_reverse",
    "vote_not_synced",
    "vote_not_written",
    "watch_begins_late",
];

#[cfg(mutants)]
static CHOSEN: std::sync::OnceLock<String> = std::sync::OnceLock::new();

/// Chooses the planted bug of this process; false if there is none of the name, or one was chosen before.
#[cfg(mutants)]
pub fn choose(name: &str) -> bool {
    NAMES.contains(&name) && CHOSEN.set(name.to_string()).is_ok()
}

/// See [`mutant`].
#[cfg(mutants)]
pub fn is_chosen(name: &str) -> bool {
    CHOSEN.get().is_some_and(|chosen| chosen == name)
}

/// See [`mutant`].
#[cfg(not(mutants))]
#[inline(always)]
pub const fn is_chosen(_: &str) -> bool {
    false
}
