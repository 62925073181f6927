//! Acknowledged observations that a final read lacks.
//!
//! Invariant `no_acked_loss`: what was acknowledged before the read began is in the read.
//!
//! Leaves out: what is in the read and should not be ([`crate::once`]).

use crate::once::{FinalRead, Told, Violation};

/// One violation for each acknowledged observation that is not in `read`.
pub(crate) fn lost<'h>(told: &Told<'h>, read: &FinalRead<'h>) -> Vec<Violation<'h>> {
    let begun = read.operation.invoke_at;
    let node = &read.operation.invoke.key;
    let mut violations = Vec::new();
    for (name, attempts) in told.attempts.iter().filter(|(name, _)| !read.places.contains_key(name)) {
        let acked = attempts.iter().filter(|attempt| attempt.is_acked());
        let Some(attempt) = acked.min_by_key(|attempt| attempt.operation.complete_at) else { continue };
        if attempt.operation.complete_at < begun {
            let line = told.history.line(attempt.operation.complete_at);
            let (session, sequence) = name;
            let place = attempt.log_index.map(|index| format!(" at log index {index}")).unwrap_or_default();
            let sentence = format!(
                "session {session} sequence {sequence} was acknowledged{place} (line {line}) and is \
                 missing from the final read of node {node}"
            );
            let shown = vec![attempt.operation, read.operation];
            violations.push(Violation { property: "no_acked_loss", sentence, shown });
        }
    }
    violations
}
