//! `engram config`: what a node would be started with, and whether it may be.

use super::exit::Failure;
use super::out::{self, Table};
use super::serve::ServeArgs;
use super::settings::{self, Settings};
use crate::config::keys::KEYS;
use clap::{Args, Subcommand};

/// Each takes the flags of `engram serve`, and reads the same file and environment.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say whether a node would take this configuration; nothing is started or changed.
    Check(CheckArgs),
    /// Print every value that a node would be started with, as a file that gives them.
    Show(ShowArgs),
}

/// See [`ConfigCommand::Check`].
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    serve: ServeArgs,
}

/// See [`ConfigCommand::Show`].
#[derive(Debug, Args)]
pub struct ShowArgs {
    #[command(flatten)]
    serve: ServeArgs,
    /// Where each value comes from, as a table.
    #[arg(long)]
    origin: bool,
    /// The values as JSON.
    #[arg(long, conflicts_with = "origin")]
    json: bool,
}

/// Does what the command says.
pub fn run(command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check(args) => {
            let config = settings::load(&args.serve)?.config;
            out::line(format_args!("valid: node {} of cluster {:?}", config.node_id, config.cluster));
        }
        ConfigCommand::Show(args) => show(&args)?,
    }
    Ok(())
}

fn show(args: &ShowArgs) -> Result<(), Failure> {
    let Settings { config, origins } = settings::load(&args.serve)?;
    if args.json {
        out::json(&config);
    } else if args.origin {
        let mut table = Table::new(&["key", "value", "origin"]);
        for key in KEYS {
            let origin = origins.get(key.name).cloned().unwrap_or_else(|| "default".into());
            table.row([key.name.into(), config.value(key.name).to_string(), origin]);
        }
        out::line(table.render());
    } else {
        let mut section = None;
        for key in KEYS {
            let (of, name) = key.parts();
            if of != section {
                out::line(format_args!("\n[{}]", of.unwrap_or_default()));
                section = of;
            }
            // Texts, numbers, truths and lists of texts are written the same in JSON and in TOML.
            out::line(format_args!("{name} = {}", config.value(key.name)));
        }
    }
    Ok(())
}
