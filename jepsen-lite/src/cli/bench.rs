//! `jepsen-lite check --bench`: how many operations a second each model reads and checks.
//!
//! Histories are those of [`engram_jepsen_lite::sample`]: ten clients, one operation in a thousand unknown; seed 1.
//!
//! Leaves out: broken histories; a verdict of invalid takes the time of its explanation besides.

use std::process::ExitCode;
use std::time::Instant;

use engram_jepsen_lite::model::Settings;
use engram_jepsen_lite::sample::{Rng, Shape, history};
use engram_jepsen_lite::{History, Model};

use super::check::operations;

/// Measures one model or all of them; 0 if every made history is valid, as it must be.
pub fn run(model: Option<Model>, count: usize, settings: &Settings) -> ExitCode {
    let mut code = 0;
    for model in Model::ALL.into_iter().filter(|one| model.is_none_or(|model| model == *one)) {
        let text = history(model, &Shape::large(count), &mut Rng(1)).to_jsonl();
        let start = Instant::now();
        let read = match History::from_jsonl("sample", &text) {
            Ok(read) => read,
            Err(error) => {
                eprintln!("{model}: {error}");
                return ExitCode::from(2);
            }
        };
        let reading = start.elapsed().as_secs_f64();
        let verdict = model.check_with(&read, settings);
        let seconds = start.elapsed().as_secs_f64();
        code = code.max(verdict.exit_code());
        let (operations, mib) = (operations(&read), text.len() as f64 / f64::from(1 << 20));
        let (checking, rate) = (seconds - reading, operations as f64 / seconds);
        println!(
            "{model}: {operations} operations ({mib:.1} MiB), read in {reading:.2} s, checked in {checking:.2} s: \
             {rate:.0} operations/s: {}",
            verdict.sentence()
        );
    }
    ExitCode::from(code)
}
