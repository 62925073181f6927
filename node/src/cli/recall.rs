//! `engram recall`: the nearest observations to a cue, with the snapshot they come from.

use super::exit::Failure;
use super::terms::FilterArgs;
use super::{Target, input, out};
use clap::Args;
use engram_client::{Answer, Client, Hit, Level, List, ReadToken, Recall, Value, value};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// A question.
#[derive(Debug, Args)]
pub struct RecallArgs {
    /// The space.
    #[arg(long)]
    space: String,
    #[command(flatten)]
    cue: CueArgs,
    /// How many.
    #[arg(short, long, default_value_t = 10)]
    k: u32,
    /// Width of the graph search; 0: the server's default for k.
    #[arg(long, default_value_t = 0)]
    ef: u32,
    /// How fresh: eventual, bounded=MS, at-least=INDEX or linearizable.
    #[arg(long, default_value = "eventual", value_parser = level)]
    level: Level,
    #[command(flatten)]
    filter: FilterArgs,
    /// Only hits with this score or a better one.
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    score_min: Option<f32>,
    /// The state as of a log index: the same answer from every node at any time.
    #[arg(long, value_name = "INDEX", conflicts_with = "level")]
    at_index: Option<u64>,
    /// Ask this node alone, host:port.
    #[arg(long, value_name = "ENDPOINT")]
    node: Option<String>,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Where the cue comes from: one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct CueArgs {
    /// The cue's numbers: '[0.1, 0.2]'.
    #[arg(long, value_name = "[..]", conflicts_with_all = ["npy", "text_of"])]
    cue_json: Option<String>,
    /// A row of an .npy array; with --row.
    #[arg(long, value_name = "FILE", requires = "row", conflicts_with = "text_of")]
    npy: Option<PathBuf>,
    /// Which row of --npy, from 0.
    #[arg(long, value_name = "N", requires = "npy")]
    row: Option<usize>,
    /// The embedding of the first stored observation whose text begins so.
    #[arg(long, value_name = "TEXT")]
    text_of: Option<String>,
}

/// Reads a read level.
pub fn level(text: &str) -> Result<Level, String> {
    match text.split_once('=') {
        None if text == "eventual" => Ok(Level::Eventual),
        None if text == "linearizable" => Ok(Level::Linearizable),
        Some(("bounded", ms)) => match ms.parse() {
            Ok(ms) => Ok(Level::Bounded(Duration::from_millis(ms))),
            Err(e) => Err(format!("bounded={ms}: {e}; write milliseconds")),
        },
        Some(("at-least", index)) => match index.parse() {
            Ok(log_index) => Ok(Level::AtLeast(ReadToken { log_index, incarnation: 0 })),
            Err(e) => Err(format!("at-least={index}: {e}; write a log index, as an ack or an answer states it")),
        },
        _ => Err("write eventual, bounded=MS, at-least=INDEX or linearizable".into()),
    }
}

/// Asks and prints.
pub async fn run(args: RecallArgs) -> Result<(), Failure> {
    let client = args.target.client()?;
    let cue = cue(&client, &args).await?;
    let recall = Recall {
        ef: args.ef,
        level: args.level,
        deadline: args.target.deadline(),
        node: args.node,
        filter: args.filter.filter(),
        score_min: args.score_min,
        at_index: args.at_index,
        ..Recall::new(args.space, cue, args.k)
    };
    let answer = client.recall(recall).await?;
    match args.json {
        true => out::json(&view(&answer)),
        false => print(&answer),
    }
    Ok(())
}

async fn cue(client: &Client, args: &RecallArgs) -> Result<Vec<f32>, Failure> {
    if let Some(json) = &args.cue.cue_json {
        let numbers = serde_json::from_str(json);
        return numbers
            .map_err(|e| Failure::input(format!("--cue-json: {e}; write numbers in brackets: '[0.1, 0.2]'")));
    }
    if let (Some(path), Some(row)) = (&args.cue.npy, args.cue.row) {
        let npy = input::npy(path)?;
        let past = || Failure::input(format!("{} has {} rows; --row is {row}", path.display(), npy.rows()));
        return npy.row(row).ok_or_else(past);
    }
    let text = args.cue.text_of.as_deref().unwrap_or_default();
    let list = List { with_embedding: true, level: args.level, ..List::new(&args.space) };
    let on = args.node.as_ref().map_or_else(|| client.clone(), |node| client.on(node));
    let mut pages = on.list(List { deadline: args.target.deadline(), ..list }).await?;
    while let Some(rows) = pages.next_page().await? {
        let mut observations = rows.into_iter().filter_map(|row| row.observation);
        if let Some(found) = observations.find(|observation| observation.text.starts_with(text)) {
            return Ok(floats(&found.embedding));
        }
    }
    Err(Failure::input(format!("no observation in {} has a text that begins with {text:?}", args.space)))
}

/// Little-endian f32.
pub fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect()
}

/// Metadata as JSON.
pub fn metadata(metadata: &BTreeMap<String, Value>) -> serde_json::Map<String, serde_json::Value> {
    let json = |value: &Value| match &value.kind {
        Some(value::Kind::Text(text)) => text.as_str().into(),
        Some(value::Kind::Integer(integer)) => (*integer).into(),
        Some(value::Kind::Real(real)) => (*real).into(),
        Some(value::Kind::Boolean(boolean)) => (*boolean).into(),
        None => serde_json::Value::Null,
    };
    metadata.iter().map(|(key, value)| (key.clone(), json(value))).collect()
}

fn view(answer: &Answer) -> serde_json::Value {
    let snapshot = &answer.snapshot;
    let hit = |hit: &Hit| {
        serde_json::json!({
            "score": hit.score,
            "row": hit.row,
            "log_index": hit.log_index,
            "text": hit.text,
            "time_ms": hit.time_ms,
            "metadata": metadata(&hit.metadata),
            "id": hit.id,
        })
    };
    serde_json::json!({
        "snapshot": {
            "node": snapshot.node,
            "incarnation": snapshot.incarnation,
            "applied_index": snapshot.applied_index,
            "rows": snapshot.rows,
            "epoch": snapshot.epoch,
            "epoch_rows": snapshot.epoch_rows,
            "graph_digest": format!("{:016x}", snapshot.graph_digest),
            "tail_scanned": snapshot.tail_scanned,
            "read_index": snapshot.read_index,
            "staleness_ms": snapshot.staleness_ms,
        },
        "hits": answer.hits.iter().map(hit).collect::<Vec<_>>(),
    })
}

fn print(answer: &Answer) {
    let mut table = out::Table::new(&["score", "row", "log_index", "text"]);
    for hit in &answer.hits {
        let numbers = [format!("{:.4}", hit.score), hit.row.to_string(), hit.log_index.to_string()];
        table.row(numbers.into_iter().chain([out::short(&hit.text, 100)]));
    }
    out::line(table.render());
    let snapshot = &answer.snapshot;
    out::note(format_args!(
        "node {} at log index {}: {} rows, epoch {} of {} rows, {} scanned outside of it",
        snapshot.node,
        snapshot.applied_index,
        snapshot.rows,
        snapshot.epoch,
        snapshot.epoch_rows,
        snapshot.tail_scanned
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_and_bad_ones_explained() {
        assert_eq!(level("linearizable"), Ok(Level::Linearizable));
        assert_eq!(level("at-least=7"), Ok(Level::AtLeast(ReadToken { log_index: 7, incarnation: 0 })));
        assert!(level("at-least=x").expect_err("refused").contains("log index"));
        assert_eq!(level("bounded=250"), Ok(Level::Bounded(Duration::from_millis(250))));
        assert!(level("strong").is_err());
    }
}
