//! `engram serve`: one node in the real world, until it is told to stop.

use super::exit::{Code, Failure};
use super::settings;
use crate::RunError;
use crate::env::Env;
use clap::{Args, ValueEnum};
use std::future::Future;
use std::io::{IsTerminal, Read};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Settings come from defaults, the file, the environment and these flags; the later wins.
#[derive(Debug, Default, Args)]
pub struct ServeArgs {
    /// TOML file; node_id and data_dir have no default. Every key also as ENGRAM_KEY, or ENGRAM_SECTION__KEY.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Unique in the cluster, never reused.
    #[arg(long, value_name = "N")]
    pub node_id: Option<u64>,
    /// Name of the cluster; a data directory of another one is refused.
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// Where everything durable is.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// host:port for clients, probes and metrics.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// host:port for other nodes.
    #[arg(long, value_name = "ADDRESS")]
    pub peer_listen: Option<String>,
    /// Allow --listen and --peer-listen to be addresses that other machines reach, without TLS or authentication.
    #[arg(long)]
    pub insecure_listen: bool,
    /// Origins whose pages may open a WebSocket here, with commas; pages of this host always may.
    #[arg(long, value_name = "ORIGINS", value_delimiter = ',')]
    pub allowed_origins: Option<Vec<String>>,
    /// Threads of an index batch; 0: one a core.
    #[arg(long, value_name = "N")]
    pub index_workers: Option<usize>,
    /// host:port of an OpenTelemetry collector (OTLP over gRPC), for spans of calls whose traceparent says sampled.
    #[arg(long, value_name = "ADDRESS")]
    pub otlp_endpoint: Option<String>,
    /// How log lines look, on stderr.
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// What is logged: a level, or target=level,… If left out, openraft's lines about each call that a member does not answer are
    /// not: the node says once that it does not, and once that it does again.
    #[arg(
        long,
        env = "ENGRAM_LOG",
        value_name = "FILTER",
        default_value = "info,openraft=error,openraft::core::raft_core=warn"
    )]
    pub log: String,
    /// Stop when stdin is closed: a parent that dies takes its nodes with it.
    #[arg(long, hide = true)]
    pub stop_with_stdin: bool,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs, an object a line.
    Json,
}

/// Runs the node; its end by itself is a failure.
pub fn run(args: ServeArgs) -> Result<(), Failure> {
    let config = settings::load(&args)?.config;
    start_logging(&args)?;
    let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let workers = NonZeroUsize::new(config.index_workers).unwrap_or_else(cores);
    let env = Env::os(workers).map_err(|e| Failure::failed(format!("the node's threads do not start: {e}")))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::failed(format!("no runtime: {e}")))?;
    let ran = runtime.block_on(async {
        let signals = signalled()?;
        let stop = async {
            let orphaned = stdin_closed(args.stop_with_stdin);
            let cause = tokio::select! {
                biased; // either stops the node in the same way
                name = signals => name,
                () = orphaned => "the end of stdin",
            };
            tracing::info!("stopping on {cause}");
        };
        Ok::<_, Failure>(crate::run(env, config, stop).await)
    })?;
    ran.map_err(|e| {
        let code = match e {
            RunError::Config(_) | RunError::Data(_) | RunError::Listen(_) => Code::Input,
            RunError::Poisoned(_) | RunError::Fatal(_) => Code::Failed,
        };
        Failure::new(code, e.to_string())
    })
}

fn start_logging(args: &ServeArgs) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&args.log).map_err(|e| {
        Failure::input(format!("--log or ENGRAM_LOG is {:?}: {e}; write a level, or target=level,…", args.log))
    })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}

/// The handlers are in place when this returns; the future ends with the signal's name. Cancel safe.
pub fn signalled() -> Result<impl Future<Output = &'static str>, Failure> {
    let handler = |kind| signal(kind).map_err(|e| Failure::failed(format!("no signal handler: {e}")));
    let (mut terminate, mut interrupt) = (handler(SignalKind::terminate())?, handler(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            biased; // both mean the same
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

#[expect(clippy::disallowed_methods, reason = "a blocking read of stdin has no other home in a command")]
async fn stdin_closed(wanted: bool) {
    if !wanted {
        return std::future::pending().await;
    }
    let (closed, until) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 64];
        // Bytes mean nothing; the end, or an error, is the sign.
        while std::io::stdin().read(&mut bytes).is_ok_and(|read| read > 0) {}
        // The node may have stopped before.
        let _ = closed.send(());
    });
    // Its loss is the same sign.
    drop(until.await);
}
