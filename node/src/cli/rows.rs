//! `engram get`, `engram count` and `engram forget`: rows by number, or by what they are about.

use super::exit::Failure;
use super::recall::{level, metadata};
use super::terms::FilterArgs;
use super::{Target, out};
use clap::Args;
use engram_client::{Level, Row, Which};

/// Rows by number.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// The numbers, as a recall or a list states them.
    #[arg(required = true, value_name = "ROW")]
    rows: Vec<u64>,
    /// The space.
    #[arg(long)]
    space: String,
    /// How fresh: eventual, at-least=INDEX or linearizable.
    #[arg(long, default_value = "eventual", value_parser = level)]
    level: Level,
    /// Print the rows as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// What to count.
#[derive(Debug, Args)]
pub struct CountArgs {
    /// The space.
    #[arg(long)]
    space: String,
    #[command(flatten)]
    filter: FilterArgs,
    /// How fresh: eventual, at-least=INDEX or linearizable.
    #[arg(long, default_value = "eventual", value_parser = level)]
    level: Level,
    /// Print count and log index as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// What to forget: rows, or conditions.
#[derive(Debug, Args)]
pub struct ForgetArgs {
    /// Row numbers; none where conditions say which rows.
    #[arg(value_name = "ROW", conflicts_with_all = ["conditions", "since", "until"])]
    rows: Vec<u64>,
    /// The space.
    #[arg(long)]
    space: String,
    #[command(flatten)]
    filter: FilterArgs,
    /// Print what was forgotten as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Prints the rows that are there; those that are not are an error after them.
pub async fn get(args: GetArgs) -> Result<(), Failure> {
    let wanted = args.rows.len();
    let listing = args.target.client()?.get(&args.space, args.rows, args.level, false).await?;
    let text = |row: &Row| row.observation.as_ref().map_or(String::new(), |observation| observation.text.clone());
    if args.json {
        let row = |row: &Row| {
            let observation = row.observation.clone().unwrap_or_default();
            serde_json::json!({
                "row": row.row,
                "log_index": row.log_index,
                "session": row.session,
                "sequence": row.sequence,
                "text": observation.text,
                "time_ms": observation.time_ms,
                "metadata": metadata(&observation.metadata),
            })
        };
        out::json(&listing.rows.iter().map(row).collect::<Vec<_>>());
    } else {
        let mut table = out::Table::new(&["row", "log_index", "text"]);
        for row in &listing.rows {
            table.row([row.row.to_string(), row.log_index.to_string(), out::short(&text(row), 100)]);
        }
        out::line(table.render());
    }
    match wanted - listing.rows.len() {
        0 => Ok(()),
        missing => Err(Failure::input(format!("{missing} of {wanted} rows are forgotten, or not there"))),
    }
}

/// Prints a number.
pub async fn count(args: CountArgs) -> Result<(), Failure> {
    let (count, snapshot) = args.target.client()?.count(&args.space, args.filter.filter(), args.level).await?;
    match args.json {
        true => out::json(&serde_json::json!({ "count": count, "applied_index": snapshot.applied_index })),
        false => out::line(count),
    }
    Ok(())
}

/// Forgets, and prints how many.
pub async fn forget(args: ForgetArgs) -> Result<(), Failure> {
    let which = match (args.filter.filter(), args.rows) {
        (Some(filter), _) => Which::Filter(filter),
        (None, rows) if !rows.is_empty() => Which::Rows(rows),
        _ => return Err(Failure::input("forget what? name rows, or conditions: --where topic=fish")),
    };
    let forgotten = args.target.client()?.forget(&args.space, which).await?;
    let (rows, log_index) = (forgotten.rows, forgotten.log_index);
    match args.json {
        true => out::json(&serde_json::json!({ "forgotten": rows, "log_index": log_index })),
        false => out::line(format_args!("{rows} rows forgotten, gone from log index {log_index} on")),
    }
    Ok(())
}
