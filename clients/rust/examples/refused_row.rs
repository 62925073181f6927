//! Rows that a space does not take are refused in the stream, which stays open; a corrected row takes the number:
//! `cargo run -p engram-client --example refused_row -- 127.0.0.1:7600`
#![allow(clippy::print_stdout, reason = "an example's output")]

use engram_client::{Client, ClientError, Event, Kind, ObserveOptions, Observer, SpaceConfig, observation};

type Anything = Box<dyn std::error::Error + Send + Sync>;

/// Pushes a row and waits for what becomes of it.
async fn settle(observer: &Observer, text: &str, embedding: &[f32]) -> Result<String, Anything> {
    let pushed = observer.push(observation(text, embedding)).await?;
    while let Some(event) = observer.next_event().await {
        match event {
            Event::Acked { tickets, sequences, .. } if tickets.contains(&pushed) => {
                return Ok(format!("{text}: acked as number {}", sequences.end()));
            }
            Event::Refused { ticket, sequence, error } if ticket == pushed => {
                return Ok(format!("{text}: refused, number {sequence} is still free: {error}"));
            }
            _ => {}
        }
    }
    Err("the stream has stopped".into())
}

/// Two good rows, two bad ones between them; the lines say what became of each.
pub async fn run(endpoint: &str) -> Result<Vec<String>, Anything> {
    let client = Client::connect([endpoint])?;
    let space = SpaceConfig { name: "example-refused".into(), dim: 2, ..SpaceConfig::default() };
    match client.create_space(space).await {
        Err(ClientError::Refused(error)) if error.kind() == Kind::Exists => {} // made by an earlier run
        made => drop(made?),
    }
    let observer = client.observe("example-refused", ObserveOptions::default()).await?;
    let mut lines = vec![
        settle(&observer, "a good row", &[0.6, 0.8]).await?,
        settle(&observer, "a row of three dimensions", &[0.6, 0.8, 0.0]).await?,
        settle(&observer, "a row that is not a number", &[f32::NAN, 0.8]).await?,
        // The same session, the same connection: nothing was resumed.
        settle(&observer, "the corrected row", &[0.8, 0.6]).await?,
    ];
    let summary = observer.finish().await?;
    let (acked, refused, resumes) = (summary.acked, summary.refused, summary.resumes);
    lines.push(format!("{acked} acked, {refused} refused, {resumes} resumes"));
    Ok(lines)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Anything> {
    let endpoint = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7600".into());
    run(&endpoint).await?.iter().for_each(|line| println!("{line}"));
    Ok(())
}
