//! A plan: when, where, what. The format of the files, and what makes one valid.
//!
//! ```json
//! {"version":1,"seed":7,"profile":"crash","duration_ms":60000,"nodes":3,
//!  "faults":[{"at_ms":2000,"until_ms":5000,"kind":{"crash":{"node":2}}}]}
//! ```
//!
//! Faults happen in the first `duration_ms`; then everything is healed and the run must recover. A seed is part of
//! the plan: it also draws everything else that is random in a run.
//!
//! Invariants: `one_setting` (at any moment each link, process, disk and clock is set by one fault at most, so a
//! world can start and stop faults one by one); every fault ends by `duration_ms`. `Plan::load` gives valid plans only.
//!
//! Leaves out: whether a quorum survives ([`crate::budget`]); a plan over the budget is valid, and proves nothing
//! about liveness.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::kind::Kind;

/// The version of the format that this build writes, and the only one that it reads.
pub const VERSION: u32 = 1;
/// The most nodes of a plan.
pub const NODES_MAX: u64 = 9;
/// The most faults of a plan.
pub const FAULTS_MAX: usize = 20_000;
/// The most nodes that a plan adds to its voters.
pub const SPARES_MAX: u64 = 8;
/// The most that a monotonic clock may run fast or slow.
pub const DRIFT_PPM_MAX: u64 = 50_000;
/// The longest plan: a day.
pub const DURATION_MS_MAX: u64 = 86_400_000;
/// What an id of a newcomer must be.
const SPARE_IDS: &str = "one of the eight ids after the voters'";
/// The largest plan file that is read.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Which faults happen when, to how many nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Version of this format.
    pub version: u32,
    /// Draws everything else that is random in a run.
    pub seed: u64,
    /// The profile that it was drawn from, for reports.
    pub profile: String,
    /// How long faults may happen; afterwards the run must recover.
    pub duration_ms: u64,
    /// How many voters, numbered from 1.
    pub nodes: u64,
    /// The faults, by start.
    pub faults: Vec<Fault>,
    /// Where a plan of the corpus comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When it starts.
    pub at_ms: u64,
    /// When it ends.
    pub until_ms: u64,
    /// What it is.
    pub kind: Kind,
}

/// Why a plan is in the corpus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The commit at which it failed.
    pub commit: String,
    /// What failed, and why once that is known.
    pub cause: String,
}

/// A step of a plan's timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action<'p> {
    /// When.
    pub at_ms: u64,
    /// Whether the fault starts or ends.
    pub begins: bool,
    /// Its place in `Plan::faults`.
    pub index: usize,
    /// The fault.
    pub fault: &'p Fault,
}

/// A plan that can't be used: which field, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanError {
    /// The file, if there is one.
    pub file: Option<String>,
    /// What is wrong, field first.
    pub message: String,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{file}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for PlanError {}

impl Plan {
    /// Reads a plan from a file; it is valid then.
    pub fn load(path: &Path) -> Result<Plan, PlanError> {
        let named = |message: String| PlanError { file: Some(path.display().to_string()), message };
        let size = std::fs::metadata(path).map_err(|error| named(format!("can't be read: {error}")))?.len();
        if size > FILE_BYTES_MAX {
            return Err(named(format!("{size} bytes are more than the {FILE_BYTES_MAX} of a plan")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| named(format!("can't be read: {error}")))?;
        Plan::from_json(&text).map_err(|error| named(error.message))
    }

    /// Reads a plan from JSON; it is valid then.
    pub fn from_json(text: &str) -> Result<Plan, PlanError> {
        let plan: Plan = serde_json::from_str(text)
            .map_err(|error| PlanError { file: None, message: format!("is not a plan: {error}") })?;
        plan.validate()?;
        Ok(plan)
    }

    /// The plan as JSON: one fault a line.
    pub fn to_json(&self) -> String {
        let head = serde_json::to_value(Plan { faults: Vec::new(), ..self.clone() }).expect("a plan is plain data");
        let field = |name: &str| head.get(name).map(|value| format!(" \"{name}\": {value}"));
        let faults: Vec<String> = self
            .faults
            .iter()
            .map(|fault| format!("  {}", serde_json::to_string(fault).expect("a fault is plain data")))
            .collect();
        let list = if faults.is_empty() { "[]".into() } else { format!("[\n{}\n ]", faults.join(",\n")) };
        let fields = ["version", "seed", "profile", "duration_ms", "nodes"].into_iter().filter_map(field);
        let fields: Vec<String> = fields
            .chain([format!(" \"faults\": {list}")])
            .chain(field("origin").filter(|_| self.origin.is_some()))
            .collect();
        format!("{{\n{}\n}}\n", fields.join(",\n"))
    }

    /// Writes the plan to a file.
    pub fn save(&self, path: &Path) -> Result<(), PlanError> {
        std::fs::write(path, self.to_json()).map_err(|error| PlanError {
            file: Some(path.display().to_string()),
            message: format!("can't be written: {error}"),
        })
    }

    /// How many nodes after the voters must be at hand, to be added.
    pub fn spares(&self) -> u64 {
        let newcomers = self.faults.iter().filter_map(|fault| fault.kind.newcomer());
        newcomers.max().map_or(0, |last| last - self.nodes)
    }

    /// Every start and end, by time; at one time ends come before starts.
    pub fn actions(&self) -> Vec<Action<'_>> {
        let both = self.faults.iter().enumerate().flat_map(|(index, fault)| {
            [(fault.at_ms, true), (fault.until_ms, false)].map(|(at_ms, begins)| Action { at_ms, begins, index, fault })
        });
        let mut actions: Vec<Action<'_>> = both.collect();
        actions.sort_by_key(|action| (action.at_ms, action.begins, action.index));
        actions
    }

    /// Checks everything that the format promises.
    pub fn validate(&self) -> Result<(), PlanError> {
        let wrong = |message: String| Err(PlanError { file: None, message });
        if self.version != VERSION {
            return wrong(format!("version: {} is not {VERSION}, the one that this build knows", self.version));
        }
        if !(1..=NODES_MAX).contains(&self.nodes) {
            return wrong(format!("nodes: {} is not between 1 and {NODES_MAX}", self.nodes));
        }
        if !(1..=DURATION_MS_MAX).contains(&self.duration_ms) {
            return wrong(format!("duration_ms: {} is not between 1 and {DURATION_MS_MAX}", self.duration_ms));
        }
        if self.faults.len() > FAULTS_MAX {
            return wrong(format!("faults: {} are more than {FAULTS_MAX}", self.faults.len()));
        }
        for (index, fault) in self.faults.iter().enumerate() {
            if let Err((field, why)) = self.validate_fault(fault) {
                return wrong(format!("faults[{index}].{field}: {why}"));
            }
        }
        let mut joined = BTreeSet::new();
        for (index, fault) in self.faults.iter().enumerate() {
            if let Some(node) = fault.kind.newcomer()
                && !joined.insert(node)
            {
                let kind = fault.kind.name();
                return wrong(format!("faults[{index}].kind.{kind}: {node} joins twice, and ids are not reused"));
            }
        }
        match self.conflict() {
            Some((one, two, setting)) => wrong(format!(
                "faults[{two}]: {} starts while faults[{one}] ({}) still sets the same ({setting})",
                self.faults[two].kind.name(),
                self.faults[one].kind.name()
            )),
            None => Ok(()),
        }
    }

    fn validate_fault(&self, fault: &Fault) -> Result<(), (String, String)> {
        let Fault { at_ms, until_ms, kind } = fault;
        if at_ms >= until_ms {
            return Err(("until_ms".into(), format!("{until_ms} is not after at_ms {at_ms}")));
        }
        if *until_ms > self.duration_ms {
            return Err(("until_ms".into(), format!("{until_ms} is after the end, duration_ms {}", self.duration_ms)));
        }
        let path = |field: &str| format!("kind.{}.{field}", kind.name());
        let lists = kind.node_lists();
        for (field, nodes) in &lists {
            if nodes.is_empty() {
                return Err((path(field), "names no node".into()));
            }
            if let Some(node) = nodes.iter().find(|node| !(1..=self.nodes).contains(node)) {
                return Err((path(field), format!("there is no node {node}; nodes are 1 to {}", self.nodes)));
            }
            if let Some(twice) = nodes.iter().enumerate().find(|(at, node)| nodes[..*at].contains(node)) {
                return Err((path(field), format!("names node {} twice", twice.1)));
            }
        }
        if let [(_, one), (field, two)] = lists.as_slice()
            && let Some(node) = two.iter().find(|node| one.contains(node))
        {
            return Err((path(field), format!("node {node} is on both sides")));
        }
        let (field, ok, range) = match kind {
            Kind::Loss { per_mille, .. } => ("per_mille", (1..=1000).contains(per_mille), "between 1 and 1000"),
            Kind::Delay { min_ms, max_ms, .. } => {
                ("max_ms", *max_ms >= *min_ms && (1..=60_000).contains(max_ms), "at least min_ms and 1 to 60000")
            }
            Kind::WorkerCrash { every_ms, .. } => ("every_ms", *every_ms >= 1, "at least 1"),
            Kind::DiskStall { stall_ms, .. } => ("stall_ms", (1..=60_000).contains(stall_ms), "between 1 and 60000"),
            Kind::ClockSkew { offset_ms, .. } => {
                ("offset_ms", offset_ms.unsigned_abs() <= DURATION_MS_MAX, "at most a day")
            }
            Kind::ClockDrift { ppm, .. } => ("ppm", ppm.unsigned_abs() <= DRIFT_PPM_MAX, "between -50000 and 50000"),
            Kind::Join { node } => ("node", self.is_spare(*node), SPARE_IDS),
            Kind::Wipe { replacement, .. } | Kind::DiskLie { replacement, .. } => {
                ("replacement", self.is_spare(*replacement), SPARE_IDS)
            }
            Kind::SlowReader { every_ms, .. } => ("every_ms", *every_ms <= 60_000, "at most 60000"),
            Kind::Burst { rows } => ("rows", (1..=10_000_000).contains(rows), "between 1 and 10000000"),
            _ => return Ok(()),
        };
        if ok { Ok(()) } else { Err((path(field), format!("is not {range}"))) }
    }

    fn is_spare(&self, node: u64) -> bool {
        (self.nodes + 1..=self.nodes + SPARES_MAX).contains(&node)
    }

    /// Two faults that set the same at the same time.
    fn conflict(&self) -> Option<(usize, usize, String)> {
        let mut held: BTreeMap<crate::setting::Setting, (u64, usize)> = BTreeMap::new();
        let mut order: Vec<usize> = (0..self.faults.len()).collect();
        order.sort_by_key(|index| (self.faults[*index].at_ms, *index));
        for index in order {
            let fault = &self.faults[index];
            for setting in fault.kind.settings() {
                if let Some((until_ms, before)) = held.insert(setting, (fault.until_ms, index))
                    && until_ms > fault.at_ms
                {
                    return Some((before, index, format!("{setting:?}")));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(faults: &str) -> Result<Plan, String> {
        let text =
            format!(r#"{{"version":1,"seed":7,"profile":"p","duration_ms":1000,"nodes":3,"faults":[{faults}]}}"#);
        Plan::from_json(&text).map_err(|error| error.to_string())
    }

    fn refused(fault: &str) -> String {
        plan(fault).expect_err("an invalid plan")
    }

    #[test]
    fn every_kind_reads_back_as_it_was_written() {
        let kinds = [
            r#"{"partition":{"a":[1],"b":[2,3]}}"#,
            r#"{"one_way":{"from":[1],"to":[2]}}"#,
            r#"{"loss":{"nodes":[1,2,3],"per_mille":10}}"#,
            r#"{"delay":{"nodes":[1,2],"min_ms":0,"max_ms":100}}"#,
            r#"{"crash":{"node":2}}"#,
            r#"{"power_loss":{"nodes":[1,2,3]}}"#,
            r#"{"pause":{"node":1}}"#,
            r#"{"worker_crash":{"node":1,"every_ms":100}}"#,
            r#"{"disk_stall":{"node":1,"stall_ms":50}}"#,
            r#"{"disk_full":{"node":1}}"#,
            r#"{"clock_skew":{"node":3,"offset_ms":-500}}"#,
            r#"{"burst":{"rows":10000}}"#,
            r#"{"slow_reader":{"web":true,"every_ms":0}}"#,
            r#"{"sync_error":{"node":2}}"#,
            r#"{"rot":{"node":2,"draw":7}}"#,
            r#"{"reset":{"node":2}}"#,
            r#"{"clock_drift":{"node":2,"ppm":-200}}"#,
            r#"{"join":{"node":4}}"#,
            r#"{"wipe":{"node":2,"replacement":5}}"#,
            r#"{"disk_lie":{"node":2,"lie":"lost_sync","draw":7,"replacement":6}}"#,
            r#"{"transfer":{"node":2}}"#,
        ];
        for (index, kind) in kinds.iter().enumerate() {
            let at = index * 40;
            let fault = format!(r#"{{"at_ms":{at},"until_ms":{},"kind":{kind}}}"#, at + 40);
            let plan = plan(&fault).expect("valid");
            assert!(kind.contains(plan.faults[0].kind.name()));
            assert_eq!(serde_json::to_string(&plan.faults[0]).expect("plain data"), fault);
            assert_eq!(Plan::from_json(&plan.to_json()), Ok(plan));
        }
    }

    #[test]
    fn errors_name_the_field() {
        let crash =
            |at, until, node| format!(r#"{{"at_ms":{at},"until_ms":{until},"kind":{{"crash":{{"node":{node}}}}}}}"#);
        assert_eq!(refused(&crash(5, 5, 1)), "faults[0].until_ms: 5 is not after at_ms 5");
        assert_eq!(refused(&crash(5, 2000, 1)), "faults[0].until_ms: 2000 is after the end, duration_ms 1000");
        assert_eq!(refused(&crash(5, 6, 4)), "faults[0].kind.crash.node: there is no node 4; nodes are 1 to 3");
        let sides = r#"{"at_ms":1,"until_ms":2,"kind":{"partition":{"a":[1],"b":[1,2]}}}"#;
        assert_eq!(refused(sides), "faults[0].kind.partition.b: node 1 is on both sides");
        assert!(refused(r#"{"at_ms":1,"until_ms":2,"kind":{"meteor":{}}}"#).contains("unknown variant `meteor`"));
        assert!(refused(r#"{"at_ms":1,"kind":{"crash":{"node":1}}}"#).contains("missing field `until_ms`"));
        assert!(refused(r#"{"at_ms":1,"until_ms":2,"when":3,"kind":{"crash":{"node":1}}}"#).contains("`when`"));
    }

    #[test]
    fn two_faults_may_not_set_the_same_at_once_but_may_follow_each_other() {
        let crash = |at, until| format!(r#"{{"at_ms":{at},"until_ms":{until},"kind":{{"crash":{{"node":1}}}}}}"#);
        let error = refused(&format!("{},{}", crash(0, 10), crash(9, 20)));
        assert_eq!(error, "faults[1]: crash starts while faults[0] (crash) still sets the same (Process(1))");
        let both = plan(&format!("{},{}", crash(0, 10), crash(10, 20))).expect("one after the other");
        let timeline: Vec<_> = both.actions().iter().map(|action| (action.at_ms, action.begins)).collect();
        assert_eq!(timeline, [(0, true), (10, false), (10, true), (20, false)]);
    }

    #[test]
    fn a_newcomer_has_an_id_of_its_own_and_uses_it_once() {
        let join = |at, node| format!(r#"{{"at_ms":{at},"until_ms":{},"kind":{{"join":{{"node":{node}}}}}}}"#, at + 10);
        assert_eq!(refused(&join(0, 3)), "faults[0].kind.join.node: is not one of the eight ids after the voters'");
        let twice = refused(&format!("{},{}", join(0, 4), join(10, 4)));
        assert_eq!(twice, "faults[1].kind.join: 4 joins twice, and ids are not reused");
        let wipe = r#"{"at_ms":20,"until_ms":30,"kind":{"wipe":{"node":1,"replacement":4}}}"#;
        let twice = refused(&format!("{},{wipe}", join(0, 4)));
        assert_eq!(twice, "faults[1].kind.wipe: 4 joins twice, and ids are not reused");
        assert_eq!(plan(wipe).expect("valid").spares(), 1);
    }

    #[test]
    fn another_version_is_refused() {
        let text = r#"{"version":2,"seed":7,"profile":"p","duration_ms":1000,"nodes":3,"faults":[]}"#;
        assert!(Plan::from_json(text).expect_err("unknown version").message.starts_with("version: 2 is not 1"));
    }
}
