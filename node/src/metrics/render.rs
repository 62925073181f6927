//! A node's page of metrics.

use super::LEVELS;
use super::text::Text;
use crate::node::Node;
use crate::run::CONNECTIONS_MAX;
use engram_proto::wire::v1::{Priority, SpaceInfo, StatusResponse};
use std::sync::atomic::Ordering;

const LANES: [(&str, Priority); 3] = [("high", Priority::High), ("normal", Priority::Normal), ("low", Priority::Low)];

/// Reads everything now. Counters of one page may be of slightly different moments.
pub fn render(node: &Node) -> String {
    let (mut text, status) = (Text::default(), node.status());
    let identity = [env!("CARGO_PKG_VERSION").to_string(), node.id.to_string(), node.config.cluster.clone()];
    text.many("engram_build_info", [(identity.map(|part| part.replace(['"', '\\', '\n'], "_")), 1)]);
    text.one("engram_ready", u8::from(status.not_ready_reason.is_empty()));
    let rooms = [("clients", &node.connections.clients), ("peers", &node.connections.peers)];
    // One place is held by whoever comes next.
    let open = |room: &tokio::sync::Semaphore| (CONNECTIONS_MAX - room.available_permits()).saturating_sub(1);
    text.many("engram_connections", rooms.map(|(port, room)| ([port], open(room))));
    text.one("engram_sessions_open", status.sessions);
    let (sent, dropped) = node.spans.counts();
    text.many("engram_spans_total", [(["sent"], sent), (["dropped"], dropped)]);
    consensus(&mut text, node, &status);
    admission(&mut text, node);
    log(&mut text, node);
    index(&mut text, node);
    reads(&mut text, node, &status);
    agreement(&mut text, node, &status);
    process(&mut text, node);
    text.done()
}

fn consensus(text: &mut Text, node: &Node, status: &StatusResponse) {
    let leads = status.leader == Some(node.id);
    text.one("engram_raft_term", status.term);
    text.one("engram_raft_is_leader", u8::from(leads));
    text.one("engram_raft_has_leader", u8::from(status.leader.is_some()));
    let voters = status.members.iter().filter(|member| member.voter).count();
    text.many("engram_raft_members", [(["voter"], voters), (["learner"], status.members.len() - voters)]);
    let marks = node.marks();
    let others = status.members.iter().filter_map(|member| Some((member.address.as_ref()?.node, member.matched_index)));
    let lag = others.filter(|(id, _)| leads && *id != node.id);
    let lag = lag.map(|(id, matched)| ([id], marks.submitted.saturating_sub(matched.unwrap_or(0))));
    text.many("engram_raft_follower_lag_entries", lag);
    let by_mark = [
        (["purged"], marks.purged),
        (["snapshot"], marks.snapshot),
        (["applied"], marks.applied),
        (["flushed"], marks.flushed),
        (["committed"], marks.committed),
        (["submitted"], marks.submitted),
    ];
    text.many("engram_log_index", by_mark);
}

fn admission(text: &mut Text, node: &Node) {
    let admission = &node.admission;
    let lanes = |of: [usize; 3]| LANES.into_iter().zip(of).map(|((name, _), rows)| ([name], rows));
    text.many("engram_admission_rows", lanes(admission.depth()));
    text.many("engram_admission_rows_max", lanes(admission.caps()));
    text.one("engram_admission_bytes", admission.bytes());
    text.one("engram_admission_bytes_max", node.config.admission.bytes);
    let pressure = LANES.map(|(name, priority)| ([name], f64::from(admission.pressure_permille(priority)) / 1000.0));
    text.many("engram_admission_pressure_ratio", pressure);
    text.one("engram_admission_admitted_total", admission.admitted());
    text.one("engram_admission_refused_total", admission.refused());
    let (_, entries, rows) = node.meters.entry_rows.read();
    text.one("engram_entries_proposed_total", entries);
    text.one("engram_rows_proposed_total", rows);
    text.one("engram_proposals_failed_total", node.meters.proposals_failed.load(Ordering::Relaxed));
    text.histograms("engram_entry_rows", [([], &node.meters.entry_rows)]);
    text.histograms("engram_proposal_seconds", [([], &node.meters.proposals)]);
}

fn log(text: &mut Text, node: &Node) {
    let counters = node.log.counters();
    text.histograms("engram_log_sync_seconds", [([], node.log.sync_times())]);
    text.one("engram_log_entries_total", counters.entries);
    text.one("engram_log_bytes_total", counters.bytes);
    text.one("engram_disk_full", u8::from(node.log.is_full()));
    // Not known: no sample, as Prometheus wants it.
    let free = node.env.disk.available_bytes(&node.config.data_dir).ok();
    text.many("engram_disk_available_bytes", free.map(|free| ([""; 0], free)));
}

fn index(text: &mut Text, node: &Node) {
    text.one("engram_index_unbuilt_rows", node.admission.unbuilt());
    text.one("engram_index_unbuilt_rows_max", node.config.admission.unbuilt_rows);
    text.histograms("engram_index_batch_rows", [([], &node.meters.batch_rows)]);
    text.histograms("engram_index_batch_seconds", [([], &node.meters.batches)]);
    let Some(counters) = node.env.pool.counters() else { return };
    text.one("engram_index_build_seconds_total", counters.wall.as_secs_f64());
    let workers = || counters.workers.iter().enumerate();
    text.many("engram_index_worker_busy_seconds_total", workers().map(|(at, of)| ([at], of.busy.as_secs_f64())));
    text.many("engram_index_worker_jobs_total", workers().map(|(at, of)| ([at], of.jobs)));
    text.many("engram_index_worker_stolen_total", workers().map(|(at, of)| ([at], of.stolen)));
    text.one("engram_index_imbalance_ratio", counters.imbalance());
}

fn reads(text: &mut Text, node: &Node, status: &StatusResponse) {
    text.histograms("engram_recall_seconds", LEVELS.iter().zip(&node.meters.recalls).map(|(level, of)| ([*level], of)));
    text.one("engram_recalls_failed_total", node.meters.recalls_failed.load(Ordering::Relaxed));
    text.histograms("engram_visibility_seconds", [([], &node.meters.visibility)]);
    let staleness = node.gate.staleness().map_or("+Inf".to_string(), |staleness| staleness.as_secs_f64().to_string());
    text.one("engram_staleness_seconds", staleness);
    let mut spaces = |name: &str, value: fn(&SpaceInfo) -> u64| {
        // Names hold no quote and no backslash: `check_space_name`.
        let label = |space: &SpaceInfo| space.config.as_ref().map(|config| config.name.clone()).unwrap_or_default();
        text.many(name, status.spaces.iter().map(|space| ([label(space)], value(space))));
    };
    spaces("engram_space_rows", |space| space.rows);
    spaces("engram_space_forgotten_rows", |space| space.forgotten);
    spaces("engram_space_epoch", |space| space.epoch);
    spaces("engram_space_generation", |space| space.generation.into());
    spaces("engram_space_tail_rows", |space| space.rows.saturating_sub(space.epoch_rows));
}

fn agreement(text: &mut Text, node: &Node, status: &StatusResponse) {
    text.one("engram_digests_agreed_index", status.agreed_index);
    text.one("engram_quarantined", u8::from(node.state.quarantined().is_some()));
    text.one("engram_members_quarantined", status.members.iter().filter(|member| member.quarantined).count());
    text.one("engram_record_files_damaged_total", node.state.records().rot());
    text.one("engram_own_files_damaged_total", node.meters.own_files_damaged.load(Ordering::Relaxed));
}

fn process(text: &mut Text, node: &Node) {
    let Some(process) = (node.env.process)() else { return };
    text.one("process_resident_memory_bytes", process.resident_bytes);
    text.one("process_cpu_seconds_total", process.cpu_seconds);
    text.one("process_open_fds", process.open_files);
    text.one("process_max_fds", process.open_files_max);
    text.one("process_start_time_seconds", process.started);
}
