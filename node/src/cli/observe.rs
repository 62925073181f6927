//! `engram observe`: a file into a space, exactly once as long as the command runs, or with a spool for as long as that is kept.

use super::exit::{Code, Failure};
use super::input::Source;
use super::spooled::{self, SpoolArgs};
use super::{Target, feed, out, space};
use clap::{Args, ValueEnum};
use engram_client::{AckStage, Client, ClientError, Event, Kind, ObserveOptions, SpaceConfig};
use engram_proto::observation::Shape;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What to stream where.
#[derive(Debug, Args)]
pub struct ObserveArgs {
    /// JSON lines: {"text": "…", "embedding": [..], "time_ms"?: 0, "metadata"?: {..}}; or Parquet, where it is built with that.
    #[arg(value_name = "FILE", required_unless_present_any = ["npy", "spool"], conflicts_with = "npy")]
    file: Option<PathBuf>,
    /// Embeddings as an .npy array of float16 or float32, a row each; with --text.
    #[arg(long, value_name = "FILE", requires = "text")]
    npy: Option<PathBuf>,
    /// The texts of --npy, a line each.
    #[arg(long, value_name = "FILE", requires = "npy")]
    text: Option<PathBuf>,
    /// The space.
    #[arg(long)]
    pub space: String,
    /// Make the space if it is not there: cosine, with the first row's dimensions.
    #[arg(long)]
    create: bool,
    /// Print a summary as JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub acking: AckArgs,
    #[command(flatten)]
    pub spooling: SpoolArgs,
    #[command(flatten)]
    pub target: Target,
}

/// What an ack promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// Taken by a node; may still be lost.
    Received,
    /// Durable on a quorum.
    #[default]
    Committed,
    /// That, and a recall may return it.
    Searchable,
}

/// When a row counts as acked.
#[derive(Debug, Args)]
pub struct AckArgs {
    /// When a row counts as acked.
    #[arg(long, value_enum, default_value_t)]
    ack: Stage,
    /// With --ack searchable: on so many nodes at least, the one that takes the rows among them.
    #[arg(long, value_name = "N", default_value_t = 1)]
    searchable_nodes: u32,
}

impl AckArgs {
    /// The same for a stream.
    pub fn options(&self) -> Result<ObserveOptions, Failure> {
        let options = ObserveOptions::default();
        match self.ack {
            Stage::Searchable => Ok(options.searchable_on(self.searchable_nodes)),
            _ if self.searchable_nodes > 1 => Err(Failure::input("--searchable-nodes goes with --ack searchable")),
            Stage::Committed => Ok(options),
            Stage::Received => Ok(ObserveOptions { stage: AckStage::Received, ..options }),
        }
    }
}

/// Refusals that are told one by one; the others are counted.
pub const REFUSALS_TOLD: u64 = 10;

/// Streams the file, or through a spool; fails if any row was refused.
pub async fn run(args: ObserveArgs) -> Result<(), Failure> {
    let source = match (&args.npy, &args.text, &args.file) {
        (Some(npy), Some(text), _) => Some(Source::npy(npy, text)?),
        (_, _, Some(file)) => Some(Source::file(file)?),
        _ => None,
    };
    if let Some(dir) = &args.spooling.spool {
        return spooled::run(&args, dir, source).await;
    }
    let source = source.ok_or_else(|| Failure::input("name a file, or --npy with --text"))?;
    let client = args.target.client()?;
    let config = config(&client, &args, &source).await?;
    let total = source.check(Shape::of(&config))?;
    let observer = client.observe(&args.space, args.acking.options()?).await?;
    let bar = feed::bar(total);
    // The line of each ticket that is not settled yet: at most a window of them.
    let lines = RefCell::new(BTreeMap::new());
    let rows = source.rows()?.zip(1u64..).map(|(row, ticket)| {
        row.map(|row| {
            lines.borrow_mut().insert(ticket, row.line);
            row.observation
        })
    });
    let mut refused = 0u64;
    let fed = feed::feed(&observer, rows, |event| match event {
        Event::Acked { tickets, .. } => {
            bar.inc(tickets.end() - tickets.start() + 1);
            lines.borrow_mut().retain(|ticket, _| ticket > tickets.end());
        }
        Event::Refused { ticket, error, .. } => {
            refused += 1;
            let line = lines.borrow_mut().remove(ticket).unwrap_or(0);
            if refused <= REFUSALS_TOLD {
                bar.suspend(|| out::note(format_args!("{}: refused: {error}", source.place(line))));
            }
        }
        Event::Interrupted { error } => bar.set_message(format!("interrupted: {error}")),
        Event::Resumed { endpoint, .. } => bar.set_message(format!("resumed on {endpoint}")),
        Event::Lost { .. } | Event::Stopped(_) => {}
    })
    .await;
    bar.finish_and_clear();
    let fed =
        fed.map_err(|e| e.context(format_args!("session {}, {} rows acked", observer.session(), observer.acked())))?;
    report(&args, observer.session(), &fed);
    match fed.summary.refused {
        0 => Ok(()),
        n => Err(Failure::new(Code::Failed, format!("{n} of {total} rows were refused; the others are in"))),
    }
}

/// The space's configuration; makes the space if that was asked for.
pub async fn config(client: &Client, args: &ObserveArgs, source: &Source) -> Result<SpaceConfig, Failure> {
    if let Some(config) = space::find(client, &args.space).await? {
        return Ok(config);
    }
    if !args.create {
        let text = format!("there is no space {:?}", args.space);
        return Err(Failure::input(format!("{text}; make it with `engram space create`, or say --create")));
    }
    let config = SpaceConfig { name: args.space.clone(), dim: source.dim()?, ..SpaceConfig::default() };
    match client.create_space(config.clone()).await {
        Ok(info) => Ok(info.config.unwrap_or(config)),
        // Somebody was faster; the node that was asked first did not know it yet.
        Err(ClientError::Refused(error)) if error.kind() == Kind::Exists => {
            engram_proto::query::complete_space(config).map_err(Failure::from)
        }
        Err(error) => Err(error.into()),
    }
}

fn report(args: &ObserveArgs, session: u64, fed: &feed::Fed) {
    let feed::Fed { summary, elapsed, latency } = fed;
    let ms = |quantile| latency.value_at_quantile(quantile) as f64 / 1000.0;
    if args.json {
        out::json(&serde_json::json!({
            "space": args.space,
            "session": session,
            "acked": summary.acked,
            "refused": summary.refused,
            "resumes": summary.resumes,
            "log_index": summary.token.log_index,
            "seconds": elapsed.as_secs_f64(),
            "rows_per_s": fed.rows_per_s(),
            "ack_p50_ms": ms(0.5),
            "ack_p99_ms": ms(0.99),
        }));
        return;
    }
    out::line(format_args!(
        "{} rows acked in {:.2} s ({:.0} a second), ack P50 {:.1} ms, P99 {:.1} ms, up to log index {}",
        summary.acked,
        elapsed.as_secs_f64(),
        fed.rows_per_s(),
        ms(0.5),
        ms(0.99),
        summary.token.log_index
    ));
}
