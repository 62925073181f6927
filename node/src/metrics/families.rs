//! Every metric that a node tells, declared once: name, kind, labels, meaning.
//!
//! docs/operations/metrics.md is this table, and a test holds the two together.

/// Prometheus' kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises while the process lives.
    Counter,
    /// Rises and falls.
    Gauge,
    /// `_bucket`, `_sum`, `_count`.
    Histogram,
}

impl Kind {
    /// As the format and the page write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One family.
pub struct Family {
    /// With its unit.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// One line.
    pub help: &'static str,
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, labels, help }
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, kind: Kind::Counter, labels, help }
}

const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, kind: Kind::Histogram, labels, help }
}

/// By room, in the order of the page.
pub const FAMILIES: &[Family] = &[
    gauge(
        "engram_build_info",
        &["version", "node", "cluster"],
        "Always 1: which release runs, as which node of which cluster.",
    ),
    gauge("engram_ready", &[], "1 while /readyz answers 200."),
    gauge("engram_connections", &["port"], "Open connections, by port: clients or peers."),
    gauge("engram_sessions_open", &[], "Open sessions of the cluster, as applied here."),
    counter(
        "engram_spans_total",
        &["outcome"],
        "Spans for OpenTelemetry, by outcome: sent, or dropped because the collector did not take them, or too many waited.",
    ),
    // Consensus.
    gauge("engram_raft_term", &[], "Current term; each election raises it."),
    gauge("engram_raft_is_leader", &[], "1 on the leader."),
    gauge("engram_raft_has_leader", &[], "1 while a leader is known."),
    gauge("engram_raft_members", &["kind"], "Members of the cluster, by kind: voter or learner."),
    gauge(
        "engram_raft_follower_lag_entries",
        &["follower"],
        "On the leader: entries that a member has not stored yet.",
    ),
    gauge(
        "engram_log_index",
        &["mark"],
        "Watermarks of the replicated log, as log indexes: purged, snapshot, applied, flushed, committed, submitted.",
    ),
    // Admission and the way into the log.
    gauge("engram_admission_rows", &["priority"], "Rows admitted and not settled yet, by lane."),
    gauge("engram_admission_rows_max", &["priority"], "Rows that a lane may hold; from 90 % on it refuses."),
    gauge("engram_admission_bytes", &[], "Bytes admitted and not settled yet, of all lanes."),
    gauge("engram_admission_bytes_max", &[], "Bytes that may be admitted; refused from 90 % on."),
    gauge(
        "engram_admission_pressure_ratio",
        &["priority"],
        "The fullest of lane, bytes and rows that wait for the index, 0 to 1; streams are told to go slower from 0.8 on.",
    ),
    counter("engram_admission_admitted_total", &[], "Chunks admitted: up to 100 rows of one stream each."),
    counter("engram_admission_refused_total", &[], "Chunks refused at admission, to be sent again later."),
    counter("engram_entries_proposed_total", &[], "Entries of observations proposed by this node."),
    counter("engram_rows_proposed_total", &[], "Observations in them."),
    counter(
        "engram_proposals_failed_total",
        &[],
        "Entries of this node that were refused whole, or whose outcome is not known.",
    ),
    histogram("engram_entry_rows", &[], "Observations of a proposed entry: 10, 100 or 500 are aimed at, by load."),
    histogram(
        "engram_proposal_seconds",
        &[],
        "From an entry's proposal to its outcome: durable on a quorum, and applied.",
    ),
    // The log's files.
    histogram("engram_log_sync_seconds", &[], "One write and sync of the write-ahead log."),
    counter("engram_log_entries_total", &[], "Entries written to the write-ahead log."),
    counter("engram_log_bytes_total", &[], "Bytes written to the write-ahead log, padding included."),
    gauge("engram_disk_full", &[], "1 while no room is left for a further segment: no rows are taken."),
    gauge("engram_disk_available_bytes", &[], "Free space where the data directory is."),
    // The index.
    gauge(
        "engram_index_unbuilt_rows",
        &[],
        "Rows of complete batches that wait to be built into graphs; those that a reindex brought over do not count.",
    ),
    gauge("engram_index_unbuilt_rows_max", &[], "Unbuilt rows at which admission is full; it refuses from 90 % on."),
    histogram("engram_index_batch_rows", &[], "Rows of a built batch."),
    histogram("engram_index_batch_seconds", &[], "Time that a batch took."),
    counter("engram_index_build_seconds_total", &[], "Time during which workers built."),
    counter("engram_index_worker_busy_seconds_total", &["worker"], "Of that, time that a worker had something to do."),
    counter("engram_index_worker_jobs_total", &["worker"], "Chunks that a worker built."),
    counter("engram_index_worker_stolen_total", &["worker"], "Of those, chunks taken from another worker's queue."),
    gauge(
        "engram_index_imbalance_ratio",
        &[],
        "By how much the busiest worker had more to do than the average, since the start; 0 is even.",
    ),
    // Reads.
    histogram(
        "engram_recall_seconds",
        &["level"],
        "Answered recalls, by read level, with the wait for their snapshot.",
    ),
    counter("engram_recalls_failed_total", &[], "Recalls that were refused, or not answered in time."),
    histogram(
        "engram_visibility_seconds",
        &[],
        "From the leader's word that a log index is committed to its being applied here, and so found; asked once a second at least.",
    ),
    gauge(
        "engram_staleness_seconds",
        &[],
        "How old an acked write may be, at most, that is not in this node's state; +Inf while unknown.",
    ),
    gauge("engram_space_rows", &["space"], "Rows applied."),
    gauge("engram_space_forgotten_rows", &["space"], "Of those, rows forgotten."),
    gauge("engram_space_epoch", &["space"], "Epoch of the published graph."),
    gauge(
        "engram_space_generation",
        &["space"],
        "How often the space's index was made anew, without the rows that were erased by then.",
    ),
    gauge("engram_space_tail_rows", &["space"], "Rows that are scanned because no epoch holds them yet."),
    // Agreement.
    gauge(
        "engram_digests_agreed_index",
        &[],
        "Log index of the last comparison of digests on which most voters agreed.",
    ),
    gauge("engram_quarantined", &[], "1 while this node's memory is in doubt: it answers no reads."),
    gauge("engram_members_quarantined", &[], "Members that differed from most voters and have not agreed again."),
    counter(
        "engram_record_files_damaged_total",
        &[],
        "Record files that were found damaged on this node's disk since it started.",
    ),
    counter(
        "engram_own_files_damaged_total",
        &[],
        "Segments of the log and manifests of snapshots that were found damaged on this node's disk since it started.",
    ),
    // The process, where the system tells.
    gauge("process_resident_memory_bytes", &[], "Resident memory."),
    counter("process_cpu_seconds_total", &[], "Processor time, user and system."),
    gauge("process_open_fds", &[], "Open file descriptors."),
    gauge("process_max_fds", &[], "Most file descriptors that may be open."),
    gauge("process_start_time_seconds", &[], "When the process started, since the Unix epoch."),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> String {
        let mut page = String::from(
            "# Metrics\n\n`GET /metrics` on the clients' port, in Prometheus' text format. Times are in seconds, sizes in \
             bytes. What to alert on: [runbook.md](runbook.md).\n\n\
             This table is made from `node/src/metrics/families.rs`; a test holds the two together, and\n\
             `WRITE_DOCS=1 cargo test -p engram-node --lib metrics` writes it anew.\n\n\
             | metric | kind | labels | what it says |\n|---|---|---|---|\n",
        );
        for Family { name, kind, labels, help } in FAMILIES {
            page += &format!("| `{name}` | {} | {} | {help} |\n", kind.name(), labels.join(", "));
        }
        page
    }

    #[test]
    fn the_page_of_metrics_is_this_table() {
        crate::documents::hold("docs/operations/metrics.md", &page());
    }

    #[test]
    fn names_follow_the_conventions() {
        for Family { name, kind, labels, help } in FAMILIES {
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert!(help.ends_with('.') && !help.contains(['\n', '\\', '|']), "{name}: {help}");
            assert!(
                !labels.contains(&"le") && FAMILIES.iter().filter(|other| other.name == *name).count() == 1,
                "{name}"
            );
        }
    }
}
