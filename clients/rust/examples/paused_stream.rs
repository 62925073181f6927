//! Acks paused and resumed, and what credit does meanwhile: rows go on until as many are in flight as it allows.
//! `cargo run -p engram-client --example paused_stream -- 127.0.0.1:7600`
#![allow(clippy::print_stdout, reason = "an example's output")]
#![allow(clippy::disallowed_methods, reason = "it waits on tokio's clock")]

use engram_client::{Client, ClientError, Kind, Level, ObserveOptions, SpaceConfig, observation};
use std::time::Duration;

type Anything = Box<dyn std::error::Error + Send + Sync>;

/// Pushes more rows than the credit while acks are paused; the lines say how far they came.
pub async fn run(endpoint: &str) -> Result<Vec<String>, Anything> {
    let client = Client::connect([endpoint])?;
    let space = SpaceConfig { name: "example-paused".into(), dim: 2, ..SpaceConfig::default() };
    match client.create_space(space).await {
        Err(ClientError::Refused(error)) if error.kind() == Kind::Exists => {} // made by an earlier run
        made => drop(made?),
    }
    let before = client.count("example-paused", None, Level::Linearizable).await?.0;
    // A window wider than the credit: the credit alone holds rows back.
    let options = ObserveOptions { window_rows: 10_000, ..ObserveOptions::default() };
    let observer = client.observe("example-paused", options).await?;
    let credit = observer.credit().rows as u64;
    observer.pause_acks();
    for number in 0..credit + 100 {
        observer.push(observation(format!("row {number}"), &[0.6, 0.8])).await?;
    }
    // Paused acks hold back nothing but themselves: rows are committed, and recalls find them.
    while client.count("example-paused", None, Level::Linearizable).await?.0 < before + credit {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await; // time enough for more, if more were allowed
    let there = client.count("example-paused", None, Level::Linearizable).await?.0 - before;
    let (acked, in_flight) = (observer.acked(), observer.in_flight() as u64);
    let mut lines = vec![format!("paused: {} pushed, {acked} acked", credit + 100)];
    lines.push(format!("paused: all {in_flight} that the credit of {credit} allows are in flight, {there} committed"));
    observer.resume_acks();
    let summary = observer.finish().await?;
    lines.push(format!("resumed: {} acked, {} resumes", summary.acked, summary.resumes));
    Ok(lines)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Anything> {
    let endpoint = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7600".into());
    run(&endpoint).await?.iter().for_each(|line| println!("{line}"));
    Ok(())
}
