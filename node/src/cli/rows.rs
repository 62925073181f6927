//! `engram get`, `engram count` and `engram forget`: rows by number, by name, or by what they are about.

use super::exit::Failure;
use super::recall::{level, metadata};
use super::terms::FilterArgs;
use super::{Target, out};
use clap::Args;
use engram_client::{Level, Named, Row, Which};
use std::time::Duration;

/// Rows by number or by name.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// The numbers, as a recall or a list states them.
    #[arg(value_name = "ROW", required_unless_present = "ids", conflicts_with = "ids")]
    rows: Vec<u64>,
    /// In place of numbers, a name that a client gave a row. May be repeated.
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<String>,
    /// The space.
    #[arg(long)]
    space: String,
    /// How fresh: eventual, bounded=MS, at-least=INDEX or linearizable.
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
    /// How fresh: eventual, bounded=MS, at-least=INDEX or linearizable.
    #[arg(long, default_value = "eventual", value_parser = level)]
    level: Level,
    /// Print count and log index as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// What to forget: rows, conditions, or an age.
#[derive(Debug, Args)]
pub struct ForgetArgs {
    /// Row numbers; none where conditions say which rows.
    #[arg(value_name = "ROW", conflicts_with_all = ["ids", "older_than", "conditions", "since", "until"])]
    rows: Vec<u64>,
    /// A name that a client gave a row. May be repeated.
    #[arg(long = "id", value_name = "ID", conflicts_with_all = ["older_than", "conditions", "since", "until"])]
    ids: Vec<String>,
    /// Rows that were committed so many seconds ago or longer, by log time: it runs while the cluster has a leader.
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["conditions", "since", "until"])]
    older_than: Option<u64>,
    /// The space.
    #[arg(long)]
    space: String,
    #[command(flatten)]
    filter: FilterArgs,
    /// Erase text, embedding, metadata and id of these and all other forgotten rows of the space at once: its past then
    /// begins now.
    #[arg(long)]
    erase: bool,
    /// Print what was forgotten as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Prints the rows that are there; those that are not are an error after them.
pub async fn get(args: GetArgs) -> Result<(), Failure> {
    let wanted = args.rows.len() + args.ids.len();
    let named = if args.ids.is_empty() { Named::Rows(args.rows) } else { Named::Ids(args.ids) };
    let listing = args.target.client()?.get(&args.space, named, args.level, false).await?;
    let text = |row: &Row| row.observation.as_ref().map_or(String::new(), |observation| observation.text.clone());
    if args.json {
        out::json(&listing.rows.iter().map(view).collect::<Vec<_>>());
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

/// A row as JSON.
pub fn view(row: &Row) -> serde_json::Value {
    let observation = row.observation.clone().unwrap_or_default();
    serde_json::json!({
        "row": row.row,
        "log_index": row.log_index,
        "session": row.session,
        "sequence": row.sequence,
        "text": observation.text,
        "time_ms": observation.time_ms,
        "metadata": metadata(&observation.metadata),
        "id": observation.id,
    })
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
    let which = match (args.filter.filter(), args.older_than) {
        (Some(filter), _) => Which::Filter(filter),
        (None, Some(seconds)) => Which::OlderThan(Duration::from_secs(seconds)),
        (None, None) if !args.ids.is_empty() => Which::Named(Named::Ids(args.ids)),
        (None, None) if !args.rows.is_empty() => Which::Named(Named::Rows(args.rows)),
        _ => return Err(Failure::input("forget what? name rows, an --id, an age, or conditions: --where topic=fish")),
    };
    let client = args.target.client()?;
    let forgotten = match args.erase {
        true => client.erase(&args.space, which).await?,
        false => client.forget(&args.space, which).await?,
    };
    let (rows, log_index, floor) = (forgotten.rows, forgotten.log_index, forgotten.floor);
    if args.json {
        out::json(&serde_json::json!({ "forgotten": rows, "log_index": log_index, "floor": floor }));
        return Ok(());
    }
    match log_index {
        0 => out::line("no such row: nothing was forgotten"),
        _ => out::line(format_args!("{rows} rows forgotten, gone from log index {log_index} on")),
    }
    if args.erase {
        out::line(format_args!("what is forgotten is erased; the past of {} begins at log index {floor}", args.space));
    }
    Ok(())
}
