//! `engram space`: make, list and drop spaces.

use super::exit::Failure;
use super::{Target, out};
use clap::{Args, Subcommand, ValueEnum};
use engram_client::{Client, Metric, Precision, SpaceConfig, SpaceInfo};

/// What to do with spaces.
#[derive(Debug, Subcommand)]
pub enum SpaceCommand {
    /// Make a space.
    Create(CreateArgs),
    /// List the spaces as one node has them.
    List(ListArgs),
    /// Drop a space with all its rows, on all nodes, for good.
    Drop(DropArgs),
}

/// A new space.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// 1 to 128 letters, digits or . _ - / :
    name: String,
    /// Components of an embedding.
    #[arg(long)]
    dim: u32,
    /// What nearness means.
    #[arg(long, value_enum, default_value_t)]
    metric: MetricArg,
    /// How components are stored.
    #[arg(long, value_enum, default_value_t)]
    precision: PrecisionArg,
    /// Links a row makes; 0: 16.
    #[arg(long, default_value_t = 0)]
    m: u32,
    /// Width of the search that finds them; 0: 64.
    #[arg(long, default_value_t = 0)]
    ef_construction: u32,
    /// Seconds after which rows are forgotten, by log time; 0: never.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    ttl: u64,
    /// Seconds for which the past keeps what is forgotten, by log time, before it is erased; 0: 3600.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    history: u64,
    /// Print the space as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Which node to ask.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Print the spaces as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Which space goes.
#[derive(Debug, Args)]
pub struct DropArgs {
    /// Its name.
    name: String,
    /// Mean it: nothing brings the rows back.
    #[arg(long)]
    yes: bool,
    /// Print the log index as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// `Metric` by its name.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum MetricArg {
    #[default]
    Cosine,
    Dot,
    L2,
}

/// `Precision` by its name.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum PrecisionArg {
    #[default]
    F16,
    F32,
}

/// Does it.
pub async fn run(command: SpaceCommand) -> Result<(), Failure> {
    match command {
        SpaceCommand::Create(args) => create(args).await,
        SpaceCommand::List(args) => list(args).await,
        SpaceCommand::Drop(args) => drop_space(args).await,
    }
}

/// A space's configuration by name, if the node that answers has it.
pub async fn find(client: &Client, name: &str) -> Result<Option<SpaceConfig>, Failure> {
    engram_proto::query::check_space_name(name)?;
    let spaces = client.list_spaces().await?;
    Ok(spaces.into_iter().filter_map(|info| info.config).find(|config| config.name == name))
}

async fn create(args: CreateArgs) -> Result<(), Failure> {
    let metric = match args.metric {
        MetricArg::Cosine => Metric::Cosine,
        MetricArg::Dot => Metric::Dot,
        MetricArg::L2 => Metric::L2,
    };
    let precision = match args.precision {
        PrecisionArg::F16 => Precision::F16,
        PrecisionArg::F32 => Precision::F32,
    };
    let config = SpaceConfig {
        name: args.name,
        dim: args.dim,
        metric: metric.into(),
        precision: precision.into(),
        m: args.m,
        ef_construction: args.ef_construction,
        ttl_ms: args.ttl.saturating_mul(1000),
        history_ms: args.history.saturating_mul(1000),
    };
    let info = args.target.client()?.create_space(config).await?;
    print(&[info], args.json);
    Ok(())
}

async fn list(args: ListArgs) -> Result<(), Failure> {
    print(&args.target.client()?.list_spaces().await?, args.json);
    Ok(())
}

async fn drop_space(args: DropArgs) -> Result<(), Failure> {
    if !args.yes {
        let text = format!("dropping {:?} erases all its rows on all nodes; say --yes if that is meant", args.name);
        return Err(Failure::input(text));
    }
    let log_index = args.target.client()?.drop_space(&args.name).await?;
    match args.json {
        true => out::json(&serde_json::json!({ "dropped": args.name, "log_index": log_index })),
        false => out::line(format_args!("dropped {} at log index {log_index}", args.name)),
    }
    Ok(())
}

/// A space as JSON.
pub fn view(info: &SpaceInfo) -> serde_json::Value {
    let config = info.config.clone().unwrap_or_default();
    serde_json::json!({
        "name": config.name,
        "id": info.id,
        "dim": config.dim,
        "metric": config.metric().as_str_name().trim_start_matches("METRIC_").to_lowercase(),
        "precision": config.precision().as_str_name().trim_start_matches("PRECISION_").to_lowercase(),
        "m": config.m,
        "ef_construction": config.ef_construction,
        "ttl_s": config.ttl_ms / 1000,
        "history_s": config.history_ms / 1000,
        "rows": info.rows,
        "forgotten": info.forgotten,
        "erased": info.erased,
        "floor": info.floor,
        "generation": info.generation,
        "epoch": info.epoch,
        "epoch_rows": info.epoch_rows,
        "graph_digest": format!("{:016x}", info.graph_digest),
    })
}

fn print(spaces: &[SpaceInfo], json: bool) {
    let views: Vec<serde_json::Value> = spaces.iter().map(view).collect();
    if json {
        return out::json(&views);
    }
    let columns = ["name", "dim", "metric", "precision", "rows", "epoch", "epoch_rows", "graph_digest"];
    let mut table = out::Table::new(&columns);
    let cell = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
    for view in &views {
        table.row(columns.iter().map(|column| cell(&view[*column])));
    }
    out::line(table.render());
}
