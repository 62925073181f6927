//! `engram watch`: observations as they are committed, one line each, until Ctrl-C.

use super::exit::Failure;
use super::rows::view;
use super::terms::FilterArgs;
use super::{Target, out};
use clap::Args;
use engram_client::{Row, Watch};

/// What to follow.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// The space.
    #[arg(long)]
    space: String,
    /// From the first row after this log index on; from now on where it is left out.
    #[arg(long, value_name = "INDEX")]
    after: Option<u64>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Stop after so many rows.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rows: Option<u64>,
    /// One JSON object a line: a row, {"forgotten": [..]}, or {"log_index": n}, up to which all has come.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Prints what comes.
pub async fn run(args: WatchArgs) -> Result<(), Failure> {
    let watch = Watch {
        after_log_index: args.after,
        filter: args.filter.filter(),
        patience: args.target.deadline(),
        ..Watch::new(args.space)
    };
    let mut watcher = args.target.client()?.watch(watch).await?;
    let mut left = args.rows.unwrap_or(u64::MAX);
    while left > 0 {
        let change = watcher.next().await?;
        let rows = change.rows.iter().take(usize::try_from(left).unwrap_or(usize::MAX));
        left -= rows.len() as u64;
        let mut lines: Vec<String> = rows.map(|row| line(row, args.json)).collect();
        if !change.forgotten.is_empty() {
            lines.push(match args.json {
                true => serde_json::json!({ "forgotten": change.forgotten }).to_string(),
                false => format!("forgotten: {:?}", change.forgotten),
            });
        }
        if args.json && change.log_index > 0 {
            lines.push(serde_json::json!({ "log_index": change.log_index }).to_string());
        }
        if !lines.is_empty() && !out::still_read(lines.join("\n")) {
            return Ok(());
        }
    }
    Ok(())
}

fn line(row: &Row, json: bool) -> String {
    if json {
        return view(row).to_string();
    }
    let text = row.observation.as_ref().map_or("", |observation| observation.text.as_str());
    format!("{}  {}  {}", row.row, row.log_index, out::short(text, 100))
}
