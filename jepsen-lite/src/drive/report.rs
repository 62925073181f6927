//! What came of a run: verdicts, lines for people, files for other commands.
//!
//! | file | what |
//! |---|---|
//! | `plan.json` | the plan |
//! | `history.jsonl`, `sessions.jsonl`, `recalls.jsonl` | what clients did and heard, for `jepsen-lite check` |
//! | `summary.json` | what was committed, for `jepsen-lite compare` |
//! | `node-N.toml`, `node-N.log`, `node-N/` | a node's settings, log and data |

use crate::drive::Broken;
use crate::drive::alone::Inside;
use crate::drive::backups::Saved;
use crate::drive::faults::Deed;
use crate::drive::measure::{FirstAcks, Latency, Measures, measure};
use crate::drive::page;
use crate::drive::record::{Histories, Samples};
use crate::drive::settle::{LIMIT, Settled};
use engram_chaos::Plan;
use engram_jepsen_lite::{Model, Verdict};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An append between nodes may take 200 ms and wakes a handful of tasks.
const LATE_MAX: Duration = Duration::from_millis(20);

/// What was asked for.
#[derive(Clone)]
pub struct Run {
    /// The plan.
    pub plan: Plan,
    /// The command that repeats it.
    pub command: String,
    /// The server.
    pub binary: PathBuf,
    /// The server that nodes begin as.
    pub old_binary: Option<PathBuf>,
    /// Nothing beside the plan.
    pub bare: bool,
    /// What the driver is.
    pub inside: Inside,
    /// Where everything is.
    pub dir: PathBuf,
}

/// What happened.
pub struct Facts {
    /// What was done to the cluster.
    pub deeds: Vec<Deed>,
    /// When the plan began, and when the last ack had come.
    pub span: (Duration, Duration),
    /// Rows acked, and rows of unknown outcome.
    pub counts: (u64, u64),
}

/// The cluster after the faults, as far as it came.
#[derive(Default)]
pub struct Ending {
    /// What all nodes have.
    pub settled: Option<Settled>,
    /// The backups.
    pub saved: Saved,
    /// How many rows the last of them has, restored; none if it came to none.
    pub restored_rows: Option<usize>,
    /// Promises that broke outside of the histories.
    pub broken: Vec<Broken>,
}

/// All that is known in the end.
pub struct Report {
    /// What was asked for.
    pub run: Run,
    /// What happened.
    pub facts: Facts,
    /// What each checker says.
    pub verdicts: Vec<(&'static str, Verdict)>,
    /// The cluster after the faults.
    pub ending: Ending,
    /// What it took.
    pub measures: Measures,
    histories: Histories,
}

impl Report {
    /// Checks the histories and measures the run.
    pub fn new(run: Run, facts: Facts, histories: Histories, samples: &Samples, ending: Ending) -> Self {
        let mut verdicts = Vec::new();
        for model in [Model::Observations, Model::Sessions, Model::Recall, Model::LinearizableRecall] {
            let history = match model {
                Model::Observations => &histories.observations,
                Model::Sessions => &histories.sessions,
                _ => &histories.recalls,
            };
            // Without a final read there is nothing to check against, and why is among the broken promises.
            if model != Model::Observations || ending.settled.is_some() {
                verdicts
                    .push((model.name(), model.check_with(history, &engram_jepsen_lite::model::Settings::default())));
            }
        }
        let measures = measure(samples, &facts.deeds);
        Self { run, facts, verdicts, ending, measures, histories }
    }

    /// Whether every promise held.
    pub fn is_valid(&self) -> bool {
        self.ending.broken.is_empty() && self.verdicts.iter().all(|(_, verdict)| verdict.is_valid())
    }

    /// Writes histories and summary.
    pub fn write(&self, dir: &Path) -> Result<(), String> {
        let files = [
            ("history.jsonl", &self.histories.observations),
            ("sessions.jsonl", &self.histories.sessions),
            ("recalls.jsonl", &self.histories.recalls),
        ];
        for (name, history) in files {
            let path = dir.join(name);
            std::fs::write(&path, history.to_jsonl()).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        if let Some(settled) = &self.ending.settled {
            let path = dir.join("summary.json");
            std::fs::write(&path, settled.summary.to_json()).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        Ok(())
    }

    /// The page.
    pub fn page(&self) -> String {
        page::page(self)
    }

    /// How many of each kind were done, and why the others were not.
    pub fn kinds(&self) -> (String, Vec<String>) {
        let (mut done, mut skipped) = (BTreeMap::<&str, u64>::new(), BTreeMap::<(&str, &str), u64>::new());
        for deed in &self.facts.deeds {
            match deed.injected {
                true => *done.entry(&deed.name).or_default() += 1,
                false => *skipped.entry((&deed.name, &deed.note)).or_default() += 1,
            }
        }
        let done: Vec<String> = done.iter().map(|(name, count)| format!("{count} {name}")).collect();
        let skipped = skipped.iter().map(|((name, why), count)| format!("{count} {name} ({why})"));
        (done.join(", "), skipped.collect())
    }

    /// How the nodes were kept apart.
    pub fn network(&self) -> &'static str {
        match self.run.inside {
            Inside::Network => "a namespace for each node; the kernel drops packets, proxies delay",
            Inside::Mounts | Inside::Nothing => "loopback, and proxies",
        }
    }

    /// Lines for people.
    pub fn lines(&self) -> String {
        let mut out = String::new();
        let (done, skipped) = self.kinds();
        let _ = writeln!(out, "network: {}", self.network());
        let _ = writeln!(out, "faults: {}", if done.is_empty() { "none" } else { &done });
        for line in skipped {
            let _ = writeln!(out, "not injected: {line}");
        }
        for (model, verdict) in &self.verdicts {
            let _ = writeln!(out, "{model}: {}", verdict.sentence());
        }
        if let Some(settled) = &self.ending.settled {
            let (index, digest) = settled.state;
            let _ = writeln!(
                out,
                "liveness: converged in {} (limit {LIMIT:?}); all nodes have state digest {digest:016x} at log index \
                 {index}, equal graphs, and answer {} questions about it alike",
                ms(settled.took),
                settled.compared
            );
        }
        if let Some(backups) = self.backups() {
            let _ = writeln!(out, "backups: {backups}");
        }
        for (what, [within, outside]) in [("acks", &self.measures.acks), ("recalls", &self.measures.recalls)] {
            let _ = writeln!(out, "{what}: {} in faults, {} outside", sentence(within), sentence(outside));
        }
        if let Some(busy) = self.busy() {
            let _ = writeln!(out, "note: {busy}");
        }
        let _ = writeln!(out, "first ack after a fault: {}", self.first_acks());
        for broken in &self.ending.broken {
            let _ = writeln!(out, "broken: {broken}");
        }
        out + &self.last_lines()
    }

    /// Whether the machine was too busy for the nodes' time-outs to mean much.
    pub fn busy(&self) -> Option<String> {
        let late = &self.measures.late;
        (late.p99 > LATE_MAX).then(|| {
            format!(
                "the machine was busy: the driver's own tasks woke late by {} in one of a hundred, {} at most",
                ms(late.p99),
                ms(late.max)
            )
        })
    }

    /// What was saved, if anything was tried.
    pub fn backups(&self) -> Option<String> {
        let Ending { saved: Saved { whole, interrupted, acked_before }, restored_rows, .. } = &self.ending;
        let restored = restored_rows.map_or(String::new(), |rows| {
            format!("; the last one, restored, has {rows} rows and all {acked_before} acked before it")
        });
        (whole + interrupted > 0).then(|| format!("{whole} whole, {interrupted} interrupted{restored}"))
    }

    /// The slowest of the times to the first ack.
    pub fn first_acks(&self) -> String {
        let slowest = |end: fn(&FirstAcks) -> Option<Duration>| {
            let all = self.facts.deeds.iter().zip(&self.measures.first_acks).filter(|(deed, _)| deed.injected);
            let slowest = all.filter_map(|(deed, first)| Some((end(first)?, deed))).max_by_key(|(took, _)| *took);
            slowest.map_or("none".into(), |(took, deed)| format!("{} ({} {})", ms(took), deed.name, deed.detail))
        };
        match self.facts.deeds.iter().any(|deed| deed.injected) {
            true => format!(
                "at most {} from its beginning, {} from its end",
                slowest(|first| first.0),
                slowest(|first| first.1)
            ),
            false => "there was none".into(),
        }
    }

    /// The same as a sentence.
    pub fn first_acks_line(&self) -> String {
        format!("First ack after a fault: {}.", self.first_acks())
    }

    fn last_lines(&self) -> String {
        let (plan, (acked, unknown)) = (&self.run.plan, self.facts.counts);
        let seconds = plan.duration_ms / 1000;
        let name = format!("seed {} on {} processes for {seconds} s", plan.seed, plan.nodes);
        match self.is_valid() {
            true => format!("ok: {name}: {acked} rows acked, {unknown} unknown, none lost, doubled or reordered\n"),
            false => {
                let invalid = self.verdicts.iter().find(|(_, verdict)| !verdict.is_valid());
                let first = invalid.map(|(model, verdict)| format!("{model}: {}", verdict.sentence()));
                let why = first.or_else(|| self.ending.broken.first().cloned()).unwrap_or_default();
                format!("BROKEN: {name}: {why}\nreproduce: {}\n", self.run.command)
            }
        }
    }
}

/// A time with three digits or so.
pub fn ms(took: Duration) -> String {
    let seconds = took.as_secs_f64();
    match took.as_millis() {
        0..100 => format!("{:.1} ms", seconds * 1000.0),
        100..1000 => format!("{:.0} ms", seconds * 1000.0),
        1000..10_000 => format!("{seconds:.2} s"),
        _ => format!("{seconds:.1} s"),
    }
}

/// A latency for people.
pub fn sentence(latency: &Latency) -> String {
    let Latency { count, p50, p99, max } = latency;
    match count {
        0 => "none".into(),
        _ => format!("{count} with P50 {}, P99 {}, max {}", ms(*p50), ms(*p99), ms(*max)),
    }
}
