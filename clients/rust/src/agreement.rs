//! Whether the members of a cluster at rest say the same.
//!
//! Place: after statuses were asked for; simulated runs and runs of real processes end with it. Leaves out: a cluster that
//! still takes writes, whose members are at different log indexes.

use crate::StatusResponse;

/// What differs first between nodes that nobody writes to: leader, applied index, readiness, quarantine, digest of the
/// state, spaces with their graphs. `None`: all agree.
pub fn difference(states: &[StatusResponse]) -> Option<String> {
    let first = states.first()?;
    let applied = |state: &StatusResponse| state.watermarks.map_or(0, |marks| marks.applied);
    for state in states {
        let pair = format!("nodes {} and {}", first.node, state.node);
        if state.leader.is_none() || state.leader != first.leader {
            return Some(format!("{pair} name leaders {:?} and {:?}", first.leader, state.leader));
        }
        if applied(state) != applied(first) {
            return Some(format!("{pair} applied {} and {}", applied(first), applied(state)));
        }
        if !state.not_ready_reason.is_empty() {
            return Some(format!("node {} is not ready: {}", state.node, state.not_ready_reason));
        }
        if let Some(member) = state.members.iter().find(|member| member.quarantined) {
            return Some(format!("{:?} is quarantined", member.address));
        }
        if state.state_digest != first.state_digest {
            let digests = (first.state_digest, state.state_digest);
            return Some(format!("{pair} have state digests {:016x} and {:016x}", digests.0, digests.1));
        }
        if state.spaces != first.spaces {
            return Some(format!("{pair} have spaces {:?} and {:?}", first.spaces, state.spaces));
        }
    }
    None
}
