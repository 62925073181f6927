//! What became of all elements of a run, as counts, quantiles and the worst of them.
//!
//! Leaves out: which of it is a violation ([`super`]).

use serde_json::{Value, json};

use super::{Fate, Finding};
use crate::operation::Operation;
use crate::verdict::Figures;

/// How many elements a figure names.
const NAMED_MAX: usize = 8;

/// What became of all elements.
#[derive(Default)]
pub(super) struct Tally {
    /// Stable latencies.
    pub stable: Vec<u64>,
    /// Lost latencies.
    lost: Vec<u64>,
    lost_named: Vec<Value>,
    pub never_read: Vec<Value>,
    /// Stale elements by latency.
    stale: Vec<(u64, Value)>,
}

impl Tally {
    pub fn count(&mut self, key: &str, element: &Value, finding: &Finding<'_>) {
        match finding.fate {
            Fate::Stable => {
                let latency = finding.stable_latency_ns();
                self.stable.push(latency);
                if finding.stale {
                    let line = |read: &Option<Operation<'_>>| read.map(|read| read.invoke.time);
                    let told = json!({
                        "key": key, "element": element, "known_ns": finding.known.map(|known| known.1),
                        "last_absent_ns": line(&finding.last_absent), "stable_latency_ns": latency,
                    });
                    self.stale.push((latency, told));
                }
            }
            Fate::Lost => {
                self.lost.push(finding.lost_latency_ns());
                self.lost_named.push(json!({
                    "key": key, "element": element, "known_ns": finding.known.map(|known| known.1),
                    "lost_latency_ns": finding.lost_latency_ns(),
                }));
            }
            Fate::NeverRead => self.never_read.push(json!({"key": key, "element": element})),
        }
    }

    pub fn sentence(&self) -> String {
        let (stable, stale, never) = (self.stable.len(), self.stale.len(), self.never_read.len());
        let worst = self.stable.iter().max().copied().unwrap_or(0) as f64 / 1e6;
        format!("{stable} elements stable, {stale} of them stale (at most {worst:.3} ms), {never} never read")
    }

    /// Counts, quantiles, and the elements that are not simply stable with latency 0; of many, the worst.
    pub fn figures(&self) -> Figures {
        let mut stale = self.stale.clone();
        stale.sort_by_key(|(latency, _)| std::cmp::Reverse(*latency));
        let first = |all: &[Value]| json!(all.iter().take(NAMED_MAX).collect::<Vec<_>>());
        let worst: Vec<&Value> = stale.iter().take(NAMED_MAX).map(|(_, told)| told).collect();
        Figures::from([
            ("stable", json!(self.stable.len())),
            ("lost", json!(self.lost.len())),
            ("never_read", json!(self.never_read.len())),
            ("stale", json!(self.stale.len())),
            ("lost_first", first(&self.lost_named)),
            ("never_read_first", first(&self.never_read)),
            ("stale_worst", json!(worst)),
            ("stable_latency_ns", quantiles(&self.stable)),
            ("lost_latency_ns", quantiles(&self.lost)),
        ])
    }
}

/// The usual quantiles; null of nothing.
pub(crate) fn quantiles(values: &[u64]) -> Value {
    let mut values = values.to_vec();
    values.sort_unstable();
    let Some(last) = values.len().checked_sub(1) else { return Value::Null };
    let at = |share: f64| values[((values.len() as f64 * share) as usize).min(last)];
    json!({"0": at(0.0), "0.5": at(0.5), "0.95": at(0.95), "0.99": at(0.99), "1": at(1.0)})
}
