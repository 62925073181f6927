//! The order of a final read: log order over all, sequence order inside a session, without gaps.
//!
//! Invariant `session_order`: log indexes never fall from row to row (one entry of the log holds many rows), and
//! each session's rows are sequences 1, 2, 3… A repeated row is no matter of order; [`crate::once`] reports it.

use std::collections::BTreeMap;

use crate::once::{FinalRead, Session, Violation};

/// The first breach of order in `read`, over all sessions.
pub(crate) fn broken<'h>(read: &FinalRead<'h>) -> Option<Violation<'h>> {
    let node = &read.operation.invoke.key;
    let violation = |sentence| Violation { property: "session_order", sentence, shown: vec![read.operation] };
    let mut last: BTreeMap<&Session, u64> = BTreeMap::new();
    let mut highest = 0;
    for (place, row) in read.rows.iter().enumerate() {
        let (session, sequence) = &row.name;
        if row.log_index < highest {
            return Some(violation(format!(
                "the final read of node {node} is not in log order: session {session} sequence {sequence} at log index \
                 {} comes after log index {highest}",
                row.log_index
            )));
        }
        highest = row.log_index;
        if read.places[&row.name] != place {
            continue;
        }
        let expected = last.get(session).copied().unwrap_or(0) + 1;
        if *sequence != expected {
            let absent = !read.places.contains_key(&(session.clone(), expected));
            let how = if absent { "without" } else { "before" };
            return Some(violation(format!(
                "the final read of node {node} holds session {session} sequence {sequence} {how} sequence {expected}"
            )));
        }
        last.insert(session, *sequence);
    }
    None
}
