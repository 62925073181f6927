//! `jepsen-lite compare SIM REAL`: one plan in the simulator and on processes; the verdicts and what was committed.
//!
//! Each is a directory with `history.jsonl` and `summary.json`: `jepsen-lite run --dir` makes one, and so does `engram-sim
//! run --history … --summary …`. Both histories are checked here, with the same checker: the verdicts must be the same. Then
//! what was committed is compared as `chaos diff` compares two simulated worlds (`engram_chaos::diff`): where no outcome is
//! unknown in either, each session's rows up to the last sequence that both have, by payload.
//!
//! Invariant: a pair in which nothing was compared is not called equal. Leaves out: recalls, order among sessions, time.

use clap::Args;
use engram_chaos::diff::{self, Compared};
use engram_chaos::summary::Summary;
use engram_jepsen_lite::{History, Model, Verdict};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What to compare.
#[derive(Args)]
pub struct Arguments {
    /// The directory of a simulated run.
    sim: PathBuf,
    /// The directory of a run of real processes.
    real: PathBuf,
}

/// Compares: 0 equal, 1 different, 2 nothing can be said.
pub fn run(arguments: &Arguments) -> ExitCode {
    let both = load(&arguments.sim).and_then(|sim| Ok((sim, load(&arguments.real)?)));
    let (sim, real) = match both {
        Ok(both) => both,
        Err(error) => {
            eprintln!("jepsen-lite: {error}");
            return ExitCode::from(2);
        }
    };
    let (line, code) = judge(&sim, &real);
    println!("{line}");
    ExitCode::from(code)
}

struct World {
    verdict: Verdict,
    summary: Summary,
}

fn load(dir: &Path) -> Result<World, String> {
    let (history, summary) = (dir.join("history.jsonl"), dir.join("summary.json"));
    let name = history.display().to_string();
    let open = File::open(&history).map_err(|e| format!("{name}: {e}"))?;
    let history = History::read_from(&name, BufReader::new(open)).map_err(|e| e.to_string())?;
    let verdict = Model::Observations.check_with(&history, &engram_jepsen_lite::model::Settings::default());
    Ok(World { verdict, summary: Summary::load(&summary)? })
}

fn judge(sim: &World, real: &World) -> (String, u8) {
    let [one, two] = [sim, real].map(|world| world.verdict.sentence());
    if sim.verdict.exit_code() != real.verdict.exit_code() {
        return (format!("different: simulated {one}; real {two}"), 1);
    }
    match diff::compare(&sim.summary, &real.summary) {
        diff::Verdict::Equal(Compared { observations, beyond, digest, .. }) if sim.verdict.is_valid() => (
            format!(
                "equal: both valid, {observations} observations, digest {digest}; {} and {} more beyond them",
                beyond.0, beyond.1
            ),
            0,
        ),
        diff::Verdict::Equal(_) => (format!("equally broken: simulated {one}; real {two}"), 1),
        diff::Verdict::Differs(why) => (format!("different: {why}"), 1),
        diff::Verdict::Incomparable(why) => (format!("not comparable: {why}; simulated {one}; real {two}"), 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(rows: &[&str], unknown: bool, valid: bool) -> World {
        let read = if valid { r#"[{"session":1,"sequence":1,"payload":"a","log_index":4}]"# } else { "[]" };
        let lines = [
            r#"{"process":0,"type":"invoke","f":"observe","key":1,"value":{"sequence":1,"payload":"a"},"time":0}"#
                .to_string(),
            r#"{"process":0,"type":"ok","f":"observe","key":1,"value":{"sequence":1,"payload":"a"},"time":1}"#
                .to_string(),
            r#"{"process":1,"type":"invoke","f":"read-all","key":1,"time":2}"#.to_string(),
            format!(r#"{{"process":1,"type":"ok","f":"read-all","key":1,"value":{read},"time":3}}"#),
        ];
        let history = History::from_jsonl("h", &lines.join("\n")).expect("events");
        let verdict = Model::Observations.check(&history, 1 << 20);
        let rows = rows.iter().map(|row| row.parse().expect("well formed")).collect();
        World { verdict, summary: Summary::new(unknown, rows, std::collections::BTreeMap::new()) }
    }

    #[test]
    fn equal_worlds_are_those_with_one_verdict_and_the_same_rows() {
        let sim = world(&["client-1/1 a", "client-1/2 b"], false, true);
        let judged = |real: &World| judge(&sim, real);
        let (line, code) = judged(&world(&["client-1/1 a", "websocket/1 c"], false, true));
        assert_eq!(code, 0, "{line}");
        assert!(line.contains("1 observations") && line.ends_with("1 and 1 more beyond them"), "{line}");
        let (line, code) = judged(&world(&["client-1/1 x"], false, true));
        assert_eq!((code, line.starts_with("different: client-1/1")), (1, true), "{line}");
        let (line, code) = judged(&world(&["client-1/1 a"], false, false));
        assert_eq!((code, line.contains("real invalid")), (1, true), "{line}");
        assert_eq!(judged(&world(&["client-1/1 a"], true, true)).1, 2);
        assert_eq!(judged(&world(&[], false, true)).1, 2);
    }
}
