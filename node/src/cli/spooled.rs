//! `engram observe --spool`: rows go to disk before they are sent, and what an earlier run left is sent first.
//!
//! Invariant: a file's rows and how far it was read become durable together, so that a run that was killed goes on where
//! it was; the place is forgotten after the summary was told, so that the next run observes the file again.
//! Leaves out: rows refused by the server, which leave the spool and are told.

use super::exit::{Code, Failure};
use super::input::Source;
use super::observe::{ObserveArgs, REFUSALS_TOLD, config};
use super::out;
use clap::Args;
use engram_client::{Delivered, Delivery, Observation, ObserveError, Spool, SpoolError};
use engram_proto::observation::Shape;
use futures_util::future::join;
use prost::Message;
use std::path::{Path, PathBuf};
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Rows that become durable together.
const ROWS_A_PUT: usize = 500;
/// How long the cluster may take to say what the space demands; then rows are spooled unchecked.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// Where rows wait.
#[derive(Debug, Args)]
pub struct SpoolArgs {
    /// Keep rows in this directory until they are acked: what a killed run left is sent by the next, exactly once.
    #[arg(long, value_name = "DIR")]
    pub spool: Option<PathBuf>,
    /// Bytes of rows that may wait there.
    #[arg(long, value_name = "BYTES", requires = "spool", default_value_t = Spool::MAX_BYTES)]
    spool_max_bytes: u64,
    /// The largest sequence of the spool's lost session that is in the space: settles a doubt that was told before.
    #[arg(long, value_name = "N", requires = "spool")]
    spool_last_sequence: Option<u64>,
}

/// How far a source was read, and a hash of what was read.
#[derive(Clone, Copy, Default, PartialEq)]
struct Place {
    rows: u64,
    digest: u64,
}

impl Place {
    fn pass(&mut self, row: &Observation) {
        self.rows += 1;
        self.digest = xxh3_64_with_seed(&row.encode_to_vec(), self.digest);
    }

    fn encode(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.rows.to_be_bytes());
        bytes[8..].copy_from_slice(&self.digest.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (rows, digest) = bytes.split_first_chunk::<8>()?;
        Some(Self { rows: u64::from_be_bytes(*rows), digest: u64::from_be_bytes(digest.try_into().ok()?) })
    }
}

/// Spools the source, if there is one, and delivers whatever waits.
pub async fn run(args: &ObserveArgs, dir: &Path, source: Option<Source>) -> Result<(), Failure> {
    let options = args.acking.options()?;
    let spool = Spool::open(dir, &args.space, args.spooling.spool_max_bytes).map_err(failure)?;
    if let Some(last) = args.spooling.spool_last_sequence {
        spool.settle_lost(last).map_err(failure)?;
    }
    if let Some(source) = &source {
        check(args, source).await?;
    }
    let client = args.target.client()?;
    let mut refused = 0u64;
    let news = |news| match news {
        Delivery::Refused { row, error } => {
            refused += 1;
            if refused <= REFUSALS_TOLD {
                out::note(format_args!("refused: {:.60}: {error}", row.text));
            }
        }
        Delivery::Interrupted { error } => out::note(format_args!("interrupted: {error}")),
        Delivery::Resumed { endpoint } => out::note(format_args!("resumed on {endpoint}")),
        Delivery::Session { .. } | Delivery::Acked { .. } => {}
    };
    // Delivery first: it is then under way when the spool is full.
    let delivering = spool.deliver(&client, options, news);
    let (delivered, put) = join(delivering, put_all(&spool, source.as_ref())).await;
    let waiting = spool.waiting();
    let left = format!("{} rows wait in {}; the same command sends them", waiting.rows, dir.display());
    put.map_err(|e| e.context(&left))?;
    let delivered = delivered.map_err(|e| match waiting.rows {
        0 => failure(e),
        _ => failure(e).context(&left),
    })?;
    report(args, &delivered);
    if let Some(source) = &source {
        spool.clear_note(&name(source)).map_err(failure)?;
    }
    match delivered.refused {
        0 => Ok(()),
        n => Err(Failure::new(Code::Failed, format!("{n} rows were refused; the others are in"))),
    }
}

/// Checks the whole source as the space demands, if the cluster says soon what that is.
async fn check(args: &ObserveArgs, source: &Source) -> Result<(), Failure> {
    let client = args.target.client()?;
    let timing = engram_client::Timing { deadline: CHECK_TIMEOUT.min(args.target.deadline()), ..Default::default() };
    match config(&client.with_timing(timing), args, source).await {
        Ok(config) => source.check(Shape::of(&config)).map(drop),
        Err(failure) if failure.code == Code::NoAnswer => {
            out::note(format_args!("rows are spooled unchecked: {failure}"));
            Ok(())
        }
        Err(failure) => Err(failure),
    }
}

fn name(source: &Source) -> String {
    let path = source.path();
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf()).display().to_string()
}

/// Spools the source from where an earlier run was; waits for room as long as rows are delivered.
async fn put_all(spool: &Spool, source: Option<&Source>) -> Result<(), Failure> {
    let put = match source {
        Some(source) => put_source(spool, source).await,
        None => Ok(()),
    };
    spool.finish();
    put
}

async fn put_source(spool: &Spool, source: &Source) -> Result<(), Failure> {
    let name = name(source);
    let begun = spool.note(&name).map_err(failure)?.and_then(|note| Place::decode(&note)).unwrap_or_default();
    let (mut place, mut rows, mut some) = (Place::default(), source.rows()?, Vec::new());
    let other = || Failure::input(format!("{name} is not the file any more of which {} rows are spooled", begun.rows));
    while place.rows < begun.rows {
        place.pass(&rows.next().ok_or_else(other)??.observation);
    }
    if place != begun {
        return Err(other());
    }
    loop {
        let next = rows.next().transpose()?;
        let ended = next.is_none();
        if let Some(row) = next {
            place.pass(&row.observation);
            some.push(row.observation);
        }
        if some.len() == ROWS_A_PUT || (ended && !some.is_empty()) {
            put(spool, &some, &name, place).await?;
            some.clear();
            // The delivery has its turn.
            tokio::task::yield_now().await;
        }
        if ended {
            return Ok(());
        }
    }
}

async fn put(spool: &Spool, rows: &[Observation], name: &str, place: Place) -> Result<(), Failure> {
    loop {
        match spool.put_noting(rows, name, &place.encode()) {
            Err(SpoolError::Full { .. }) if spool.is_delivering() && spool.waiting().rows > 0 => spool.room().await,
            done => return done.map_err(failure),
        }
    }
}

fn failure(error: SpoolError) -> Failure {
    let code = match error {
        SpoolError::Session(error) => return error.into(),
        SpoolError::Stopped(stopped) => {
            let code = Failure::from(ObserveError::Stopped(stopped.clone())).code;
            // What has no ack is in the spool, and not in doubt.
            let code = if code == Code::Unknown { Code::NoAnswer } else { code };
            return Failure::new(code, stopped.error.to_string());
        }
        SpoolError::Busy(_) | SpoolError::Foreign { .. } | SpoolError::Refused(_) => Code::Input,
        SpoolError::Full { .. } | SpoolError::Disk { .. } | SpoolError::Contradiction { .. } => Code::Failed,
        SpoolError::Doubt { .. } => {
            return Failure::new(Code::Unknown, format!("{error}: --spool-last-sequence N"));
        }
    };
    Failure::new(code, error.to_string())
}

fn report(args: &ObserveArgs, delivered: &Delivered) {
    let Delivered { acked, refused, resumes, token } = delivered;
    match args.json {
        true => out::json(&serde_json::json!({
            "space": args.space, "acked": acked, "refused": refused, "resumes": resumes, "log_index": token.log_index,
        })),
        false => out::line(format_args!("{acked} rows acked, up to log index {}; none waits", token.log_index)),
    }
}
